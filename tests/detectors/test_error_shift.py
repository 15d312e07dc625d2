from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from detectors.catalog.error_shift import ErrorShift
from detectors.rate_shift import interval
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 60.0
START_S = 1_763_000_000.0


def calls(
    count: int, *, seed: int, failed: float = 0.005, principals: int = 50, cluster: int = 1, first: int = 0
) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    chances = np.repeat(draw.random(count // cluster + 1), cluster)[:count]
    for index in range(count):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"p{draw.integers(principals)}",
            failed=bool(chances[index] < failed),
        )


def said(detector: ErrorShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1, **rates: Any) -> ErrorShift:
    detector = ErrorShift(share=SHARE)
    assert said(detector, calls(1_000, seed=seed, **rates)) == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_failures_that_rise_to_20_percent_are_found_within_100_calls(seed: int) -> None:
    found = said(watched(seed), calls(100, seed=seed + 50, failed=0.2, first=1_000))
    assert found
    detection = found[0][1]
    assert detection.summary.startswith("The rate of failed calls rose from ")
    assert detection.severity is Severity.MEDIUM
    assert START_S + 9_900.0 <= detection.onset_s <= START_S + 11_000.0
    rates = detection.evidence[0]
    assert float(rates.expected or 0.0) < 3.0
    assert float(rates.observed) > 10.0


def test_an_outage_is_high_and_found_within_20_calls() -> None:
    found = said(watched(), calls(20, seed=2, failed=1.0, first=1_000))
    assert found[0][1].severity is Severity.HIGH


def test_a_few_errors_after_a_warm_up_without_any_do_not_fire() -> None:
    detector = ErrorShift(share=SHARE)
    assert said(detector, calls(600, seed=3, failed=0.0)) == []
    assert said(detector, calls(3, seed=4, failed=1.0, first=600)) == []
    assert said(detector, calls(3_000, seed=5, failed=0.008, first=603)) == []


def test_failures_of_one_caller_are_low_and_the_share_is_told() -> None:
    detector = watched()
    found = said(detector, calls(40, seed=6, failed=1.0, principals=1, first=1_000))
    assert found[0][1].severity is Severity.LOW
    assert found[0][1].evidence[-1].name == "failures of the busiest caller"
    assert found[0][1].evidence[-1].observed == 100.0


def test_failures_that_vanish_are_good_news() -> None:
    detector = watched(failed=0.2)
    assert said(detector, calls(2_000, seed=7, failed=0.0, first=1_000)) == []


def test_the_recent_rate_forgets_what_was_before_the_shift() -> None:
    detector = watched()
    last = said(detector, calls(1_500, seed=14, failed=0.3, first=1_000))[-1][1]
    (recent,) = [row for row in last.evidence if "adaptive window" in row.name]
    assert 25.0 < float(recent.observed) < 35.0


def test_30_000_quiet_calls_are_quiet() -> None:
    assert said(ErrorShift(share=SHARE), calls(30_000, seed=11)) == []


def test_errors_that_always_come_in_clusters_are_weighed_as_such() -> None:
    assert said(ErrorShift(share=SHARE), calls(20_000, seed=12, failed=0.1, cluster=5)) == []


def test_a_shift_is_said_again_from_a_fresh_start_and_not_at_each_call() -> None:
    found = said(watched(), calls(1_000, seed=13, failed=0.5, first=1_000))
    assert 2 <= len(found) <= 150


def test_the_interval_of_no_error_in_400_calls_reaches_1_percent() -> None:
    lowest, highest = interval(0, 400)
    assert lowest == pytest.approx(1e-6)
    assert 0.008 < highest < 0.012
    lowest, highest = interval(400, 400)
    assert 0.98 < lowest < highest < 1.0
