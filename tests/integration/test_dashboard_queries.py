"""Every query of every dashboard and alert runs on ClickHouse and returns what its panel can show."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.dashboards.extraction import Found, every_query
from tests.dashboards.frames import problems
from tests.dashboards.macros import MacroError, Screen, expand
from tests.integration.clickhouse_server import ClickHouseServer

pytestmark = pytest.mark.integration

SCHEMA = Path(__file__).resolve().parents[2] / "streams" / "schema"
QUERIES = {query.place: query for query in every_query()}
HOSTILE = "x\\' OR 1=1 -- <script>alert(1)</script> {{7*7}} $__timeFilter(time) \x1b[31m"

EVENTS = """\
INSERT INTO inference_events (event_id, topic, partition, offset, event_index, record_time, time, source, deployment,
  model, served_model, principal, input_tokens, output_tokens, latency_s, ttft_s, failed, refused, prompt, output,
  style, conversation, features, components, egress_hosts)
SELECT concat({name:String}, toString(number)), 'inference-logs', 0, number, 0, now64(3) - toIntervalSecond(number),
  now64(6) - toIntervalSecond(number), 'native', {name:String}, 'm-1', if(number < 600, 'm-2', 'm-1'),
  concat('principal-', toString(number % 7)), 100 + number % 50, 20 + number % 30, 0.5 + (number % 100) / 100,
  0.1 + (number % 10) / 100, number % 20 = 0, number % 33 = 0, {name:String}, {name:String},
  arrayMap(i -> toFloat32(i + (number % 10) / 10), range(16)), '', '', map('weights', 'sha256:1'), []
FROM numbers({count:UInt32})"""

FINDINGS = """\
INSERT INTO findings (finding_id, detector, version, scope, subject, deployment, principal, time, onset, severity,
  summary, score, threshold, budget_share, event_id, evidence, atlas, owasp)
SELECT concat({name:String}, toString(number)), if(number % 2 = 0, 'latency_shift', 'extraction'), 1,
  if(number % 2 = 0, 'deployment', 'principal'), {name:String}, {name:String},
  if(number % 2 = 0, NULL, 'principal-1'), now64(6) - toIntervalSecond(60 * number),
  now64(6) - toIntervalSecond(60 * number + 30), ['info', 'low', 'medium', 'high', 'critical'][number % 5 + 1],
  {name:String}, 12.5, 10, 0.01, concat({name:String}, '0'), '[]', ['AML.T0024'], ['LLM10']
FROM numbers(20)"""

DEAD_LETTERS = """\
INSERT INTO dead_letters (topic, partition, offset, event_index, record_time, reason, content_type, size_bytes,
  sha256, head)
SELECT 'inference-logs', 0, number, -1, now64(3) - toIntervalSecond(30 * number),
  if(number % 2 = 0, 'native: not JSON', {name:String}), '', 10, '', {name:String}
