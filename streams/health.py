"""What a worker answers over HTTP: three pages, two of them behind a token, and nothing else.

No framework on purpose: it would answer a malformed request with its own name, version and an echo, and wait
for as long as a client likes. Here a request is a few bytes in a few seconds, one to a connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from http import HTTPStatus

import msgspec

from streams.metrics import Metrics
from streams.readiness import Readiness

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 8_192
_PATIENCE_S = 5.0
"""Without it every connection that says nothing keeps a file descriptor for ever."""

_MAX_CONNECTIONS = 64
"""Without it whoever may connect takes all file descriptors, and the worker can reach neither Kafka nor ClickHouse."""

_TEXT = "text/plain; charset=utf-8"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Answer(msgspec.Struct, frozen=True):
    """A status and a body."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT


_NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b"not found\n")


class Pages:
    """What is answered to a request. Without a token `/readyz` and `/metrics` do not exist."""

    def __init__(self, readiness: Readiness, metrics: Metrics, token: str | None) -> None:
        """`token` is what a client has to bring as its bearer token."""
        self._readiness = readiness
        self._metrics = metrics
        self._token = token

    def answer(self, head: bytes) -> Answer:
        """The answer to a request's first line and headers; never raises for what a client sent."""
        line, *fields = head.split(b"\r\n")
        match line.split(b" "):
            case [b"GET" | b"HEAD", path, b"HTTP/1.0" | b"HTTP/1.1"]:
                return self._page(path.partition(b"?")[0], fields)
            case [_, _, b"HTTP/1.0" | b"HTTP/1.1"]:
                return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is answered\n")
        return Answer(HTTPStatus.BAD_REQUEST, b"no HTTP request\n")

    def _page(self, path: bytes, fields: list[bytes]) -> Answer:
        if path == b"/livez":
            return Answer(HTTPStatus.OK, b"alive\n")
        if self._token is None or path not in {b"/readyz", b"/metrics"}:
            return _NOT_FOUND
        if not self._is_authorized(fields, self._token):
            return Answer(HTTPStatus.UNAUTHORIZED, b"a bearer token is needed\n")
        if path == b"/metrics":
            return Answer(HTTPStatus.OK, self._metrics.exposition(), _PROMETHEUS)
        reasons = self._readiness.reasons()
        if reasons:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{reason}\n" for reason in reasons).encode())
        return Answer(HTTPStatus.OK, b"ready\n")

    @staticmethod
    def _is_authorized(fields: list[bytes], token: str) -> bool:
        """Compared in constant time: how long a wrong token takes tells nothing about the right one."""
        expected = b"bearer " + token.encode()
        for field in fields:
            name, _, value = field.partition(b":")
            if name.strip().lower() == b"authorization":
                scheme, _, given = value.strip().partition(b" ")
                return hmac.compare_digest(scheme.lower() + b" " + given.strip(), expected)
        return False


class HealthServer:
    """The pages on one address, in the event loop of the worker: where that hangs, nothing answers."""

    def __init__(self, pages: Pages, address: str) -> None:
        """`address` is ``host:port``; "" serves nothing."""
        self._pages = pages
        self._address = address
        self._connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. An address that cannot be had costs these pages and a warning, never the watching."""
        if not self._address:
            return
        host, _, port = self._address.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=_MAX_HEAD_BYTES)
        except OSError as error:
            _log.warning("no health pages: cannot listen on %s: %s", self._address, error.strerror)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _MAX_CONNECTIONS:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # whoever asked has gone, or finishes neither asking nor listening
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head, answer = b"", Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"too large\n")
        else:
            answer = self._pages.answer(head)
        writer.write(_encoded(answer, with_body=not head.startswith(b"HEAD ")))
        await writer.drain()


def _encoded(answer: Answer, *, with_body: bool) -> bytes:
    fields = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        "Server: inferwatch",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if answer.status is HTTPStatus.UNAUTHORIZED:
        fields.append("WWW-Authenticate: Bearer")
    return "\r\n".join([*fields, "", ""]).encode() + (answer.body if with_body else b"")
