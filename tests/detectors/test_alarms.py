from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.alarms import (
    DAY_S,
    MIN_ARL,
    Budget,
    Pace,
    average_run_length,
    bonferroni,
    cusum_limit,
    e_limit,
    student_limit,
)
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT, PRINCIPAL

PUBLISHED_CUSUM = [
    # Lucas and Crosier, Technometrics 24 (1982), table 1: two-sided 168, which is 336 for each side.
    pytest.param(336.0, 0.5, 4.0, id="Lucas and Crosier 0.5"),
    # Waldmann, Technometrics 28 (1986), table 1.
    pytest.param(117.4, 0.5, 3.0, id="Waldmann 0.5"),
    # Hawkins, Journal of Quality Technology 25 (1993), also Montgomery's table: two-sided 370.
    pytest.param(740.0, 0.25, 8.01, id="Hawkins 0.25"),
    pytest.param(740.0, 0.5, 4.77, id="Hawkins 0.5"),
    pytest.param(740.0, 0.75, 3.34, id="Hawkins 0.75"),
    pytest.param(740.0, 1.0, 2.52, id="Hawkins 1.0"),
]


@pytest.mark.parametrize(("arl", "slack", "limit"), PUBLISHED_CUSUM)
def test_cusum_limits_are_the_published_ones(arl: float, slack: float, limit: float) -> None:
    assert cusum_limit(arl, slack) == pytest.approx(limit, abs=0.04)


@given(arl=st.floats(MIN_ARL, 1e15), slack=st.floats(0.01, 3.0))
def test_cusum_limits_solve_the_equation_they_are_made_of(arl: float, slack: float) -> None:
    b = cusum_limit(arl, slack) + 1.166
    if b > 1.166:
        assert (math.expm1(2 * slack * b) - 2 * slack * b) / (2 * slack * slack) == pytest.approx(arl, rel=1e-6)
    else:
        assert (math.expm1(2 * slack * b) - 2 * slack * b) / (2 * slack * slack) >= arl


def cusum_run_lengths(limit: float, slack: float, runs: int) -> npt.NDArray[np.int64]:
    """The observation at which each of `runs` one-sided CUSUMs of standard normal noise first passes `limit`."""
    rng = np.random.default_rng(20_240_601)
    level = np.zeros(runs)
    lengths = np.zeros(runs, dtype=np.int64)
    step = 0
    while level.size:
        step += 1
        level = np.maximum(level + rng.standard_normal(level.size) - slack, 0.0)
        lengths[np.flatnonzero(lengths == 0)[level > limit]] = step
        level = level[level <= limit]
    return lengths


def test_noise_passes_a_cusum_limit_as_seldom_as_was_asked() -> None:
    lengths = cusum_run_lengths(cusum_limit(500.0, 0.5), 0.5, runs=4_000)
    assert lengths.mean() == pytest.approx(500.0, rel=0.06)  # its standard error is 1.6 percent


def test_evidence_passes_an_e_limit_at_most_as_often_as_was_asked() -> None:
    rng = np.random.default_rng(11)
    arl, drift, runs, steps = 50.0, 0.8, 2_000, 50
    evidence = np.zeros(runs)
    passed = np.zeros(runs, dtype=bool)
    for _ in range(steps):  # Shiryaev-Roberts: the sum of likelihood ratios over all starts
        evidence = (evidence + 1.0) * np.exp(drift * rng.standard_normal(runs) - drift * drift / 2.0)
        passed |= np.log(evidence, where=evidence > 0, out=np.full(runs, -np.inf)) >= e_limit(arl)
    assert 0.2 < passed.mean() < 1.0 - math.exp(-1.0)


def test_an_e_limit_is_the_logarithm_of_the_run_length() -> None:
    assert e_limit(math.exp(7.0)) == pytest.approx(7.0)


@pytest.mark.parametrize("freedom", [3, 4, 5, 8, 15, 30, 200, 5_000])
@pytest.mark.parametrize("arl", [1e3, 1e4, 1e6, 1e9, 1e12])
def test_student_limits_are_the_quantiles_of_students_t(arl: float, freedom: int) -> None:
    assert student_limit(arl, freedom) == pytest.approx(stats.t.isf(1.0 / arl, freedom), rel=2e-3)


def test_student_limits_are_the_printed_ones() -> None:
    assert student_limit(1_000.0, 10.0) == pytest.approx(4.1437, abs=1e-3)
    assert student_limit(2_000.0, 30.0) == pytest.approx(3.6460, abs=1e-3)


def test_a_short_baseline_pays_with_a_wider_limit() -> None:
    limits = [student_limit(1e5, freedom) for freedom in range(3, 100)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] > stats.norm.isf(1e-5)


@pytest.mark.parametrize("limit", [cusum_limit, student_limit], ids=["cusum", "student"])
def test_fewer_false_alarms_need_a_higher_limit(limit: object) -> None:
    assert callable(limit)
    limits = [limit(10.0**power, 3.5) for power in range(3, 13)]
    assert limits == sorted(set(limits))


