"""The health pages: who gets an answer, and that nobody can tie the worker up by asking."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from streams import health
from streams.health import HealthServer, Pages
from streams.metrics import Metrics
from streams.readiness import Readiness
from tests.integration.servers import HOST, free_port

TOKEN = "correct-horse-battery"


class Worker:
    """The pages of a worker that is not there, on a real socket."""

    def __init__(self, token: str | None = TOKEN) -> None:
        self.readiness = Readiness()
        self.address = (HOST, free_port())
        self.server = HealthServer(
            Pages(self.readiness, Metrics(self.readiness), token), f"{self.address[0]}:{self.address[1]}"
        )

    async def ask(self, path: str, *headers: str, method: str = "GET") -> tuple[int, str]:
        """Status and everything after the status line."""
        head, _, rest = (
            await self.say("\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode())
        ).partition("\r\n")
        return int(head.split()[1]), rest

    async def say(self, request: bytes) -> str:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer.decode()


@asynccontextmanager
async def listening(worker: Worker) -> AsyncIterator[Worker]:
    await worker.server.start()
    try:
        yield worker
    finally:
        await worker.server.stop()


def with_worker(test: Callable[[Worker], Awaitable[None]], token: str | None = TOKEN) -> None:
    async def run() -> None:
        async with listening(Worker(token)) as worker:
            await test(worker)

    asyncio.run(run())


def test_without_credentials_only_livez_is_answered() -> None:
    async def ask(worker: Worker) -> None:
        status, rest = await worker.ask("/livez")
        assert status == 200 and rest.endswith("\r\n\r\nalive\n")
        for path in ("/readyz", "/metrics"):
            status, rest = await worker.ask(path)
            assert status == 401 and "WWW-Authenticate: Bearer" in rest
            assert "inferwatch_" not in rest

    with_worker(ask)


@pytest.mark.parametrize(
    "path",
    ["/", "/livez/", "/LIVEZ", "//livez", "/tables", "/router/x", "/graph", "/stats", "/../etc/passwd", "*", "/%6c"],
)
def test_any_other_path_is_not_found(path: str) -> None:
    async def ask(worker: Worker) -> None:
        assert (await worker.ask(path, f"Authorization: Bearer {TOKEN}"))[0] == 404

    with_worker(ask)


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_where_no_token_is_set_the_pages_behind_it_do_not_exist(path: str) -> None:
    async def ask(worker: Worker) -> None:
        for headers in ((), ("Authorization: Bearer None",), ("Authorization: Bearer ",)):
            assert (await worker.ask(path, *headers))[0] == 404

    with_worker(ask, token=None)


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer",
        "Authorization: Bearer wrong-horse-battery",
        f"Authorization: Bearer {TOKEN}x",
        f"Authorization: Bearer {TOKEN[:-1]}",
        f"Authorization: Basic {TOKEN}",
        f"Authorization: {TOKEN}",
        f"X-Authorization: Bearer {TOKEN}",
        f"Cookie: Authorization: Bearer {TOKEN}",
        f"Authorization: Bearer no\r\nAuthorization: Bearer {TOKEN}",
        "Authorization: Bearer \xff",
    ],
)
def test_another_token_is_refused(header: str) -> None:
    async def ask(worker: Worker) -> None:
        assert (await worker.ask("/metrics", header))[0] == 401

    with_worker(ask)


def test_readyz_says_what_is_waited_for_and_then_that_it_is_ready() -> None:
    async def ask(worker: Worker) -> None:
        token = f"authorization: bearer {TOKEN}"
        worker.readiness.wait("partitions", "no partitions are assigned yet")
        worker.readiness.retry("a", "clickhouse", "ClickHouse: MEMORY_LIMIT_EXCEEDED")
        worker.readiness.retry("b", "clickhouse", "ClickHouse: MEMORY_LIMIT_EXCEEDED")
        status, rest = await worker.ask("/readyz", token)
        assert status == 503
        assert rest.endswith("\r\n\r\nno partitions are assigned yet\nClickHouse: MEMORY_LIMIT_EXCEEDED\n")
        for key in ("partitions", "a"):
            worker.readiness.go_on(key)
        assert (await worker.ask("/readyz", token))[0] == 503, "b still waits"
        worker.readiness.go_on("b")
        assert (await worker.ask("/readyz?verbose", token))[0] == 200

    with_worker(ask)


def test_metrics_are_prometheus_text() -> None:
    async def ask(worker: Worker) -> None:
        worker.readiness.retry("a", "clickhouse", "down")
        status, rest = await worker.ask("/metrics", f"Authorization: Bearer {TOKEN}")
        assert status == 200
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in rest
        assert 'inferwatch_retries_total{sink="clickhouse"} 1.0\n' in rest
        assert "inferwatch_ready 0.0\n" in rest

    with_worker(ask)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/2.0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_of_ours_gets_a_status_no_version_and_no_echo(request_: bytes, status: int) -> None:
    async def ask(worker: Worker) -> None:
        answer = await worker.say(request_)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "\r\nServer: inferwatch\r\n" in answer
        assert not any(word in answer.lower() for word in ("python", "aiohttp", "faust", "hello", "traceback"))
        assert (await worker.ask("/livez"))[0] == 200

    with_worker(ask)


def test_a_head_request_gets_the_head_alone() -> None:
    async def ask(worker: Worker) -> None:
        status, rest = await worker.ask("/livez", method="HEAD")
        assert status == 200 and "Content-Length: 6" in rest and rest.endswith("\r\n\r\n")

    with_worker(ask)


def test_who_never_finishes_asking_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_S", 0.2)

    async def ask(worker: Worker) -> None:
        assert await asyncio.wait_for(worker.say(b"GET /livez HTT"), 20) == ""

    with_worker(ask)


def test_many_silent_connections_cost_the_newest_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_S", 1.0)

    async def ask(worker: Worker) -> None:
        silent = [await asyncio.open_connection(*worker.address) for _ in range(health._MAX_CONNECTIONS)]
        assert await asyncio.wait_for(worker.say(b""), 20) == "", "one too many is closed at once"
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        assert (await worker.ask("/livez"))[0] == 200
        for _, writer in silent:
            writer.close()

    with_worker(ask)


def test_an_address_that_is_taken_costs_a_warning_and_not_the_watching(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        worker = Worker()
        with socket.socket() as taken:
            taken.bind(worker.address)
            taken.listen()
            async with listening(worker):
                pass

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert "cannot listen on 127.0.0.1:" in caplog.text


def test_without_an_address_nothing_listens() -> None:
    async def run() -> None:
        readiness = Readiness()
        server = HealthServer(Pages(readiness, Metrics(readiness), TOKEN), "")
        await server.start()
        assert server._server is None
        await server.stop()

    asyncio.run(run())
