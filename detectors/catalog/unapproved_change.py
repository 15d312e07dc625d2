"""A digest of what serves that this deployment was never seen with and that nobody approved, or that was rejected.

Only equality is looked at. Digests seen while a component is learned are legitimate, and so is one that comes within
the window of its approval; approvals themselves say what is meant, so that what they name needs no learning. A report
is a statement of one place: the second one of a place is held against the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import DIGESTS, GUARDRAIL, MAX_CHARS, SERVED, TOOL_LIST, Decisions, brief, clean, is_off, sane
from detectors.sightings import WARM_UP_QUIET, Sightings, sighted
from detectors.types import REPORT, Detection, Evidence, Notice, Observation, Severity

_MOST_REPORTED = 16
"""Components of places that report: with twelve of the longest digests each 18 KiB."""

_MOST_SETTLED = 8
_MOST_MODELS = 8
_MAX_ROWS = 8

_CHURNY = frozenset(("package_set", "retrieval_index"))
"""What is rebuilt often by those who run a service well."""

_NEW, _LATE, _REJECTED = "nobody approved it", "it was approved, but not for now", "it was rejected"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One component that is not as approved; `before` is None where nothing was known, `calls` how many were seen."""

    component: str
    now: str
    before: str | None
    calls: int
    why: str


