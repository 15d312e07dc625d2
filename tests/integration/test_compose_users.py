"""The ClickHouse users that compose installs may do their work and nothing else, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from streams.clickhouse import Store, migrate
from streams.components.baseline_files import kept, measured
from streams.components.change_files import decided
from streams.components.provenance import Change, Noted
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.clickhouse_users import (
    GRAFANA_PASSWORD,
    MIGRATOR_PASSWORD,
    OWN_PASSWORD,
    passwords,
    server_with_users,
)
from tests.integration.conftest import served

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    with passwords():
        yield from served(server_with_users(tmp_path_factory.mktemp("compose-users")), leave_out_integration)


def client(server: ClickHouseServer, user: str, password: str, database: str | None = None) -> Client:
    return clickhouse_connect.get_client(dsn=server.url, username=user, password=password, database=database)


@pytest.fixture(scope="module")
def owner(server: ClickHouseServer) -> Client:
    """The migration's user, with the schema in place."""
    settings = Settings(clickhouse_url=server.url, clickhouse_user="migrator", clickhouse_password=MIGRATOR_PASSWORD)
    assert migrate(settings)
    return client(server, "migrator", MIGRATOR_PASSWORD, "inferwatch")


@pytest.fixture(scope="module")
def worker(server: ClickHouseServer, owner: Client) -> Client:
    worker = client(server, "inferwatch", OWN_PASSWORD, "inferwatch")
    worker.command("INSERT INTO findings (finding_id, deployment, severity) VALUES ('f', 'chat', 'high')")
    return worker


@pytest.fixture
def grafana(server: ClickHouseServer, worker: Client) -> Client:
    return client(server, "grafana", GRAFANA_PASSWORD, "inferwatch")


FOR_PEOPLE = {"incident_verdicts", "suppressions", "access_log", "holds", "exports"}
"""Tables that only the verbs of people add to, as other users."""


def tables(owner: Client, engines: str) -> list[str]:
    sql = "SELECT name FROM system.tables WHERE database = 'inferwatch' AND engine LIKE {engines:String} ORDER BY name"
    return [name for (name,) in owner.query(sql, {"engines": engines}).result_rows]


def test_the_worker_may_insert_into_every_table_of_the_schema_but_those_of_people(
    owner: Client, worker: Client
) -> None:
    filled = {name for name in tables(owner, "%MergeTree") if not name.startswith("held_")}
    for name in filled - {"schema_migrations"} - FOR_PEOPLE:
        assert worker.command(f"CHECK GRANT INSERT ON inferwatch.{name}") == 1, f"users.xml forgets {name}"


def test_a_row_that_the_worker_inserts_goes_through_the_views_that_follow_inserts(
    owner: Client, worker: Client
) -> None:
    worker.command("INSERT INTO inference_events (event_id, deployment, record_time) VALUES ('e', 'chat', now())")
    assert owner.query("SELECT sum(events) FROM arrivals").result_rows == [(1,)]
    assert owner.query("SELECT sum(calls) FROM traffic").result_rows == [(1,)]


def test_the_worker_reads_back_its_state_and_counts(worker: Client) -> None:
    assert worker.query("SELECT count() FROM detector_snapshots FINAL").result_rows == [(0,)]
    assert worker.query("SELECT DISTINCT finding_id FROM findings").result_rows == [("f",)]
    assert worker.query("SELECT count() FROM dead_letters_latest WHERE topic = 'x'").result_rows == [(0,)]
    assert worker.query("SELECT count() FROM incidents_latest").result_rows == [(0,)]
    worker.command("SELECT sum(events) FROM arrivals")


