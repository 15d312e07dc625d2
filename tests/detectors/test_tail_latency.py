from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from detectors.catalog.tail_latency import TailLatency
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0


def calls(
    count: int, *, seed: int, first: int = 0, one_in: int = 0, times: float = 3.0, slower: float = 1.0, model: str = "m"
) -> Iterator[Observation]:
    """Calls of additive cost with noise, of which one in `one_in` takes `times` as long; all are `slower`."""
    draw = np.random.default_rng(seed)
    inputs = np.clip(draw.lognormal(6.0, 0.8, count), 5, 8_000).astype(int)
    outputs = np.clip(draw.lognormal(4.8, 0.9, count), 1, 8_000).astype(int)
    seconds = slower * (0.2 + 0.0003 * inputs + 0.02 * outputs) * draw.lognormal(0.0, 0.15, count)
    slow = draw.random(count) < (1.0 / one_in if one_in else 0.0)
    for index in range(count):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 2.0 * (first + index),
            deployment="d",
            principal=f"person-{index % 7}",
            model=model,
            input_tokens=int(inputs[index]),
            output_tokens=int(outputs[index]),
            latency_s=float(seconds[index] * (times if slow[index] else 1.0)),
        )


def said(detector: TailLatency, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1) -> TailLatency:
    detector = TailLatency(share=SHARE)
    assert said(detector, calls(1_500, seed=seed)) == []
    return detector


@pytest.mark.parametrize("seed", range(4))
def test_one_call_in_thirty_that_takes_three_times_as_long_is_found(seed: int) -> None:
    found = said(watched(seed), calls(1_500, seed=seed + 10, first=1_500, one_in=30))
    assert found
    assert found[0][0] < 1_200
    assert "times as long as their like" in found[0][1].summary
    assert found[0][1].severity is Severity.MEDIUM
    assert found[0][1].onset_s >= START_S + 2.0 * 1_400


def test_60_000_quiet_calls_are_quiet() -> None:
    assert said(TailLatency(share=SHARE), calls(60_000, seed=5)) == []


def test_a_step_of_all_calls_and_its_end_are_not_a_tail() -> None:
    detector = watched()
    assert said(detector, calls(2_000, seed=6, first=1_500, slower=2.0)) == []
    assert said(detector, calls(2_000, seed=7, first=3_500)) == []


def test_a_clump_of_slow_calls_is_not_a_lasting_tail() -> None:
    assert said(watched(), calls(40, seed=8, first=1_500, one_in=1, times=5.0)) == []


def test_one_caller_that_sends_the_slow_calls_is_told() -> None:
    slow = (
        msgspec.structs.replace(each, latency_s=(each.latency_s or 0.0) * 4.0, principal="one")
        if place % 25 == 0
        else each
        for place, each in enumerate(calls(2_000, seed=9, first=1_500))
    )
    found = said(watched(), slow)
    assert found
    assert "One caller" in found[0][1].summary


def test_each_model_has_its_own_tail_and_made_up_models_do_not_grow_the_state() -> None:
    detector = TailLatency(share=SHARE)
    slow, fast = calls(2_500, seed=10, slower=5.0, model="slow"), calls(2_500, seed=11, model="fast")
    assert said(detector, (each for pair in zip(slow, fast, strict=True) for each in pair)) == []
    for index in range(3_000):
        detector.update(next(calls(1, seed=index, first=20_000, model=f"made-up-{index}")))
    assert detector.tails["fast"].rows is None
    assert len(detector.tails) <= 16


def test_failed_calls_and_unknown_tokens_are_not_judged() -> None:
    detector = watched()
    for each in calls(2_000, seed=12, first=1_500):
        assert detector.update(msgspec.structs.replace(each, failed=True, latency_s=60.0)) is None
        assert detector.update(msgspec.structs.replace(each, output_tokens=None, latency_s=60.0)) is None
