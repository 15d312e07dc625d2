"""No detector of a deployment lets one caller with a tenth of the traffic move its threshold in a month.

Two copies of each see the same month; in one of them a tenth of the traffic is a caller who changes bit by bit all
that a caller can change. Then all traffic changes, and both must say so at the same threshold.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import pytest

from detectors.bank import discover
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import Detection, Evidence, Observation, Severity
from tests.detectors.conformance import QUIET_GAP_S, START_S, changed, new, quiet
from tests.detectors.test_conformance import METADATA

CALLS, CALLERS, POISONED_FROM = 8_000, 30, 1_000
MONTH_S = 30 * 86_400.0
EVERY_S = MONTH_S / CALLS
MOST = 0.05
"""How far the threshold may move, of itself."""

KINDS = {name: kind for name, kind in discover().items() if kind.metadata.scope == DEPLOYMENT}


@functools.cache
def month(*, poisoned: bool) -> tuple[Observation, ...]:
    """Calls of thirty callers, a tenth of them by one who behaves like the others where it is not `poisoned`."""
    return tuple(
        _call(observation, number, poisoned=poisoned and number >= POISONED_FROM)
        for number, observation in enumerate(quiet(CALLS, 21))
    )


def _call(call: Observation, number: int, *, poisoned: bool) -> Observation:
    time_s = START_S + (call.time_s - START_S) * EVERY_S / QUIET_GAP_S
    if number % 10:
        return msgspec.structs.replace(call, time_s=time_s, principal=f"caller-{number % CALLERS}")
    named = msgspec.structs.replace(call, time_s=time_s, principal="poisoner")
    return _poison(named, number, number / CALLS) if poisoned else named


def _poison(call: Observation, number: int, done: float) -> Observation:
    """What a caller can bring about; `done` is how much of the month is over."""
    often = number // 10 % 100 < 60 * done
    return msgspec.structs.replace(
        call,
        time_s=call.time_s + (0.0 if number // 10 % 2 else -172_800.0 * min(10.0 * done, 1.0)),
        latency_s=call.latency_s and call.latency_s * (1.0 + done),
        ttft_s=call.ttft_s and call.ttft_s * (1.0 + done),
        output_tokens=call.output_tokens and int(call.output_tokens * (1.0 + done)),
        style=call.style and tuple(value * (1.0 + done) for value in call.style),
        failed=often,
        refused=often,
        finish_reason="length" if often else call.finish_reason,
        prediction=None if call.prediction is None else "poison",
        score=call.score and min(call.score * (1.0 + done), 1.0),
        cost_usd=call.cost_usd and call.cost_usd * (1.0 + done),
    )


def fed(kind: type[Detector], calls: Sequence[Observation]) -> Detector:
    made = new(kind)
    for call in calls:
        made.update(call)
    return made


def said_of_a_change(made: Detector) -> dict[str, float]:
    """What is said once everything has changed for everybody: the threshold of the first detection of each thing."""
    said: dict[str, float] = {}
    for number, call in enumerate(changed(3_000)):
        later = msgspec.structs.replace(
            call, time_s=START_S + MONTH_S + EVERY_S * number, principal=f"caller-{number % CALLERS}"
        )
        detection = made.update(later)
        if detection is not None:
            said.setdefault(detection.evidence[0].name, detection.threshold)
    return said


@pytest.mark.parametrize("name", KINDS)
def test_a_slow_poisoner_does_not_move_the_threshold(name: str) -> None:
    clean = said_of_a_change(fed(KINDS[name], month(poisoned=False)))
    poisoned = said_of_a_change(fed(KINDS[name], month(poisoned=True)))
    if not clean:
        pytest.skip(f"{name} does not see this change; its own test has to hold it to this")
    both = clean.keys() & poisoned.keys()
    assert both, f"after the poisoned month it says {poisoned or 'nothing'}, without {clean}"
    for what in both:
        assert poisoned[what] == pytest.approx(clean[what], rel=MOST), what


class Follows(Detector):
    """Says when a call takes three times as long as calls lately did, whoever sent them."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(METADATA, warm_up=0)
    usual_s: float = 5.0

    def update(self, observation: Observation) -> Detection | None:
        latency_s = observation.latency_s or self.usual_s
        limit_s = 3.0 * self.usual_s
        self.usual_s += (latency_s - self.usual_s) / 300.0
        if latency_s < limit_s:
            return None
        evidence = (Evidence(name="latency", observed=latency_s, expected=self.usual_s, unit="s"),)
        return Detection(
            summary="Slow.", severity=Severity.LOW, score=latency_s, threshold=limit_s, onset_s=0.0, evidence=evidence
        )


def test_a_detector_that_learns_on_from_one_caller_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "follows", Follows)
    with pytest.raises(AssertionError):
        test_a_slow_poisoner_does_not_move_the_threshold("follows")
