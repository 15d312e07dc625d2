"""What a worker writes down of itself every few seconds, so that a dashboard shows it without another server.

Written beside the work, never in its way: a row that cannot be written now is left out, and the gap says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streams.clickhouse import Store, StoreError, UnstorableError
from streams.rows import Vitals

_log = logging.getLogger(__name__)

INTERVAL_S = 15.0


class Diary:
    """Writes the numbers of this process down."""

    def __init__(self, connect: Callable[[], Store], numbers: Callable[[], dict[str, float]]) -> None:
        """`connect` is called when the first row is written, and again after one that failed."""
        self._connect = connect
        self._numbers = numbers
        self._worker = f"{platform.node()}:{os.getpid()}"
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vitals")

    async def write_regularly(self) -> None:
        """Write for ever, every `INTERVAL_S` seconds."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.write()

    async def write(self) -> None:
        """Write one row; one that cannot be written is left out."""
        row = Vitals(worker=self._worker, time_s=time.time(), numbers=self._numbers())
        await asyncio.get_running_loop().run_in_executor(self._thread, self._insert, row)

    def _insert(self, row: Vitals) -> None:
        try:
            if self._store is None:
                self._store = self._connect()
            self._store.insert_vitals(row)
        except (StoreError, UnstorableError) as error:
            self._store = None
            _log.info("the worker's own numbers were not written down: %s", error)
