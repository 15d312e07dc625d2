# ruff: noqa: S608 - SQL is put together from constants of this file only
"""Who reads what, on a real server with the users of compose: attempts at texts, at other tables and at the limits."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from dashboards.panels import TEXTS_UID
from streams.clickhouse import Store, StoreError, migrate
from streams.forensics.asking import ask, ask_as
from streams.forensics.questions import questions
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.dashboards.extraction import dashboards, every_panel, every_query
from tests.dashboards.viewer import Viewer
from tests.integration.attempts import LOOKS, OUTWARD
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.clickhouse_users import (
    MIGRATOR_PASSWORD,
    PASSWORDS,
    passwords,
    server_with_users,
)
from tests.integration.conftest import served

pytestmark = pytest.mark.integration

TEXTS = {"prompt", "output", "system", "conversation", "features", "prediction"}
"""Columns that hold what was asked and answered, wherever they are."""

READERS = ("analyst", "responder", "grafana")
"""Those who see no text."""

PLAYED = {"would_have_seen"}
"""Questions whose texts are read before their SQL is asked, which reads none."""

SAID = "marigold"
REFUSED = r"ACCESS_DENIED|READONLY|SETTING_CONSTRAINT_VIOLATION|Not enough privileges"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    with passwords():
        made = server_with_users(tmp_path_factory.mktemp("roles"), custodian_queries="900")
        yield from served(made, leave_out_integration)


@pytest.fixture(scope="module")
def admin(server: ClickHouseServer) -> Client:
    """Nobody of ours: the library's own user, who may do all."""
    assert migrate(
        Settings(clickhouse_url=server.url, clickhouse_user="migrator", clickhouse_password=MIGRATOR_PASSWORD)
    )
    admin = clickhouse_connect.get_client(dsn=server.url, database="inferwatch")
    admin.command(
        "INSERT INTO inference_events (event_id, deployment, record_time, time, prompt, output, system, conversation, "
        f"features, prediction) VALUES ('e', 'chat', now(), now(), '{SAID} p', '{SAID} o', '{SAID} s', '{SAID} c', "
        f"'{SAID} f', '{SAID} d')"
    )
    return admin


@pytest.fixture(scope="module")
def clients(server: ClickHouseServer, admin: Client) -> dict[str, Client]:
    assert admin
    return {
        user: clickhouse_connect.get_client(dsn=server.url, username=user, password=password, database="inferwatch")
        for user, password in PASSWORDS.items()
    }


def columns(admin: Client) -> dict[str, set[str]]:
    """Of every table and view of the schema, but those that only hand inserts on."""
    sql = """
        SELECT table, name FROM system.columns WHERE database = 'inferwatch' AND table IN
        (SELECT name FROM system.tables WHERE database = 'inferwatch' AND engine != 'MaterializedView')
    """
    found: dict[str, set[str]] = {}
    for table, name in admin.query(sql).result_rows:
        found.setdefault(table, set()).add(name)
    return found


def said(client: Client, statement: str) -> str:
    """What the server says to a statement, its error too."""
    try:
        return str(client.command(statement))
    except ClickHouseError as error:
        return str(error)


def readable(client: Client, admin: Client) -> set[tuple[str, str]]:
    """Every column that a user may read, by the server's own word."""
    asked = [(table, name) for table, names in columns(admin).items() for name in sorted(names)]
    return {
        (table, name)
        for table, name in asked
        if client.command(f"CHECK GRANT SELECT({name}) ON inferwatch.{table}") == 1
    }


FOR_NOBODY = {"detector_snapshots"}
"""Of tables with nothing for a reader: saved state, read by the worker alone."""

OF_CUSTODY = re.compile(r"access_log|exports|erasures?")
"""The log of access, and what was made of what is stored."""


