from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from detectors.catalog.source_thinned import SourceThinned
from detectors.types import Detection, Observation

MONDAY_S = 1_762_732_800.0
"""2025-11-10, a Monday, 00:00 UTC."""

HOUR_S, DAY_S = 3_600.0, 86_400.0


def call(time_s: float) -> Observation:
    return Observation(event_id=str(time_s), time_s=time_s, deployment="d")


def office(days: int, seed: int, factor: float = 1.0, begins: int = 0) -> Iterator[Observation]:
    """A working day of 60 calls an hour from 8 to 18, a twentieth at night, a tenth at weekends."""
    draw = np.random.default_rng(seed)
    for hour in range(begins * 24, (begins + days) * 24):
        rate = 60.0 if 8 <= hour % 24 < 18 else 3.0
        if hour // 24 % 7 >= 5:
            rate = 6.0
        start_s = MONDAY_S + hour * HOUR_S
        for time_s in sorted(start_s + draw.random(draw.poisson(rate * factor)) * HOUR_S):
            yield call(float(time_s))


def steady(hours: float, per_hour: float, begins_h: float = 0.0) -> list[Observation]:
    gap_s = HOUR_S / per_hour
    return [call(MONDAY_S + begins_h * HOUR_S + index * gap_s) for index in range(int(hours * per_hour))]


def said(detector: SourceThinned, observations: Iterable[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


@pytest.mark.parametrize("seed", range(5))
def test_four_weeks_of_working_days_and_weekends_are_quiet(seed: int) -> None:
    assert said(SourceThinned(share=0.03), office(28, seed)) == []


@pytest.mark.parametrize("seed", range(5))
def test_sampling_of_one_in_ten_is_found_within_a_working_day_and_said_once(seed: int) -> None:
    detector = SourceThinned(share=0.03)
    assert said(detector, office(14, seed)) == []
    (found,) = said(detector, office(4, seed + 100, factor=0.1, begins=14))
    assert found.onset_s <= MONDAY_S + 14 * DAY_S + 18 * HOUR_S
    assert found.threshold <= found.score < 20.0
    assert "Sampling" in found.summary


def test_after_two_days_sampling_of_a_steady_source_is_found_within_seven_hours() -> None:
    detector = SourceThinned(share=0.03)
    assert said(detector, steady(48, 100)) == []
    sampled = steady(30, 10, begins_h=48)
    (found,) = said(detector, sampled)
    assert found.onset_s <= sampled[0].time_s + HOUR_S


def test_half_of_the_calls_is_not_a_fall() -> None:
    detector = SourceThinned(share=0.03)
    said(detector, office(14, 1))
    assert said(detector, office(14, 2, factor=0.5, begins=14)) == []


def test_a_source_that_recovered_and_falls_again_is_said_again() -> None:
    detector = SourceThinned(share=0.03)
    said(detector, steady(48, 100))
    assert len(said(detector, steady(8, 5, begins_h=48))) == 1
    assert said(detector, steady(12, 100, begins_h=56)) == []
    assert len(said(detector, steady(10, 5, begins_h=68))) == 1


def test_a_few_absurd_times_do_not_wipe_the_memory() -> None:
    detector = SourceThinned(share=0.03)
    for observation in steady(48, 100):
        detector.update(observation)
        if observation.event_id.endswith("0.0"):
            detector.update(call(0.0))
            detector.update(call(4_000_000_000.0))
            detector.update(call(math.nan))
    assert len(said(detector, steady(8, 10, begins_h=48))) == 1


def test_when_time_has_gone_back_for_good_it_begins_anew() -> None:
    detector = SourceThinned(share=0.03)
    said(detector, steady(48, 100, begins_h=5_000))
    assert said(detector, steady(48, 100)) == []
    assert len(said(detector, steady(8, 10, begins_h=48))) == 1
