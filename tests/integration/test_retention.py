"""How long and where what is stored is kept: on a server with two volumes, and with rows spread over two shards.

No cluster runs here, for want of a Keeper: the statements for one are run without `ON CLUSTER` and with the engines
that do not replicate, in two databases that a server takes for two shards. That spread rows are read, replaced and
rolled up rightly is seen; that replicas agree is not.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import clickhouse_connect
import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from streams.clickhouse import Store, migrate
from streams.clusters import clustered
from streams.migrations import migrations
from streams.retention import KEPT
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.conftest import served
from tests.speed import stored
from tests.store_values import said

pytestmark = pytest.mark.integration

CONFIG = """\
<clickhouse>
  <storage_configuration>
    <disks><slow><path>{directory}/slow/</path></slow></disks>
    <policies><tiered><volumes>
      <default><disk>default</disk></default>
      <cold><disk>slow</disk></cold>
    </volumes></tiered></policies>
  </storage_configuration>
  <remote_servers><two>{shards}</two></remote_servers>
</clickhouse>"""

SHARD = """\
<shard><replica><host>127.0.0.1</host><port>{port}</port><default_database>{database}</default_database></replica></shard>"""

NUMBERS = "SELECT count(), sum(cityHash64(event_id, principal, cost_usd, components)) FROM inference_events"
RUNNING = "SELECT count() FROM system.mutations WHERE database = 'kept' AND NOT is_done"
DAY_S = 86_400
DATABASES = ("shard_1", "shard_2", "whole")
EVENTS = 3_000
DAYS = 60
WAIT_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    directory = tmp_path_factory.mktemp("volumes")
    config = directory / "config.xml"
    made = ClickHouseServer(directory / "data", config)
    shards = "".join(SHARD.format(port=made.native_port, database=name) for name in ("shard_1", "shard_2"))
    config.write_text(CONFIG.format(directory=directory, shards=shards))
    yield from served(made, leave_out_integration)


def settings(server: ClickHouseServer, **changes: object) -> Settings:
    return msgspec.structs.replace(
        Settings(clickhouse_url=server.url, clickhouse_database="kept", retention_days=365), **changes
    )


@pytest.fixture(scope="module")
def client(server: ClickHouseServer) -> Iterator[Client]:
    """With events of sixty days, one part a month."""
    migrate(settings(server))
    with clickhouse_connect.get_client(dsn=server.url, database="kept") as made:
        stored.fill(made, EVENTS, int(time.time()), days=DAYS)
        made.command("OPTIMIZE TABLE inference_events FINAL")
        yield made


def one(client: Client, sql: str) -> tuple[object, ...]:
    return tuple(client.query(sql).result_rows[0])


def number(client: Client, sql: str) -> int:
    return int(str(one(client, sql)[0]))


def until(client: Client, sql: str, wanted: object) -> None:
    """Merges and mutations end by themselves, soon."""
    end_s = time.monotonic() + WAIT_S
    while (found := one(client, sql)[0]) != wanted:
        if time.monotonic() > end_s:
            pytest.fail(f"{sql}: {found}, and not {wanted}")
        time.sleep(0.2)


TEXTS_AFTER_ELEVEN_DAYS = (
    "SELECT countIf(prompt IS NOT NULL OR output IS NOT NULL OR system IS NOT NULL OR notEmpty(conversation) "
    "OR notEmpty(features)) FROM inference_events WHERE toDate(record_time) + 11 <= today()"
)


def test_a_schema_that_is_as_the_settings_want_it_is_left_alone(server: ClickHouseServer, client: Client) -> None:
    assert client.database == "kept"
    assert migrate(settings(server)) == []


def test_every_table_that_forgets_is_known_and_no_other(client: Client) -> None:
    found = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '% TTL %'"
    )
    assert {name for (name,) in found.result_rows} == set(KEPT)


def test_texts_go_before_the_calls_and_what_stays_can_be_merged_and_searched(
    server: ClickHouseServer, client: Client
) -> None:
    assert number(client, TEXTS_AFTER_ELEVEN_DAYS) > EVENTS / 2
    before = one(client, NUMBERS)
    words = str(one(client, "SELECT prompt FROM inference_events WHERE event_id = 'stored:1:2900'")[0])
    asked = {"word": max(words.split(), key=len)}
    wanted = settings(server, text_retention_days=10)
    assert {each.what for each in migrate(wanted)} == {
        "dead_letters: kept for 10 days",
        "inference_events: texts kept for 10 days",
    }
    until(client, RUNNING, 0)
    client.command("OPTIMIZE TABLE inference_events FINAL")
    assert number(client, TEXTS_AFTER_ELEVEN_DAYS) == 0
    assert one(client, NUMBERS) == before
    assert number(client, "SELECT count() FROM inference_events WHERE notEmpty(tools) AND conversation = ''") > 0
    assert number(client, "SELECT countIf(prompt IS NOT NULL) FROM inference_events") > EVENTS / 10
    there = "hasToken(lower(ifNull(prompt, '')), {word:String})"
    (exact,) = client.query(f"SELECT countIf({there}) FROM inference_events", asked).result_rows  # noqa: S608 - ours
    (found,) = client.query(
        "SELECT count() FROM inference_events WHERE hasAllTokens(prompt, {word:String})", asked
    ).result_rows
    assert found == exact
    # A second round, with all of a month's texts gone: a time to live of the columns does not survive that.
    stored.fill(client, 100, int(time.time()), days=DAYS, salt=2)
    assert [each.what for each in migrate(wanted)] == ["inference_events: texts kept for 10 days"]
    until(client, RUNNING, 0)
    client.command("OPTIMIZE TABLE inference_events FINAL")
    assert number(client, TEXTS_AFTER_ELEVEN_DAYS) == 0
    assert migrate(wanted) == []


def test_a_retention_that_changes_is_applied_to_what_is_stored(server: ClickHouseServer, client: Client) -> None:
    month = (
        "SELECT countIf(toStartOfMonth(record_time) + INTERVAL 1 MONTH + INTERVAL 20 DAY < now()) FROM inference_events"
    )
    assert number(client, month) > 0
    said = {each.what for each in migrate(settings(server, retention_days=20, case_retention_days=700))}
    assert {"inference_events: kept for 20 days", "findings: kept for 700 days", "traffic: kept for 20 days"} <= said
    assert "sightings: kept for 700 days" in said
    until(client, RUNNING, 0)
    client.command("OPTIMIZE TABLE inference_events FINAL")
    until(client, month, 0)


def test_old_parts_move_to_the_volume_of_the_policy(server: ClickHouseServer, client: Client) -> None:
    wanted = settings(server, clickhouse_storage_policy="tiered", clickhouse_cold_volume="cold", clickhouse_cold_days=5)
    migrate(settings(server))
    client.command("TRUNCATE TABLE inference_events")
    stored.fill(client, 200, int(time.time()) - 20 * DAY_S, days=1, salt=3)
    disks = (
        "SELECT arraySort(groupUniqArray(disk_name)) FROM system.parts WHERE database = 'kept' "
        "AND table = 'inference_events' AND active AND rows > 0"
    )
    assert one(client, disks) == (["default"],)
    done = [each.what for each in migrate(wanted)]
    assert "inference_events: stored by the policy tiered" in done
    assert "inference_events: kept for 365 days, on the volume cold after 5" in done
    until(client, RUNNING, 0)
    until(client, disks, ["slow"])
    assert migrate(wanted) == []


@pytest.fixture(scope="module")
def shards(server: ClickHouseServer) -> Iterator[Store]:
    """The faces are those of the database `whole`."""
    with clickhouse_connect.get_client(dsn=server.url) as admin:
        for database in DATABASES:
            admin.command(f"CREATE DATABASE {database}")
    clients = [clickhouse_connect.get_client(dsn=server.url, database=database) for database in DATABASES]
    for migration in migrations():
        for statement in migration.statements(36_500):
            for alone, client in itertools.product(clustered(statement, "two"), clients):
                client.command(unreplicated(alone))
    for client in clients:
        client.close()
    store = Store.connect(settings(server, clickhouse_database="whole"))
    yield store
    store.close()


def unreplicated(statement: str) -> str:
    """What the same statement is where there is no Keeper, and where shards are databases."""
    plain = statement.replace("ON CLUSTER 'two'", "").replace("currentDatabase(), '", "'', '")
    return re.sub(r"Replicated(\w*)\('[^']*', '\{replica\}'(?:, )?", r"\1(", plain)


def test_rows_on_two_shards_are_read_replaced_and_rolled_up_as_on_one(shards: Store) -> None:
    rows = [said(f"a treasure of words {number}", number) for number in range(200)]
    for _ in range(2):
        shards.insert_events(rows)
    at_once = "SELECT count() AS calls, uniqExact(event_id) AS events FROM"
    assert shards.query(f"{at_once} events_latest") == [{"calls": 200, "events": 200}]
    held = [
        shards.query(f"{at_once} {name}.inference_events_local FINAL")[0]["events"] for name in ("shard_1", "shard_2")
    ]
    assert sum(held) == 200
    assert min(held) > 50
    assert shards.query("SELECT sum(calls) AS calls FROM traffic") == [{"calls": 400}]
    assert shards.query("SELECT count() AS found FROM inference_events WHERE hasAllTokens(output, 'treasure')") == [
        {"found": 0}
    ]
    assert shards.query("SELECT count() AS found FROM events_latest WHERE hasAllTokens(prompt, 'treasure 7')") == [
        {"found": 1}
    ]


def test_every_statement_for_a_cluster_is_one_that_the_server_can_read(client: Client) -> None:
    for migration in migrations():
        for statement in migration.statements(90):
            for each in clustered(statement, "c1"):
                shown = client.query("SELECT formatQuery({sql:String})", parameters={"sql": each}).result_rows[0][0]
                assert shown
                if not each.startswith("INSERT"):
                    assert "ON CLUSTER c1" in shown or "ON CLUSTER 'c1'" in shown or "ON CLUSTER `c1`" in shown