@pytest.mark.parametrize("user", READERS)
def test_a_reader_sees_every_column_but_texts_and_what_is_kept_by_the_custodian(
    user: str, clients: dict[str, Client], admin: Client
) -> None:
    seen = readable(clients[user], admin)
    wanted = {
        (table, name)
        for table, names in columns(admin).items()
        if table not in FOR_NOBODY and not OF_CUSTODY.fullmatch(table)
        for name in names - (TEXTS if {"prompt", "output"} <= names else set())
    }
    assert seen == wanted, f"users.xml and the schema differ: {sorted(seen ^ wanted)}"


@pytest.mark.parametrize("user", READERS)
def test_a_reader_reads_calls_without_texts_through_every_view(user: str, clients: dict[str, Client]) -> None:
    for source in ("inference_events", "events_latest", "events_kept", "calls_kept"):
        asked = f"SELECT event_id, deployment FROM {source} WHERE deployment = 'chat'"
        assert clients[user].query(asked).result_rows == [("e", "chat")], source


@pytest.mark.parametrize("user", ["grafana_texts", "investigator", "custodian"])
def test_texts_are_for_who_investigates_and_who_keeps_them(user: str, clients: dict[str, Client]) -> None:
    for column in sorted(TEXTS):
        assert SAID in clients[user].query(f"SELECT {column} FROM events_latest").result_rows[0][0]


@pytest.mark.parametrize("user", READERS)
def test_no_way_to_write_a_query_leads_to_a_text(user: str, clients: dict[str, Client]) -> None:
    for look in LOOKS:
        for column in sorted(TEXTS) if "{column}" in look else [""]:
            asked = look.replace("{column}", column)
            assert re.search(rf"{REFUSED}|UNKNOWN_IDENTIFIER|NO_COMMON_TYPE", said(clients[user], asked)), asked


INDEX = "SELECT * FROM mergeTreeTextIndex(inferwatch, inference_events, prompt_words)"
INDEX_HELD = "SELECT * FROM mergeTreeTextIndex(inferwatch, held_inference_events, output_words)"


@pytest.mark.parametrize("user", READERS)
def test_the_words_of_a_text_index_are_texts(user: str, clients: dict[str, Client], admin: Client) -> None:
    assert SAID in str(admin.query(INDEX).result_rows)
    for index in (INDEX, INDEX_HELD):
        with pytest.raises(ClickHouseError, match=REFUSED):
            clients[user].query(index)


@pytest.mark.parametrize("user", READERS)
@pytest.mark.parametrize(
    "setting",
    [
        "additional_table_filters = {'inferwatch.inference_events': 'prompt LIKE \\'%marigold%\\''}",
        "parallel_replicas_custom_key = 'cityHash64(prompt)'",
    ],
)
def test_no_setting_asks_a_column_that_the_query_does_not(setting: str, user: str, clients: dict[str, Client]) -> None:
    """Such a filter is checked by no grant: it answers whether a text holds a word, one word at a time."""
    with pytest.raises(ClickHouseError, match=REFUSED):
        clients[user].query(f"SELECT event_id FROM inference_events SETTINGS {setting}")


@pytest.mark.parametrize("user", READERS)
def test_the_analyzer_of_old_checks_columns_too(user: str, clients: dict[str, Client]) -> None:
    for setting in ("enable_analyzer = 0", "compatibility = '21.8'"):
        with pytest.raises(ClickHouseError, match=REFUSED):
            clients[user].query(f"SELECT count() FROM events_latest WHERE prompt LIKE '%a%' SETTINGS {setting}")


@pytest.mark.parametrize("user", ["analyst", "responder", "grafana", "grafana_texts", "investigator"])
def test_who_reads_reads_nothing_else_and_changes_nothing(user: str, clients: dict[str, Client]) -> None:
    for statement in OUTWARD:
        if user in {"grafana_texts", "investigator"} and statement.startswith("SHOW CREATE TABLE"):
            continue  # who may read all of a table may see how it is made
        gone = r"UNKNOWN_TABLE|UNKNOWN_TABLE_FUNCTION|UNKNOWN_FUNCTION"  # not in this build of the server
        assert re.search(f"{REFUSED}|{gone}", said(clients[user], statement)), statement