def test_the_worker_measures_baselines_and_lists_changes_reading_of_texts_only_labels(
    server: ClickHouseServer, worker: Client
) -> None:
    settings = Settings(clickhouse_url=server.url, clickhouse_user="inferwatch", clickhouse_password=OWN_PASSWORD)
    store = Store.connect(settings)
    said = Change(deployment="measured", component="weights", new="w2")
    event = "INSERT INTO inference_events (event_id, deployment, time, record_time, latency_s, components, prediction)"
    worker.command(f"{event} VALUES ('m', 'measured', '2025-06-15 15:06:40', now(), 2.5, {{'weights': 'w2'}}, 'cat')")
    store.insert_changes([Noted(said=said, event_id="t:0:0:0", time_s=1_750_000_000.0)])
    baseline = measured(store, "measured", 1_749_999_999.0, 1_750_000_001.0, "b")
    store.insert_baseline(baseline)
    assert kept(store) == [baseline]
    assert baseline.numbers["latency_s"].mean == 2.5
    assert baseline.numbers["prediction=cat"].mean == 1.0
    texts = ("prompt", "output", "system", "conversation", "features", "prediction")
    readable = [name for name in texts if worker.command(f"CHECK GRANT SELECT({name}) ON inferwatch.inference_events")]
    assert readable == ["prediction"]
    assert baseline.components == {"weights": {"w2": 1}}
    assert [each.first_served_s for each in decided(store, "", 0.0, 10)] == [1_750_000_000.0]
    store.close()


def test_grafana_reads_every_table_and_view_but_the_saved_state(owner: Client, grafana: Client) -> None:
    readable = {*tables(owner, "%MergeTree"), *tables(owner, "View")} - {"detector_snapshots", "access_log", "exports"}
    for name in sorted(readable):
        assert grafana.query("SELECT count() FROM {name:Identifier}", {"name": name}).result_rows, name


def test_grafana_sees_how_large_tables_are_those_it_may_not_read_too(owner: Client, grafana: Client) -> None:
    owner.command("INSERT INTO detector_snapshots (subject) VALUES ('s')")
    seen = "SELECT DISTINCT table FROM system.parts WHERE database = 'inferwatch' AND active"
    assert {"findings", "detector_snapshots"} <= {name for (name,) in grafana.query(seen).result_rows}
    assert grafana.query("SELECT min(free_space / total_space) FROM system.disks").result_rows[0][0] > 0


def test_the_limits_of_grafana_are_those_of_its_profile(grafana: Client) -> None:
    names = ("max_execution_time", "max_memory_usage", "max_threads", "readonly")
    limits = {name: grafana.command(f"SELECT getSetting('{name}')") for name in names}
    assert limits == {"max_execution_time": 60, "max_memory_usage": 1_000_000_000, "max_threads": 2, "readonly": 1}


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
        "SELECT envelope FROM inferwatch.detector_snapshots",
    ],
)
def test_grafana_may_not(statement: str, grafana: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"ACCESS_DENIED|READONLY|Not enough privileges|readonly"):
        grafana.command(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE DATABASE other",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "CREATE USER mine",
        "SELECT prompt FROM inferwatch.inference_events",
        "SELECT event_id FROM inferwatch.events_latest",
        "SELECT summary FROM inferwatch.findings",
        "INSERT INTO inferwatch.schema_migrations (version, name) VALUES (99, 'x')",
        "ALTER TABLE inferwatch.inference_events DELETE WHERE 1",
        "ALTER TABLE inferwatch.inference_events MODIFY TTL record_time + toIntervalDay(1)",
        "TRUNCATE TABLE inferwatch.detector_snapshots",
        "OPTIMIZE TABLE inferwatch.findings FINAL",
        "DROP TABLE inferwatch.findings",
        "CREATE TABLE inferwatch.mine (a Int8) ENGINE = Memory",
    ],
)
def test_the_worker_may_not(statement: str, worker: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"ACCESS_DENIED|Not enough privileges"):
        worker.command(statement)


@pytest.mark.parametrize(
    "statement",
    ["CREATE DATABASE other", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "CREATE USER mine"],
)
def test_the_migration_may_not(statement: str, owner: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"ACCESS_DENIED|Not enough privileges"):
        owner.command(statement)


@pytest.mark.parametrize("user", ["migrator", "inferwatch", "grafana"])
def test_nobody_comes_in_with_another_password(user: str, server: ClickHouseServer) -> None:
    for password in ("", "password", OWN_PASSWORD if user == "grafana" else GRAFANA_PASSWORD):
        with pytest.raises(ClickHouseError, match="AUTHENTICATION_FAILED"):
            client(server, user, password)
