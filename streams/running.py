"""A worker process: alone, or with the embedded servers of one machine."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Sequence

import msgspec
import tenacity
from threadpoolctl import threadpool_limits

from streams import topics
from streams.app import ROLES, Worker
from streams.clickhouse import Store, StoreError, migrate
from streams.local import LocalStack
from streams.logs import log_to
from streams.settings import Settings
from streams.topics import BrokerError

__all__ = ["ROLES", "run_local", "run_worker"]

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0

_GARBAGE = (50_000, 20, 100)
"""How many objects more make a look for cycles worth its time. A batch of a thousand events is tens of thousands of
them, all gone by themselves when it is done; with Python's 700 a tenth of a worker's time goes into looking."""

_BLAS_THREADS = 1
"""Of numpy's linear algebra: our matrices have some dozens of rows. More threads spin while they wait for each other,
on cores that Kafka and ClickHouse want, and make nothing of ours sooner."""

_MALLOC = {-8: 2, -3: 1_048_576, -1: 8_388_608}
"""Heaps, and the bytes from which on a block is mapped for itself and a free end of a heap goes back to the system:
numbers of `mallopt(3)`. By default each thread has a heap, and blocks of megabytes that are long gone stay in it: with
50,000 live principals 160 of a worker's 1,100 MiB."""


def run_worker(settings: Settings, roles: Sequence[str]) -> None:
    """Run the agents of `roles` until SIGTERM; ends the process with the worker's exit status.

    Waits for Kafka and ClickHouse first, as long as the settings say. Raises `BrokerError`, `StoreError`.
    """
    give_memory_back()
    log_to(sys.stderr, settings)
    _await_servers(settings)
    worker = Worker(settings, roles)
    gc.freeze()  # what is here now stays, and need not be looked at again
    gc.set_threshold(*_GARBAGE)
    with threadpool_limits(limits=_BLAS_THREADS):
        worker.run()


def give_memory_back() -> None:
    """Have glibc give back to the system what batches leave behind; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _MALLOC.items():
            mallopt(name, value)


def _await_servers(settings: Settings) -> None:
    """Return when both servers answer; raises the last error when they have not for too long."""

    def ask() -> None:
        topics.describe(settings)
        Store.connect(settings).close()

    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        _log.warning(
            "not started yet, next try in %.0f s: %s", state.next_action.sleep if state.next_action else 0, error
        )

    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((BrokerError, StoreError)),
        wait=tenacity.wait_exponential(multiplier=1.0, max=_LONGEST_PAUSE_S),
        stop=tenacity.stop_after_delay(settings.start_patience_s),
        before_sleep=say,
        reraise=True,
    )(ask)


def run_local(settings: Settings, roles: Sequence[str]) -> None:
    """The same over an embedded broker and engine, set up first and ended afterwards.

    Raises `LocalStackError`.
    """
    with LocalStack(settings.data_dir) as stack:
        settings = msgspec.structs.replace(
            settings, kafka_brokers=stack.kafka_brokers, clickhouse_url=stack.clickhouse_url
        )
        topics.create(settings)
        migrate(settings)
        run_worker(settings, roles)
