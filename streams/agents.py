"""The agents: how a record is never lost, in numbered steps.

Every agent takes un-acked batches (`consume`), and its handler follows an order that makes a crash at
any point harmless:

ingest
    1. decode the batch into rows, observations and dead letters (pure, total), in parts that fit into memory;
       too many dead letters end the process here, with nothing of the part written and nothing acked;
    2. insert rows and dead letters into ClickHouse, send observations and dead letters to Kafka; a row that no
       column takes becomes a dead letter by itself;
    3. when all of that is durable, for every part, ack the batch in offset order.
    Parts become durable one after the other; 2 and 3 of one go on while the next, of any batch, is decoded.
    A crash before 3 repeats 1 and 2 with the same identities: rows replace themselves, and observations
    that were learned already are skipped by the marks of `watch`.
watch
    1. recall the marks of partitions that are new here and the saved state of subjects that are not live (`states`);
    2. apply the observations that were not learned before to the bank, in offset order;
    3. send the findings, wait until they are durable;
    4. every few seconds, when nothing comes, and when many wait: save the state of changed subjects, each with its
       next offset, and the marks;
    5. when that is durable, ack what it covers, in offset order.
    A crash before 5 replays onto the state saved last; findings come out with the same identities.
triage
    1. insert the findings into ClickHouse; 2. when durable, insert what they make of incidents (`casework`);
    3. when that is durable, ack.

When partitions go, or the worker is to end, ingest's steps and a save are finished first, as far as there is time.
A sink that is down is retried in place (`sinks.until_done`), for as long as it takes. Anything unexpected
ends the process before Faust could ack what it has not done: Faust acks a batch whose handler raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from detectors.bank import Bank
from detectors.types import Finding, Observation
from streams.cases.casework import Casework
from streams.consuming import Event, breathe, decoded, keep, to_record
from streams.dlq import DeadLetter, LimitPolicy, Record, Tally, printable
from streams.marks import Marks
from streams.metrics import Metrics
from streams.pipeline import Pipeline, Processed, partition_of
from streams.sinks import DeadLetters, Message, Sender, Writer, insert_apart, packed
from streams.states import Batch, States
from streams.topics import Topic
from streams.triage import deduplicated

_log = logging.getLogger(__name__)

_LEARNED_TOGETHER = 1_024
"""Observations that a bank takes at once, give or take a message: a tenth of a second in which nothing else is done,
and a quarter less work than with a quarter of them."""

_BREATH_S = 20e-6
"""Of each observation learned, at most, for all else in the loop: what feeds ingest takes some turns of it for each
record."""

_QUIET_S = 1.0
"""Without an observation, after which a watch has time to save."""

Keying = tuple[Sender, Callable[[Observation], str | None]]
"""A topic of observations and what its partitions are chosen by."""


class Ingest:
    """Raw records to stored events, observations and dead letters."""

    def __init__(
        self,
        pipeline: Pipeline,
        writer: Writer,
        dead_letters: DeadLetters,
        keyings: Sequence[Keying],
        metrics: Metrics,
        limit: LimitPolicy,
        generation: Callable[[], int],
    ) -> None:
        """Observations go out once for each of `keyings`; `limit` stops a worker that understands nothing.

        `generation` is that of the assignment: what an earlier one brought comes again and is not acked.
        """
        self._generation = generation
        self._latest: asyncio.Future[None] | None = None
        self._reading = asyncio.Lock()
        self._tally = Tally(limit)
        self._metrics = metrics
        self._pipeline = pipeline
        self._writer = writer
        self._dead_letters = dead_letters
        self._keyings = keyings

    async def handle(self, events: Sequence[Event]) -> None:
        """Step 1 of ingest; 2 and 3 go on behind it, one part after the other, while what comes next is decoded."""
        records = {(event.message.partition, event.message.offset): to_record(event) for event in events}
        parts = self._pipeline.parts(records.values())
        async with self._reading:
            while (processed := await asyncio.to_thread(next, parts, None)) is not None:
                self._tally.count(processed.outcomes())
                await self._kept()
                self._go_on(self._keep(processed, records))
            self._go_on(self._ack(events, self._latest))

    async def finish(self) -> None:
        """Return when all that was given to `handle` is durable, and what may be acked is."""
        async with self._reading:
            await self._kept()

    async def _kept(self) -> None:
        if self._latest is not None:
            await self._latest

    def _go_on(self, step: Coroutine[Any, Any, None]) -> None:
        self._latest = asyncio.ensure_future(keep(lambda: step))

    async def _ack(self, events: Sequence[Event], durable: asyncio.Future[None] | None) -> None:
        """Step 3 of ingest."""
        if durable is not None:
            await durable
        for event in events:
            if event.message.generation_id == self._generation():
                event.ack()

    async def _keep(self, processed: Processed, records: Mapping[tuple[int, int], Record]) -> None:
        """Step 2 of ingest, for one part."""
        observations = [row.observation for row in processed.stored]
        inserted = asyncio.ensure_future(
            self._writer.run(lambda store: insert_apart(store.insert_events, processed.stored))
        )
        await asyncio.gather(
            inserted,
            self._bury(processed.dead_letters, records),
            *(
                sender.send(packed(observations, subject_of, sender.topic.partitions))
                for sender, subject_of in self._keyings
            ),
        )
        await self._bury(
            [
                self._pipeline.unstorable(records[row.partition, row.offset], row.index, reason)
                for row, reason in inserted.result()
            ],
            records,
        )
        self._metrics.ingested(processed)

    async def _bury(self, letters: Sequence[DeadLetter], records: Mapping[tuple[int, int], Record]) -> None:
        await self._dead_letters.bury([(each, records[each.partition, each.offset].value) for each in letters])


class _MovedError(Exception):
    """Partitions have moved: what is left of a batch is another's, or comes again."""


