"""A watch that has more to remember than it may hold, and one whose partitions move under it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from detectors.bank import Bank
from detectors.base import DEPLOYMENT
from detectors.types import Finding, Observation
from streams import agents
from streams.agents import Watch
from streams.consuming import Event
from streams.dlq import DeadLetter
from streams.rows import SavedState
from streams.sinks import DeadLetters, Message, Sender, Writer
from streams.topics import Topic
from tests.detectors.toys import BUDGET, TOYS, call
from tests.state.saved import KEY, LIBRARIES, SOURCE, Shelf

_PATIENCE_S = 30.0


class Journal(Shelf):
    """A shelf that also is where findings and dead letters go: what became durable, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.topic = Topic(name="findings", topic_id="1" * 32, partitions=1)
        self.found: list[Finding] = []
        self.written: list[str] = []

    def insert_snapshots(self, rows: Sequence[SavedState]) -> None:
        super().insert_snapshots(rows)
        self.written.append("states")

    async def send(self, messages: Iterable[Message]) -> None:
        found = [msgspec.json.decode(message.value, type=Finding) for message in messages]
        self.found += found
        self.written += ["findings"] * bool(found)
        await asyncio.sleep(0)

    async def bury(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> None:
        assert not letters


def watch(journal: Journal, max_subjects: int) -> tuple[Watch, Bank]:
    bank = Bank(DEPLOYMENT, BUDGET, TOYS, max_subjects)
    made = Watch(
        bank=bank,
        writer=cast("Writer", journal),
        findings=cast("Sender", journal),
        dead_letters=cast("DeadLetters", journal),
        source=SOURCE,
        snapshot_keys=(KEY,),
        libraries=LIBRARIES,
        snapshot_interval_s=60.0,
    )
    return made, bank


def event(offset: int, observations: list[Observation], acked: list[int]) -> Event:
    message = SimpleNamespace(
        topic=SOURCE.name,
        partition=0,
        offset=offset,
        timestamp=1.7e9,
        headers=[],
        key=None,
        value=msgspec.msgpack.encode(observations),
    )
    return cast("Event", SimpleNamespace(message=message, ack=lambda: acked.append(offset)))


def crowd(messages: int, each: int) -> list[list[Observation]]:
    """Every subject calls in every third message."""
    return [[call(f"subject-{offset % 3}-{at}", tokens=offset) for at in range(each)] for offset in range(messages)]


def test_one_batch_of_more_subjects_than_may_be_live_says_what_an_unbounded_bank_says() -> None:
    messages = crowd(12, each=40)
    unbounded = Bank(DEPLOYMENT, BUDGET, TOYS)
    expected = [finding for offset, message in enumerate(messages) for finding in unbounded.apply(0, offset, message)]
    journal = Journal()
    made, bank = watch(journal, max_subjects=50)
    acked: list[int] = []
    for start in range(0, 12, 6):
        asyncio.run(made.handle([event(start + at, messages[start + at], acked) for at in range(6)]))
        assert len(bank) <= 50
        assert bank.waiting <= 10
    assert len(expected) > 100
    assert journal.found == expected


def test_states_that_are_saved_in_the_middle_of_a_batch_come_after_their_findings_and_ack_nothing_of_it() -> None:
    journal = Journal()
    made, _ = watch(journal, max_subjects=50)
    acked: list[int] = []
    asyncio.run(made.handle([event(offset, message, acked) for offset, message in enumerate(crowd(12, each=40))]))
    assert journal.written[journal.written.index("findings") + 1] == "states"
    assert journal.written[-1] == "states"
    assert acked == []
    asyncio.run(made.save())
    assert acked == list(range(12))


def test_what_was_learned_last_is_saved_as_soon_as_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "_QUIET_S", 0.01)
    journal = Journal()
    made, _ = watch(journal, max_subjects=50)

    async def saved() -> None:
        acked = asyncio.Event()
        called = SimpleNamespace(message=event(0, [call("a")], []).message, ack=acked.set)
        saving = asyncio.create_task(made.save_regularly())
        await made.handle([cast("Event", called)])
        await asyncio.wait_for(acked.wait(), _PATIENCE_S)
        await asyncio.sleep(0.1)
        assert journal.written == ["states"], "nothing new was learned, and nothing is saved again"
        saving.cancel()

    asyncio.run(saved())


def test_a_batch_that_waited_while_partitions_moved_is_dropped() -> None:
    journal = Journal()
    made, bank = watch(journal, max_subjects=50)
    acked: list[int] = []

    async def move_while_waiting() -> None:
        async with made._lock:
            waiting = asyncio.create_task(made.handle([event(5, [call("a")], acked)]))
            await asyncio.sleep(0)
            made.leave()
            made.enter()
        await waiting
        await made.save()

    asyncio.run(move_while_waiting())
    assert len(bank) == 0
    assert acked == []
    assert journal.asked == []
