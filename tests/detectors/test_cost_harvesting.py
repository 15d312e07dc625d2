from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from detectors.alarms import Budget
from detectors.catalog.cost_harvesting import CostHarvesting
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share("principal", 30)
START_S = 1_760_054_400.0
DAY_S = 86_400.0


def days(
    rng: np.random.Generator,
    factors: Sequence[float],
    *,
    spread: float = 0.4,
    dearer: float = 1.0,
    priced: bool = True,
    first: int = 0,
) -> list[Observation]:
    """One entry a day: about 40 calls times its factor, log-normal, within working hours."""
    found = []
    for day, factor in enumerate(factors, first):
        count = max(int(40 * factor * rng.lognormal(0.0, spread)), 1)
        for time_s in np.sort(rng.uniform(8.0, 18.0, count)) * 3_600.0:
            tokens = int(dearer * rng.lognormal(6.0, 0.8)) + 1
            found.append(
                Observation(
                    event_id="e",
                    time_s=START_S + day * DAY_S + float(time_s),
                    deployment="d",
                    input_tokens=500,
                    output_tokens=tokens,
                    cost_usd=tokens * 1e-5 if priced else None,
                )
            )
    return found


def heard(calls: Iterable[Observation]) -> list[Detection]:
    detector = CostHarvesting(share=SHARE)
    said = (detector.update(each) for each in calls)
    return [detection for detection in said if detection is not None]


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize(("factor", "within_days"), [(8.0, 4), (3.0, 10)])
def test_spending_that_stays_above_its_past_is_found_within_days(
    factor: float, within_days: int, *, priced: bool
) -> None:
    rng = np.random.default_rng(1)
    past = days(rng, [1.0] * 40, priced=priced)
    found = heard(past + days(rng, [factor] * within_days, priced=priced, first=40))
    assert found
    assert "daily spending" in found[0].summary
    assert found[0].onset_s >= START_S + 30 * DAY_S


def test_as_many_calls_that_cost_five_times_as_much_are_found_within_two_days() -> None:
    rng = np.random.default_rng(2)
    found = heard(days(rng, [1.0] * 40) + days(rng, [1.0] * 2, dearer=5.0, first=40))
    assert found
    assert "price of a call" in found[0].summary
    assert found[0].severity.rank >= Severity.MEDIUM.rank


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [0.2, 0.5, 0.9])
def test_a_year_of_ordinary_days_is_quiet(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    week = [1.0, 1.1, 0.9, 1.2, 0.8, 0.2, 0.15]
    assert heard(days(rng, week * 52, spread=spread)) == []


def test_one_burst_is_left_to_the_detector_of_volume() -> None:
    rng = np.random.default_rng(3)
    assert heard(days(rng, [1.0] * 40 + [60.0] + [1.0] * 20)) == []


def test_growth_too_slow_for_any_one_day_is_found_against_the_frozen_past() -> None:
    rng = np.random.default_rng(4)
    grown = [math.exp(0.03 * day) for day in range(70)]
    assert heard(days(rng, [1.0] * 20 + grown))


def test_what_was_spent_under_an_alarm_is_said_again_only_when_it_has_doubled() -> None:
    rng = np.random.default_rng(5)
    assert 1 <= len(heard(days(rng, [1.0] * 30 + [6.0] * 60))) <= 3


def test_nothing_is_said_in_the_first_days_and_without_costs() -> None:
    rng = np.random.default_rng(6)
    assert heard(days(rng, [1.0] * 6 + [20.0] * 6)) == []
    unknown = [Observation(event_id="e", time_s=START_S + 600.0 * place, deployment="d") for place in range(9_000)]
    assert heard(unknown) == []


def test_calls_of_an_hour_that_is_over_do_not_count_twice() -> None:
    rng = np.random.default_rng(7)
    calls = days(rng, [1.0] * 40)
    assert heard([each for call in calls for each in (call, calls[0])]) == []
    risen = days(rng, [8.0] * 6, first=40)
    assert heard(calls + [each for call in risen for each in (call, calls[0])]) != []