@pytest.mark.parametrize("user", [*READERS[:2], "investigator"])
def test_a_named_question_is_for_every_reader_and_one_about_texts_for_who_investigates(
    user: str, server: ClickHouseServer, admin: Client
) -> None:
    assert admin
    store = Store.connect(
        Settings(clickhouse_url=server.url, clickhouse_user=user, clickhouse_password=PASSWORDS[user])
    )
    known = {"deployment": "chat", "moment": "1h", "incident": "inc-0", "pseudonym": "p_0"}
    for question in questions().values():
        values = {each.name: known.get(each.name, "word") for each in question.parameters if each.default is None}
        if user == "investigator" or question.name in PLAYED or not question.texts:
            assert ask(store, question, values).columns, question.name
            assert b"".join(ask_as(store, question, values, "Parquet")).startswith(b"PAR1"), question.name
            continue
        with pytest.raises(StoreError, match="ACCESS_DENIED"):
            ask(store, question, values)
    store.close()


def test_a_responder_says_what_an_incident_was_and_an_analyst_does_not(clients: dict[str, Client]) -> None:
    for table in ("incident_verdicts", "suppressions"):
        key = {"incident_verdicts": "incident_id", "suppressions": "suppression_id"}[table]
        clients["responder"].command(f"INSERT INTO {table} ({key}) VALUES ('x')")
        for user in ("analyst", "grafana", "grafana_texts", "investigator", "inferwatch"):
            with pytest.raises(ClickHouseError, match=REFUSED):
                clients[user].command(f"INSERT INTO {table} ({key}) VALUES ('y')")


def test_nobody_carries_a_text_to_where_others_read_it(clients: dict[str, Client]) -> None:
    into = "INSERT INTO incident_verdicts (incident_id, note) SELECT event_id, prompt FROM inference_events"
    for user in ("responder", "investigator", "inferwatch"):
        with pytest.raises(ClickHouseError, match=REFUSED):
            clients[user].command(into)


LIMITS = (
    *("max_execution_time", "max_memory_usage", "max_rows_to_read", "max_bytes_to_read", "max_result_rows"),
    "max_result_bytes",
)


@pytest.mark.parametrize("user", ["analyst", "responder", "grafana", "grafana_texts", "investigator", "custodian"])
def test_a_limit_can_be_made_smaller_and_not_larger_and_not_none(user: str, server: ClickHouseServer) -> None:
    asker = Raw(server, user)
    for name in LIMITS:
        most = int(asker.ask(f"SELECT getSetting('{name}')"))
        assert most > 0, name
        assert int(asker.ask(f"SELECT getSetting('{name}')", **{name: most - 1})) == most - 1
        for value in (0, most + 1, -1, 2**63):
            assert "Exception" in asker.ask(f"SELECT getSetting('{name}')", **{name: value}), (name, value)
    fixed = {"max_concurrent_queries_for_user": "0", "max_threads": "64", "result_overflow_mode": "break"}
    for name, lifted in fixed.items():
        assert "Exception" in asker.ask("SELECT 1", **{name: lifted}), name
    for name in ("log_queries", "log_queries_probability", "log_queries_cut_to_length"):
        assert "Exception" in asker.ask("SELECT 1", **{name: 0}), name


@pytest.mark.parametrize("user", ["analyst", "responder", "grafana", "grafana_texts", "investigator", "custodian"])
def test_the_profile_of_another_lifts_no_limit(user: str, server: ClickHouseServer) -> None:
    asker = Raw(server, user)
    limits = [asker.ask(f"SELECT getSetting('{name}')") for name in LIMITS]
    for profile in ("default", "writer", "custodian", "investigator"):
        for name, most in zip(LIMITS, limits, strict=True):
            said = asker.ask(f"SELECT getSetting('{name}')", profile=profile)
            assert "Exception" in said or int(said) <= int(most), (profile, name)


