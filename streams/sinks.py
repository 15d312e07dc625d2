"""Where things become durable: calls return when they are, and wait out whatever is down.

A sink that fails is retried in place with growing pauses, for as long as it takes, so that nothing
behind it can be acked. Only errors that mean *not now* are retried; any other is the caller's end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec
import tenacity

from detectors.types import Observation
from streams.clickhouse import Store, StoreError
from streams.dlq import DeadLetter
from streams.pipeline import by_partition
from streams.topics import MAX_MESSAGE_BYTES, BrokerError, Topic

_log = logging.getLogger(__name__)

_NOT_NOW = (StoreError, BrokerError, OSError, TimeoutError)
_LONGEST_PAUSE_S = 10.0
_OBSERVATIONS_PER_MESSAGE = 1_000

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

    def __init__(self, store: Store) -> None:
        """Take over `store`."""
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")

    async def run(self, call: Callable[[Store], T]) -> T:
        """What `call` gives, once the store has answered it."""
        loop = asyncio.get_running_loop()
        return await until_done(lambda: loop.run_in_executor(self._thread, call, self._store))


class Sender:
    """Messages to one topic, all durable before `send` returns."""

    def __init__(self, outlet: Outlet, topic: Topic) -> None:
        """Send to `topic` through `outlet`."""
        self._outlet = outlet
        self.topic = topic

    async def send(self, messages: Iterable[Message]) -> None:
        """Send to all partitions at once, and to each in order: a message only when the one before is durable."""
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.partition, []).append(message)
        await asyncio.gather(*map(self._send_in_order, by_partition.values()))

    async def _send_in_order(self, messages: Iterable[Message]) -> None:
        for message in messages:
            await until_done(lambda message=message: self._outlet.send(self.topic.name, message))  # type: ignore[misc]  # mypy cannot infer a lambda with a default


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
        await asyncio.gather(
            self._writer.run(lambda store: store.insert_dead_letters(rows)),
            self._sender.send(self._message(letter, value) for letter, value in letters),
        )

    def _message(self, letter: DeadLetter, value: bytes) -> Message:
        origin = f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.event_index}"
        return Message(
            partition=letter.partition % self._sender.topic.partitions,
            value=value[:MAX_MESSAGE_BYTES],
            headers=(
                ("origin", origin.encode()),
                ("reason", letter.reason.encode()),
                ("content-type", letter.content_type.encode()),
                ("sha256", letter.sha256.encode()),
            ),
        )


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


async def until_done(attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` gives, after as many tries as it takes; raises what does not mean *not now*."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(_NOT_NOW),
        wait=tenacity.wait_exponential_jitter(initial=0.1, max=_LONGEST_PAUSE_S),
        before_sleep=_say,
    )

    async def call() -> T:
        return await attempt()

    return await retrying(call)


def _say(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    _log.warning("not durable yet, attempt %d, next in %.1f s: %s", state.attempt_number, pause_s, error)
