"""A TCP proxy that stands between a worker and one dependency, and does to it what networks do.

    with Proxy(kafka.behind_proxy_port, split=kafka_frames, port=kafka.proxy_port) as proxy: ...
    with Proxy(clickhouse.port) as proxy: ...      # the worker is given proxy.port

Weather, for all connections at once, until `clear()`:
    `delay(s)`, `throttle(bytes_per_s)`, `blackhole()` (connections stay open and nothing passes, then what was
    held goes on, as after a partition), `refuse()` (resets every connection, and every new one).
`reset()` resets the connections there are; new ones are served.

One message, for the order of steps:
    `trap(matches, stage, skip=0)` holds the first request that matches (after `skip` others): BEFORE it reaches
    the server, INSIDE when half of it has, or AFTER the server has answered and before the client knows. Then
    `trap.wait()` returns and the test does its worst; `trap.let_go()` delivers what is held, `trap.cut()` drops
    it and resets the connection. A trap AFTER that is cut is the ambiguous insert.
`watch(matches, see)` calls `see(message)` in a thread before each request that matches is passed on.

What matches: `insert_into("findings")`, `clickhouse(b"FROM detector_snapshots")`, `kafka_request(PRODUCE, b"topic")`,
or any predicate. Matching
sees whole messages of Kafka's protocol and raw chunks of any other. An insert of clickhouse-connect is compressed,
but its first words are always literal. The proxy runs in a thread of its own; every method may be called from
the test's thread and returns when it is in force.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import enum
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self, TypeVar

from tests.integration.servers import HOST, free_port

T = TypeVar("T")

Matches = Callable[[bytes], bool]
Split = Callable[[bytearray], Iterator[bytes]]
"""Takes whole messages off the front of what has arrived."""

CHUNK_BYTES = 65_536
ANSWER_S = 30.0

PRODUCE, FETCH, OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT = 0, 1, 8, 11, 12
"""Kafka's API keys."""

_LENGTH_BYTES = 4


class Stage(enum.Enum):
    """How far a trapped request gets."""

    BEFORE = "before"
    INSIDE = "inside"
    AFTER = "after"


def raw_chunks(arrived: bytearray) -> Iterator[bytes]:
    """Everything there is, as it came."""
    chunk = bytes(arrived)
    arrived.clear()
    yield chunk


def kafka_frames(arrived: bytearray) -> Iterator[bytes]:
    """Whole requests or responses, each behind its length."""
    while len(arrived) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(arrived[:_LENGTH_BYTES], "big")
        if len(arrived) < end:
            return
        frame = bytes(arrived[:end])
        del arrived[:end]
        yield frame


def kafka_request(api_key: int, text: bytes = b"") -> Matches:
    """A request of one kind, with `text` (a topic's name, say) somewhere inside."""
    return lambda frame: int.from_bytes(frame[4:6], "big") == api_key and text in frame


def insert_into(table: str) -> Matches:
    """An insert into a table, however its name is quoted."""
    pattern = re.compile(rf"INSERT INTO (?:`?\w+`?\.)?`?{table}`? ".encode())
    return lambda chunk: pattern.search(chunk) is not None


def clickhouse(words: bytes) -> Matches:
    """A statement with these words in it."""
    return lambda chunk: words in chunk


class Trap:
    """One request to wait for; see the module."""

    def __init__(self, matches: Matches, stage: Stage, skip: int) -> None:
        """Use `Proxy.trap`."""
        self.matches = matches
        self.stage = stage
        self.skip = skip
        self._reached = threading.Event()
        self._verdict: concurrent.futures.Future[bool] = concurrent.futures.Future()

    @property
    def sprung(self) -> bool:
        """Whether the request is held (or was)."""
        return self._reached.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Whether the request came within `timeout_s`; it is held from then on."""
        return self._reached.wait(timeout_s)

    def let_go(self) -> None:
        """Deliver what is held, now or when it comes."""
        self._decide(passes=True)

    def cut(self) -> None:
        """Drop what is held and reset its connection, now or when it comes."""
        self._decide(passes=False)

    async def hold(self) -> bool:
        """Hold until the test has decided; whether to deliver."""
        self._reached.set()
        return await asyncio.wrap_future(self._verdict)

    def _decide(self, *, passes: bool) -> None:
        if not self._verdict.done():
            self._verdict.set_result(passes)


class _CutError(Exception):
    """This connection is to be reset."""


_USUAL = (_CutError, OSError, asyncio.IncompleteReadError)
"""How a connection ends."""


class _Connection:
    """A client's connection and the one made for it; `awaited` is a trap AFTER, with the request it is for."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.awaited: tuple[Trap, bytes] | None = None


