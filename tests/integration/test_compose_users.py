"""The ClickHouse users that compose installs may do their work and nothing else, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from streams.clickhouse import migrate
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.conftest import served

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
OWN_PASSWORD = "of the worker"
GRAFANA_PASSWORD = "of the dashboards"

DEFAULT_ON_LOOPBACK = "<default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    """With the users of compose. The library that is our server needs its `default`, which compose removes."""
    directory = tmp_path_factory.mktemp("compose-users")
    config_file = directory / "config.xml"
    text = (REPOSITORY / "docker/clickhouse/users.xml").read_text()
    for ours, theirs in (
        ('<default remove="remove"/>', DEFAULT_ON_LOOPBACK),
        ("<profiles>", f"<users_config>{config_file}</users_config><quotas><default/></quotas><profiles><default/>"),
    ):
        assert text.count(ours) == 1
        text = text.replace(ours, theirs)
    config_file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKHOUSE_PASSWORD", OWN_PASSWORD)
        patch.setenv("CLICKHOUSE_GRAFANA_PASSWORD", GRAFANA_PASSWORD)
        yield from served(ClickHouseServer(directory / "data", config_file), leave_out_integration)


def client(server: ClickHouseServer, user: str, password: str, database: str | None = None) -> Client:
    return clickhouse_connect.get_client(dsn=server.url, username=user, password=password, database=database)


@pytest.fixture(scope="module")
def owner(server: ClickHouseServer) -> Client:
    """The worker's user, with the schema in place."""
    settings = Settings(clickhouse_url=server.url, clickhouse_user="inferwatch", clickhouse_password=OWN_PASSWORD)
    assert migrate(settings)
    owner = client(server, "inferwatch", OWN_PASSWORD, "inferwatch")
    owner.command("INSERT INTO findings (finding_id, deployment, severity) VALUES ('f', 'chat', 'high')")
    return owner


@pytest.fixture
def grafana(server: ClickHouseServer, owner: Client) -> Client:
    return client(server, "grafana", GRAFANA_PASSWORD, "inferwatch")


def test_grafana_reads_through_the_views(grafana: Client) -> None:
    assert grafana.query("SELECT deployment FROM findings_latest").result_rows == [("chat",)]


def test_grafana_may_set_a_limit_of_its_own(grafana: Client) -> None:
    assert grafana.query("SELECT 1", settings={"max_execution_time": 5}).result_rows == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO inferwatch.findings (finding_id) VALUES ('x')",
        "ALTER TABLE inferwatch.findings DELETE WHERE 1",
        "TRUNCATE TABLE inferwatch.findings",
        "DROP DATABASE inferwatch",
        "CREATE TABLE inferwatch.mine (a Int8) ENGINE = Memory",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT name FROM system.users",
    ],
)
def test_grafana_may_not(statement: str, grafana: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"ACCESS_DENIED|READONLY|Not enough privileges|readonly"):
        grafana.command(statement)


@pytest.mark.parametrize(
    "statement",
    ["CREATE DATABASE other", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "CREATE USER mine"],
)
def test_the_worker_may_not(statement: str, owner: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"ACCESS_DENIED|Not enough privileges"):
        owner.command(statement)


@pytest.mark.parametrize("user", ["inferwatch", "grafana"])
def test_nobody_comes_in_with_another_password(user: str, server: ClickHouseServer) -> None:
    for password in ("", "password", OWN_PASSWORD if user == "grafana" else GRAFANA_PASSWORD):
        with pytest.raises(ClickHouseError, match="AUTHENTICATION_FAILED"):
            client(server, user, password)
