"""A bench for each test of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.faults.bench import Bench, bench_settings

NewBench = Callable[..., Bench]


@pytest.fixture
def new_bench(
    kafka: KafkaServer, clickhouse: ClickHouseServer, topic_prefix: str, database: str, tmp_path: Path
) -> Iterator[NewBench]:
    """Makes the bench of a test from a seed, and settings of the worker's where it needs others."""
    made: list[Bench] = []

    def make(seed: int, *, shared: bool = False, **fields: object) -> Bench:
        settings: Settings = bench_settings(kafka, clickhouse, topic_prefix, database, tmp_path, **fields)
        made.append(Bench(kafka, clickhouse, settings, tmp_path / "worker.log", seed, shared=shared))
        return made[-1]

    yield make
    for bench in made:
        bench.close()
