"""A guardrail that calls used to go through and no longer do: its digest is gone from them, or says that it is off.

Each answered call is a yes or no, whether it states a guardrail, and a fall of that share is tested as a lost field is
(`presence`), so that one call without it is no alarm. A source that no longer states any component is another matter,
for `source_blind`.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.presence import WARM_UP, Presence
from detectors.provenance import DIGESTS, GUARDRAIL, Decisions, clean, is_off, sane
from detectors.types import Detection, Evidence, Observation, Severity

_LEAST_SHARE = 0.5
"""A guardrail that fewer calls stated was never one that all calls go through."""

_LEAST_MISSING = 10
"""So many calls without it there must be: the test needs fewer only where a share of 100 % was known for long."""

_LEAST_LIMIT = alarms.e_limit(alarms.MIN_ARL)
_NAME = DIGESTS[GUARDRAIL]


class GuardrailOff(Detector):
    """A CUSUM of calls without a guardrail against the frozen share; learning begins with the first call that has one.

    `alone` counts the calls of the warm-up on which nothing but the guardrail is stated.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Guardrail is off",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="Calls that no longer state the guardrail that most calls went through, or state that it is off",
        requires=(),
        any_of=("components", "notice"),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0107", "AML.T0081"),
        owasp=("LLM01:2025", "LLM05:2025"),
        causes=(
            "Somebody switched the guardrail off, for a test, for speed or to get through.",
            "A rollout of the gateway or of the application left it out of its configuration.",
            "The guardrail service is down and the gateway is set to let calls pass without it.",
            "Traffic was moved past the gateway that applies it.",
        ),
        false_positives=(
            "A new kind of call that needs no guardrail (embeddings, a batch job) and is most of the traffic now.",
            "A gateway that no longer writes the guardrail's digest although it is applied.",
            "A switch-off that was not announced as an approved change of `guardrail` to `off`.",
        ),
        known_gaps=(
            "It believes the digest that is stated; a guardrail that lets everything pass looks as before.",
            "A fall of the share by less than a third is not looked for.",
            "A guardrail that fewer than half of the calls stated is not watched.",
            "Calls that failed and canary runs are not judged.",
        ),
        runbook=(
            "Send a prompt that the guardrail must stop, from where the callers are, and see whether it does.",
            "Compare the gateway's configuration before and after the onset, and who changed it.",
            "List the calls since the onset that attacks or leaks were found in; probing and leakage name them.",
            "Switch it on again; where it is down, have the gateway refuse calls until it is back.",
            "If it is meant, approve a change of `guardrail` to `off` with an end.",
        ),
        references=(
            "MITRE ATT&CK T1562, Impair Defenses",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "OWASP Top 10 for LLM Applications 2025, LLM01 Prompt Injection",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    now_s: float = 0.0
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    guarded: Presence = msgspec.field(default_factory=Presence)
    alone: int = 0
    last: str = ""
    without: str = ""

    def update(self, observation: Observation) -> Detection | None:
        """Learn whether one call went through a guardrail."""
        if observation.notice is not None:
            self.now_s = sane(observation.time_s, self.now_s)
            self.decisions.learn(observation.notice, self.now_s)
            return None
        components = observation.components
        stated = None if components is None or len(components) <= GUARDRAIL else components[GUARDRAIL]
        guarded = self.guarded
        if (stated is None and not guarded.seen) or observation.failed or observation.canary:
            return None
        self.now_s = sane(observation.time_s, self.now_s)
        on = stated is not None and not is_off(stated)
        if on and stated is not None and stated != self.last:
            self.last = clean(stated)
        if not on:
            if not self._counts(components):
                return None
            self.without = "not stated" if stated is None else clean(stated)
        self.pace.see(self.now_s)
        if guarded.seen < WARM_UP:
            self._learn(on, components)
            return None
        return self._step(on)

    def _learn(self, on: bool, components: tuple[str | None, ...] | None) -> None:  # noqa: FBT001 - the outcome itself
        if on or self.guarded.seen:
            self.guarded.learn(on)
            self.alone += components is not None and components.count(None) == len(components) - 1

    def _step(self, on: bool) -> Detection | None:  # noqa: FBT001 - the outcome itself
        guarded = self.guarded
        if guarded.before < _LEAST_SHARE:
            return None
        if guarded.lost:
            guarded.come_back(on, _LEAST_LIMIT)
        elif not on or guarded.level > 0.0:
            guarded.step(on, self.now_s)
            return None if on else self._judge()
        return None

    def _counts(self, components: tuple[str | None, ...] | None) -> bool:
        """Whether a call without a guardrail says something: not of a blind source, nor where it is approved."""
        nothing = components is None or components.count(None) == len(components)
        if nothing and 2 * self.alone < self.guarded.seen:
            return False
        return not any(
            is_off(decision.version) and decision.covers(self.now_s)
            for decision in self.decisions.made.values()
            if decision.component == _NAME
        )

    def _judge(self) -> Detection | None:
        guarded = self.guarded
        limit = alarms.e_limit(alarms.average_run_length(self.share, self.pace.per_day))
        if guarded.level < limit or guarded.missing < _LEAST_MISSING:
            return None
        found = Detection(
            summary=f"Calls no longer go through the guardrail: of the last {guarded.calls} {guarded.now:.0%} state "
            f"one, of the first {guarded.seen} {guarded.before:.0%} did; it is {self.without!r} now.",
            severity=Severity.HIGH,
            score=guarded.level,
            threshold=limit,
            onset_s=guarded.since_s,
            evidence=(
                Evidence(
                    name="calls with a guardrail",
                    observed=100.0 * guarded.now,
                    expected=100.0 * guarded.before,
                    unit="%",
                ),
                Evidence(name="calls without one since the onset", observed=float(guarded.missing)),
                Evidence(name=_NAME, observed=self.without, expected=self.last),
            ),
        )
        guarded.lost, guarded.level = True, 0.0
        return found
