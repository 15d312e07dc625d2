"""The agent of changes and component reports: from a topic to rows and to what the deployment's detectors see.

notices
    1. read the batch into notices and dead letters (`provenance.read`, pure, total);
    2. insert rows and dead letters into ClickHouse, send one observation a notice to the observations of its
       deployment; a row that no column takes becomes a dead letter by itself;
    3. when all of that is durable, ack the batch in offset order.
    A crash before 3 repeats 1 and 2 with the same identities: rows replace themselves, and observations that were
    learned already are skipped by the marks of `watch`, which know the topic they came from by its id.

There is no limit of dead letters as ingest has one: a topic of few, small notices that somebody fills with junk must
not stop a worker, and each one that is junk is said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from detectors.types import Observation
from streams.clickhouse import Store
from streams.components.provenance import CHANGE, Noted, read
from streams.consuming import Event, to_record
from streams.dlq import WHOLE_RECORD, DeadLetter, Record, dead_letter, printable
from streams.sinks import DeadLetters, Sender, Writer, insert_apart, packed
from streams.topics import Topic

_log = logging.getLogger(__name__)


class Notices:
    """Records of one topic of notices to rows, observations and dead letters."""

    def __init__(
        self, kind: str, source: Topic, writer: Writer, dead_letters: DeadLetters, observations: Sender
    ) -> None:
        """`kind` is what `source` holds and nothing else is taken for; `observations` are keyed by deployment."""
        self._kind = kind
        self._source = source
        self._writer = writer
        self._dead_letters = dead_letters
        self._observations = observations

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 to 3."""
        records = [to_record(event) for event in events]
        noted, letters = await asyncio.to_thread(self._read, records)
        inserted = asyncio.ensure_future(self._writer.run(lambda store: insert_apart(self._insert(store), noted)))
        await asyncio.gather(
            inserted,
            self._dead_letters.bury(letters),
            self._observations.send(
                packed([each.observation for each in noted], _deployment, self._observations.topic.partitions)
            ),
        )
        by_id = {self._event_id(record): record for record in records}
        await self._dead_letters.bury(
            [self._unstorable(by_id[each.event_id], reason) for each, reason in inserted.result()]
        )
        for letter, _ in letters:
            _log.warning("no %s at offset %d: %s", self._kind, letter.offset, letter.reason)
        for each in noted:
            _log.info("%s of %s", self._kind, printable(each.said.deployment))
        for event in events:
            event.ack()

    def _read(self, records: Sequence[Record]) -> tuple[list[Noted], list[tuple[DeadLetter, bytes]]]:
        noted: list[Noted] = []
        letters: list[tuple[DeadLetter, bytes]] = []
        for record in records:
            found = read(self._kind, record, self._source.topic_id)
            if isinstance(found, Noted):
                noted.append(found)
            else:
                letters.append((found, record.value))
        return noted, letters

    def _insert(self, store: Store) -> Callable[[Sequence[Noted]], None]:
        return store.insert_changes if self._kind == CHANGE else store.insert_component_reports

    def _event_id(self, record: Record) -> str:
        return f"{self._source.topic_id}:{record.partition}:{record.offset}:0"

    def _unstorable(self, record: Record, reason: str) -> tuple[DeadLetter, bytes]:
        said = f"it fits into no column: {reason}"
        return dead_letter(record, self._source.topic_id, said, WHOLE_RECORD, lambda _head: ""), record.value


def _deployment(observation: Observation) -> str:
    return observation.deployment
