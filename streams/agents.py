"""The agents: the only async code that knows Faust. How a record is never lost, in numbered steps.

Every agent takes un-acked batches (`consume`), and its handler follows an order that makes a crash at
any point harmless:

ingest
    1. decode the batch into rows, observations and dead letters (pure, total);
    2. insert rows and dead letters into ClickHouse, send observations and dead letters to Kafka;
    3. when all of that is durable, ack the batch in offset order.
    A crash before 3 repeats 1 and 2 with the same identities: rows replace themselves, and observations
    that were learned already are skipped by the marks of `watch`.
watch
    1. recall the saved state of subjects that are not live, and the marks of partitions that are new here;
    2. apply the observations that were not learned before to the bank, in offset order;
    3. send the findings, wait until they are durable;
    4. every few seconds: save the state of changed subjects, each with its next offset, and the marks;
    5. when that is durable, ack what it covers, in offset order.
    A crash before 5 replays onto the state saved last; findings come out with the same identities.
triage
    1. insert the findings into ClickHouse; 2. when durable, ack.

A sink that is down is retried in place (`sinks.until_done`), for as long as it takes. Anything unexpected
ends the process before Faust could ack what it has not done: Faust acks a batch whose handler raises.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

import msgspec
from faust.streams import Stream
from faust.types import EventT

from detectors.bank import Bank
from detectors.types import Finding, Observation
from streams.dlq import WHOLE_RECORD, DeadLetter, Record, dead_letter, printable
from streams.marks import Marks
from streams.pipeline import Pipeline, partition_of
from streams.rows import SavedState
from streams.sinks import DeadLetters, Message, Sender, Writer, packed
from streams.snapshots import Origin, SnapshotRefusedError, seal, unseal
from streams.topics import Topic
from streams.triage import cold_start, deduplicated

_log = logging.getLogger(__name__)

EXIT_UNEXPECTED = 70
"""The exit status after an error nobody planned for; a supervisor restarts the worker."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Event = EventT[bytes]
Broken = list[tuple[DeadLetter, bytes]]
Keying = tuple[Sender, Callable[[Observation], str | None]]
"""A topic of observations and what its partitions are chosen by."""


