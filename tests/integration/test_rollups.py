"""What dashboards read instead of events says the same as the events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from dashboards.queries import percentiles
from tests.dashboards import scenario
from tests.integration.clickhouse_server import ClickHouseServer

pytestmark = pytest.mark.integration

EVENTS = """\
INSERT INTO inference_events (event_id, record_time, time, deployment, model, served_model, principal, components,
  latency_s, ttft_s, failed, refused, input_tokens, output_tokens, cost_usd, style)
SELECT toString(number), toStartOfDay(now('UTC')) + intDiv(number, 10) AS stored, stored, 'chat', 'm',
  if(number < 500, 'm-1', 'm-2'), if(number % 10 = 0, NULL, concat('p', toString(number % 7))),
  if(number < 300, map(), map('weights', if(number < 500, 'a', 'b'))),
  if(number % 5 = 0, NULL, exp((number % 97) / 20)), NULL, if(number % 4 = 0, NULL, number % 3 = 0), number % 50 = 0,
  number % 11, NULL, if(number < 100, NULL, 0.5), if(number % 2 = 0, [], [toFloat32(1), toFloat32(number)])
FROM numbers(1000)"""

HOSTILE = """\
INSERT INTO inference_events (event_id, record_time, time, deployment, latency_s, input_tokens)
VALUES ('past', toStartOfDay(now('UTC')), '1970-01-01 00:00:01', 'odd', 1e300, 9223372036854775807),
  ('future', toStartOfDay(now('UTC')), '2099-12-31 23:59:59', 'odd', -5, 9223372036854775807)"""


@pytest.fixture(scope="module")
def client(clickhouse: ClickHouseServer) -> Iterator[Client]:
    name = f"rollups_{uuid.uuid4().hex[:12]}"
    with clickhouse_connect.get_client(dsn=clickhouse.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        with clickhouse_connect.get_client(dsn=clickhouse.url, database=name) as client:
            scenario.migrate(client)
            client.command(EVENTS)
            client.command(HOSTILE)
            yield client
        admin.command(f"DROP DATABASE {name}")


def answer(client: Client, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


OF_CHAT = "SELECT served_model, {} FROM {} WHERE deployment = 'chat' GROUP BY served_model ORDER BY served_model"

COUNTED = {
    "calls": "count()",
    "told_failed": "count(failed)",
    "failed": "countIf(failed)",
    "told_refused": "count(refused)",
    "refused": "countIf(refused)",
    "told_tokens": "countIf(input_tokens IS NOT NULL OR output_tokens IS NOT NULL)",
    "input_tokens": "sum(input_tokens)",
    "told_cost": "count(cost_usd)",
    "cost_usd": "sum(cost_usd)",
    "told_style": "countIf(notEmpty(style))",
}


@pytest.mark.parametrize("column", COUNTED)
def test_a_count_of_traffic_is_that_of_the_events(column: str, client: Client) -> None:
    rolled = answer(client, OF_CHAT.format(f"sum({column})", "traffic"))
    assert len(rolled) == 2
    assert rolled == answer(client, OF_CHAT.format(COUNTED[column], "inference_events"))


def test_sums_of_style_are_those_of_the_events(client: Client) -> None:
    rolled = answer(client, "SELECT sumForEachMerge(style) FROM traffic WHERE deployment = 'chat'")
    assert rolled == answer(client, "SELECT sumForEach(style) FROM inference_events WHERE deployment = 'chat'")


def test_percentiles_are_within_two_percent_and_of_the_calls_that_tell(client: Client) -> None:
    ((deployment, told, *rolled),) = answer(
        client, percentiles("latency", {"deployment": "deployment"}, "deployment = 'chat'")
    )
    ((count, *exact),) = answer(
        client,
        "WITH arraySort(groupArray(latency_s)) AS all, length(all) AS n SELECT n, all[toUInt32(ceil(0.5 * n))], "
        "all[toUInt32(ceil(0.95 * n))], all[toUInt32(ceil(0.99 * n))] FROM inference_events WHERE deployment = 'chat'",
    )
    assert (deployment, told) == ("chat", count)
    assert rolled == pytest.approx(exact, rel=0.023)
    assert answer(client, percentiles("ttft", {"deployment": "deployment"}, "deployment = 'chat'")) == []


def test_every_build_keeps_its_components(client: Client) -> None:
    builds = answer(
        client, "SELECT any(components), sum(calls) FROM traffic WHERE deployment = 'chat' GROUP BY build ORDER BY 2"
    )
    assert builds == [({"weights": "a"}, 200), ({}, 300), ({"weights": "b"}, 500)]


def test_callers_are_those_that_are_named(client: Client) -> None:
    rolled = answer(
        client, "SELECT principal, sum(calls), max(last) FROM callers GROUP BY principal ORDER BY principal"
    )
    assert len(rolled) == 7
    assert rolled == answer(
        client,
        "SELECT principal, count(), max(time) FROM inference_events WHERE principal IS NOT NULL GROUP BY 1 ORDER BY 1",
    )


def test_a_time_that_an_event_claims_opens_no_partition_and_no_number_is_too_large(client: Client) -> None:
    parts = "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND table = 'traffic'"
    assert answer(client, parts) == answer(client, "SELECT toString(toStartOfMonth(now('UTC')))")
    odd = answer(client, "SELECT minute, input_tokens, latency FROM traffic WHERE deployment = 'odd' ORDER BY minute")
    assert [row[2] for row in odd] == [{319: 1}, {-212: 1}]
    assert [row[1] for row in odd] == [9.223372036854775807e18] * 2