@pytest.mark.parametrize("user", ["analyst", "grafana", "grafana_texts"])
def test_who_only_reads_cannot_become_who_writes(user: str, server: ClickHouseServer) -> None:
    asker = Raw(server, user)
    assert asker.ask("SELECT getSetting('readonly')") == "1"
    for value in (0, 2):
        assert "Exception" in asker.ask("SELECT 1", readonly=value)


def test_an_answer_that_is_too_long_is_cut_with_an_error(server: ClickHouseServer) -> None:
    assert "TOO_MANY_ROWS" in Raw(server, "analyst").ask("SELECT number FROM numbers(100001)")


def test_a_query_that_is_too_long_is_ended(server: ClickHouseServer) -> None:
    asked = Raw(server, "analyst").ask("SELECT sum(sleepEachRow(0.1)) FROM numbers(100)", max_execution_time=1)
    assert "TIMEOUT_EXCEEDED" in asked or "TOO_SLOW" in asked


def test_dashboards_that_show_texts_write_into_no_log(clients: dict[str, Client]) -> None:
    for table in ("access_log", "exports"):
        assert clients["investigator"].command(f"CHECK GRANT INSERT ON inferwatch.{table}") == 1
        assert clients["grafana_texts"].command(f"CHECK GRANT INSERT ON inferwatch.{table}") == 0
        with pytest.raises(ClickHouseError, match=REFUSED):
            clients["grafana_texts"].command(f"INSERT INTO {table} (subjects) VALUES ([])")


def test_every_reader_has_a_quota_an_hour(admin: Client) -> None:
    sql = """
        SELECT quota_name, max_queries, max_errors, max_result_rows, max_read_rows, max_execution_time
        FROM system.quota_limits WHERE duration = 3600
    """
    found = {name: numbers for name, *numbers in admin.query(sql).result_rows}
    assert set(found) == {"reader", "dashboards", "investigator", "custodian"}
    assert all(all(numbers) for numbers in found.values())


def test_a_quota_ends_the_questions_of_an_hour(server: ClickHouseServer) -> None:
    asker = Raw(server, "custodian")
    said = [asker.ask("SELECT count() FROM findings", quota_key=str(number)) for number in range(900)]
    assert "QUOTA_EXCEEDED" in said[-1]


PLACES = {query.place: query for query in every_query()}
SOURCES = {
    f"{name}: {panel['title']}": panel["datasource"]["uid"]
    for name, board in dashboards().items()
    for panel in every_panel(board)
    if panel.get("targets")
}
"""Of each panel; what is asked elsewhere, by variables and alerts, is asked as `grafana`."""


def test_every_query_of_a_dashboard_is_asked_as_a_user_who_may_and_only_texts_need_another(
    clients: dict[str, Client],
) -> None:
    grafana, of_texts = (Viewer(clients[user], int(time.time())) for user in ("grafana", "grafana_texts"))
    for place, query in PLACES.items():
        if SOURCES.get(place) == TEXTS_UID:
            of_texts.frames(query)
            with pytest.raises(ClickHouseError, match="ACCESS_DENIED"):
                grafana.frames(query)
        else:
            grafana.frames(query)


class Raw:
    """One user as a stranger would be: plain HTTP, any parameter."""

    def __init__(self, server: ClickHouseServer, user: str) -> None:
        self._url = server.url
        self._user = user

    def ask(self, sql: str, **parameters: Any) -> str:
        """What the server says, its error too, also where it breaks off what it began to say."""
        query = urllib.parse.urlencode({"database": "inferwatch", **parameters})
        headers = {"X-ClickHouse-User": self._user, "X-ClickHouse-Key": PASSWORDS[self._user]}
        request = urllib.request.Request(f"{self._url}/?{query}", data=sql.encode(), headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                return str(answer.read().decode()).strip()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except http.client.IncompleteRead as error:
            return error.partial.decode()