class UnapprovedChange(Detector):
    """Says a digest once, when it is new for the deployment and not approved, or rejected and served nevertheless.

    `seen` are the digests on calls by component, `reported` those of reports by component and place; `settled` are
    whole sets of digests in which nothing is news, `latest` the last set by requested model.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Component changed without approval",
        scope=DEPLOYMENT,
        severity=Severity.CRITICAL,
        sees="A digest of weights, adapter, tokenizer, template, image, guardrail, packages or index, on calls or in a "
        "report, never seen before and covered by no approval; a rejected one that serves",
        requires=(),
        any_of=("components", "notice"),
        warm_up=WARM_UP_QUIET,
        score_unit="digests not approved",
        atlas=("AML.T0010", "AML.T0018", "AML.T0112.001", "AML.T0109"),
        owasp=("LLM03:2025", "LLM04:2025", "LLM08:2025"),
        causes=(
            "A rollout of new weights, adapter, template, image or packages that nobody approved here.",
            "A compromised registry, build or node serves another artifact under the old name.",
            "Somebody with access to the serving side replaced a file in place.",
            "A rejected version came back with an automatic rollout or a restart from an old image.",
        ),
        false_positives=(
            "A legitimate rollout that was not announced, or whose approval came after its first call.",
            "Several builds in rotation of which one was not seen during the warm-up.",
            "A digest that is now computed in another way.",
            "A second machine with other packages that reports under the same place.",
        ),
        known_gaps=(
            "It believes the digests it is told; a swap below them is for output_drift and canary.",
            "A change in place during the warm-up, or a return to a digest seen earlier, is not said.",
            "A component with 8 or more digests during its warm-up is not judged.",
            "After six new digests of one component, further ones are said once a week.",
            "Digests on calls and in reports are learned apart, as they may be of different things.",
            "Twelve digests of a component, 32 decisions and 16 reported components are remembered.",
        ),
        runbook=(
            "Ask the owner of the deployment whether the change is theirs; if so, `inferwatch changes approve` it.",
            "Verify the new digest against the registry and its signature, from another machine.",
            "Run `inferwatch attest` on the serving side and compare with the last good report.",
            "If nobody owns the change, pin the old digest, route traffic to it, keep the new artifact for analysis.",
            "Look for output_drift, backdoor_trigger, egress and latency_shift since the onset.",
        ),
        references=(
            "MITRE ATLAS, AI Supply Chain Compromise (2021)",
            "SLSA, Supply-chain Levels for Software Artifacts 1.0 (2023)",
            "NIST SP 800-128, Security-Focused Configuration Management (2011)",
        ),
    )

    now_s: float = 0.0
    barred: bool = False
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    seen: dict[str, Sightings] = msgspec.field(default_factory=dict)
    reported: dict[str, Sightings] = msgspec.field(default_factory=dict)
    settled: dict[tuple[str | None, ...], int] = msgspec.field(default_factory=dict)
    latest: dict[str, tuple[str | None, ...]] = msgspec.field(default_factory=dict)

    @property
    def lacks(self) -> int:
        """None where approvals say what is meant."""
        return 0 if self.decisions.made else super().lacks

    def update(self, observation: Observation) -> Detection | None:
        """Compare what served one call, or what a report found, with what did before and what was approved."""
        if observation.notice is not None:
            return self._notice(observation, observation.notice)
        changes = self._barred(observation) if self.barred else []
        components = observation.components
        if components is None:
            pass
        elif components in self.settled:
            model = observation.model
            self.latest[model if model is not None and model in self.latest else ""] = components
        else:
            self.now_s = sane(observation.time_s, self.now_s)
            changes += self._changes(components, observation.model or "")
            self._settle(components, observation.model or "")
        return self._detection(changes, "serves") if changes else None

    def _notice(self, observation: Observation, notice: Notice) -> Detection | None:
        """Learn a decision, or judge a report."""
        self.now_s = sane(observation.time_s, self.now_s)
        if self.decisions.learn(notice, self.now_s) is not None:
            self.settled.clear()
            self.barred = self._bars()
        if notice.kind != REPORT or observation.components is None:
            return None
        changes = []
        for name, raw in _stated(observation.components):
            value, fresh = clean(raw), Sightings(since_s=self.now_s, needs=1)
            kept = sighted(self.reported, f"{name} {clean(notice.reference)}", _MOST_REPORTED, fresh)
            change = self._judge(kept, name, value, known=self._elsewhere(name, value))
            if change is not None:
                changes.append(change)
        return self._detection(changes, "was reported with") if changes else None

    def _barred(self, observation: Observation) -> list[Change]:
        """The served model, where it is one that was rejected."""
        if observation.served_model is None:
            return []
        served = clean(observation.served_model)
        if not self._rejected(SERVED, served):
            return []
        self.now_s = sane(observation.time_s, self.now_s)
        self.barred = self._bars()
        return [Change(component=SERVED, now=served, before=None, calls=0, why=_REJECTED)]

    def _bars(self) -> bool:
        """Whether a served model was rejected of which it was not said yet that it serves."""
        made = self.decisions.made.values()
        return any(each.component == SERVED and not each.approved and not each.told for each in made)

    def _changes(self, components: tuple[str | None, ...], model: str) -> Iterator[Change]:
        for name, raw in _stated(components):
            value = clean(raw)
            seen = self.seen.get(name)
            if seen is None:
                seen = self.seen[name] = Sightings(since_s=self.now_s)
            pins = list(self.decisions.pins(name, self.now_s))
            if pins:
                seen.pin()
            change = self._judge(seen, name, value, known=any(pin.before == value for pin in pins))
            if change is not None:
                last = self.latest.get(model, ())
                before = dict(zip(DIGESTS, last, strict=False)).get(name)
                yield change if before is None else msgspec.structs.replace(change, before=before)

    def _judge(self, seen: Sightings, name: str, value: str, *, known: bool) -> Change | None:
        """Learn one digest; what is wrong with it. `known` is whether it is legitimate for a reason not in `seen`."""
        before, calls = seen.current or None, seen.count
        decision = self.decisions.on(name, value)
        if decision is not None and not decision.approved:
            seen.accept(value, self.now_s)
            if self._rejected(name, value):
                return Change(component=name, now=value, before=before, calls=calls, why=_REJECTED)
            return None
        if known or (decision is not None and decision.covers(self.now_s)):
            seen.accept(value, self.now_s)
            return None
        if seen.see(value, self.now_s) is None:
            return None
        return Change(component=name, now=value, before=before, calls=calls, why=_NEW if decision is None else _LATE)

    def _elsewhere(self, name: str, value: str) -> bool:
        """Whether calls, or other places, are known to have this digest."""
        return any(
            value in kept.values
            for key, kept in (*self.seen.items(), *self.reported.items())
            if key.partition(" ")[0] == name
        )

    def _rejected(self, component: str, version: str) -> bool:
        """Whether a version was rejected and that it serves was not said; it is from now on."""
        decision = self.decisions.on(component, version)
        if decision is None or decision.approved or decision.told:
            return False
        decision.told = True
        return True

    def _settle(self, components: tuple[str | None, ...], model: str) -> None:
        """Remember a set of digests in which nothing is news any more, and that it was the last one of its model."""
        values = dict(_stated(components))
        if any(value is not None and len(value) > MAX_CHARS for value in components):
            return
        if model in self.latest or (len(self.latest) < _MOST_MODELS and clean(model) == model):
            self.latest[model] = components
        self.latest[""] = components
        if all(self.seen[name].learned and not self.seen[name].volatile for name in values):
            if len(self.settled) >= _MOST_SETTLED:
                del self.settled[next(iter(self.settled))]
            self.settled[components] = 1

    def _detection(self, changes: list[Change], says: str) -> Detection:
        worst = max(changes, key=lambda each: _severity(each).rank)
        name = worst.component.replace("_", " ")
        before = "" if worst.before is None else f", before {brief(worst.before)}"
        others = ", ".join(sorted({each.component.replace("_", " ") for each in changes if each is not worst}))
        seen = f"; never seen in {worst.calls} calls or reports before" if worst.calls and worst.why == _NEW else ""
        return Detection(
            summary=f"The deployment {says} {name} {brief(worst.now)}{before}: {worst.why}{seen}."
            + (f" Also changed: {others}." if others else ""),
            severity=_severity(worst),
            score=float(len(changes)),
            threshold=1.0,
            onset_s=self.now_s,
            evidence=tuple(
                Evidence(name=each.component, observed=each.now, expected=each.before) for each in changes[:_MAX_ROWS]
            ),
            fact=f"{worst.component} {worst.now}",
        )


def _stated(components: tuple[str | None, ...]) -> Iterator[tuple[str, str]]:
    """Component and digest of what is stated and judged here: tool lists and guardrails that are off are others'."""
    for place, (name, value) in enumerate(zip(DIGESTS, components, strict=False)):
        if value is not None and place != TOOL_LIST and not (place == GUARDRAIL and is_off(value)):
            yield name, value


def _severity(change: Change) -> Severity:
    if change.why == _REJECTED:
        return Severity.CRITICAL
    return Severity.MEDIUM if change.component in _CHURNY else Severity.HIGH
