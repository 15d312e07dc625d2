from __future__ import annotations

import msgspec
import pytest

from detectors.base import dump, load
from detectors.catalog.logging_off import LoggingOff
from detectors.types import Observation, Severity
from tests.detectors.notices import SHARE, START_S, approval, call, report, rows, said

HOUR, DAY = 3_600, 86_400
GAP_S = 300


def ordinary(start_s: float, end_s: float, gap_s: float = GAP_S) -> list[Observation]:
    count = int((end_s - start_s) / gap_s)
    return [call(0, time_s=START_S + start_s + gap_s * number) for number in range(count)]


def canaries(*times_s: float, failed: bool = False) -> list[Observation]:
    return [call(0, time_s=START_S + each, canary=True, failed=failed) for each in times_s]


def steady(days: int = 10, gap_s: float = GAP_S) -> list[Observation]:
    """Calls day and night, and a canary every day at ten."""
    both = [*ordinary(0, days * DAY, gap_s), *canaries(*(day * DAY + 10 * HOUR + 1 for day in range(days)))]
    return sorted(both, key=lambda each: each.time_s)


END = 10 * DAY
ASKED = canaries(END + 2 * HOUR, END + 2 * HOUR + 60, END + 2 * HOUR + 120, END + 3 * HOUR)


def test_canaries_that_are_answered_while_calls_are_missing_are_said_once() -> None:
    (found,) = said(LoggingOff(share=SHARE), steady() + ASKED)
    assert found.severity is Severity.HIGH
    assert found.onset_s == START_S + END - GAP_S
    assert rows(found)["canaries answered or reports since"] == (3.0, None)


def test_reports_are_witnesses_too() -> None:
    reports = [report(END + 2 * HOUR + number) for number in range(3)]
    assert len(said(LoggingOff(share=SHARE), steady() + reports)) == 1


@pytest.mark.parametrize(
    "after",
    [
        canaries(END + 2 * HOUR, END + 3 * HOUR),
        canaries(*(END + 2 * HOUR + number for number in range(9)), failed=True),
        canaries(*(END + 60 * number for number in range(9))),
        [approval(END + 2 * HOUR + number, "weights", "w") for number in range(9)],
    ],
    ids=["two are a test", "none is answered", "the silence is short", "approvals are no witnesses"],
)
def test_what_does_not_show_that_it_answers_unlogged_is_quiet(after: list[Observation]) -> None:
    assert said(LoggingOff(share=SHARE), steady() + after) == []


def test_ordinary_calls_between_the_canaries_are_quiet() -> None:
    assert said(LoggingOff(share=SHARE), steady(30)) == []


def test_a_deployment_that_rests_at_night_and_at_weekends_is_given_its_pauses() -> None:
    hours = [(day * DAY + 9 * HOUR, day * DAY + 17 * HOUR) for day in range(28) if day % 7 < 5]
    working = [each for start, end in hours for each in ordinary(start, end, 60.0)]
    asked = canaries(*(day * DAY + hour * HOUR + 30 for day in range(28) for hour in (3, 12, 21)))
    detector = LoggingOff(share=SHARE)
    assert said(detector, sorted(working + asked, key=lambda each: each.time_s)) == []
    week = canaries(*((28 + day) * DAY + HOUR for day in range(14)))
    assert len(said(detector, week)) == 1


def test_logs_that_are_exported_once_a_day_are_given_that_day() -> None:
    stream: list[Observation] = []
    for day in range(20):
        stream += canaries(day * DAY + 8 * HOUR, day * DAY + 14 * HOUR, day * DAY + 20 * HOUR)
        stream += ordinary(day * DAY, (day + 1) * DAY)
    assert said(LoggingOff(share=SHARE), stream) == []


@pytest.mark.parametrize("days", [3, 6])
def test_before_a_week_is_known_nothing_is_said(days: int) -> None:
    later = canaries(*(days * DAY + 5 * HOUR + number for number in range(9)))
    assert said(LoggingOff(share=SHARE), steady(days) + later) == []


def test_without_canaries_in_the_past_the_first_ones_prove_nothing() -> None:
    assert said(LoggingOff(share=SHARE), ordinary(0, END) + ASKED) == []


def test_one_silence_that_was_said_does_not_hide_the_next() -> None:
    back, again = ordinary(END + DAY, END + 2 * DAY), canaries(*(END + 2 * DAY + 2 * HOUR + n for n in range(3)))
    assert len(said(LoggingOff(share=SHARE), steady() + ASKED + back + again)) == 2


def test_one_absurd_time_does_not_blind_it() -> None:
    absurd = [call(0, time_s=4e9), *ordinary(END, END + HOUR)]
    later = canaries(*(END + 4 * HOUR + number for number in range(3)))
    assert len(said(LoggingOff(share=SHARE), steady() + absurd + later)) == 1


def test_its_state_is_small_and_outlives_a_restart() -> None:
    detector = LoggingOff(share=SHARE)
    said(detector, steady(40, 900.0))
    assert len(msgspec.msgpack.encode(detector)) < 4_096
    restored = load(LoggingOff, dump(detector))
    later = canaries(*(40 * DAY + 9 * HOUR + number for number in range(3)))
    assert said(restored, later) == said(detector, later) != []