class Proxy:
    """Listens on `port` (a free one unless given) and passes on to `server_port`; see the module."""

    def __init__(self, server_port: int, split: Split = raw_chunks, port: int | None = None) -> None:
        """Listen from `start` on."""
        self.port = free_port() if port is None else port
        self._server_port = server_port
        self._split = split
        self._delay_s = 0.0
        self._bytes_per_s: float | None = None
        self._refusing = False
        self._traps: list[Trap] = []
        self._watches: list[tuple[Matches, Callable[[bytes], None]]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._bugs: list[Exception] = []
        self._loop = asyncio.new_event_loop()
        self._passable = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._passable.set()
        self._listening = self._do(asyncio.start_server(self._serve, HOST, self.port, backlog=512))

    def stop(self) -> None:
        """Let every trap go, reset every connection, end the thread."""
        for trap in self._traps:
            trap.cut()

        async def close() -> None:
            self._listening.close()
            self._reset_all()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._do(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._bugs:
            raise ExceptionGroup("what a predicate or a watch raised cost its connection", self._bugs)

    def clear(self) -> None:
        """Fair weather: pass everything, what was held first. Traps stay."""
        self._set(delay_s=0.0, bytes_per_s=None, passable=True, refusing=False)

    def delay(self, delay_s: float) -> None:
        """Pass every message this much later, in both directions."""
        self._set(delay_s=delay_s, bytes_per_s=None, passable=True, refusing=False)

    def throttle(self, bytes_per_s: float) -> None:
        """Pass each direction of each connection this slowly."""
        self._set(delay_s=0.0, bytes_per_s=bytes_per_s, passable=True, refusing=False)

    def blackhole(self) -> None:
        """Pass nothing and close nothing; new connections are accepted and hang."""
        self._set(delay_s=0.0, bytes_per_s=None, passable=False, refusing=False)

    def refuse(self) -> None:
        """Reset every connection, and every new one."""
        self._set(delay_s=0.0, bytes_per_s=None, passable=True, refusing=True)
        self.reset()

    def reset(self) -> None:
        """Reset the connections there are."""

        async def reset() -> None:
            self._reset_all()

        self._do(reset())

    def trap(self, matches: Matches, stage: Stage, skip: int = 0) -> Trap:
        """Hold the first request that matches, after `skip` that pass."""
        trap = Trap(matches, stage, skip)

        async def add() -> None:
            self._traps.append(trap)

        self._do(add())
        return trap

    def watch(self, matches: Matches, see: Callable[[bytes], None]) -> None:
        """Show every request that matches before it is passed on."""

        async def add() -> None:
            self._watches.append((matches, see))

        self._do(add())

    def _do(self, what: Awaitable[T]) -> T:
        async def run() -> T:
            return await what

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(ANSWER_S)

    def _set(self, *, delay_s: float, bytes_per_s: float | None, passable: bool, refusing: bool) -> None:
        async def change() -> None:
            self._delay_s, self._bytes_per_s, self._refusing = delay_s, bytes_per_s, refusing
            if passable:
                self._passable.set()
            else:
                self._passable.clear()

        self._do(change())

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._writers.add(client)
        server: asyncio.StreamWriter | None = None
        try:
            await self._passable.wait()
            if self._refusing:
                return
            from_server, server = await asyncio.open_connection(HOST, self._server_port)
            self._writers.add(server)
            connection = _Connection(client, server)
            pumps = [
                asyncio.create_task(self._requests(connection, from_client)),
                asyncio.create_task(self._responses(connection, from_server)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                ends = await asyncio.gather(*pumps, return_exceptions=True)
                self._bugs += [end for end in ends if isinstance(end, Exception) and not isinstance(end, _USUAL)]
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the proxy ends: the client sees its connection reset
        finally:
            for writer in (client, server):
                if writer is not None:
                    self._writers.discard(writer)
                    _reset(writer)

    async def _requests(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        async for message in self._messages(reader):
            for matches, see in self._watches:
                if matches(message):
                    await asyncio.to_thread(see, message)
            trap = self._trap_for(message)
            rest = message
            if trap is not None and trap.stage is Stage.AFTER:
                connection.awaited = (trap, message)
            elif trap is not None:
                half = len(message) // 2 if trap.stage is Stage.INSIDE else 0
                await self._pass(connection.server, message[:half])
                if not await trap.hold():
                    raise _CutError
                rest = message[half:]
            await self._pass(connection.server, rest)

    async def _responses(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        async for message in self._messages(reader):
            if connection.awaited is not None:
                trap, request = connection.awaited
                if self._answers(message, request):
                    connection.awaited = None
                    if not await trap.hold():
                        raise _CutError
            await self._pass(connection.client, message)

    def _answers(self, response: bytes, request: bytes) -> bool:
        """Kafka's requests overlap and carry a correlation id; any other protocol here answers in turn."""
        return self._split is not kafka_frames or response[4:8] == request[8:12]

    async def _messages(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        arrived = bytearray()
        while chunk := await reader.read(CHUNK_BYTES):
            arrived += chunk
            for message in self._split(arrived):
                yield message

    def _trap_for(self, message: bytes) -> Trap | None:
        for trap in self._traps:
            if not trap.matches(message):
                continue
            if trap.skip > 0:
                trap.skip -= 1
                continue
            self._traps.remove(trap)
            return trap
        return None

    async def _pass(self, writer: asyncio.StreamWriter, message: bytes) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self._bytes_per_s:
            await asyncio.sleep(len(message) / self._bytes_per_s)
        await self._passable.wait()
        writer.write(message)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, as from a machine that is gone, and not a polite end."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
