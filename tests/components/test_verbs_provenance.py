"""`changes`, `baseline` and `attest --send` as a person types them: Kafka as a list, the engine in process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from typer.testing import CliRunner

from detectors.types import Components, InferenceEvent, Observation
from streams import sending
from streams.cli import app
from streams.clickhouse import Store
from streams.components.provenance import CHANGE, COMPONENT_REPORT, Change, ComponentReport, Noted, decode
from streams.pipeline import Stored
from streams.settings import SettingsError
from tests.chdb_directory import fresh_database

APPROVE = ("changes", "approve", "--deployment", "chat", "--component", "weights", "--new", "sha256:2")
REJECT = ("changes", "reject", "--deployment", "chat", "--component", "weights", "--new", "sha256:2")


class Kafka:
    """What was sent, by topic; each value is what a worker would take."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def __call__(self, _brokers: str, **_options: Any) -> Kafka:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sent.append(("flushed", b""))

    def send(self, value: bytes, _content_type: str | None = None, *, topic: str, key: bytes | None) -> None:
        assert key == b"chat"
        self.sent.append((topic, value))

    @property
    def change(self) -> Change:
        """The one change that was sent, and waited for."""
        (topic, value), (after, _) = self.sent
        assert (topic, after) == ("changes", "flushed")
        said = decode(CHANGE, value)
        assert isinstance(said, Change)
        return said


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    monkeypatch.setenv("INFERWATCH_KAFKA_BROKERS", "127.0.0.1:1")
    kafka = Kafka()
    monkeypatch.setattr(sending, "RecordProducer", kafka)
    return kafka


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with fresh_database() as settings, closing(Store.connect(settings)) as store:
        monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", settings.clickhouse_url)
        monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", settings.clickhouse_database)
        yield store


def typed(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, SettingsError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_an_approval_is_sent_waited_for_and_holds_for_a_day_from_now(kafka: Kafka) -> None:
    before_s = time.time()
    said = typed(*APPROVE, "--ticket", "CHG-1", "--who", "ana", "--old", "sha256:1", "--reason", "retrained")
    change = kafka.change
    assert said.startswith(f"{change.change_id} approved by ana: weights of chat as sha256:2, from 20")
    assert (change.state, change.ticket, change.who, change.old) == ("approved", "CHG-1", "ana", "sha256:1")
    assert change.from_s is not None and change.until_s is not None
    assert before_s <= change.from_s <= time.time()
    assert change.until_s - change.from_s == pytest.approx(86_400.0)


def test_the_window_is_spans_or_times_and_may_have_no_end(kafka: Kafka) -> None:
    typed(*APPROVE, "--ticket", "C", "--from", "2h", "--until", "30m")
    assert kafka.change.until_s is not None and kafka.change.from_s is not None
    assert kafka.change.until_s - kafka.change.from_s == pytest.approx(1_800.0)
    kafka.sent.clear()
    typed(*APPROVE, "--ticket", "C", "--from", "2090-01-01T08:00Z", "--until", "2090-01-01T10:00+01:00")
    assert kafka.change.until_s == (kafka.change.from_s or 0.0) + 3_600.0
    kafka.sent.clear()
    assert "without an end" in typed(*APPROVE, "--ticket", "C", "--until", "never")
    assert kafka.change.until_s is None


def test_without_who_it_is_the_user_who_is_logged_in(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bo")
    typed(*APPROVE, "--ticket", "C")
    assert kafka.change.who == "bo"


def test_a_rejection_has_the_id_of_the_approval_with_its_ticket(kafka: Kafka) -> None:
    approved = json.loads(typed(*APPROVE, "--ticket", "C", "--json"))
    kafka.sent.clear()
    rejected = json.loads(typed(*REJECT, "--ticket", "C", "--json"))
    assert approved["change_id"] == rejected["change_id"]
    assert (kafka.change.state, rejected["state"]) == ("rejected", "rejected")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            (*APPROVE, "--ticket", "C", "--until", "yesterday"),
            "--until: 'yesterday' is not accepted; a span such as 24h",
        ),
        ((*APPROVE, "--ticket", "C", "--until", "2020-01-01"), "--until: '2020-01-01' is over"),
        (
            (*APPROVE, "--ticket", "C", "--from", "2h", "--until", "0s"),
            "changes: until_s: expected a time after from_s",
        ),
        ((*APPROVE, "--ticket", "x" * 300), "changes: change: Expected `str` of length <= 256 - at `$.ticket`"),
        (
            (*APPROVE[:5], "wieghts", *APPROVE[6:], "--ticket", "C"),
            "changes: component: expected one of weights, adapter",
        ),
        ((*REJECT[:7], "a\x1b[2J"), "changes: new: expected printable characters on one line"),
        (("attest", ".", "--send"), "attest: --send and --deployment D go together"),
        (("attest", ".", "--deployment", "chat"), "attest: --send and --deployment D go together"),
        (("baseline", "diff", "a", "b", "--now"), "baseline diff: either NAME2 or --now"),
    ],
    ids=lambda each: " ".join(each)[-40:] if isinstance(each, tuple) else "",
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_sent(
    kafka: Kafka, arguments: tuple[str, ...], named: str
) -> None:
    assert refused(*arguments).startswith(named)
    assert kafka.sent == []