class Watch:
    """Observations to findings, with state that survives."""

    def __init__(
        self,
        *,
        bank: Bank,
        writer: Writer,
        findings: Sender,
        dead_letters: DeadLetters,
        source: Topic,
        snapshot_keys: tuple[bytes, ...],
        libraries: Mapping[str, str],
        snapshot_interval_s: float,
    ) -> None:
        """`source` is the topic of observations; for keys and libraries see `States`."""
        self._bank = bank
        self._writer = writer
        self._findings = findings
        self._dead_letters = dead_letters
        self._source = source
        self._interval_s = snapshot_interval_s
        self.saved_s = 0.0
        """When state was last durable, unix seconds; 0 for not yet."""
        self._marks = Marks()
        self._states = States(
            bank=bank, marks=self._marks, writer=writer, source=source, keys=snapshot_keys, libraries=libraries
        )
        self._lock = asyncio.Lock()
        self._unacked: list[Event] = []
        self._assignment = 0
        self._between = False

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 to 3 of watch; a rebalance in between drops the batch, un-acked."""
        assignment = self._assignment
        async with self._lock:
            with contextlib.suppress(_MovedError):
                await self._learn(events, assignment)
                self._unacked += events

    async def _learn(self, events: Sequence[Event], assignment: int) -> None:
        """Return when findings are durable. Raises `_MovedError` where an assignment ended while it waited."""
        self._stay(assignment)
        batch, broken = decoded(self._source, events, msgspec.msgpack.Decoder(list[Observation]))
        await self._dead_letters.bury(broken)
        self._stay(assignment)
        await self._states.recall_marks((event.message.partition, event.message.offset) for event in events)
        self._stay(assignment)
        for letter, _ in broken:
            self._marks.skip(letter.partition, letter.offset)
        for part in self._parts(batch):
            findings = await self._states.recall(part)
            self._stay(assignment)
            for partition, stretch in _stretches(part):
                fresh = [(offset, self._marks.fresh(partition, offset, each)) for offset, each in stretch]
                findings += self._bank.apply_all(partition, fresh)
                await breathe(_BREATH_S * sum(len(each) for _, each in stretch))
                self._stay(assignment)
            await self._findings.send(map(self._message, findings))
            self._stay(assignment)
            if self._bank.waiting > self._bank.max_subjects // 5:
                await self._save()
                self._stay(assignment)

    def _stay(self, assignment: int) -> None:
        if self._between or assignment != self._assignment:
            raise _MovedError

    async def save(self) -> None:
        """Steps 4 and 5 of watch."""
        async with self._lock:
            await self._save()

    async def _save(self) -> None:
        assignment, covered = self._assignment, self._unacked
        self._unacked = []
        rows = self._states.changed()
        if rows:
            await self._writer.run(lambda store: store.insert_snapshots(rows))
        self.saved_s = time.time()
        if assignment == self._assignment:
            for event in covered:
                event.ack()

    async def save_regularly(self) -> None:
        """Save for ever, every `snapshot_interval_s` seconds, and what is left as soon as nothing comes."""
        look_s = min(_QUIET_S, self._interval_s)
        since_s, before = 0.0, 0
        while True:
            await asyncio.sleep(look_s)
            since_s += look_s
            waiting = len(self._unacked)
            is_quiet = 0 < waiting == before and not self._lock.locked()
            before = waiting
            if is_quiet or since_s >= self._interval_s:
                await self.save()
                since_s, before = 0.0, 0

    def leave(self) -> None:
        """Partitions are taken away: what is live and un-acked here is another's, or comes again.

        Nothing is learned until `enter`: a batch that waits in the stream's own buffer still has the generation
        that ends, and what came before it was just forgotten.
        """
        self._between = True
        self._forget()

    def enter(self) -> None:
        """Partitions are assigned, and begin where they were acked last."""
        self._between = False
        self._forget()

    def _forget(self) -> None:
        self._assignment += 1
        self._unacked = []
        self._states.clear()

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """A batch in parts of so few subjects that all of them can be live at once."""
        part: list[tuple[Record, list[Observation]]] = []
        subjects: set[str | None] = set()
        for record, observations in batch:
            part.append((record, observations))
            subjects.update(map(self._bank.subject_of, observations))
            if len(subjects) > self._bank.max_subjects // 10:
                yield part
                part, subjects = [], set()
        if part:
            yield part

    def _message(self, finding: Finding) -> Message:
        return Message(
            partition=partition_of(finding.deployment, self._findings.topic.partitions),
            key=finding.deployment.encode(),
            value=msgspec.json.encode(finding),
        )


class Triage:
    """Findings to the store, once each, and to incidents."""

    def __init__(
        self, writer: Writer, dead_letters: DeadLetters, source: Topic, metrics: Metrics, casework: Casework
    ) -> None:
        """Write through `writer`; what is no finding in `source` is buried."""
        self._casework = casework
        self._metrics = metrics
        self._writer = writer
        self._dead_letters = dead_letters
        self._source = source

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 to 3 of triage; a rebalance in between leaves the batch un-acked."""
        found, broken = decoded(self._source, events, msgspec.json.Decoder(Finding))
        findings = deduplicated(finding for _, finding in found)
        await self._dead_letters.bury(broken)
        await self._writer.run(lambda store: store.insert_findings(findings))
        self._metrics.found(findings)
        for finding in findings:
            _log.warning("%s finding by %s: %s", finding.severity, finding.detector, printable(finding.summary))
        if await self._casework.take(findings):
            for event in events:
                event.ack()


def _stretches(batch: Batch) -> Iterator[tuple[int, list[tuple[int, list[Observation]]]]]:
    """The messages of each partition, in offset order, some at a time: the loop must not stand still for long."""
    waiting: dict[int, list[tuple[int, list[Observation]]]] = {}
    sizes: dict[int, int] = {}
    for record, observations in batch:
        waiting.setdefault(record.partition, []).append((record.offset, observations))
        sizes[record.partition] = size = sizes.get(record.partition, 0) + len(observations)
        if size >= _LEARNED_TOGETHER:
            yield record.partition, waiting.pop(record.partition)
            del sizes[record.partition]
    yield from waiting.items()