class Ingest:
    """Raw records to stored events, observations and dead letters."""

    def __init__(
        self, pipeline: Pipeline, writer: Writer, dead_letters: DeadLetters, keyings: Sequence[Keying]
    ) -> None:
        """Observations go out once for each of `keyings`."""
        self._pipeline = pipeline
        self._writer = writer
        self._dead_letters = dead_letters
        self._keyings = keyings

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 to 3 of ingest."""
        records = {(event.message.partition, event.message.offset): to_record(event) for event in events}
        processed = await asyncio.to_thread(self._pipeline.process, records.values())
        observations = [row.observation for row in processed.stored]
        await asyncio.gather(
            self._writer.run(lambda store: store.insert_events(processed.stored)),
            self._dead_letters.bury(
                [(letter, records[letter.partition, letter.offset].value) for letter in processed.dead_letters]
            ),
            *(
                sender.send(packed(observations, subject_of, sender.topic.partitions))
                for sender, subject_of in self._keyings
            ),
        )
        for event in events:
            event.ack()


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
        snapshot_key: bytes,
        libraries: Mapping[str, str],
        snapshot_interval_s: float,
    ) -> None:
        """`libraries` are the versions that read and write state; `source` is the topic of observations."""
        self._bank = bank
        self._writer = writer
        self._findings = findings
        self._dead_letters = dead_letters
        self._source = source
        self._key = snapshot_key
        self._libraries = libraries
        self._interval_s = snapshot_interval_s
        self._marks = Marks()
        self._lock = asyncio.Lock()
        self._unacked: list[Event] = []
        self._assignment = 0

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 to 3 of watch; a rebalance in between drops the batch, un-acked."""
        async with self._lock:
            assignment = self._assignment
            batch, broken = _decoded(self._source, events, msgspec.msgpack.Decoder(list[Observation]))
            await self._dead_letters.bury(broken)
            findings = await self._recall(batch)
            if assignment != self._assignment:
                return
            for record, observations in batch:
                fresh = self._marks.fresh(record.partition, record.offset, observations)
                findings += self._bank.apply(record.partition, record.offset, fresh)
                await asyncio.sleep(0)
                if assignment != self._assignment:
                    return
            await self._findings.send(map(self._message, findings))
            if assignment == self._assignment:
                self._unacked += events

    async def save(self) -> None:
        """Steps 4 and 5 of watch."""
        async with self._lock:
            assignment, covered = self._assignment, self._unacked
            self._unacked = []
            scope = self._bank.scope
            rows = [self._sealed(scope, *changed) for changed in self._bank.take_changed()]
            # Last, so that marks are never durable before what they say was learned.
            rows += [self._sealed(_marks_of(scope), str(each[0]), *each) for each in self._marks.take_changed()]
            await self._writer.run(lambda store: store.insert_snapshots(rows))
            if assignment == self._assignment:
                for event in covered:
                    event.ack()

    async def save_regularly(self) -> None:
        """Save for ever, every `snapshot_interval_s` seconds."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.save()

    def forget(self) -> None:
        """Partitions move: what is live and un-acked here is another's, or comes again."""
        self._assignment += 1
        self._unacked = []
        self._bank.clear()
        self._marks.clear()

    async def _recall(self, batch: Sequence[tuple[Record, list[Observation]]]) -> list[Finding]:
        """Bring back the state of subjects that are not live; a refused snapshot becomes a finding."""
        first_seen: dict[str, tuple[Record, Observation]] = {}
        for record, observations in batch:
            for observation in observations:
                subject = self._bank.subject_of(observation)
                if subject is not None:
                    first_seen.setdefault(subject, (record, observation))
        by_partition = {str(record.partition): (record, observation) for record, observation in first_seen.values()}
        scope = self._bank.scope
        findings = await self._recall_all(scope, self._bank.unknown(first_seen), first_seen, self._bank.admit)
        strangers = {str(partition) for partition in self._marks.unknown(record.partition for record, _ in batch)}
        for partition in strangers - by_partition.keys():
            self._marks.admit(int(partition), None)  # nothing but empty messages
        findings += await self._recall_all(
            _marks_of(scope),
            strangers & by_partition.keys(),
            by_partition,
            lambda _subject, partition, state: self._marks.admit(partition, state),
        )
        return findings

    async def _recall_all(
        self,
        scope: str,
        subjects: set[str],
        first_seen: Mapping[str, tuple[Record, Observation]],
        admit: Callable[[str, int, bytes | None], None],
    ) -> list[Finding]:
        if not subjects:
            return []
        names, topic = sorted(subjects), self._source
        saved = await self._writer.run(lambda store: store.snapshots(topic.topic_id, scope, topic.name, names))
        findings = []
        for subject in names:
            record, observation = first_seen[subject]
            row = saved.get(subject)
            try:
                admit(subject, record.partition, None if row is None else self._opened(row, record.partition))
            except (SnapshotRefusedError, msgspec.MsgspecError) as error:
                findings.append(cold_start(scope, subject, observation, str(error)))
                admit(subject, record.partition, None)
        return findings

    def _opened(self, row: SavedState, partition: int) -> bytes:
        origin = self._origin(row.scope, row.subject, partition, row.next_offset)
        return unseal(row.envelope, origin, self._libraries, (self._key,))

    def _origin(self, scope: str, subject: str, partition: int, next_offset: int) -> Origin:
        return Origin(
            topic_id=self._source.topic_id,
            topic=self._source.name,
            partition=partition,
            scope=scope,
            subject=subject,
            next_offset=next_offset,
        )

    def _sealed(self, scope: str, subject: str, partition: int, next_offset: int, state: bytes) -> SavedState:
        origin = self._origin(scope, subject, partition, next_offset)
        return SavedState(
            topic_id=origin.topic_id,
            scope=scope,
            topic=origin.topic,
            subject=subject,
            partition=partition,
            next_offset=next_offset,
            envelope=seal(origin, state, self._libraries, self._key),
        )

    def _message(self, finding: Finding) -> Message:
        return Message(
            partition=partition_of(finding.deployment, self._findings.topic.partitions),
            key=finding.deployment.encode(),
            value=msgspec.json.encode(finding),
        )


