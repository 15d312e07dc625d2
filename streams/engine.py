"""The embedded ClickHouse engine as a process of its own, behind a small HTTP face.

One process may own an engine's directory, and three want to read it on one machine: the worker, the verbs in a second
terminal, Grafana. So this process owns it and speaks enough of ClickHouse's HTTP interface for them: query in the URL
or the body, `database`, `default_format`, `param_*`, settings in the URL, compressed inserts, ClickHouse's own errors.
Not spoken: sessions, external data, compressed or streamed answers (an answer is built in memory).

Loopback only: whoever may query may also read files through `file()`.

    python -m streams.engine --path var/clickhouse --port 18123
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import re
import signal
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import BasicAuth, web

from streams.embedded import Engine, EngineError, QueryError, Statement, decompress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
PASSWORD_VARIABLE = "INFERWATCH_ENGINE_PASSWORD"  # noqa: S105 - the variable's name, not a password

QUERY_THREADS = 8
"""Statements that run at once; more wait. Keeps a burst of dashboard panels from exhausting memory."""

MAX_BODY_BYTES = 512 * 1024 * 1024
"""A larger request gets 413. A body is held whole: this keeps one runaway insert from taking the machine's memory."""

MAX_URL_BYTES = 1024 * 1024
"""As ClickHouse's http_max_uri_size: queries and parameters travel in the URL."""

DRAIN_S = 1.0
"""How long running requests may go on after SIGTERM, and again after they were cancelled."""

# What the HTTP transport means for itself; the engine would reject them as unknown settings.
TRANSPORT_PARAMETERS = frozenset(
    {
        "buffer_size",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    }
)
CONTENT_TYPES = {
    "CSV": "text/csv",
    "JSON": "application/json",
    "JSONCompact": "application/json",
    "JSONEachRow": "application/x-ndjson",
    "TSV": "text/tab-separated-values",
    "TabSeparated": "text/tab-separated-values",
}
# ClickHouse's statuses for its error numbers; what is not here is a 500.
HTTP_STATUS = {36: 400, 43: 400, 47: 404, 48: 501, 60: 404, 62: 400, 73: 400, 81: 404, 115: 404, 164: 403, 516: 403}


class Face:
    """ClickHouse's HTTP interface over an engine."""

    def __init__(self, engine: Engine, password: str) -> None:
        """An empty `password` asks for none."""
        self._engine = engine
        self._password = password
        self.threads = ThreadPoolExecutor(QUERY_THREADS, thread_name_prefix="query")

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/ping", self.ping)
        app.router.add_route("*", "/", self.query)
        return app

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer that the process lives; no password asked, as in ClickHouse."""
        return web.Response(text="Ok.\n")

    async def query(self, request: web.Request) -> web.Response:
        """Run the statement of one request."""
        asked_id = request.query.get("query_id", "")
        headers = {
            "X-ClickHouse-Query-Id": asked_id if re.fullmatch(r"[\w.:-]{1,128}", asked_id) else str(uuid.uuid4()),
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            refuse_browsers(request)
            self._authenticate(request)
            statement = await statement_of(request)
            if not statement.sql.strip():
                return web.Response(text="Ok.\n", headers=headers)
            answer = await asyncio.get_running_loop().run_in_executor(self.threads, self._engine.run, statement)
        except QueryError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            return web.Response(text=f"{error}\n", status=HTTP_STATUS.get(error.code, 500), headers=headers)
        headers["X-ClickHouse-Summary"] = json.dumps(answer.summary)
        content_type = "text/plain"
        if answer.format_name is not None:
            headers["X-ClickHouse-Format"] = answer.format_name
            content_type = CONTENT_TYPES.get(answer.format_name, "application/octet-stream")
        return web.Response(body=answer.body, headers=headers, content_type=content_type)

    def _authenticate(self, request: web.Request) -> None:
        if not self._password:
            return
        given = request.headers.get("X-ClickHouse-Key", "")
        if not given and request.headers.get("Authorization", "").startswith("Basic "):
            try:
                given = BasicAuth.decode(request.headers["Authorization"], encoding="utf-8").password
            except ValueError:
                given = ""
        if not hmac.compare_digest(given.encode(), self._password.encode()):
            raise QueryError("Code: 516. DB::Exception: Authentication failed: wrong password. (AUTHENTICATION_FAILED)")


def refuse_browsers(request: web.Request) -> None:
    """Refuse pages that a browser on this machine has open: they reach loopback too, by a form or a rebound name."""
    host = request.headers.get("Host", "")
    name = re.sub(r":\d+$", "", host)
    origin = re.sub(r"^https?://|:\d+$", "", request.headers.get("Origin", LOOPBACK))
    if name not in LOOPBACK_NAMES or origin not in LOOPBACK_NAMES:
        raise QueryError("Code: 516. DB::Exception: Only programs on this machine may query. (AUTHENTICATION_FAILED)")


async def statement_of(request: web.Request) -> Statement:
    """Decode a request: the SQL is the URL's `query`, then the body, as in ClickHouse."""
    fields: dict[str, str] = {}
    body = b""
    if request.content_type == "multipart/form-data":
        for name, value in (await request.post()).items():
            if not isinstance(value, str):
                raise QueryError("Code: 48. DB::Exception: External data is not served here. (NOT_IMPLEMENTED)")
            fields[name] = value
    else:
        body = decompress(await request.read(), request.headers.get("Content-Encoding", "").lower())
    parameters: Mapping[str, str] = {**request.query, **fields}
    head = parameters.get("query", "").encode()
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in TRANSPORT_PARAMETERS and not name.startswith("param_")
    }
    if request.method == "GET":  # as in ClickHouse: what a link can start changes nothing
        settings.setdefault("readonly", "2")
    database = parameters.get("database") or request.headers.get("X-ClickHouse-Database") or ""
    return Statement(
        sql=head + b"\n" + body if head and body else head + body,
        output_format=parameters.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated",
        database=database,
        params={name[len("param_") :]: value for name, value in parameters.items() if name.startswith("param_")},
        settings=settings,
    )


def listen(port: int) -> socket.socket:
    """Bind to loopback before the engine opens, so that a taken port costs no wait."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise EngineError(f"port {port} cannot be bound ({error.strerror}): choose another with --port") from None
    return listener


async def serve(engine: Engine, listener: socket.socket, password: str) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end for `DRAIN_S` seconds."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    face = Face(engine, password)
    runner = web.AppRunner(
        face.application(),
        access_log=None,
        auto_decompress=False,  # aiohttp would undo the first frame only
        max_field_size=MAX_URL_BYTES,
        max_line_size=MAX_URL_BYTES,
        shutdown_timeout=DRAIN_S,
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await stopping.wait()
    await runner.cleanup()
    face.threads.shutdown(wait=False, cancel_futures=True)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the process; the exit status is 1 with one line on standard error when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m streams.engine", description="The embedded ClickHouse engine.")
    parser.add_argument("--path", type=Path, required=True, help="directory of the tables; one process may own it")
    parser.add_argument("--port", type=int, required=True, help="HTTP port on 127.0.0.1")
    options = parser.parse_args(arguments)
    try:
        listener = listen(options.port)
        engine = Engine(options.path.resolve())
    except (EngineError, OSError) as error:
        sys.stderr.write(f"engine: {error}\n")
        return 1
    sys.stderr.write(f"engine: {options.path} on http://{LOOPBACK}:{options.port}\n")
    asyncio.run(serve(engine, listener, environment.get(PASSWORD_VARIABLE, "")))
    engine.close()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:], os.environ)
    sys.stderr.flush()
    os._exit(status)  # a statement still running in its thread would hold up a normal exit