FROM numbers(10)"""


def on(server: ClickHouseServer, database: str) -> Client:
    client = clickhouse_connect.get_client(dsn=server.url, database=database)
    client.tz_mode = "aware"
    return client


def new_database(server: ClickHouseServer) -> Iterator[Client]:
    """With our schema and nothing in it; dropped afterwards."""
    name = f"dashboards_{uuid.uuid4().hex[:12]}"
    with clickhouse_connect.get_client(dsn=server.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        with on(server, name) as client:
            for file in sorted(SCHEMA.glob("*.sql")):
                for statement in file.read_text().replace("{days}", "30").split(";\n"):
                    if statement.strip():
                        client.command(statement)
            yield client
        admin.command(f"DROP DATABASE {name}")


def fill(client: Client, statement: str, name: str, count: int = 0) -> None:
    client.command(statement, parameters={"name": name, "count": count})


@pytest.fixture(scope="module")
def empty(clickhouse: ClickHouseServer) -> Iterator[Client]:
    yield from new_database(clickhouse)


@pytest.fixture(scope="module")
def quiet(clickhouse: ClickHouseServer) -> Iterator[Client]:
    for client in new_database(clickhouse):
        fill(client, EVENTS, "chat", 600)
        yield client


@pytest.fixture(scope="module")
def busy(clickhouse: ClickHouseServer) -> Iterator[Client]:
    """Three deployments in half an hour, one of them with a name made to break things."""
    for client in new_database(clickhouse):
        for name, count in (("chat", 1800), ("search", 900), (HOSTILE, 60)):
            fill(client, EVENTS, name, count)
            fill(client, FINDINGS, name)
        fill(client, DEAD_LETTERS, HOSTILE)
        yield client


def screen(deployment: str = "chat") -> Screen:
    now_s = int(time.time())
    return Screen(now_s - 3600, now_s + 60, 60, {"deployment": deployment})


def rows(client: Client, query: Found, deployment: str = "chat") -> list[dict[str, Any]]:
    result = client.query(expand(query.sql, screen(deployment)))
    return list(result.named_results())


def complaints(client: Client, query: Found, deployment: str = "chat") -> list[str]:
    """What is wrong with a query, its own errors included."""
    try:
        result = client.query(expand(query.sql, screen(deployment)))
    except (DatabaseError, MacroError) as error:
        return [str(error)]
    return problems(query, result.column_names, [kind.name for kind in result.column_types], result.result_rows)


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_returns_what_its_place_shows(place: str, busy: Client) -> None:
    assert complaints(busy, QUERIES[place]) == []


@pytest.mark.parametrize("place", [place for place, query in QUERIES.items() if "${deployment" in query.sql])
def test_a_deployment_with_a_hostile_name_sees_its_own_rows_only(place: str, busy: Client) -> None:
    assert complaints(busy, QUERIES[place], HOSTILE) == []
    assert rows(busy, QUERIES[place], "nobody' OR '1'='1") == [] or "stat" in QUERIES[place].kind


def test_hostile_text_arrives_as_it_was_written(busy: Client) -> None:
    found = rows(busy, QUERIES["deployment: Findings of this deployment"], HOSTILE)
    assert {row["summary"] for row in found} == {HOSTILE}
    assert {row["deployment"] for row in rows(busy, QUERIES["deployment: variable deployment"])} == {
        "chat",
        "search",
        HOSTILE,
    }


def test_annotations_hold_nothing_that_a_user_wrote(busy: Client) -> None:
    texts = rows(busy, QUERIES["deployment: annotation Onset of findings, medium and above"], HOSTILE)
    assert texts
    assert not any("<script>" in f"{row['title']} {row['text']}" for row in texts)


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_runs_on_empty_tables(place: str, empty: Client) -> None:
    empty.query(expand(QUERIES[place].sql, screen()))


@pytest.mark.parametrize(
    "place",
    [
        "overview: High and critical findings",
        "overview: Findings by severity",
        "deployment: High and critical findings",
    ],
)
def test_no_findings_is_zero_while_events_arrive_and_nothing_while_they_do_not(
    place: str, empty: Client, quiet: Client
) -> None:
    assert {value for row in rows(quiet, QUERIES[place]) for value in row.values()} == {0}
    assert {value for row in rows(empty, QUERIES[place]) for value in row.values()} == {None}


def test_findings_over_time_draw_zeros_while_events_arrive_and_gaps_while_they_do_not(
    empty: Client, quiet: Client
) -> None:
    query = QUERIES["overview: Findings over time"]
    drawn = rows(quiet, query)
    assert len(drawn) >= 10
    assert {value for row in drawn for name, value in row.items() if name != "t"} == {0}
    assert rows(empty, query) == []


def test_the_alert_counts_high_and_critical_findings_by_deployment_and_detector(busy: Client, quiet: Client) -> None:
    query = QUERIES[ALERT]
    found = rows(busy, query)
    assert {row["level"] for row in found} == {"high", "critical"}
    assert sum(row["findings"] for row in found) == 3 * 20 * 2 // 5
    assert rows(quiet, query) == []


def test_the_shift_of_style_is_in_deviations_from_the_first_answers(busy: Client) -> None:
    """The generator repeats ten values around index + 0.45, so no bucket is far from the first answers."""
    shifts = [row["log_chars"] for row in rows(busy, QUERIES["deployment: Shift of output style"])]
    assert max(abs(shift) for shift in shifts[1:-1]) < 0.6
    lengths = rows(busy, QUERIES["deployment: Output length"])
    assert {round(row["at_first"], 2) for row in lengths} == {0.57}


CALLS = "deployment: Calls per second"
BY_MODEL = "deployment: Calls by served model"
SEVERITIES = "overview: Findings by severity"
URGENT = "overview: High and critical findings"
ALERT = "alert: New high or critical finding"

Change = Callable[[Found], Found]


def sql(old: str, new: str) -> Change:
    def change(query: Found) -> Found:
        assert old in query.sql
        return dataclasses.replace(query, sql=query.sql.replace(old, new))

    return change


MUTATIONS: dict[str, tuple[str, Change, str]] = {
    "a column that does not exist": (CALLS, sql("count()", "sum(calls)"), "UNKNOWN_IDENTIFIER"),
    "a macro that does not exist": (CALLS, sql("$__timeFilter", "$__timeFliter"), "unknown macro"),
    "a macro without its argument": (CALLS, sql("$__timeFilter(time)", "$__timeFilter()"), "takes 1 arguments, not 0"),
    "a variable that does not exist": (CALLS, sql("${deployment:", "${tenant:"), "unknown variable"),
    "a variable with another quoting": (CALLS, sql(":percentencode}", ":sqlstring}"), "not expanded"),
    "a series in the wrong order": (CALLS, sql("ORDER BY t", "ORDER BY t DESC"), "not sorted by time"),
    "a series that begins with its value": (CALLS, sql("SELECT ", "SELECT 1, "), "the first column is number"),
    "a filter that lets nothing through": (CALLS, sql("AND deployment", "AND 0 AND deployment"), "no rows"),
    "a label that the series lost": (BY_MODEL, sql(" AS served,", " AS answered,"), "UNKNOWN_IDENTIFIER"),
    "an override for a column that is gone": (SEVERITIES, sql("AS critical", "AS fatal"), "no column critical"),
    "an alert that lost a label of its text": (ALERT, sql("detector, ", ""), "no column detector"),
    "a stat of text": (URGENT, sql("countIf(severity >= 'high')", "toString(1)"), "a stat shows numbers"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_sees(mutation: str, busy: Client) -> None:
    place, change, complaint = MUTATIONS[mutation]
    found = complaints(busy, change(QUERIES[place]))
    assert any(complaint in problem for problem in found), found
