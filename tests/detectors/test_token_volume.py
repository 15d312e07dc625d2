from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.alarms import Budget, student_limit
from detectors.base import dump, load
from detectors.catalog.token_volume import TokenVolume
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share("principal", 6)
DAY_S = 86_400.0
START_S = 19_700 * DAY_S


def call(time_s: float, tokens_in: int | None = 200, tokens_out: int | None = 300) -> Observation:
    return Observation(
        event_id="e", time_s=float(time_s), deployment="d", input_tokens=tokens_in, output_tokens=tokens_out
    )


def office(rng: np.random.Generator, days: int, per_hour: float = 20.0) -> list[float]:
    """Times of calls on working days, nine to five, in hours that differ."""
    hours = [(day, hour) for day in range(days) if day % 7 < 5 for hour in range(9, 17)]
    counts = rng.poisson(per_hour * rng.lognormal(0.0, 0.4, len(hours)))
    return sorted(
        START_S + day * DAY_S + hour * 3_600 + second
        for (day, hour), count in zip(hours, counts, strict=True)
        for second in rng.uniform(0.0, 3_600.0, int(count))
    )


def detections(detector: TokenVolume, times: list[float], tokens_in: int = 200) -> list[tuple[float, Detection]]:
    heard = ((time_s, detector.update(call(time_s, tokens_in))) for time_s in times)
    return [(time_s, detection) for time_s, detection in heard if detection is not None]


def learned(seed: int = 1, days: int = 28) -> TokenVolume:
    detector = TokenVolume(share=SHARE)
    assert detections(detector, office(np.random.default_rng(seed), days)) == []
    return detector


def burst(day: float, per_s: float, seconds: float) -> list[float]:
    return [START_S + day * DAY_S + at / per_s for at in range(int(per_s * seconds))]


def test_a_stolen_key_is_seen_within_five_minutes_of_its_burst() -> None:
    detector = learned()
    calls = burst(30.5, 2.0, 1_800.0)
    time_s, detection = detections(detector, calls)[0]
    assert time_s - calls[0] <= 300.0
    assert detection.severity is Severity.HIGH
    assert detection.onset_s == calls[0]
    assert detection.score >= detection.threshold
    assert float(detection.evidence[0].observed) > 5 * float(detection.evidence[0].expected or 0)


def test_a_few_calls_with_huge_prompts_are_seen_by_their_tokens() -> None:
    detection = detections(learned(), burst(30.5, 0.01, 3_500.0), tokens_in=100_000)[0][1]
    assert "tokens" in detection.summary


def test_a_day_of_steady_overuse_is_seen_though_no_hour_is_extreme() -> None:
    detector = learned()
    found = detections(detector, burst(30.0, 60 / 3_600, DAY_S - 1))
    assert found
    assert "of this day" in found[0][1].summary


@pytest.mark.parametrize("seed", range(10))
def test_ordinary_weeks_with_silent_nights_and_weekends_are_quiet(seed: int) -> None:
    assert detections(TokenVolume(share=SHARE), office(np.random.default_rng(seed), 90)) == []


def test_nothing_is_said_in_the_first_week_however_use_grows() -> None:
    times = [START_S + day * DAY_S + 40_000 + second for day in range(6) for second in range(4**day)]
    detector = TokenVolume(share=SHARE)
    assert detections(detector, times) == []
    assert detector.calls.limit is None


def test_the_busiest_hour_of_a_day_is_learned_whatever_follows_it() -> None:
    detector = TokenVolume(share=SHARE)
    for day in range(10):
        detections(detector, burst(day + 0.375, 0.1, 3_000.0))
        detections(detector, burst(day + 0.625, 0.01, 3_000.0))
    assert math.expm1(detector.calls.mean) == pytest.approx(300.0)


def test_a_nightly_burst_is_its_own_past_and_a_bigger_one_at_noon_is_not() -> None:
    nights = [call_s for day in range(28) for call_s in burst(day + 2 / 24, 2.0, 600.0)]
    detector = TokenVolume(share=SHARE)
    assert detections(detector, nights) == []
    assert detections(detector, burst(28.5, 10.0, 3_000.0))


def test_growth_that_is_a_little_each_day_is_said_in_the_end() -> None:
    found = detections(
        TokenVolume(share=SHARE),
        [call_s for day in range(300) for call_s in burst(day + 0.4, 0.01 * 1.02**day, 3_000.0)],
    )
    assert found
    assert found[0][0] > START_S + 60 * DAY_S


def test_what_was_over_the_limit_is_not_learned_until_it_has_stayed_for_a_month() -> None:
    detector = learned()
    before = detector.calls.mean
    detections(detector, burst(30.5, 2.0, 3_000.0))
    detections(detector, burst(31.5, 0.001, 1_000.0))
    assert detector.calls.mean == pytest.approx(before, abs=0.2)
    for day in range(32, 75):
        detections(detector, burst(day + 0.5, 2.0, 3_000.0))
    assert detector.calls.mean > before + 0.1


def test_an_episode_is_said_again_only_when_it_has_doubled() -> None:
    assert 2 <= len(detections(learned(), burst(30.5, 3.0, 7_000.0))) <= 8


def test_late_calls_and_a_clock_that_jumps_do_not_make_a_burst() -> None:
    detector = learned()
    detections(detector, burst(30.5, 1.0, 30.0))
    detector.update(call(START_S + 30.4 * DAY_S))
    assert detector.calls.total == 30
    assert detector.update(call(START_S + 5_000 * DAY_S)) is None
    assert detections(detector, office(np.random.default_rng(5), 60)) == []
    for time_s in (math.nan, math.inf, -1.0, 1e300):
        assert detector.update(call(time_s)) is None


def test_unknown_tokens_are_not_learned_and_absurd_ones_are_capped() -> None:
    detector = TokenVolume(share=SHARE)
    for day in range(40):
        assert detector.update(call(START_S + day * DAY_S, None, None)) is None
    assert detector.tokens.days == 0
    assert detector.calls.days == 28
    detector.update(call(START_S + 41 * DAY_S, 10**30, -5))
    assert detector.tokens.total == 10_000_000


def test_state_is_below_300_bytes_and_goes_on_after_a_restore() -> None:
    detector = learned()
    state = dump(detector)
    assert len(state) <= 300
    restored = load(TokenVolume, state)
    assert isinstance(restored, TokenVolume)
    calls = burst(30.5, 2.0, 600.0)
    assert detections(restored, calls) == detections(detector, calls) != []


@pytest.mark.parametrize(
    ("freedom", "run_length", "limit"),
    [(3.0, 1_000.0, 10.215), (10.0, 1_000.0, 4.144), (30.0, 10_000.0, 4.234), (5.0, 200.0, 4.032)],
)
def test_the_student_limit_has_its_tabled_values(freedom: float, run_length: float, limit: float) -> None:
    assert student_limit(run_length, freedom) == pytest.approx(limit, rel=2e-3)
