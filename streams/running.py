"""A worker process: alone, or with the embedded servers of one machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from streams import topics
from streams.app import ROLES, Worker
from streams.clickhouse import migrate
from streams.local import LocalStack
from streams.logs import log_to
from streams.settings import Settings

__all__ = ["ROLES", "run_local", "run_worker"]


def run_worker(settings: Settings, roles: Sequence[str]) -> None:
    """Run the agents of `roles` until SIGTERM; ends the process with the worker's exit status.

    Raises `BrokerError`, `StoreError`.
    """
    log_to(sys.stderr, settings)
    Worker(settings, roles).run()


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
