"""Where things become durable: calls return when they are, and wait out whatever is down.

A sink that fails is retried in place with growing pauses, for as long as it takes, so that nothing
behind it can be acked. Only errors that mean *not now* are retried; any other is the caller's end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec
import tenacity

from detectors.types import Observation
from streams.clickhouse import Store, StoreError, UnstorableError
from streams.dlq import CONTENT_TYPE, EVENTS, ORIGIN, REASON, SHA256, DeadLetter
from streams.pipeline import by_partition
from streams.readiness import Readiness
from streams.topics import MAX_MESSAGE_BYTES, BrokerError, Topic

_log = logging.getLogger(__name__)

_NOT_NOW = (StoreError, BrokerError, OSError, TimeoutError)
_LONGEST_PAUSE_S = 10.0
_PATIENCE_S = 5.0
"""Until the worker says that it waits: a sink that hangs lets an attempt fail only after its time-out, a minute."""

_OBSERVATIONS_PER_MESSAGE = 1_000
_REASONS_CHARS = 4_000

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message to a chosen partition."""

    partition: int
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Outlet(Protocol):
    """Kafka, as far as a sink knows it."""

    async def send(self, topic: str, message: Message) -> None:
        """Return when the message is durable; raise `BrokerError` when it is not."""


class Writer:
    """A store and the one thread that may use it."""

    def __init__(self, store: Store, readiness: Readiness | None = None) -> None:
        """Take over `store`; `readiness` is told while it is waited for."""
        self._store = store
        self._readiness = readiness or Readiness()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")

    async def run(self, call: Callable[[Store], T]) -> T:
        """What `call` gives, once the store has answered it."""
        loop = asyncio.get_running_loop()
        return await until_done(
            lambda: loop.run_in_executor(self._thread, call, self._store), "clickhouse", self._readiness
        )


class Sender:
    """Messages to one topic, all durable before `send` returns."""

    def __init__(self, outlet: Outlet, topic: Topic, readiness: Readiness | None = None) -> None:
        """Send to `topic` through `outlet`; `readiness` is told while it is waited for."""
        self._outlet = outlet
        self._readiness = readiness or Readiness()
        self.topic = topic

    async def send(self, messages: Iterable[Message]) -> None:
        """Send to all partitions at once, and to each in order: a message only when the one before is durable."""
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.partition, []).append(message)
        await asyncio.gather(*map(self._send_in_order, by_partition.values()))

    async def _send_in_order(self, messages: Iterable[Message]) -> None:
        for message in messages:
            await until_done(functools.partial(self._outlet.send, self.topic.name, message), "kafka", self._readiness)


class DeadLetters:
    """Dead letters, as a row to look at and as a message that still has the record's bytes."""

    def __init__(self, writer: Writer, sender: Sender) -> None:
        """Rows through `writer`, messages through `sender`."""
        self._writer = writer
        self._sender = sender

    async def bury(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> None:
        """Return when the letters, each with its record's value, are durable in both places."""
        if not letters:
            return
        rows = [letter for letter, _ in letters]
        of_record: dict[tuple[str, int, int], list[DeadLetter]] = {}
        for letter in rows:
            of_record.setdefault((letter.topic, letter.partition, letter.offset), []).append(letter)
        values = {(letter.topic, letter.partition, letter.offset): value for letter, value in letters}
        await asyncio.gather(
            self._writer.run(lambda store: store.insert_dead_letters(rows)),
            self._sender.send(self._message(of_record[place], value) for place, value in values.items()),
        )

    def _message(self, letters: Sequence[DeadLetter], value: bytes) -> Message:
        """One message a record: ten thousand bad events in a megabyte would otherwise be ten gigabytes of Kafka."""
        first = letters[0]
        reasons = "; ".join(dict.fromkeys(letter.reason for letter in letters))
        events = ",".join(str(letter.event_index) for letter in letters)
        return Message(
            partition=first.partition % self._sender.topic.partitions,
            value=value[: MAX_MESSAGE_BYTES - len(events)],
            headers=(
                (ORIGIN, f"{first.topic}:{first.partition}:{first.offset}".encode()),
                (EVENTS, events.encode()),
                (REASON, reasons[:_REASONS_CHARS].encode()),
                (CONTENT_TYPE, first.content_type.encode()),
                (SHA256, first.sha256.encode()),
            ),
        )


def insert_apart(insert: Callable[[Sequence[T]], None], rows: Sequence[T]) -> list[tuple[T, str]]:
    """Insert `rows`, and give those back that will never be stored, with the reason; halving finds them.

    One such row, retried with its batch, would keep its partition waiting for ever. Raises `StoreError`.
    """
    try:
        insert(rows)
    except UnstorableError as error:
        if len(rows) == 1:
            return [(rows[0], str(error))]
        half = len(rows) // 2
        return [*insert_apart(insert, rows[:half]), *insert_apart(insert, rows[half:])]
    return []


def packed(
    observations: Sequence[Observation], subject_of: Callable[[Observation], str | None], partitions: int
) -> Iterable[Message]:
    """Observations packed by target partition, in messages that Kafka takes."""
    for partition, rows in by_partition(observations, subject_of, partitions).items():
        for start in range(0, len(rows), _OBSERVATIONS_PER_MESSAGE):
            yield from _fitting(partition, rows[start : start + _OBSERVATIONS_PER_MESSAGE])


def _fitting(partition: int, rows: Sequence[Observation]) -> Iterable[Message]:
    value = msgspec.msgpack.encode(rows)
    if len(value) <= MAX_MESSAGE_BYTES or len(rows) == 1:
        yield Message(partition=partition, value=value)
        return
    half = len(rows) // 2
    yield from _fitting(partition, rows[:half])
    yield from _fitting(partition, rows[half:])


async def until_done(attempt: Callable[[], Awaitable[T]], sink: str, readiness: Readiness) -> T:
    """What `attempt` gives, after as many tries as it takes; raises what does not mean *not now*."""
    key = object()

    def say(state: tenacity.RetryCallState) -> None:
        readiness.retry(key, sink, _logged(state))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(_NOT_NOW),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=_LONGEST_PAUSE_S),
        before_sleep=say,
    )

    def say_unanswered() -> None:
        reason = f"{sink} has not answered for {_PATIENCE_S:.0f} s"
        _log.warning("not durable yet: %s", reason)
        readiness.wait(key, reason)

    async def call() -> T:
        patience = asyncio.get_running_loop().call_later(_PATIENCE_S, say_unanswered)
        try:
            return await attempt()
        finally:
            patience.cancel()

    try:
        return await retrying(call)
    finally:
        readiness.go_on(key)


def _logged(state: tenacity.RetryCallState) -> str:
    """Why it is tried again, as it was logged: our own errors are one line without secrets, others are named."""
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    reason = str(error) if isinstance(error, StoreError | BrokerError) else type(error).__name__
    _log.warning("not durable yet, attempt %d, next in %.1f s: %s", state.attempt_number, pause_s, reason)
    return reason