@given(
    per_day=st.floats(0.01, 1e4),
    deployments=st.integers(1, 10_000),
    principals=st.integers(1, 10**7),
    detectors=st.lists(st.sampled_from(["deployment", "principal"]), min_size=1, max_size=40),
)
def test_what_is_shared_out_never_exceeds_the_budget(
    per_day: float, deployments: int, principals: int, detectors: list[str]
) -> None:
    budget = Budget(per_day=per_day, deployments=deployments, principals=principals)
    subjects = {"deployment": deployments, "principal": principals}
    spent = sum(budget.share(scope, len(detectors)) * subjects[scope] for scope in detectors)
    assert spent == pytest.approx(per_day)


def test_the_shares_of_the_shipped_catalog_add_up_to_the_budget_exactly() -> None:
    budget = Budget()
    planned = {DEPLOYMENT: budget.deployments, PRINCIPAL: budget.principals}
    banks = [Bank(scope, budget) for scope in planned]
    spent = sum(bank.share * len(bank.kinds) * planned[bank.scope] for bank in banks)
    assert spent == pytest.approx(budget.per_day, rel=1e-12)
    assert sum(len(bank.kinds) for bank in banks) == len(discover())


def test_a_detector_run_alone_keeps_the_share_it_has_among_all() -> None:
    catalog = discover()
    name, kind = next(iter(catalog.items()))
    scope = kind.metadata.scope
    alone = Bank(scope, Budget(), {name: kind}, sharers=len(catalog))
    assert alone.share == Bank(scope, Budget()).share < Bank(scope, Budget(), {name: kind}).share


def test_a_budget_planned_for_nothing_is_shared_as_if_for_one() -> None:
    assert Budget(per_day=2.0, deployments=0, principals=0).share("principal", 0) == 2.0


def test_a_run_length_is_the_pace_over_the_share_and_never_short() -> None:
    assert average_run_length(0.01, 5_000.0) == pytest.approx(500_000.0)
    assert average_run_length(100.0, 10.0) == MIN_ARL
    assert math.isfinite(average_run_length(0.0, DAY_S * 1_000.0))


def test_parallel_tests_together_keep_the_run_length() -> None:
    assert bonferroni(1_000.0, 8) == 8_000.0
    assert bonferroni(1_000.0, 0) == 1_000.0


def pace(times_s: list[float]) -> Pace:
    made = Pace()
    for time_s in times_s:
        made.see(time_s)
    return made


def test_a_pace_is_the_calls_per_day() -> None:
    assert pace([1e9 + 60.0 * at for at in range(3_000)]).per_day == pytest.approx(1_440.0)


def test_late_arrivals_count_and_take_no_time() -> None:
    rng = np.random.default_rng(3)
    jittered = 1e9 + 10.0 * np.arange(5_000) + rng.uniform(-300.0, 300.0, 5_000)
    assert pace(jittered.tolist()).per_day == pytest.approx(8_640.0, rel=0.1)


@pytest.mark.parametrize("absurd_s", [0.0, 1.0, -1e308, 1e308, 4e9, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 500])
def test_one_absurd_time_does_not_decide_a_pace(absurd_s: float, position: int) -> None:
    times_s = [1.7e9 + 10.0 * at for at in range(10_000)]
    times_s.insert(position, absurd_s)
    assert pace(times_s).per_day == pytest.approx(8_640.0, rel=0.05)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60))
def test_a_pace_is_finite_and_positive_whatever_the_clocks_say(times_s: list[float]) -> None:
    made = pace(times_s)
    assert 1.0 <= made.per_day <= DAY_S * 1_000.0
    values = (*made.clock, made.left_s, made.leap)
    assert all(math.isfinite(value) for value in values if value is not None)


def lied(lies_s: Callable[[int, float], float], share: float = 0.1) -> float:
    """The pace of ten calls a minute for ten days where one caller claims the time of its share of the calls."""
    draw = np.random.default_rng(9)
    made = Pace()
    for at in range(144_000):
        now_s = 1.7e9 + 6.0 * at
        made.see(lies_s(at, now_s) if draw.random() < share else now_s)
    return made.per_day


@pytest.mark.parametrize(
    "lies_s",
    [
        lambda _at, now_s: now_s - 2.0 * DAY_S,
        lambda _at, now_s: now_s - 3_600.0,
        lambda _at, now_s: now_s + DAY_S,
        lambda at, now_s: now_s + DAY_S if at % 2 else now_s - DAY_S,
        lambda _at, _now_s: 0.0,
    ],
    ids=["two days ago", "an hour ago", "a day ahead", "to and fro", "1970"],
)
def test_a_caller_that_lies_about_the_time_moves_no_pace_by_a_quarter(lies_s: Callable[[int, float], float]) -> None:
    assert lied(lies_s) == pytest.approx(14_400.0, rel=0.25)


def test_a_whole_export_of_old_calls_turns_the_clock_back_and_forth_and_leaves_the_pace() -> None:
    times_s = [1.7e9 + 10.0 * at for at in range(20_000)]
    times_s[10_000:10_000] = [1.6e9 + at for at in range(1_000)]
    assert pace(times_s).per_day == pytest.approx(8_640.0, rel=0.1)


def test_a_clock_that_was_years_ahead_is_given_up() -> None:
    times_s = [4e9 + at for at in range(50)] + [1.7e9 + 10.0 * at for at in range(10_000)]
    assert pace(times_s).per_day == pytest.approx(8_640.0, rel=0.05)
