"""A source that stops delivering what detectors see by: texts, callers, times, tokens, names of what served.

Each field is a stream of yes or no, whether a call has it (`presence`). Fields of an answer are judged on calls that
did not fail.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.presence import WARM_UP, Presence
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_LEAST_MISSING = 30
"""So many calls without a field there must be since the onset: a few odd ones in a row are no blindness."""

_GONE = 0.1
_PATIENCE_S = 3_600.0
"""What is lost within an hour of the last word is said at its end: a bank lets one detector speak once an hour."""

_MAX_CALLERS = 32
_MAX_NAME_CHARS = 64
_ONE_CALLER = 0.9

_CALL = {
    "principal": "caller",
    "prompt_hash": "prompt text",
    "latency_s": "latency",
    "model": "requested model",
    "failed": "outcome",
}
_ANSWER = {
    "input_tokens": "input tokens",
    "components": "component digests",
    "style": "output text",
    "output_tokens": "output tokens",
    "ttft_s": "time to first token",
    "finish_reason": "finish reason",
    "served_model": "served model",
}
"""What a call that failed does not have: it was turned away before anybody counted its tokens or served it."""

FIELDS = _CALL | _ANSWER
"""Observation fields that are watched, and what a person calls them."""

_NAMES = tuple(FIELDS)
_OF_CALL, _OF_ANY = (1 << len(_CALL)) - 1, (1 << len(FIELDS)) - 1
_GRAVE = frozenset(("principal", "prompt_hash", "style"))
_LEAST_LIMIT = alarms.e_limit(alarms.bonferroni(alarms.MIN_ARL, len(FIELDS)))


@functools.lru_cache(maxsize=1 << len(FIELDS))
def _bits(flags: tuple[bool, ...]) -> int:
    return sum(flag << place for place, flag in enumerate(flags))


class SourceBlind(Detector):
    """Likelihood-ratio CUSUMs of the presence of each field against the frozen baseline."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Source no longer delivers a field",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A field that calls used to have (caller, texts, latency, tokens, names of what served) and that half of "
        "them or more now lack: other detectors go blind.",
        requires=(),
        any_of=tuple(FIELDS),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0107",),
        owasp=("LLM03:2025",),
        causes=(
            "A gateway, collector or instrumentation was updated or set to leave content or identities out.",
            "Somebody who is watched switched the logging of bodies or identities off.",
            "A source changed its schema: the values are there under names that are not read.",
            "Traffic moved to a client or route that never carried the field.",
        ),
        false_positives=(
            "A new client, most of the traffic now, that does not stream, has no key or sends no text (images, tools).",
            "An approved change of what may be logged.",
            "A mix of clients that differs between day and night when the warm-up saw only one of them.",
        ),
        known_gaps=(
            "A fall of a share by less than a third is not looked for: one of many sources may go blind unseen.",
            "A field that was already missing during the warm-up is for `inferwatch doctor`, not for this detector.",
            "Values that are there but made up (one principal for all, empty texts) count as delivered.",
            "A source that goes silent altogether is another finding, pipeline.source_silent.",
        ),
        runbook=(
            "Run `inferwatch doctor`: it names the detectors that are blind without the field.",
            "Compare two stored events, one before and one after the onset: source, user agent, route, client version.",
            "Find who changed the gateway, collector or logging policy at the onset, and whether it was approved.",
            "Until it is back, treat the deployment as unwatched for those detectors and look at other records of it.",
            "If the change was approved, note it; the detector says it once and waits for the field to return.",
        ),
        references=(
            "MITRE ATT&CK T1562.008, Impair Defenses: Disable or Modify Cloud Logs",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Wilson, Probable inference, the law of succession, and statistical inference (1927)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    now_s: float = 0.0
    said_s: float | None = None
    fields: dict[str, Presence] = msgspec.field(default_factory=lambda: {name: Presence() for name in FIELDS})
    watched: int = 0
    moving: int = _OF_ANY
    callers: dict[str, int] = msgspec.field(default_factory=dict)

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn which fields calls have."""
        arriving = alarms.Arriving(self.pace)
        for observation in observations:
            time_s = observation.time_s
            if 0.0 <= time_s <= MAX_TIME_S:
                self.now_s = time_s
            arriving.see(self.now_s)
            # In the order of `FIELDS`; by name each would take four times as long.
            lacks = (
                observation.principal is None,
                observation.prompt_hash is None,
                observation.latency_s is None,
                observation.model is None,
                observation.failed is None,
                observation.input_tokens is None,
                observation.components is None,
                observation.style is None,
                observation.output_tokens is None,
                observation.ttft_s is None,
                observation.finish_reason is None,
                observation.served_model is None,
            )
            missing = _bits(lacks)
            asked = self.moving | (missing & self.watched)
            if observation.failed is True:
                asked &= _OF_CALL
            if not asked:
                continue
            top = self._look(missing, asked)
            if top <= 0.0:
                continue
            self._blame(observation.principal)
            if top < _LEAST_LIMIT or (self.said_s is not None and abs(self.now_s - self.said_s) < _PATIENCE_S):
                continue
            arriving.settle()
            if (found := self._judge()) is not None:
                yield found
        arriving.settle()

    def _look(self, missing: int, asked: int) -> float:
        """Take in the fields `asked` of one call, as bits; the highest level of the `missing` among them."""
        top = 0.0
        while asked:
            bit = asked & -asked
            asked ^= bit
            field = self.fields[_NAMES[bit.bit_length() - 1]]
            present = not missing & bit
            if field.seen < WARM_UP:
                field.learn(present)
                if field.seen < WARM_UP:
                    continue
            elif field.lost:
                field.come_back(present, _LEAST_LIMIT)
            elif field.miss > 0.0:
                field.step(present, self.now_s)
                if not present:
                    top = max(top, field.level)
            self._note(bit, field)
        return top

    def _note(self, bit: int, field: Presence) -> None:
        """Whether a field past its warm-up is to be looked at in every call, in those that lack it, or never."""
        self.watched = self.watched | bit if field.miss > 0.0 else self.watched & ~bit
        self.moving = self.moving | bit if field.lost or field.level > 0.0 else self.moving & ~bit

    def _blame(self, principal: str | None) -> None:
        """Count a call that lacks something for its caller, from the time something began to be missing."""
        if all(field.level <= 0.0 or field.calls <= 1 for field in self.fields.values()):
            self.callers.clear()
        name = "" if principal is None else principal[:_MAX_NAME_CHARS]
        inherited = 0
        if name not in self.callers and len(self.callers) >= _MAX_CALLERS:
            inherited = self.callers.pop(min(self.callers, key=self.callers.__getitem__))
        self.callers[name] = self.callers.get(name, inherited) + 1

    def _judge(self) -> Detection | None:
        """The fields that are lost by now, as one detection."""
        arl = alarms.average_run_length(self.share, self.pace.per_day)
        limit = alarms.e_limit(alarms.bonferroni(arl, len(FIELDS)))
        falling = [
            (name, field)
            for name, field in self.fields.items()
            if not field.lost and field.level >= limit / 2.0 and field.missing >= _LEAST_MISSING / 2.0
        ]
        falling.sort(key=lambda each: -each[1].level)
        if not any(field.level >= limit and field.missing >= _LEAST_MISSING for _, field in falling):
            return None
        found = self._detection(falling, limit)
        for _, field in falling:
            field.lost, field.level = True, 0.0
        self.said_s = self.now_s
        return found

    def _detection(self, falling: list[tuple[str, Presence]], limit: float) -> Detection:
        worst = falling[0][1]
        names = ", ".join(FIELDS[name] for name, _ in falling)
        busiest = max(self.callers, key=self.callers.__getitem__, default="")
        one = self.callers.get(busiest, 0) / max(sum(self.callers.values()), 1)
        severity = Severity.MEDIUM
        if any(name in _GRAVE and field.now <= _GONE for name, field in falling):
            severity = Severity.HIGH
        if busiest and one >= _ONE_CALLER and worst.now > _GONE:
            severity = Severity.LOW  # others still have it: one caller's new client
        rows = [
            Evidence(
                name=f"calls with {FIELDS[name]}", observed=100.0 * field.now, expected=100.0 * field.before, unit="%"
            )
            for name, field in falling[:7]
        ]
        return Detection(
            summary=f"The source no longer delivers: {names}. Of the last {worst.calls} calls {worst.now:.0%} had "
            f"{FIELDS[falling[0][0]]}, of the first {worst.seen} {worst.before:.0%} had; what needs it is blind.",
            severity=severity,
            score=worst.level,
            threshold=limit,
            onset_s=min(field.since_s for _, field in falling),
            evidence=(*rows, Evidence(name="calls of the busiest caller", observed=100.0 * one, unit="%")),
        )