def _marks_of(scope: str) -> str:
    """The scope under which a bank's marks are saved."""
    return f"{scope}.marks"


class Triage:
    """Findings to the store, once each."""

    def __init__(self, writer: Writer, dead_letters: DeadLetters, source: Topic) -> None:
        """Write through `writer`; what is no finding in `source` is buried."""
        self._writer = writer
        self._dead_letters = dead_letters
        self._source = source

    async def handle(self, events: Sequence[Event]) -> None:
        """Steps 1 and 2 of triage."""
        decoded, broken = _decoded(self._source, events, msgspec.json.Decoder(Finding))
        findings = deduplicated(finding for _, finding in decoded)
        await self._dead_letters.bury(broken)
        await self._writer.run(lambda store: store.insert_findings(findings))
        for finding in findings:
            _log.warning("%s finding by %s: %s", finding.severity, finding.detector, printable(finding.summary))
        for event in events:
            event.ack()


class Decoder(Protocol[T_co]):
    """A msgspec decoder."""

    def decode(self, value: bytes, /) -> T_co:
        """The value; raises `msgspec.MsgspecError`."""


class Handler(Protocol):
    """What an agent does with a batch: make it durable and ack it, or see that it is acked later."""

    async def handle(self, events: Sequence[Event]) -> None:
        """Return when the next batch may come; never raise for bad input."""


async def consume(
    stream: Stream[bytes], handler: Handler, generation: Callable[[], int], batch: int, wait_s: float
) -> None:
    """Feed a stream's batches to a handler. Messages fetched before a rebalance are left: they come again."""
    async with _NoWayOut():
        unacked: Any = stream.noack()  # its annotation forgets that noack_take gives events, not values
        async for events in unacked.noack_take(batch, within=wait_s):
            current = [event for event in events if event.message.generation_id == generation()]
            if current:
                await handler.handle(current)


async def keep(task: Callable[[], Awaitable[None]]) -> None:
    """A background task whose failure ends the process, like that of an agent."""
    async with _NoWayOut():
        await task()


class _NoWayOut:
    """Any error but a cancellation ends the process at once, before Faust acks what was not done."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            return
        _log.critical("ends at once and acks nothing more: %s", type(error).__name__, exc_info=error)
        logging.shutdown()
        os._exit(EXIT_UNEXPECTED)


def to_record(event: Event) -> Record:
    """Kafka's record as our own value."""
    message = event.message
    headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers or ()
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        time_s=message.timestamp or time.time(),  # none only from clients older than Kafka 0.10
        value=message.value or b"",
        key=message.key,
        headers=tuple((name, value or b"") for name, value in headers),
    )


def _decoded(source: Topic, events: Sequence[Event], decoder: Decoder[T]) -> tuple[list[tuple[Record, T]], Broken]:
    """What our own topics hold, and what somebody else put there."""
    decoded, broken = [], []
    for event in events:
        record = to_record(event)
        try:
            decoded.append((record, decoder.decode(record.value)))
        except msgspec.MsgspecError as error:
            reason = f"not written by this version of inferwatch: {error}"
            letter = dead_letter(record, source.topic_id, reason, WHOLE_RECORD, lambda _head: "")
            broken.append((letter, record.value))
    return decoded, broken
