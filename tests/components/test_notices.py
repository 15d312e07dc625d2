"""The agent of notices: durable in both places before it acks, and the same again after a crash."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from detectors.types import Observation
from streams import sinks
from streams.clickhouse import Store, StoreError, UnstorableError
from streams.components.notices import Notices
from streams.components.provenance import CHANGE, COMPONENT_REPORT, Change, ComponentReport, Noted, Said, encode
from streams.dlq import DeadLetter
from streams.marks import Marks
from streams.rows import CHANGES, COMPONENT_REPORTS, columns
from streams.sinks import DeadLetters, Message, Sender, Writer
from streams.topics import BrokerError, Topic

SOURCE = Topic("changes", 2, "c" * 32)
APPROVAL = Change(deployment="chat", component="weights", new="sha256:2", ticket="CHG-1")


class ListStore(Store):
    """A store as rows by table; `fails` says what goes wrong next."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {"changes": [], "component_reports": []}
        self.letters: list[DeadLetter] = []
        self.fails: list[Exception] = []

    def insert_changes(self, rows: Sequence[Noted]) -> None:
        self._take("changes", rows)

    def insert_component_reports(self, rows: Sequence[Noted]) -> None:
        self._take("component_reports", rows)

    def insert_dead_letters(self, rows: Sequence[DeadLetter]) -> None:
        self.letters += rows

    def _take(self, table: str, rows: Sequence[Noted]) -> None:
        if self.fails:
            raise self.fails.pop(0)
        if any(row.said.deployment == "bad" for row in rows):
            raise UnstorableError("deployment: DataError")
        self.rows[table] += rows


class ListOutlet:
    """Kafka as a list by topic; `refuses` so many messages."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Message]] = {}
        self.refuses = 0

    async def send(self, topic: str, message: Message) -> None:
        if self.refuses:
            self.refuses -= 1
            raise BrokerError("not now")
        self.sent.setdefault(topic, []).append(message)

    def observations(self) -> list[Observation]:
        sent = self.sent.get("observations-by-deployment", [])
        return [each for message in sent for each in msgspec.msgpack.decode(message.value, type=list[Observation])]


class Scene:
    """The agent of one topic over fakes."""

    def __init__(self, kind: str = CHANGE) -> None:
        self.store, self.outlet = ListStore(), ListOutlet()
        writer = Writer(self.store)
        dead_letters = DeadLetters(writer, Sender(self.outlet, Topic("dead-letters", 1, "f" * 32)))
        observations = Sender(self.outlet, Topic("observations-by-deployment", 4, "0" * 32))
        self.notices = Notices(kind, SOURCE, writer, dead_letters, observations)
        self.acked: list[int] = []

    def handle(self, *values: bytes) -> None:
        asyncio.run(self.notices.handle([self._event(*each) for each in enumerate(values)]))

    def _event(self, offset: int, value: bytes) -> Any:
        message = types.SimpleNamespace(
            topic=SOURCE.name, partition=1, offset=offset, timestamp=1.75e9, value=value, key=None, headers=()
        )

        def ack() -> None:
            # What was not durable by now would be lost.
            self.acked.append(offset)
            self.durable = len(self.outlet.observations()), len(self.store.letters)

        return types.SimpleNamespace(message=message, ack=ack)


def test_notices_are_rows_and_observations_and_junk_is_a_dead_letter_and_all_are_acked() -> None:
    scene = Scene()
    scene.handle(encode(APPROVAL), b"]", encode(msgspec.structs.replace(APPROVAL, state="rejected")))
    assert [each.said.state for each in scene.store.rows["changes"]] == ["approved", "rejected"]
    seen = scene.outlet.observations()
    assert [each.event_id for each in seen] == [f"{'c' * 32}:1:0:0", f"{'c' * 32}:1:2:0"]
    assert [each.notice.kind for each in seen if each.notice] == ["approved", "rejected"]
    assert [(each.offset, each.reason[:30]) for each in scene.store.letters] == [(1, "change: JSON is malformed: inv")]
    assert len(scene.outlet.sent["dead-letters"]) == 1
    assert scene.acked == [0, 1, 2]


def test_reports_go_to_their_table() -> None:
    scene = Scene(COMPONENT_REPORT)
    scene.handle(encode(ComponentReport(deployment="chat", subject="model")), encode(APPROVAL))
    assert [each.said.subject for each in scene.store.rows["component_reports"]] == ["model"]
    assert not scene.store.rows["changes"]
    assert [each.offset for each in scene.store.letters] == [1]


def test_a_batch_that_comes_again_after_a_crash_gives_the_same_rows_and_nothing_new_to_learn() -> None:
    values = [encode(APPROVAL), b"]", encode(ComponentReport(deployment="x", subject="model"))]
    scene = Scene()
    scene.handle(*values)
    rows, letters, seen = list(scene.store.rows["changes"]), list(scene.store.letters), scene.outlet.observations()
    scene.handle(*values)
    assert scene.store.rows["changes"] == rows * 2
    assert scene.store.letters == letters * 2
    assert scene.outlet.observations() == seen * 2
    marks = Marks()
    marks.admit(0, None)
    learned = [len(marks.fresh(0, offset, seen)) for offset in range(2)]
    assert learned == [1, 0]


def test_nothing_is_acked_before_rows_and_observations_are_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_LONGEST_PAUSE_S", 0.01)
    scene = Scene()
    scene.store.fails = [StoreError("down"), StoreError("down")]
    scene.outlet.refuses = 3
    scene.handle(encode(APPROVAL), b"]")
    assert scene.acked == [0, 1]
    assert scene.durable == (1, 1)
    assert len(scene.store.rows["changes"]) == 1


def test_what_nobody_planned_for_leaves_the_batch_unacked() -> None:
    scene = Scene()
    scene.store.fails = [RuntimeError("a defect")]
    with pytest.raises(RuntimeError):
        scene.handle(encode(APPROVAL))
    assert scene.acked == []


def test_a_row_that_no_column_takes_is_a_dead_letter_by_itself() -> None:
    scene = Scene()
    scene.handle(encode(APPROVAL), encode(msgspec.structs.replace(APPROVAL, deployment="bad")))
    assert [each.said.deployment for each in scene.store.rows["changes"]] == ["chat"]
    assert [(each.offset, each.reason) for each in scene.store.letters] == [
        (1, "it fits into no column: deployment: DataError")
    ]
    assert scene.acked == [0, 1]


@pytest.mark.parametrize(
    ("table", "said"),
    [(CHANGES, APPROVAL), (COMPONENT_REPORTS, ComponentReport(deployment="chat", subject="model"))],
    ids=["changes", "component_reports"],
)
def test_every_column_of_a_row_can_be_filled(table: Any, said: Said) -> None:
    filled = columns(table, [Noted(said=said, event_id="t:0:0:0", time_s=1.75e9)])
    assert all(len(each) == 1 for each in filled)
