"""What ingest does with what cannot be stored, and when there is too much of what cannot be read."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Sequence
from typing import Any

import pytest

from streams.agents import Ingest
from streams.clickhouse import Store, UnstorableError
from streams.dlq import DeadLetter, DeadLetterLimitError, LimitPolicy
from streams.metrics import Metrics
from streams.pipeline import Pipeline, Stored
from streams.privacy import ContentMode, Privacy
from streams.readiness import Readiness
from streams.sinks import DeadLetters, Message, Sender, Writer
from streams.topics import Topic

KEY = b"k" * 32
_PATIENCE_S = 30.0


class PickyStore(Store):
    """A store as lists, which can never store what is about a deployment named ``bad``."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.events: list[str] = []
        self.letters: list[DeadLetter] = []

    def insert_events(self, rows: Sequence[Stored]) -> None:
        if any(row.event.deployment == "bad" for row in rows):
            raise UnstorableError("deployment: DataError")
        assert self.may_answer.wait(_PATIENCE_S)
        self.events += [f"{row.offset}:{row.index}" for row in rows]

    def insert_dead_letters(self, rows: Sequence[DeadLetter]) -> None:
        self.letters += rows


class ListOutlet:
    """Kafka as a list."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, topic: str, message: Message) -> None:
        self.sent.append(message)


class Scene:
    """An ingest over fakes, and the events it is given."""

    def __init__(self, limit: LimitPolicy) -> None:
        self.store, self.outlet = PickyStore(), ListOutlet()
        mode = ContentMode.REDACTED
        pipeline = Pipeline(topic_id="t", privacy=Privacy(KEY, mode), mode=mode, hash_key=KEY, input_format="native")
        writer = Writer(self.store)
        dead_letters = DeadLetters(writer, Sender(self.outlet, Topic("dead-letters", 1, "f" * 32)))
        self.generation = 1
        self.ingest = Ingest(pipeline, writer, dead_letters, [], Metrics(Readiness()), limit, lambda: self.generation)
        self.acked: list[int] = []
        self._offset = 0

    def handle(self, *values: bytes) -> None:
        async def handled() -> None:
            await self.ingest.handle([self.event(value) for value in values])
            await self.ingest.finish()

        asyncio.run(handled())

    def event(self, value: bytes) -> Any:
        offset, self._offset = self._offset, self._offset + 1
        message = types.SimpleNamespace(
            topic="inference-logs",
            partition=0,
            offset=offset,
            timestamp=1.75e9,
            value=value,
            key=None,
            headers=(),
            generation_id=1,
        )
        return types.SimpleNamespace(message=message, ack=lambda: self.acked.append(offset))


def test_a_row_that_can_never_be_stored_is_a_dead_letter_and_its_batch_is_stored_and_acked() -> None:
    scene = Scene(LimitPolicy())
    scene.handle(b'[{"deployment":"a"},{"deployment":"bad"},{"deployment":"c"}]', b'{"deployment":"d"}')
    assert sorted(scene.store.events) == ["0:0", "0:2", "1:0"]
    assert [(each.offset, each.event_index, each.reason) for each in scene.store.letters] == [
        (0, 1, "it cannot be stored: deployment: DataError")
    ]
    assert [dict(message.headers)["events"] for message in scene.outlet.sent] == [b"1"]
    assert scene.acked == [0, 1]


def test_past_the_limit_nothing_of_the_batch_is_written_and_nothing_acked() -> None:
    scene = Scene(LimitPolicy(ratio=1.0, run=5))
    scene.handle(*[b"]"] * 4)
    assert scene.acked == [0, 1, 2, 3]
    with pytest.raises(DeadLetterLimitError):
        scene.handle(b"]", b'{"deployment":"d"}')
    assert len(scene.store.letters) == 4
    assert not scene.store.events
    assert scene.acked == [0, 1, 2, 3]


def test_a_batch_is_read_while_the_one_before_it_is_stored_and_neither_is_acked_before_it_is_durable() -> None:
    scene = Scene(LimitPolicy())

    async def slow_store() -> None:
        scene.store.may_answer.clear()
        await scene.ingest.handle([scene.event(b'{"deployment":"a"}')])
        second = asyncio.ensure_future(scene.ingest.handle([scene.event(b'{"deployment":"b"}')]))
        third = asyncio.ensure_future(asyncio.sleep(0.1))
        await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)
        assert not second.done(), "a part waits until the one before it is durable: memory holds two, not all"
        assert (scene.store.events, scene.acked) == ([], [])
        scene.store.may_answer.set()
        await second
        await scene.ingest.finish()

    asyncio.run(slow_store())
    assert scene.store.events == ["0:0", "1:0"]
    assert scene.acked == [0, 1]


def test_what_an_earlier_assignment_brought_is_stored_and_not_acked() -> None:
    scene = Scene(LimitPolicy())
    scene.generation = 2
    scene.handle(b'{"deployment":"a"}')
    assert scene.store.events == ["0:0"]
    assert scene.acked == []
