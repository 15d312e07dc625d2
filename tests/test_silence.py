"""A source that stops is found in bounded time by its own past; nights, weekends and pauses of its kind are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from detectors.types import Finding, Severity
from streams.silence import (
    BUCKET_S,
    CHANGED,
    LOOK_BACK_S,
    REFUSED,
    SILENT,
    Bucket,
    Silences,
    Source,
    dead_letter_rise,
    format_changes,
    judged,
)

MINIMUM_S = 900.0
HOUR_S, DAY_S = 3_600.0, 86_400.0
MONDAY_S = 1_762_732_800.0
TICK_S = 600.0

Rate = Callable[[float], float]
"""Calls per hour by the hours since Monday 00:00."""


def office(hour: float) -> float:
    """Nothing outside 8 to 18 on working days."""
    return 120.0 if 8 <= hour % 24 < 18 and hour // 24 % 7 < 5 else 0.0


def waves(hour: float) -> float:
    """High by day, low and never nothing by night, lower at weekends."""
    daily = 30.0 * (1.05 - math.cos(2.0 * math.pi * (hour - 3.0) / 24.0))
    return daily * (0.2 if hour // 24 % 7 >= 5 else 1.0)


def steady(_hour: float) -> float:
    return 90.0


def rare(_hour: float) -> float:
    return 0.7


def arrivals(rate: Rate, begins_h: float, ends_h: float, seed: int) -> list[float]:
    """Random arrival times, in order, unix seconds."""
    draw = np.random.default_rng(seed)
    times: list[float] = []
    for quarter in np.arange(begins_h, ends_h, 0.25):
        count = draw.poisson(rate(float(quarter)) / 4.0)
        times += sorted((MONDAY_S + (quarter + 0.25 * draw.random(count)) * HOUR_S).tolist())
    return [time_s for time_s in times if time_s < MONDAY_S + ends_h * HOUR_S]


def bucketed(times: Iterable[float]) -> list[Bucket]:
    """As the store keeps them."""
    buckets: dict[float, Bucket] = {}
    for time_s in times:
        start_s = time_s // BUCKET_S
        first_s, _ = buckets.get(start_s, (time_s, time_s))
        buckets[start_s] = (first_s, time_s)
    return list(buckets.values())


def source_of(times: list[float], name: str = "native", deployment: str = "chat") -> Source:
    return Source(deployment=deployment, source=name, first_s=times[0], last_s=times[-1], events=len(times))


class Days:
    """A simulated clock over what arrived: what would be said, and when first."""

    def __init__(self, times: list[float], minimum_s: float = MINIMUM_S) -> None:
        self._times = np.array(times)
        self._minimum_s = minimum_s
        self.silences = Silences(minimum_s)

    def look(self, now_s: float) -> list[Finding]:
        times = self._times[: np.searchsorted(self._times, now_s)]
        times = times[np.searchsorted(times, now_s - LOOK_BACK_S) :]
        if not len(times):
            return []
        for suspect in self.silences.suspects([source_of(times.tolist())], now_s):
            past = times[np.searchsorted(times, suspect.last_s - LOOK_BACK_S) :]
            self.silences.learn(suspect, bucketed(past.tolist()))
        return self.silences.due(now_s)

    def run(self, begins_h: float, ends_h: float) -> list[tuple[float, Finding]]:
        """What is said, with the time in hours, one for each identity."""
        said: dict[str, tuple[float, Finding]] = {}
        for now_s in np.arange(MONDAY_S + begins_h * HOUR_S, MONDAY_S + ends_h * HOUR_S, TICK_S):
            for finding in self.look(float(now_s)):
                said.setdefault(finding.finding_id, ((float(now_s) - MONDAY_S) / HOUR_S, finding))
        return list(said.values())


WEEKS_H = 3 * 168.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("rate", "begins_h"), [(office, 8.0), (waves, 0.0), (steady, 0.0), (rare, 0.0), (office, 57.0)]
)
def test_three_weeks_from_the_first_call_on_with_nights_and_weekends_say_nothing(
    rate: Rate, begins_h: float, seed: int
) -> None:
    times = arrivals(rate, begins_h, begins_h + WEEKS_H, seed)
    assert Days(times).run(begins_h, begins_h + WEEKS_H) == []


@pytest.mark.parametrize(
    ("rate", "stops_h", "within_h"),
    [
        (steady, WEEKS_H + 3.0, 0.5),  # a steady source, in the night
        (steady, 12.0, 21.0),  # on its first day, when nobody knows its nights
        (steady, 30.0, 0.5),  # on its second
        (waves, WEEKS_H + 10.0, 3.0),  # in the middle of a day
        (office, WEEKS_H + 10.0, 3.0),
        (office, WEEKS_H + 23.0, 24.0),  # it does not come back from a night
        (office, 2 * 24 + 12.0, 73.0),  # in its first week
        (rare, WEEKS_H, 60.0),
    ],
)
def test_a_source_that_stops_is_found_once_in_bounded_time(rate: Rate, stops_h: float, within_h: float) -> None:
    times = arrivals(rate, 0.0, stops_h, 5)
    ((at_h, finding),) = Days(times).run(max(stops_h - 24.0, 0.0), stops_h + within_h + 24.0)
    assert at_h - stops_h <= within_h
    assert finding.detector == SILENT
    assert finding.onset_s == times[-1]
    assert finding.time_s - times[-1] >= MINIMUM_S


def test_a_working_day_that_begins_an_hour_late_or_ends_an_hour_early_is_no_silence() -> None:
    late_h, early_h = WEEKS_H + 8.9, WEEKS_H + 24.0 + 17.1
    times = arrivals(office, 0.0, WEEKS_H, 6)
    times += arrivals(office, late_h, early_h, 6) + arrivals(office, WEEKS_H + 48.0, WEEKS_H + 66.0, 6)
    assert Days(times).run(WEEKS_H, WEEKS_H + 66.0) == []


def test_a_worker_that_starts_anew_finds_the_same_finding() -> None:
    times = arrivals(waves, 0.0, 200.0, 3)
    first = Days(times)
    during = first.run(200.0, 240.0)
    assert len(during) == 1
    later = Days(times).look(MONDAY_S + 300.0 * HOUR_S)
    assert later == [during[0][1]]


def test_a_source_that_came_back_and_stops_again_is_another_silence() -> None:
    before = arrivals(steady, 0.0, 100.0, 1)
    after = arrivals(steady, 110.0, 150.0, 2)
    days = Days(before + after)
    first, second = days.run(99.0, 230.0)
    assert first[1].finding_id != second[1].finding_id
    assert days.look(after[0] + 1.0) == []


def test_a_deployment_tried_out_once_is_no_source() -> None:
    short = [MONDAY_S + second for second in range(600)]
    assert Days(short).run(0.0, 48.0) == []


def test_a_smaller_least_silence_finds_a_stop_within_minutes() -> None:
    short = [MONDAY_S + second for second in range(120)]
    ((at_h, finding),) = Days(short, minimum_s=10.0).run(0.0, 2.0)
    assert at_h <= 0.25
    assert finding.severity is Severity.MEDIUM


def test_a_silence_below_the_least_one_is_never_due() -> None:
    buckets = bucketed(arrivals(steady, 0.0, 400.0, 1))
    assert judged(buckets, 50_000.0).due_s == buckets[-1][1] + 50_000.0


def test_an_outage_in_one_of_the_weeks_before_does_not_hide_that_all_of_them_were_busy_later() -> None:
    times = [
        time_s
        for time_s in arrivals(office, 0.0, WEEKS_H + 10.0, 4)
        if not MONDAY_S + 346.0 * HOUR_S < time_s < MONDAY_S + 349.0 * HOUR_S
    ]
    ((at_h, _),) = Days(times).run(WEEKS_H, WEEKS_H + 24.0)
    assert at_h - WEEKS_H - 10.0 <= 6.0


def test_an_outage_in_the_weeks_before_does_not_hide_the_next_one() -> None:
    times = arrivals(steady, 0.0, 150.0, 1) + arrivals(steady, 180.0, WEEKS_H, 2)
    ((at_h, _),) = Days(times).run(WEEKS_H - 24.0, WEEKS_H + 24.0)
    assert at_h - WEEKS_H <= 0.5


def test_a_format_that_ends_while_another_goes_on_is_named_and_of_low_severity() -> None:
    old, new = arrivals(steady, 0.0, 100.0, 1), arrivals(steady, 99.0, 200.0, 2)
    silences = Silences(MINIMUM_S)
    now_s = MONDAY_S + 110.0 * HOUR_S
    sources = [source_of(old, "litellm"), source_of([each for each in new if each < now_s], "otlp")]
    (suspect,) = silences.suspects(sources, now_s)
    silences.learn(suspect, bucketed(old))
    (finding,) = silences.due(now_s)
    assert finding.severity is Severity.LOW
    assert "litellm" in finding.summary and "otlp" in finding.summary


def test_a_new_format_of_a_known_deployment_is_said_for_a_day_with_one_identity() -> None:
    old = source_of(arrivals(steady, 0.0, 100.0, 1), "litellm")
    new = source_of(arrivals(steady, 99.0, 100.0, 2), "otlp")
    stranger = source_of(arrivals(steady, 99.0, 100.0, 2), "otlp", deployment="other")
    now_s = new.last_s
    (first,) = format_changes([old, new, stranger], now_s, MINIMUM_S)
    assert (first.detector, first.deployment, first.onset_s) == (CHANGED, "chat", new.first_s)
    assert [each.finding_id for each in format_changes([new, old], now_s + HOUR_S, MINIMUM_S)] == [first.finding_id]
    assert format_changes([old, new], now_s + 2 * DAY_S, MINIMUM_S) == []


def test_two_formats_from_the_beginning_are_no_change() -> None:
    both = [source_of(arrivals(steady, 0.0, 10.0, seed), name) for seed, name in enumerate(("litellm", "otlp"))]
    assert format_changes(both, both[0].last_s, MINIMUM_S) == []


def letters(past: tuple[int, int], now: tuple[int, int], now_s: float) -> dict[float, tuple[int, int]]:
    start_s = now_s // BUCKET_S * BUCKET_S
    return {start_s - BUCKET_S * number: past for number in range(10, 200)} | {start_s: now}


def test_a_rise_of_dead_letters_is_a_finding_with_one_identity_a_day() -> None:
    now_s = MONDAY_S + 12 * HOUR_S
    (found,) = dead_letter_rise("logs", letters((100, 1), (100, 60), now_s), now_s)
    assert (found.detector, found.deployment) == (REFUSED, "logs")
    assert found.score >= found.threshold
    (again,) = dead_letter_rise("logs", letters((100, 1), (100, 90), now_s + 600.0), now_s + 600.0)
    assert again.finding_id == found.finding_id
    (next_day,) = dead_letter_rise("logs", letters((100, 1), (100, 60), now_s + DAY_S), now_s + DAY_S)
    assert next_day.finding_id != found.finding_id


@pytest.mark.parametrize(
    ("past", "now"),
    [
        pytest.param((100, 1), (100, 3), id="a few"),
        pytest.param((100, 20), (100, 40), id="a source that always was half garbage"),
        pytest.param((0, 0), (0, 500), id="nothing to compare with"),
        pytest.param((1_000, 0), (1_000, 30), id="a small share"),
    ],
)
def test_dead_letters_as_before_are_no_rise(past: tuple[int, int], now: tuple[int, int]) -> None:
    now_s = MONDAY_S + 12 * HOUR_S
    assert dead_letter_rise("logs", letters(past, now, now_s), now_s) == []
