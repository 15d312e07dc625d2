"""The servers, started once when the first test asks, and a place of its own in them for every test."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import clickhouse_connect
import pytest

from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.pinned import UnavailableError
from tests.integration.servers import Server
from tests.integration.stack import Stack, StackWith

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import LeaveOut

AnyServer = TypeVar("AnyServer", bound=Server)

SERVERS = ("kafka", "clickhouse")
"""The fixtures that are servers."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that ``-m "not integration"`` is the quick run."""
    for item in items:
        if isinstance(item, pytest.Function) and not set(SERVERS).isdisjoint(item.fixturenames):
            item.add_marker("integration")


def served(server: AnyServer, leave_out_integration: LeaveOut) -> Iterator[AnyServer]:
    """Start it, lend it, stop it; where the machine cannot, leave the tests out."""
    try:
        server.start()
    except UnavailableError as error:
        leave_out_integration(f"{server.name}: {error}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[KafkaServer]:
    """Apache Kafka, shared by the whole run."""
    yield from served(KafkaServer(tmp_path_factory.mktemp("kafka")), leave_out_integration)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    """A listening ClickHouse, shared by the whole run."""
    yield from served(ClickHouseServer(tmp_path_factory.mktemp("clickhouse")), leave_out_integration)


@pytest.fixture(autouse=True)
def _servers_survive_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test may kill or freeze a server and fail before it brings it back: the next one must not pay for it."""
    servers = [request.getfixturevalue(name) for name in SERVERS if name in request.fixturenames]
    yield
    for server in servers:
        server.revive()


@pytest.fixture
def topic_prefix() -> str:
    """Begins the topic and group names of one test."""
    return new_prefix()


def new_prefix() -> str:
    """One that nobody has."""
    return f"test-{uuid.uuid4().hex[:12]}-"


@pytest.fixture
def database(clickhouse: ClickHouseServer) -> Iterator[str]:
    """An empty ClickHouse database that is dropped after the test."""
    with empty_database(clickhouse) as name:
        yield name


@contextmanager
def empty_database(clickhouse: ClickHouseServer) -> Iterator[str]:
    """The name of one that is dropped in the end, when the server has been brought back."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with clickhouse_connect.get_client(dsn=clickhouse.url) as client:
        client.command(f"CREATE DATABASE {name}")
    yield name
    clickhouse.revive()
    with clickhouse_connect.get_client(dsn=clickhouse.url) as client:
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def stack_with(
    kafka: KafkaServer, clickhouse: ClickHouseServer, topic_prefix: str, database: str, tmp_path: Path
) -> Iterator[StackWith]:
    """Makes the stack of one test, on topics and tables of its own, and ends it."""
    stacks: list[Stack] = []

    def made(**others: Any) -> Stack:
        own = {
            "topic_prefix": topic_prefix,
            "consumer_group": f"{topic_prefix}worker",
            "data_dir": tmp_path,
            "partitions": 2,
        }
        servers = {"kafka_brokers": kafka.brokers, "clickhouse_url": clickhouse.url, "clickhouse_database": database}
        stacks.append(Stack(Settings(**{**servers, **own, **others}), tmp_path / "worker.log"))
        return stacks[-1]

    yield made
    for stack in stacks:
        stack.close()
