"""A database that has events already is brought up to date, again after a crash too, and kept as the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.clickhouse import Store
from streams.migrations import migrations
from streams.settings import Settings
from tests.chdb_directory import chdb_url
from tests.store_values import FULL_EVENT, FULL_OBSERVATION, NOW_S, said, stored

pytest.importorskip("chdb", reason="the extra `local` is not installed")
pytest.register_assert_rewrite("tests.store_conformance")

from tests.store_conformance import drop, new_database  # noqa: E402 - as above


@pytest.fixture
def settings() -> Iterator[Settings]:
    """With an empty database."""
    made = Settings(clickhouse_url=chdb_url(), clickhouse_database=new_database(), retention_days=36_500)
    bare = Store.connect(msgspec.structs.replace(made, clickhouse_database="default"))
    bare.command(f"CREATE DATABASE IF NOT EXISTS `{made.clickhouse_database}`")
    bare.close()
    yield made
    drop(made)


SIGHTS = "SELECT kind, name, component, sum(calls) AS calls, min(first) = max(last) AS once FROM sightings"


def sights(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in store.query(f"{SIGHTS} GROUP BY 1, 2, 3 ORDER BY 1, 3, 2")]


def test_events_that_are_stored_get_tools_words_and_sights_and_a_second_run_counts_nothing_twice(
    settings: Settings,
) -> None:
    store = Store.connect(settings)
    before, forensics = migrations()[:5], migrations()[5]
    for migration in before:
        store.apply(migration)
    store.insert_events([stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2)), said("nothing but words", 7)])
    store.apply(forensics)
    first = sights(store)
    assert ("tool", "mail", "", 1, 1) in first
    assert {kind for kind, *_ in first} == {"digest", "host", "tool"}
    assert {component for kind, _, component, *_ in first if kind == "digest"} == {"weights", "tool_list"}
    store.apply(forensics)
    assert sights(store) == first
    assert store.query("SELECT event_id FROM inference_events WHERE has(tools, 'mail')") == [{"event_id": "t:3:41:2"}]
    found = "SELECT event_id FROM inference_events WHERE hasAllTokens(output, {words:String})"
    assert store.query(found, {"words": "SENT"}) == [{"event_id": "t:3:41:2"}]
    later = msgspec.structs.replace(FULL_EVENT, event_id="t:3:42:2", time_s=NOW_S + 60)
    store.insert_events([stored(later, FULL_OBSERVATION, (3, 42, 2))])
    assert ("tool", "mail", "", 2, 0) in sights(store)
    store.close()


def test_what_a_tool_is_called_stays_when_the_conversation_goes(settings: Settings) -> None:
    store = Store.connect(settings)
    for migration in migrations():
        store.apply(migration)
    store.insert_events([stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2))])
    shorter = msgspec.structs.replace(settings, text_retention_days=1)
    forgetful = Store.connect(shorter)
    (change,) = [each for each in forgetful.retention_due() if "texts" in each.what]
    for statement in change.statements:
        forgetful.command(statement)
    assert forgetful.query("SELECT prompt, output, system, conversation, features, tools FROM inference_events") == [
        {"prompt": None, "output": None, "system": None, "conversation": "", "features": "", "tools": ["mail"]}
    ]
    assert not [each for each in forgetful.retention_due() if "texts" in each.what]
    forgetful.close()
    store.close()


def test_check_says_what_is_due_and_changes_nothing(settings: Settings) -> None:
    environ = {
        "INFERWATCH_CLICKHOUSE_URL": settings.clickhouse_url,
        "INFERWATCH_CLICKHOUSE_DATABASE": settings.clickhouse_database,
    }
    run = CliRunner()
    for _ in range(2):
        fresh = run.invoke(app, ["migrate", "--check"], env=environ)
        assert fresh.exit_code == 1
        assert fresh.output.splitlines() == [f"due {migration.what}" for migration in migrations()]
    assert run.invoke(app, ["migrate"], env=environ).exit_code == 0
    done = run.invoke(app, ["migrate", "--check"], env=environ)
    assert (done.exit_code, done.output) == (0, "the schema is up to date\n")
    longer = run.invoke(app, ["migrate", "--check"], env={**environ, "INFERWATCH_CASE_RETENTION_DAYS": "400"})
    assert longer.exit_code == 1
    assert "due findings: kept for 400 days" in longer.output.splitlines()
