"""An approved version that serves for the first time within its window: what compares answers begins afresh.

During a rollout the old version still answers some of the calls, and nothing that compares answers can tell a fault
from the mixture: it begins afresh again and again, sooner than it could speak, until the new version answers alone, the
window is over or two days have passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from detectors.alarms import DAY_S
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import DIGESTS, SERVED, Decision, Decisions, brief, clean, sane
from detectors.types import Detection, Evidence, Observation, Severity

_ALONE = 100
"""So many calls in a row by the new version end a rollout; no detector that compares answers speaks after so few."""

_LEAST_MIXED = 5
"""Fewer calls of the old version after the first of the new one make no mixture that matters."""

_LONGEST_S = 2 * DAY_S
"""A part of the calls that keeps the old version for longer is no rollout: who compares answers must not be kept from
it for good."""

_MOST_MODELS = 8
_LATE = 1_000
"""Calls after its window that lapse an approval: one of an absurd time must not."""

_MAX_ROWS = 7


class Stated(msgspec.Struct, kw_only=True):
    """What calls say of one component: its version, the one before (`None` while it never changed), since when."""

    version: str
    before: str | None = None
    since_s: float = 0.0


class Rollout(msgspec.Struct, kw_only=True):
    """An approved version that has begun to serve for one requested model, until `until_s` at the latest.

    `others` are calls by other versions since, `alone` calls in a row by it, `calls` those since it was spoken of.
    """

    version: str
    reference: str
    model: str
    until_s: float
    others: int = 0
    alone: int = 0
    calls: int = 0


class ApprovedChange(Detector):
    """Says when an approved change takes effect, and how a rollout goes on.

    `waiting` are approvals that have not taken effect, with the calls seen since their window ended; `models` are the
    last versions by requested model.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Approved change took effect",
        scope=DEPLOYMENT,
        severity=Severity.INFO,
        sees="The first call that an approved version serves within its window; detectors of how the deployment "
        "answers begin afresh with it",
        requires=(),
        any_of=("components", "served_model", "notice"),
        warm_up=0,
        score_unit="approved changes",
        atlas=("AML.T0010",),
        owasp=("LLM03:2025",),
        causes=(
            "A rollout that its owner announced with `inferwatch changes approve`.",
            "Somebody who may approve changes approved one that should not be.",
        ),
        false_positives=("An approval that names a digest which happened to serve already.",),
        known_gaps=(
            "What compares answers learns anew from here: a fault that comes with the approved version becomes usual.",
            "While a rollout goes on, for two days at most, nothing that compares answers can speak.",
            "Where calls do not say the component's digest, the change counts from the first call of its window.",
            "A digest that calls write otherwise than the approval does not take effect.",
            "32 decisions are remembered; an approval that never took effect leaves 1,000 calls after its window.",
        ),
        runbook=(
            "Nothing is to be done if the change is known; the reference names the ticket.",
            "If it is not known, ask who approved it, and `inferwatch changes reject` the version.",
            "Ask known prompts (`inferwatch canary run`) once, so that the new version has stored answers soon.",
        ),
        references=(
            "NIST SP 800-128, Security-Focused Configuration Management (2011)",
            "SLSA, Supply-chain Levels for Software Artifacts 1.0 (2023)",
        ),
    )

    now_s: float = 0.0
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    waiting: dict[str, int] = msgspec.field(default_factory=dict)
    rolling: dict[str, Rollout] = msgspec.field(default_factory=dict)
    stated: dict[str, Stated] = msgspec.field(default_factory=dict)
    models: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    digests: tuple[str | None, ...] | None = None
    served: str | None = None

    def update(self, observation: Observation) -> Detection | None:
        """See what served one call, or take in an approval."""
        if observation.notice is not None:
            self._learn(observation)
            return None
        digests, served = observation.components, observation.served_model
        # What stays as it was, which is nearly every call, is told by equality with the call before.
        usual = (digests is None or digests == self.digests) and (served is None or served == self.served)
        if usual and not self.waiting and not self.rolling:
            return None
        self.now_s = sane(observation.time_s, self.now_s)
        versions = {} if served is None else {SERVED: clean(served)}
        versions.update(
            (name, clean(value)) for name, value in zip(DIGESTS, digests or (), strict=False) if value is not None
        )
        model = clean(observation.model or "")
        begun = list(self._begun(versions, self.models.get(model, {})))
        news = [found for name in list(self.rolling) if (found := self._rolled(name, versions, model)) is not None]
        self._remember(versions, model, observation)
        for decision, _ in begun:
            if decision.component in versions:
                until_s = self.now_s + _LONGEST_S
                self.rolling[decision.component] = Rollout(
                    version=decision.version,
                    reference=decision.reference,
                    model=model,
                    until_s=until_s if decision.until_s is None else min(until_s, decision.until_s),
                )
        if begun:
            return self._took_effect(begun, versions)
        return self._goes_on(news[0]) if news else None

    def _learn(self, observation: Observation) -> None:
        self.now_s = sane(observation.time_s, self.now_s)
        decision = None if observation.notice is None else self.decisions.learn(observation.notice, self.now_s)
        if decision is None:
            return
        keys = self.decisions.made
        self.waiting = {key: late for key, late in self.waiting.items() if key in keys and keys[key].approved}
        if decision.approved:
            self.waiting[next(reversed(keys))] = 0

    def _begun(self, versions: dict[str, str], last: dict[str, str]) -> Iterator[tuple[Decision, str | None]]:
        """The approvals that this call brings into effect, each with the version before, of the same model if known."""
        for key, late in list(self.waiting.items()):
            decision = self.decisions.made[key]
            stated, serves = self.stated.get(decision.component), versions.get(decision.component)
            if not decision.covers(self.now_s):
                if decision.begun(self.now_s):
                    self.waiting[key] = late + 1
                    if late >= _LATE:
                        del self.waiting[key]
                continue
            if serves is None and stated is None:
                del self.waiting[key]
                yield decision, decision.before
            elif serves == decision.version:
                del self.waiting[key]
                if stated is None or stated.version != serves:
                    before = None if stated is None else last.get(decision.component, stated.version)
                    yield decision, decision.before or before
                elif stated.before is not None and abs(self.now_s - stated.since_s) < DAY_S:
                    # Approved after the fact: what was learned since is a mixture.
                    yield decision, stated.before

    def _rolled(self, component: str, versions: dict[str, str], model: str) -> Rollout | None:
        """Count one call toward a rollout; the rollout when it is complete after a mixture, or goes on."""
        rollout, serves = self.rolling[component], versions.get(component)
        if self.now_s > rollout.until_s:
            del self.rolling[component]
            return None
        if serves is None or model != rollout.model:
            return None
        rollout.calls += 1
        if serves == rollout.version:
            rollout.alone += 1
        else:
            rollout.others, rollout.alone = rollout.others + 1, 0
        if rollout.alone >= _ALONE:
            del self.rolling[component]
            return rollout if rollout.others >= _LEAST_MIXED else None
        if rollout.calls < _ALONE:
            return None
        rollout.calls = 0
        return rollout

    def _remember(self, versions: dict[str, str], model: str, observation: Observation) -> None:
        if model in self.models or len(self.models) < _MOST_MODELS:
            self.models.setdefault(model, {}).update(versions)
        for name, version in versions.items():
            stated = self.stated.get(name)
            if stated is None:
                self.stated[name] = Stated(version=version, since_s=self.now_s)
            elif stated.version != version:
                stated.before, stated.version, stated.since_s = stated.version, version, self.now_s
        if observation.components is not None:
            self.digests = _short(observation.components)
        if observation.served_model is not None:
            self.served = versions[SERVED]

    def _took_effect(self, begun: list[tuple[Decision, str | None]], versions: dict[str, str]) -> Detection:
        first, before = begun[0]
        what = ", ".join(decision.component.replace("_", " ") for decision, _ in begun)
        unsaid = [decision for decision, _ in begun if decision.component not in versions]
        how = f"{brief(first.version)} serves" + (f" in place of {brief(before)}" if before else "")
        if unsaid:
            how = f"calls do not say their {unsaid[0].component.replace('_', ' ')}, so it counts from its window on"
        rows = [
            Evidence(name=decision.component, observed=decision.version, expected=old)
            for decision, old in begun[:_MAX_ROWS]
        ]
        return self._detection(
            f"An approved change of {what} ({brief(first.reference)}) took effect: {how}. What compares answers with "
            "the past begins afresh.",
            [*rows, Evidence(name="approved as", observed=first.reference)],
            float(len(begun)),
            f"{first.component} {first.version}",
        )

    def _goes_on(self, rollout: Rollout) -> Detection:
        complete = rollout.alone >= _ALONE
        how = f"is complete: it answered the last {_ALONE} calls" if complete else "goes on"
        then = "once more" if complete else "until it answers alone"
        rows = [
            Evidence(name="calls by other versions during the rollout", observed=float(rollout.others)),
            Evidence(name="approved as", observed=rollout.reference),
        ]
        return self._detection(
            f"The rollout of {brief(rollout.version)} ({brief(rollout.reference)}) {how}; other versions answered "
            f"{rollout.others} since it began. What compares answers begins afresh {then}.",
            rows,
            1.0,
            f"{'complete' if complete else 'goes on'} {rollout.version}",
        )

    def _detection(self, summary: str, rows: list[Evidence], score: float, fact: str) -> Detection:
        return Detection(
            summary=summary,
            severity=Severity.INFO,
            score=score,
            threshold=1.0,
            onset_s=self.now_s,
            evidence=tuple(rows),
            rebaselines=True,
            fact=fact,
        )


def _short(digests: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Digests to compare the next call's with; one that is too long to keep makes that slower, not wrong."""
    return tuple(None if value is None else clean(value) for value in digests[: len(DIGESTS)])
