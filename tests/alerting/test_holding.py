"""What is held back for a digest, how many are told in an hour, and that nothing of it is lost or told twice."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.types import Severity
from streams.alerting import holding
from streams.alerting.holding import HOUR_S, Docket
from streams.alerting.targets import Target
from streams.cases.incidents import CLOSED, Incident
from tests.incidents import incident

AT_S = 1_783_324_800.0  # Monday 2026-07-06 08:00 UTC, the beginning of an hour
WORK = "Mon-Fri 08:00-18:00"


class Log:
    """A partition of incidents, read through a docket as a courier does; what it commits is kept."""

    def __init__(self, **target: Any) -> None:
        self.target = Target(name="a", apprise="slack://x", severity=Severity.LOW, **target)
        self.records: list[Incident] = []
        self.committed: dict[int, tuple[int, str]] = {}
        self.told: list[str] = []
        self.restart()

    def restart(self) -> None:
        """A crash: all that is left is what was committed."""
        self.docket = Docket(self.target, None)
        offset, note = self.committed.get(0, (0, ""))
        self.docket.begin(0, note)
        self.position = offset

    def read(self, now_s: float, *more: Incident) -> None:
        """Everything that is new; a receiver that is up takes it."""
        self.records += more
        for offset in range(self.position, len(self.records)):
            each = self.records[offset]
            if not self.docket.wants(0, each, None):
                self.docket.passed(0, offset)
            elif self.docket.is_held(each, now_s):
                self.docket.hold(0, offset, each, now_s)
            else:
                self.told.append(each.incident_id)
                self.docket.told(0, offset, each, now_s)
        self.position = len(self.records)
        self.committed |= self.docket.commits()

    def digested(self, now_s: float) -> list[str]:
        """The incidents that the digest names, if one is due; it is taken."""
        alert = self.docket.digest(now_s)
        if alert is None:
            return []
        self.docket.digested()
        self.committed |= self.docket.commits()
        return [line.split()[0] for line in alert.lines if line.startswith("inc-")]


def many(numbers: range, severity: Severity = Severity.HIGH) -> list[Incident]:
    return [incident(number, severity) for number in numbers]


def ids(incidents: list[Incident]) -> list[str]:
    return [each.incident_id for each in incidents]


def test_beyond_the_cap_news_come_as_one_digest_when_the_hour_ends() -> None:
    log, news = Log(hourly=3), many(range(10))
    log.read(AT_S, *news)
    assert log.told == ids(news[:3])
    assert log.committed[0][0] == 3
    assert log.digested(AT_S + HOUR_S - 1) == []
    assert log.digested(AT_S + HOUR_S) == ids(news[3:])
    assert log.committed[0][0] == 10
    assert log.digested(AT_S + HOUR_S) == []
    log.read(AT_S + HOUR_S, *many(range(10, 12)))
    assert len(log.told) == 5


def test_what_is_critical_is_never_held_back_by_the_cap() -> None:
    log, news = Log(hourly=1), many(range(2)) + many(range(2, 5), Severity.CRITICAL)
    log.read(AT_S, *news)
    assert log.told == ids([news[0], *news[2:]])


def test_after_a_crash_what_was_held_is_held_again_and_what_was_told_is_not_told_again() -> None:
    log = Log(hourly=2)
    news = many(range(4)) + many(range(4, 6), Severity.CRITICAL) + many(range(6, 8))
    log.read(AT_S, *news)
    assert log.told == ids([*news[:2], *news[4:6]])
    assert log.committed[0][0] == 2
    log.restart()
    log.read(AT_S + 60, *many(range(8, 9)))
    assert log.told == ids([*news[:2], *news[4:6]])  # the hour's limit holds over the crash too
    assert log.digested(AT_S + HOUR_S) == ids([*news[2:4], *news[6:], *many(range(8, 9))])
    log.restart()
    log.read(AT_S + HOUR_S)
    assert log.digested(AT_S + 9 * HOUR_S) == []


def test_a_crash_between_digest_and_commit_gives_the_same_digest_again() -> None:
    log = Log(hourly=1)
    log.read(AT_S, *many(range(5)))
    first = log.docket.digest(AT_S + HOUR_S)
    log.restart()
    log.read(AT_S + 60)
    again = log.docket.digest(AT_S + HOUR_S)
    assert first is not None
    assert again is not None
    assert first.id == again.id


def test_outside_its_hours_a_target_is_told_nothing_and_then_everything() -> None:
    log, night = Log(hours=WORK), AT_S - 8 * HOUR_S
    news = many(range(3)) + many(range(3, 5), Severity.CRITICAL)
    log.read(night, *news)
    assert log.told == []
    assert log.committed[0][0] == 0
    assert log.digested(AT_S - 1) == []
    assert sorted(log.digested(AT_S)) == sorted(ids(news))
    log.read(AT_S, *many(range(5, 6)))
    assert log.told == ids(many(range(5, 6)))


def test_what_the_cap_held_when_hours_ended_waits_for_the_next() -> None:
    log, evening = Log(hours=WORK, hourly=1), AT_S + 9.5 * HOUR_S
    log.read(evening, *many(range(3)))
    assert log.digested(evening + HOUR_S / 2) == []
    assert log.digested(AT_S + 24 * HOUR_S) == ids(many(range(1, 3)))


def test_a_revision_that_comes_twice_is_told_once() -> None:
    log, (news,) = Log(), many(range(1))
    log.read(AT_S, news, news)
    log.restart()
    log.read(AT_S, news)
    assert log.told == [news.incident_id]


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        (incident(news=None), False),
        (incident(quiet="maintenance: CHG-7"), False),
        (incident(news=CLOSED), False),
        (incident(told=None), False),
        (incident(severity=Severity.INFO), False),
        (incident(), True),
    ],
    ids=["no news", "quiet", "closed", "never told", "too low", "news"],
)
def test_only_news_that_concern_the_target_are_told(revision: Incident, *, told: bool) -> None:
    log = Log()
    log.read(AT_S, revision)
    assert bool(log.told) is told
    assert log.committed[0][0] == 1


def test_a_target_that_asks_for_it_hears_what_has_closed() -> None:
    log = Log(closed=True)
    log.read(AT_S, incident(), incident(news=CLOSED))
    assert len(log.told) == 2


def test_a_note_stays_within_what_kafka_keeps_and_a_strange_one_is_none() -> None:
    log = Log(hourly=1_000)
    log.read(AT_S, *many(range(500)))
    assert len(log.told) == 500
    assert len(log.committed[0][1]) <= 4_096
    log.committed[0] = (0, "another program's note")
    log.restart()
    log.read(AT_S + HOUR_S)
    assert len(log.told) == 1_000


def test_of_more_than_can_be_remembered_the_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MOST_HELD", 5)
    log = Log(hourly=1)
    log.read(AT_S, *many(range(10)))
    alert = log.docket.digest(AT_S + HOUR_S)
    assert alert is not None
    assert alert.lines[0].startswith("9 pieces of news were held back")
    assert log.committed[0][0] == 1


def test_partitions_share_the_hours_cap_and_each_keeps_its_own_place() -> None:
    docket = Docket(Target(name="a", apprise="slack://x", hourly=2), None)
    docket.begin(0, "")
    docket.begin(1, "")
    docket.told(0, 7, incident(0), AT_S)
    docket.told(1, 3, incident(1), AT_S)
    assert docket.is_held(incident(2), AT_S)
    docket.hold(1, 4, incident(2), AT_S)
    docket.passed(1, 9)
    assert {partition: offset for partition, (offset, _) in docket.commits().items()} == {0: 8, 1: 4}
    assert docket.commits() == {}
    docket.digested()
    assert {partition: offset for partition, (offset, _) in docket.commits().items()} == {1: 10}
