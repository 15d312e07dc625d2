"""Every query of every dashboard and alert runs on ClickHouse and returns what its panel can show."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from dashboards.annotations import marks
from dashboards.sql.marks import TABLES
from streams.cli import app
from tests.dashboards import scenario
from tests.dashboards.extraction import Found, dashboards, every_query, of_dashboard
from tests.dashboards.fake_grafana import TOKEN, FakeGrafana
from tests.dashboards.scenario import HOSTILE
from tests.dashboards.viewer import Viewer
from tests.integration.clickhouse_server import ClickHouseServer

pytestmark = pytest.mark.integration

QUERIES = {query.place: query for query in every_query()}
NAMED = [place for place, query in QUERIES.items() if any("${" in sql for sql in query.sqls)]
"""Places whose queries hold a variable."""

OF_VIEW = {"incidents_latest": "incident", "changes_latest": "change", "baselines_latest": "baseline"}

NOBODY = "nobody' OR '1'='1"


def new_database(server: ClickHouseServer) -> Iterator[Client]:
    """With our schema and nothing in it; dropped afterwards."""
    name = f"dashboards_{uuid.uuid4().hex[:12]}"
    with clickhouse_connect.get_client(dsn=server.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        with clickhouse_connect.get_client(dsn=server.url, database=name) as client:
            client.tz_mode = "aware"
            scenario.migrate(client)
            yield client
        admin.command(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def empty(clickhouse: ClickHouseServer) -> Iterator[Viewer]:
    for client in new_database(clickhouse):
        yield Viewer(client, int(time.time()))


@pytest.fixture(scope="module")
def quiet(clickhouse: ClickHouseServer) -> Iterator[Viewer]:
    """Events, and nothing found in them."""
    for client in new_database(clickhouse):
        now_s = int(time.time())
        scenario.events(client, scenario.CHAT, 1_800, now_s)
        yield Viewer(client, now_s)


@pytest.fixture(scope="module")
def busy(clickhouse: ClickHouseServer) -> Iterator[Viewer]:
    """Three deployments in two hours, one of them with a name made to break things."""
    for client in new_database(clickhouse):
        now_s = int(time.time())
        scenario.fill(client, clickhouse.url, now_s)
        yield Viewer(client, now_s)


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_returns_what_its_place_shows(place: str, busy: Viewer) -> None:
    assert busy.complaints(QUERIES[place]) == []


@pytest.mark.parametrize("place", NAMED)
def test_a_deployment_with_a_hostile_name_is_shown_as_any_other(place: str, busy: Viewer) -> None:
    assert busy.complaints(QUERIES[place], deployment=HOSTILE, event=f"{HOSTILE}2") == []


@pytest.mark.parametrize("place", NAMED)
def test_no_choice_can_leave_the_string_it_stands_in(place: str, busy: Viewer) -> None:
    everything = dict.fromkeys(busy.chosen(QUERIES[place].board, ()), NOBODY)
    found = busy.rows(QUERIES[place], **everything)
    if QUERIES[place].kind not in {"stat", "gauge"}:
        assert found == [] or {NOBODY} <= {str(cell) for row in found for cell in row.values()}


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_runs_on_empty_tables(place: str, empty: Viewer) -> None:
    empty.frames(QUERIES[place])


@pytest.mark.parametrize("place", [place for place, query in QUERIES.items() if query.kind == "variable"])
def test_variables_are_filled_from_small_tables(place: str) -> None:
    assert "inference_events" not in QUERIES[place].sql


def test_hostile_text_arrives_as_text_without_what_hides_or_turns(busy: Viewer) -> None:
    found = busy.rows(QUERIES["deployment: Findings of this deployment"], deployment=HOSTILE)
    assert {row["deployment"] for row in found} == {HOSTILE}
    whats = [row["what"] for row in found]
    assert all("<script>alert(1)</script>" in what for what in whats)
    assert not any("\x1b" in what or "\u202e" in what for what in whats)
    names = {row["deployment"] for row in busy.rows(QUERIES["deployment: variable deployment"])}
    assert names == set(scenario.DEPLOYMENTS)


@pytest.mark.parametrize("place", [place for place, query in QUERIES.items() if query.kind == "annotation"])
def test_annotations_hold_nothing_that_a_user_wrote(place: str, busy: Viewer) -> None:
    texts = busy.rows(QUERIES[place], deployment=HOSTILE)
    assert texts
    assert not any("<script>" in f"{row['title']} {row['text']}" for row in texts)


@pytest.mark.parametrize(
    "place",
    ["overview: Open incidents by severity", "deployment: Open incidents of this deployment", "principal: Findings"],
)
def test_nothing_found_is_zero_while_events_arrive_and_nothing_while_they_do_not(
    place: str, empty: Viewer, quiet: Viewer
) -> None:
    assert {value for row in quiet.rows(QUERIES[place]) for value in row.values()} == {0}
    assert {value for row in empty.rows(QUERIES[place]) for value in row.values()} == {None}


def test_findings_over_time_draw_zeros_while_events_arrive_and_gaps_while_they_do_not(
    empty: Viewer, quiet: Viewer
) -> None:
    query = QUERIES["overview: Findings over time"]
    drawn = quiet.rows(query)
    assert len(drawn) >= 5
    assert {value for row in drawn for name, value in row.items() if name != "t"} == {0}
    assert empty.rows(query) == []


@pytest.mark.parametrize("place", [place for place, query in QUERIES.items() if query.kind == "alert"])
def test_no_alert_fires_because_there_is_nothing(place: str, empty: Viewer) -> None:
    """No row is the good state of a rule; those that measure something always return it."""
    measuring = {"alert: The pipeline stands still", "alert: ClickHouse's disk is almost full"}
    assert empty.rows(QUERIES[place]) == [] or place in measuring


def test_the_shift_of_style_is_in_deviations_from_the_first_answers(busy: Viewer) -> None:
    """The generator repeats ten values around index + 0.45, so no bucket is far from the first answers."""
    shifts = [row["log_chars"] for row in busy.rows(QUERIES["deployment: Shift of output style"])]
    assert max(abs(shift) for shift in shifts[1:-1]) < 0.6
    lengths = busy.rows(QUERIES["deployment: Output length"])
    assert {round(row["at_first"], 2) for row in lengths} == {0.57}


def test_marks_for_other_dashboards_come_from_incidents_and_from_what_was_approved(busy: Viewer) -> None:
    def ask(sql: str) -> list[dict[str, Any]]:
        return list(busy.client.query(sql).named_results())

    made = list(marks(ask, 0.0))
    kinds = {mark.tags[1] for mark in made}
    tables = {row["name"] for row in ask(TABLES)}
    assert kinds == {OF_VIEW[name] for name in tables}
    assert all(mark.from_ms <= mark.until_ms or mark.until_ms == 0 for mark in made)
    assert len({mark.tag for mark in made}) == len(made)
    assert not any("<script" in mark.text for mark in made)
    assert list(marks(ask, time.time() + 3_600)) == []


def test_a_verb_marks_what_the_store_holds_and_once(
    busy: Viewer, clickhouse: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    grafana = FakeGrafana()
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", clickhouse.url)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", str(busy.client.database))
    monkeypatch.setenv("INFERWATCH_GRAFANA_URL", grafana.url)
    monkeypatch.setenv("INFERWATCH_GRAFANA_TOKEN", TOKEN)
    first = CliRunner().invoke(app, ["dashboards", "annotate", "--days", "30"])
    again = CliRunner().invoke(app, ["dashboards", "annotate", "--days", "30"])
    grafana.stop()
    assert grafana.mistakes == []
    assert first.stdout.startswith(f"{len(grafana.annotations)} added, 0 changed")
    assert again.stdout.startswith("0 added, 0 changed, 0 removed")


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ('"options": "critical"', '"options": "fatal"', "fatal"),
        ('"options": "next_step"', '"options": "next"', "next"),
        ("__data.fields.incident:", "__data.fields.case:", "case"),
        ("__field.labels.name", "__field.labels.called", "called"),
    ],
    ids=["an override of a stat", "an override of a table", "a column in a link", "a label of a series"],
)
def test_a_panel_that_names_a_column_its_query_has_not_is_seen(old: str, new: str, lost: str, busy: Viewer) -> None:
    board = json.loads(json.dumps(dashboards()["overview"]).replace(old, new))
    found = [problem for query in of_dashboard("overview", board) for problem in busy.complaints(query)]
    assert set(found) == {f"no column {lost}"}


CALLS = "deployment: Calls per second"
BY_MODEL = "cost: Spend an hour by model"
SEVERITIES = "overview: Open incidents by severity"
SINCE = "overview: High or critical since"
SPREAD = "deployment: Latency, how many calls took how long"
STATES = "deployment: Components over time"
GRAPH = "principal: What this caller and the cohort share"
ALERT = "alert: Open incident, high or critical"

Change = Callable[[Found], Found]


def sql(old: str, new: str, at: int = 0) -> Change:
    def change(query: Found) -> Found:
        assert old in query.sqls[at]
        written = query.sqls[at].replace(old, new)
        return dataclasses.replace(query, sqls=(*query.sqls[:at], written, *query.sqls[at + 1 :]))

    return change


MUTATIONS: dict[str, tuple[str, Change, str]] = {
    "a column that does not exist": (CALLS, sql("sum(calls)", "sum(call)"), "UNKNOWN_IDENTIFIER"),
    "a table that does not exist": (CALLS, sql("FROM traffic", "FROM trafic"), "UNKNOWN_TABLE"),
    "a macro that does not exist": (CALLS, sql("$__timeFilter", "$__timeFliter"), "unknown macro"),
    "a macro without its argument": (CALLS, sql("$__timeFilter(minute)", "$__timeFilter()"), "1 arguments, not 0"),
    "a macro with one argument more": (CALLS, sql("Interval(minute)", "Interval(minute, 60)"), "1 arguments, not 2"),
    "a variable that does not exist": (CALLS, sql("${deployment:", "${tenant:"), "unknown variable"),
    "a variable with a format that does not exist": (CALLS, sql(":percentencode}", ":percent}"), "unknown format"),
    "a series in the wrong order": (CALLS, sql("ORDER BY t", "ORDER BY t DESC"), "not sorted by time"),
    "a series that begins with its value": (CALLS, sql("SELECT ", "SELECT 1, "), "the first column is number"),
    "a series without a number": (
        CALLS,
        sql("sum(calls) / greatest($__interval_s, 60)", "'many'"),
        "no number to draw",
    ),
    "a filter that lets nothing through": (CALLS, sql("AND deployment", "AND 0 AND deployment"), "no rows"),
    "two points of one series at one time": (CALLS, sql("GROUP BY t ", "GROUP BY t, minute, model "), "one time twice"),
    "a label that the series lost": (BY_MODEL, sql(" AS name", " AS called"), "UNKNOWN_IDENTIFIER"),
    "an override for a column that is gone": (SEVERITIES, sql("AS critical", "AS fatal"), "no column critical"),
    "a stat of text": (SINCE, sql("SELECT if(", "SELECT 'x' AS word, if("), "a stat shows numbers"),
    "a stat of two rows": (SINCE, sql("FROM incidents_latest", "FROM incidents_latest UNION ALL SELECT 1"), "2 rows"),
    "buckets out of order": (SPREAD, sql('AS "0.5"', 'AS "5"'), "buckets out of order"),
    "a bucket without a number": (SPREAD, sql('AS "0.5"', 'AS "half"'), "buckets are named after numbers"),
    "states in the wrong order": (STATES, sql("ORDER BY t", "ORDER BY t DESC"), "not sorted by time"),
    "an edge to nowhere": (GRAPH, sql("AS target", "|| 'x' AS target", 1), "an edge's target is no node"),
    "edges without ends": (GRAPH, sql("AS source", "AS origin", 1), "one frame of nodes and one of edges"),
    "an alert that lost a label of its text": (ALERT, sql("deployment, ", ""), "no column deployment"),
    "an alert of two numbers": (ALERT, sql("findings\n", "findings, 2 AS more\n"), "one number and labels"),
    "an alert with a variable": (ALERT, sql("'open'", "'${state}'"), "not expanded"),
    "an alert with a macro of the browser": (
        ALERT,
        sql("state = 'open'", "$__conditionalAll(state = 'open', $state)"),
        "a browser only",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_sees(mutation: str, busy: Viewer) -> None:
    place, change, complaint = MUTATIONS[mutation]
    found = busy.complaints(change(QUERIES[place]))
    assert any(complaint in problem for problem in found), found
