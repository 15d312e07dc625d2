"""Who is told of what, and what happens when a receiver is away; the log is a list, the receivers are real."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apprise
import msgspec
import pytest
from aiokafka import TopicPartition
from typer.testing import CliRunner

from detectors.types import Severity
from streams.alerting import reading
from streams.alerting.alerts import Alert, of_incident
from streams.alerting.outlets import Line
from streams.alerting.posting import NotTakenError
from streams.alerting.reading import Attempts, Duty, Reader
from streams.alerting.receivers import receiver
from streams.alerting.targets import Target
from streams.cases.incidents import CLOSED, Incident
from streams.cli import app
from streams.notify import Courier, Feed, readers
from streams.settings import Settings, SettingsError
from tests.alerting.test_holding import AT_S, HOUR_S
from tests.alerting.test_webhook import SECRET, listening
from tests.findings import found
from tests.incidents import incident

SETTINGS = Settings(owners="chat=team-a,*=on-call")
INCIDENTS, FINDINGS = TopicPartition("incidents", 0), TopicPartition("findings", 0)


class Log:
    """A consumer of one partition, as far as a reader knows it."""

    def __init__(self, values: list[bytes], place: TopicPartition = INCIDENTS) -> None:
        self.values = values
        self.place = place
        self.position = 0
        self.committed_to: list[int] = []
        self.note = ""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def subscribe(self, topics: list[str], listener: Any) -> None:
        listener.happened = True

    def assignment(self) -> set[TopicPartition]:
        return {self.place}

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        taken = list(enumerate(self.values))[self.position : self.position + max_records]
        self.position += len(taken)
        record = lambda offset, value: type("Record", (), {"offset": offset, "value": value})  # noqa: E731 - a row
        return {self.place: [record(*each) for each in taken]} if taken else {}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.position = offset

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        offset, self.note = offsets[self.place]
        self.committed_to.append(offset)


class Refusing:
    """A receiver that is away for the first so many attempts, and then takes everything."""

    def __init__(self, attempts: int, error: Exception | None = None) -> None:
        self.told: list[Alert] = []
        self._attempts = attempts
        self._error = error or NotTakenError("away")

    def tell(self, alert: Alert) -> str:
        if self._attempts:
            self._attempts -= 1
            raise self._error
        self.told.append(alert)
        return "taken"

    @property
    def ids(self) -> list[str]:
        return [alert.id for alert in self.told]


class Collector:
    """An outlet that takes so many events at once, and is closed at the end."""

    def __init__(self, most: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.closed = False
        self._most = most

    async def take(self, lines: Sequence[Line]) -> str:
        if len(lines) > self._most:
            raise NotTakenError("status 413")
        self.events += [msgspec.json.decode(line.value) for line in lines]
        return "taken"

    async def close(self) -> None:
        self.closed = True


def value(number: int, severity: Severity = Severity.HIGH, **fields: Any) -> bytes:
    return msgspec.json.encode(incident(number, severity, **fields))


def id_of(number: int) -> str:
    return incident(number).news_id or ""


def carry(log: Log, duty: Duty, until: Callable[[Log], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a reader over a log until something is reached."""
    monkeypatch.setattr(reading, "_SHORTEST_PAUSE_S", 0.001)
    monkeypatch.setattr(reading, "_LONGEST_PAUSE_S", 0.002)
    reader = Reader(SETTINGS, "soc", ["incidents"], duty, alone=True)

    async def committed(places: set[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        return dict.fromkeys(places, ((log.committed_to or [0])[-1], log.note))

    monkeypatch.setattr(reader, "_consumer", lambda: log)
    monkeypatch.setattr(reader, "_committed", committed)

    async def run() -> None:
        task = asyncio.create_task(reader.run())
        async with asyncio.timeout(10):
            while not until(log):
                await asyncio.sleep(0.001)
                assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def courier(
    to: Any, told: list[tuple[str, str]] | None = None, now: Sequence[float] = (AT_S,), **target: Any
) -> Courier:
    target = {"severity": Severity.MEDIUM, **target}
    heard = told if told is not None else []
    tell = lambda name, outcome: heard.append((name, outcome))  # noqa: E731 - a list as metrics
    return Courier(SETTINGS, Target(name="soc", apprise="slack://x", **target), to, tell, lambda: now[0])


def test_an_offset_is_committed_only_behind_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    to, told, log = Refusing(3), [], Log([value(0), value(1)])
    carry(log, courier(to, told), lambda log: 2 in log.committed_to, monkeypatch)
    assert to.ids == [id_of(0), id_of(1)]
    assert log.committed_to == [1, 2]
    assert told == [("soc", "failed")] * 3 + [("soc", "taken")] * 2


def test_what_does_not_concern_the_target_and_what_is_no_incident_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = Refusing(0)
    log = Log([value(0, Severity.LOW), b"\xff", value(1), b"{}", value(2, news=None), value(3, quiet="known")])
    carry(log, courier(to), lambda log: 6 in log.committed_to, monkeypatch)
    assert to.ids == [id_of(1)]
    assert log.committed_to == [3, 6]


def test_a_target_for_owners_hears_of_their_deployments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    to, log = Refusing(0), Log([value(0), value(1, deployment="mail")])
    carry(log, courier(to, owners=("on-call",)), lambda log: 2 in log.committed_to, monkeypatch)
    assert [alert.about.deployment for alert in to.told if alert.about] == ["mail"]


def test_a_crash_while_holding_loses_nothing_and_tells_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    to, told, now = Refusing(0), [], [AT_S]
    log = Log([value(number) for number in range(5)] + [value(5, Severity.CRITICAL)])
    carry(log, courier(to, told, now, hourly=2), lambda _: len(told) == 6, monkeypatch)
    critical = incident(5, Severity.CRITICAL).news_id
    assert to.ids == [id_of(0), id_of(1), critical]
    assert log.committed_to[-1] == 2
    log.position, away = 0, Refusing(2)  # another worker begins where this one had committed

    def digested(log: Log) -> bool:
        if told.count(("soc", "held")) == 6:
            now[0] = AT_S + HOUR_S
        return log.committed_to[-1] == 6

    carry(log, courier(away, told, now, hourly=2), digested, monkeypatch)
    (digest,) = away.told
    assert digest.id.startswith("digest-")
    named = [number for number in range(6) if incident(number).incident_id in digest.text]
    assert named == [2, 3, 4]


def test_whatever_a_library_raises_is_tried_again_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    to = Refusing(1, RuntimeError(f"https://hooks.example/{SECRET}"))
    carry(Log([value(0)]), courier(to), lambda log: 1 in log.committed_to, monkeypatch)
    assert to.ids == [id_of(0)]
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_pauses_grow_up_to_a_minute() -> None:
    attempts = Attempts("a", lambda *_: None)
    pauses = []
    for failures in (0, 1, 2, 3, 7, 10_000):
        attempts.failures = failures
        pauses.append(attempts.pause_s)
    assert pauses == [0.0, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_a_feed_brings_a_siem_findings_and_all_revisions_of_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    target, to = Target(name="siem", ocsf="topic:x"), Collector(100)
    feed = Feed(SETTINGS, target, to, lambda *_: None)
    quiet = [value(0, news=None), value(1, quiet="known"), value(2, news=CLOSED), b"junk"]
    carry(Log(quiet), feed, lambda log: 4 in log.committed_to, monkeypatch)
    finding = Log([msgspec.json.encode(found("output_drift")), b""], FINDINGS)
    carry(finding, Feed(SETTINGS, target, to, lambda *_: None), lambda log: 2 in log.committed_to, monkeypatch)
    assert [event["class_uid"] for event in to.events] == [2005, 2005, 2005, 2004]
    assert to.events[1]["status_detail"] == "known"
    assert to.closed


def test_a_feed_that_is_refused_a_batch_tries_less_at_once_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    target, to = Target(name="siem", ocsf="topic:x", deployments=("chat",)), Collector(3)
    values = [value(number, deployment="mail" if number == 7 else "chat") for number in range(20)]
    log = Log(values)
    carry(log, Feed(SETTINGS, target, to, lambda *_: None), lambda log: 20 in log.committed_to, monkeypatch)
    uids = [event["metadata"]["correlation_uid"] for event in to.events]
    assert uids == [incident(number).incident_id for number in range(20) if number != 7]
    assert log.committed_to == sorted(log.committed_to)


def test_one_target_that_refuses_for_ever_holds_up_its_own_partition_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosy:
        def __init__(self) -> None:
            self.attempts = Attempts("soc", lambda *_: None)
            self.taken: list[TopicPartition] = []

        def begin(self, notes: object) -> None: ...

        async def take(self, place: TopicPartition, records: Sequence[Any], commit: object) -> int | None:
            if place.partition == 0:
                return int(records[0].offset)
            self.taken.append(place)
            return None

    reader = Reader(SETTINGS, "soc", ["incidents"], duty := Choosy(), alone=True)  # type: ignore[arg-type]  # as much as is used
    records = {TopicPartition("incidents", each): [type("Record", (), {"offset": 5})] for each in range(3)}
    log = Log([])
    asyncio.run(reader._take(log, records))
    assert duty.taken == []
    asyncio.run(reader._take(log, records))
    assert [place.partition for place in duty.taken] == [1, 2]


def test_an_address_that_apprise_does_not_know_is_refused_when_the_worker_starts() -> None:
    with pytest.raises(SettingsError, match="a: not one address that apprise knows") as caught:
        readers(Settings(alert_targets='[{"name": "a", "apprise": "nosuch://hunter2"}]'), lambda *_: None)
    assert "hunter2" not in str(caught.value)


def test_a_feed_into_a_topic_of_our_own_is_refused_when_the_worker_starts() -> None:
    settings = Settings(alert_targets='[{"name": "a", "ocsf": "topic:t-findings"}]', topic_prefix="t-")
    with pytest.raises(SettingsError, match="topic:t-findings is a topic of inferwatch itself"):
        readers(settings, lambda *_: None)


def test_apprise_is_given_plain_text_and_what_it_cannot_deliver_is_not_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    to = receiver(Settings(), Target(name="a", apprise="gotify://127.0.0.1:1/hunter2"))
    with pytest.raises(NotTakenError, match="apprise could not deliver it"):
        to.tell(of_incident(incident(), None))
    assert "hunter2" not in caplog.text


def test_pagerduty_closes_what_has_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str | None, str, str]] = []

    def send(self: Any, **given: Any) -> bool:
        sent.append((self.dedup, str(self.action), given["notify_type"]))
        return True

    monkeypatch.setattr(apprise.plugins.N_MGR["pagerduty"], "send", send)
    to = receiver(Settings(), Target(name="a", apprise=f"pagerduty://{'k' * 32}@{'a' * 20}", closed=True))
    changed: tuple[Incident, ...] = (incident(), incident(news=CLOSED))
    for each in changed:
        to.tell(of_incident(each, None))
    identity = incident().incident_id
    assert sent == [
        (identity, "map", apprise.NotifyType.FAILURE),
        (identity, "map", apprise.NotifyType.SUCCESS),
    ]


def test_the_verb_tells_each_target_and_says_what_happened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listening() as there:
        targets = [
            {"name": "soc", "severity": "low", "webhook": there.url, "secret": SECRET},
            {"name": "gone", "webhook": "http://127.0.0.1:1/t0ken", "secret": SECRET},
            {"name": "file", "ocsf": f"file:{tmp_path / 'ocsf.json'}"},
            {"name": "siem", "ocsf": there.url, "token": SECRET},
            {"name": "topic", "ocsf": "topic:nowhere"},
        ]
        monkeypatch.setenv("INFERWATCH_ALERT_TARGETS", json.dumps(targets))
        monkeypatch.setenv("INFERWATCH_KAFKA_BROKERS", "127.0.0.1:1")
        refused = CliRunner().invoke(app, ["alerts", "test"])
        assert refused.exit_code == 1
        assert "soc (webhook, from low): NOT TAKEN" in refused.output
        assert not there.requests
        monkeypatch.setenv("INFERWATCH_ALERT_PRIVATE_ADDRESSES", "yes")
        result = CliRunner().invoke(app, ["alerts", "test", "--json"])
    assert result.exit_code == 1
    soc, gone, file, siem, topic = (msgspec.json.decode(line) for line in result.output.splitlines())
    assert (soc["target"], soc["taken"], soc["answer"]) == ("soc", True, "status 204")
    assert (gone["taken"], gone["answer"]) == (False, "no answer: ConnectionRefusedError")
    assert (file["taken"], file["kind"]) == (True, "ocsf file")
    assert (siem["taken"], topic["taken"]) == (True, False)
    assert SECRET not in result.output
    assert "t0ken" not in result.output
    assert b"inferwatch test alert" in there.requests[0][2]
    assert there.requests[1][1]["Authorization"] == f"Bearer {SECRET}"
    event = msgspec.json.decode((tmp_path / "ocsf.json").read_bytes().splitlines()[-1])
    assert (event["class_uid"], event["severity"]) == (2004, "Informational")


def test_the_verb_says_that_nobody_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFERWATCH_ALERT_TARGETS", raising=False)
    result = CliRunner().invoke(app, ["alerts", "test"])
    assert isinstance(result.exception, SettingsError)
    assert "INFERWATCH_ALERT_TARGETS: not set" in str(result.exception)
