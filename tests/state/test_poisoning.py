"""One principal that drifts slowly for a month moves neither a deployment's baseline nor what it notices.

Two copies of a deployment's detectors see the same month; in one of them a tenth of the traffic is a caller that
changes bit by bit and lies about the time. Afterwards both are asked with the same real change.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from detectors.alarms import Budget
from detectors.base import DEPLOYMENT, Detector
from detectors.catalog.error_shift import ErrorShift
from detectors.catalog.finish_reason_shift import FinishReasonShift
from detectors.catalog.latency_shift import LatencyShift
from detectors.catalog.output_drift import OutputDrift
from detectors.catalog.refusal_shift import RefusalShift
from detectors.rate_shift import Rates
from detectors.types import Detection, Observation

START_S = 1.7e9
CALLS = 20_000
EVERY_S = 30 * 86_400.0 / CALLS
SHARE = Budget().share(DEPLOYMENT, 6)
POISONER = "poisoner"
PROBE = 0.3
"""How much of the poisoner's change all traffic is asked with at the end."""
WARM_UP_CALLS = 1_000

Poison = Callable[[Observation, float], Observation]
"""A call of the poisoner, made of an honest one and how much of the month is over, 0 to 1."""


def honest(draw: random.Random, number: int) -> Observation:
    tokens = draw.randrange(50, 400)
    return Observation(
        event_id=f"topic:0:{number}:0",
        time_s=START_S + number * EVERY_S,
        deployment="chat",
        principal=f"caller-{draw.randrange(30)}",
        model="m",
        input_tokens=draw.randrange(20, 200),
        output_tokens=tokens,
        latency_s=(0.2 + 0.01 * tokens) * draw.lognormvariate(0.0, 0.1),
        failed=draw.random() < 0.02,
        refused=draw.random() < 0.03,
        finish_reason="stop" if draw.random() < 0.95 else "length",
        prompt_chars=draw.randrange(50, 500),
        style=tuple(max(draw.gauss(0.5, 0.1), 0.0) for _ in range(16)),
    )


def slower(call: Observation, done: float) -> Observation:
    return msgspec.structs.replace(call, latency_s=(call.latency_s or 1.0) * (1.0 + done))


def wordier(call: Observation, done: float) -> Observation:
    return msgspec.structs.replace(call, style=tuple(value + 0.2 * done for value in call.style or ()))


def failing(call: Observation, done: float) -> Observation:
    often = int(call.event_id.split(":")[2]) % 100 < 60 * done
    return msgspec.structs.replace(call, failed=often, refused=often, finish_reason="length" if often else "stop")


def lying(call: Observation, done: float) -> Observation:
    """Changes nothing but the times it claims: a day ahead, two days ago."""
    off_s = 86_400.0 if int(call.event_id.split(":")[2]) % 2 else -172_800.0
    return msgspec.structs.replace(call, time_s=call.time_s + off_s * min(10 * done, 1.0))


def month(made: Detector, poison: Poison | None) -> list[Detection]:
    """A month in which a tenth of the calls is the poisoner's, who behaves like the others where `poison` is none."""
    draw, chosen = random.Random(7), random.Random(8)
    found = []
    for number in range(CALLS):
        call = honest(draw, number)
        if chosen.random() < 0.1:
            call = msgspec.structs.replace(call, principal=POISONER)
            if poison is not None and number >= WARM_UP_CALLS:
                call = poison(call, number / CALLS)
        detection = made.update(call)
        if detection is not None:
            found.append(detection)
    return found


@functools.cache
def unpoisoned(kind: type[Detector]) -> Detector:
    """After an honest month; not to be fed any more."""
    made = kind(share=SHARE)
    month(made, None)
    return made


def delay(made: Detector, change: Poison) -> tuple[int, float]:
    """Calls until a change of all traffic is said, and the threshold it was cut at; `made` is not touched."""
    probed, draw = copy.deepcopy(made), random.Random(9)
    for number in range(CALLS, 2 * CALLS):
        detection = probed.update(change(honest(draw, number), PROBE))
        if detection is not None:
            return number - CALLS, detection.threshold
    raise AssertionError("the change was never noticed")


def steps(rates: Rates) -> list[float]:
    return [value for rate in rates.rates for walk in rate.up + rate.down for value in (walk.hit, walk.miss)]


def baseline(made: Detector) -> list[float]:
    """All numbers of what the detector compares with."""
    match made:
        case OutputDrift():
            test = made.watches["m"].test
            assert test is not None
            return np.concatenate([test.reference.mean, test.reference.spread, test.reference.center]).tolist()
        case LatencyShift():
            latency = made.profiles["m"].latency
            assert latency is not None
            return [latency.fixed, latency.per_output, latency.per_input, *latency.knots[0], latency.least_limit]
        case ErrorShift() | RefusalShift() | FinishReasonShift():
            return steps(made.rates)
    raise AssertionError(type(made).__name__)


@pytest.mark.parametrize("poison", [slower, wordier, failing, lying], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("kind", "probe"),
    [
        (LatencyShift, slower),
        (OutputDrift, wordier),
        (ErrorShift, failing),
        (RefusalShift, failing),
        (FinishReasonShift, failing),
    ],
    ids=["latency_shift", "output_drift", "error_shift", "refusal_shift", "finish_reason_shift"],
)
def test_a_month_of_one_slow_poisoner_moves_neither_baseline_nor_threshold_nor_what_is_noticed(
    kind: type[Detector], probe: Poison, poison: Poison
) -> None:
    clean, poisoned = unpoisoned(kind), kind(share=SHARE)
    month(poisoned, poison)
    assert baseline(poisoned) == baseline(clean)
    clean_delay, clean_threshold = delay(clean, probe)
    poisoned_delay, poisoned_threshold = delay(poisoned, probe)
    assert poisoned_threshold == pytest.approx(clean_threshold, rel=0.05)
    assert poisoned_delay <= 1.5 * clean_delay + 12
