"""How agents get batches, and what happens when one cannot go on: the only async code that knows Faust."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

import faust
import msgspec
from faust.streams import Stream
from faust.types import TP, EventT

from streams.dlq import WHOLE_RECORD, DeadLetter, DeadLetterLimitError, Record, Unreadable, dead_letter
from streams.filling import Filling
from streams.topics import Topic

_log = logging.getLogger(__name__)

EXIT_UNEXPECTED = 70
"""The exit status after an error nobody planned for; a supervisor restarts the worker."""

EXIT_DEAD_LETTERS = 78
"""The exit status when too many records are dead letters; a restart stops again until a person has looked."""

_IDLE_TURNS = 3
_IDLE_TURN_S = 100e-6
"""Turns of the loop, each shorter than this, after which it has nothing to do: one in which something is done takes
longer, and what feeds ingest takes some in a row for each record, with a thread in between."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Event = EventT[bytes]
Broken = list[tuple[DeadLetter, bytes]]


class Decoder(Protocol[T_co]):
    """A msgspec decoder."""

    def decode(self, value: bytes, /) -> T_co:
        """The value; raises `msgspec.MsgspecError`."""


class Handler(Protocol):
    """What an agent does with a batch: make it durable and ack it, or see that it is acked later."""

    async def handle(self, events: Sequence[Event]) -> None:
        """Return when the next batch may come; never raise for bad input."""


async def consume(
    stream: Stream[bytes], handler: Handler, is_current: Callable[[Event], bool], filling: Filling, wait_s: float
) -> None:
    """Feed a stream's batches to a handler. What an assignment brought that ends, or has ended, comes again."""
    async with _NoWayOut():
        unacked: Any = stream.noack()  # its annotation forgets that noack_take gives events, not values
        unacked.add_processor(filling.add)
        async for events in unacked.noack_take(filling, within=wait_s):
            filling.begin()
            current = [event for event in events if is_current(event)]
            if current:
                await handler.handle(current)


async def keep(task: Callable[[], Awaitable[None]]) -> None:
    """A background task whose failure ends the process, like that of an agent."""
    async with _NoWayOut():
        await task()


async def breathe(longest_s: float) -> None:
    """Let all else in the loop go on, until it has nothing left to do, and for `longest_s` at most."""
    now_s = time.monotonic()
    end_s, idle = now_s + longest_s, 0
    while idle < _IDLE_TURNS and now_s < end_s:
        await asyncio.sleep(0)
        began_s, now_s = now_s, time.monotonic()
        idle = idle + 1 if now_s - began_s < _IDLE_TURN_S else 0


def ask_before_partitions_go(app: faust.App, finish: Callable[[], Awaitable[None]]) -> None:
    """Await `finish` while what it acks can still be committed.

    When Faust's own signal comes it has forgotten all acks that it has not committed yet, up to a second of them.
    """
    its: Any = app.transport

    class Consumer(its.Consumer):  # type: ignore[misc]
        async def on_partitions_revoked(self, revoked: set[TP]) -> None:
            await finish()
            await super().on_partitions_revoked(revoked)

    its.Consumer = Consumer


class _NoWayOut:
    """Any error but a cancellation ends the process at once, before Faust acks what was not done."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            return
        if isinstance(error, DeadLetterLimitError):
            _log.critical("stops and acks nothing more: %s", error)
        else:
            _log.critical("ends at once and acks nothing more: %s", type(error).__name__, exc_info=error)
        logging.shutdown()
        os._exit(EXIT_DEAD_LETTERS if isinstance(error, DeadLetterLimitError) else EXIT_UNEXPECTED)


def to_record(event: Event) -> Record:
    """Kafka's record as our own value."""
    message = event.message
    headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers or ()
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        time_s=message.timestamp or time.time(),  # none only from clients older than Kafka 0.10
        value=b"" if message.value is None else message.value,
        key=message.key,
        headers=tuple((name, value or b"") for name, value in headers),
    )


def decoded(source: Topic, events: Sequence[Event], decoder: Decoder[T]) -> tuple[list[tuple[Record, T]], Broken]:
    """What our own topics hold, and what somebody else put there."""
    read, broken = [], []
    for event in events:
        record = to_record(event)
        try:
            read.append((record, decoder.decode(record.value)))
        except msgspec.MsgspecError as error:
            why = record.value.reason if isinstance(record.value, Unreadable) else error
            reason = f"not written by this version of inferwatch: {why}"
            letter = dead_letter(record, source.topic_id, reason, WHOLE_RECORD, lambda _head: "")
            broken.append((letter, record.value))
    return read, broken
