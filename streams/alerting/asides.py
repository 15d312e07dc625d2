"""Calls that may hang, in a thread that nobody waits for at the end: what hangs must not hold a worker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def aside(call: Callable[[], T]) -> T:
    """What `call` gives or raises, from a thread of its own."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()

    def settle(answer: Callable[[], T]) -> None:
        if not answered.done():
            try:
                answered.set_result(answer())
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                answered.set_exception(error)

    def run() -> None:
        ended: Future[T] = Future()
        try:
            ended.set_result(call())
        except Exception as error:  # noqa: BLE001 - as above
            ended.set_exception(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
            loop.call_soon_threadsafe(settle, ended.result)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await answered