def test_what_was_attested_is_sent_and_not_what_changed_since(kafka: Kafka, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    old = tmp_path / "old.json"
    old.write_text(CliRunner().invoke(app, ["attest", str(tmp_path / "m"), "--json"]).stdout)
    (tmp_path / "m" / "config.json").write_text('{"a": 1}')
    arguments = ["attest", str(tmp_path / "m"), "--against", str(old), "--send", "--deployment", "chat"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "sent 1 reports of chat" in done.stderr
    (topic, value), _ = kafka.sent
    report = decode(COMPONENT_REPORT, value)
    assert isinstance(report, ComponentReport)
    assert (topic, report.subject, report.risks) == ("component-reports", "model", ())
    assert report.digest is not None


def call(number: int, latency_s: float, before_s: float, **fields: Any) -> Stored:
    time_s = time.time() - before_s + number / 100.0
    event = InferenceEvent(deployment="chat", latency_s=latency_s, time_s=time_s, event_id=f"t:0:{number}:0", **fields)
    seen = Observation(event_id=f"t:0:{number}:0", time_s=time_s, deployment="chat")
    return Stored(event=event, observation=seen, topic="t", partition=0, offset=number, index=0, record_time_s=time_s)


def test_changes_are_listed_with_what_holds_and_whether_it_was_served(store: Store) -> None:
    now_s = time.time()
    change = Change(deployment="chat", component="weights", new="w2", ticket="C", who="ana", from_s=now_s - 60)
    store.insert_changes([Noted(said=change, event_id="t:0:0:0", time_s=now_s - 60)])
    waiting = msgspec.structs.replace(change, new="w3", until_s=now_s - 1)
    store.insert_changes([Noted(said=waiting, event_id="t:0:1:0", time_s=now_s)])
    hostile = msgspec.structs.replace(change, deployment="x\x1b[2J", state="rejected")
    store.insert_changes([Noted(said=hostile, event_id="t:0:2:0", time_s=now_s + 1)])
    store.insert_events([call(1, 1.0, 10.0, components=Components(weights="w2"))])
    table = typed("changes", "list")
    assert "\x1b" not in table
    _, served, late, foreign = table.splitlines()
    assert " approved  " in served and "not yet" not in served
    assert " approved, over  " in late and "not yet" in late
    assert " rejected  " in foreign
    first, second = map(json.loads, typed("changes", "list", "--json", "--deployment", "chat").splitlines())
    assert (first["new"], second["new"], second["first_served_s"]) == ("w2", "w3", None)
    assert first["first_served_s"] == pytest.approx(now_s - 10.0, abs=5.0)
    assert "no change was decided" in typed("changes", "list", "--deployment", "other")


def test_a_baseline_is_frozen_listed_approved_and_compared_with_now(kafka: Kafka, store: Store) -> None:
    store.insert_events([call(n, 1.0 + n % 2, 7_200.0, components=Components(weights="w1")) for n in range(20)])
    frozen = typed("baseline", "freeze", "chat", "--since", "3h", "--until", "1h", "--name", "b", "--who", "ana")
    assert frozen.startswith("baseline b: 20 calls of chat by 0 callers, ")
    assert refused("baseline", "freeze", "chat", "--name", "b").startswith("--name: there is a baseline b already")
    store.insert_events([call(100 + n, 3.0 + n % 2, 60.0, components=Components(weights="w2")) for n in range(20)])
    shown = typed("baseline", "diff", "b", "--since", "30m")
    rows = {line.split()[0]: line.split() for line in shown.splitlines()}
    assert rows["latency_s"] == ["latency_s", "1.5", "3.5", "+4.00"]
    assert "weights no longer w1" in shown and "weights new w2" in shown
    document = json.loads(typed("baseline", "diff", "b", "--since", "30m", "--json"))
    assert document["numbers"][0]["size"] == 4.0
    assert document["components"] == [{"component": "weights", "gone": ["w1"], "new": ["w2"]}]

    assert typed("baseline", "approve", "b", "--who", "bo", "--note", "as agreed").startswith("approved baseline b")
    assert (kafka.change.state, kafka.change.ticket, kafka.change.who) == ("baseline", "b", "bo")
    assert kafka.change.notice().kind == "baseline"
    (kept,) = map(json.loads, typed("baseline", "list", "--json").splitlines())
    assert (kept["approved_by"], kept["note"], kept["who"]) == ("bo", "as agreed", "ana")
    assert "by bo" in typed("baseline", "list")


def test_what_a_deployment_does_now_is_approved_by_its_name(kafka: Kafka, store: Store) -> None:
    store.insert_events([call(n, 1.0, 60.0) for n in range(3)])
    assert ": 3 calls of chat" in typed("baseline", "approve", "chat")
    assert kafka.change.ticket.startswith("chat-20")
    assert len(typed("baseline", "list", "--json").splitlines()) == 1


def test_a_baseline_of_nothing_and_one_that_is_not_there_are_one_line(kafka: Kafka, store: Store) -> None:
    assert refused("baseline", "freeze", "nobody").startswith("no call of nobody from 20")
    assert refused("baseline", "approve", "nobody").startswith("no call of nobody from 20")
    assert refused("baseline", "diff", "none").startswith("no baseline none; ")
    assert refused("baseline", "freeze", "chat", "--since", "1h", "--until", "2h").startswith("--since: '1h' begins no")
    assert "no baseline was frozen" in typed("baseline", "list")
    assert kafka.sent == []
