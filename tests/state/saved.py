"""A store of states in memory that somebody can tamper with, and what keeps states in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from detectors.bank import Bank
from detectors.types import Finding, Observation
from streams.clickhouse import Store
from streams.dlq import Record
from streams.marks import Marks
from streams.rows import SavedState
from streams.sinks import Writer
from streams.states import States
from streams.topics import Topic
from tests.detectors.toys import TOYS, bank

T = TypeVar("T")

KEY = b"k" * 32
LIBRARIES = {"river": "1"}
SOURCE = Topic(name="observations", topic_id="0" * 32, partitions=4)


class Shelf:
    """The rows, newest of each subject, as the table keeps them; its own writer."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], SavedState] = {}
        self.asked: list[list[str]] = []
        self.while_reading: Callable[[], None] = lambda: None

    def insert_snapshots(self, rows: Sequence[SavedState]) -> None:
        for row in rows:
            before = self.rows.get((row.scope, row.subject))
            if before is None or before.next_offset <= row.next_offset:
                self.rows[row.scope, row.subject] = row

    def snapshots(self, _topic_id: str, scope: str, _topic: str, subjects: Sequence[str]) -> dict[str, SavedState]:
        self.asked.append(list(subjects))
        self.while_reading()
        return {name: self.rows[scope, name] for name in subjects if (scope, name) in self.rows}

    async def run(self, call: Callable[[Store], T]) -> T:
        return call(cast("Store", self))


class Keeper:
    """A worker's part that learns and saves: one life, over a shelf that outlives it."""

    def __init__(
        self,
        shelf: Shelf,
        made: Bank | None = None,
        keys: tuple[bytes, ...] = (KEY,),
        libraries: Mapping[str, str] = LIBRARIES,
    ) -> None:
        self.shelf = shelf
        self.bank = bank(TOYS) if made is None else made
        self.marks = Marks()
        self.states = States(
            bank=self.bank,
            marks=self.marks,
            writer=cast("Writer", shelf),
            source=SOURCE,
            keys=keys,
            libraries=libraries,
        )

    def learn(self, partition: int, offset: int, observations: list[Observation]) -> list[Finding]:
        """What was refused; findings of detectors are left out."""
        record = Record(topic=SOURCE.name, partition=partition, offset=offset, time_s=0.0, value=b"")

        async def recall() -> list[Finding]:
            await self.states.recall_marks([(partition, offset)])
            return await self.states.recall([(record, observations)])

        refused = asyncio.run(recall())
        self.bank.apply(partition, offset, self.marks.fresh(partition, offset, observations))
        return refused

    def save(self) -> None:
        self.shelf.insert_snapshots(self.states.changed())
