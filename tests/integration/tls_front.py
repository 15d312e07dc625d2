"""TLS in front of a plain server, as a load balancer does it: the engine that is our server here has no TLS itself."""

from __future__ import annotations

import asyncio
import ssl
import threading
from types import TracebackType
from typing import Self

from tests.integration.servers import HOST, free_port
from tests.security.authority import Authority

CHUNK_BYTES = 65_536


class TlsFront:
    """Forwards what comes in over TLS to `target_port`; only for clients with a certificate of `authority`."""

    def __init__(self, authority: Authority, target_port: int, address: str = f"IP:{HOST}") -> None:
        """`address` is what its certificate is for."""
        certificate, key = authority.issue("front", address)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
        self._context.load_cert_chain(certificate, key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._target_port = target_port
        self.port = free_port()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("nobody serves TLS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._forward, HOST, self.port, ssl=self._context):
            self._ready.set()
            await self._stopped.wait()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, self._target_port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one side to the other, until it ends or breaks."""
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
