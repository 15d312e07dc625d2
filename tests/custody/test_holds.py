"""What an incident needs, kept when everything else forgets; and the log of who did what."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streams.clickhouse import Store
from streams.custody import access, holds
from streams.custody.access import Access
from streams.settings import SettingsError
from streams.verbs import hold as verbs_hold
from tests.custody.planted import CALLS, IDENTITY, OTHERS, plant
from tests.incidents import incident

WHO, OTHER = "p_" + "a1" * 16, "p_" + "0b" * 16
COPIED = {table: f"held_{table}" for table in holds.COPIES}
READ = "SELECT count() AS calls, uniqExact(event_id) AS different, countIf(prompt != '') AS texts FROM events_kept"


def test_a_copy_has_every_column_that_the_table_has(store: Store) -> None:
    sql = """
        SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}
        AND default_kind != 'ALIAS' AND name NOT IN ('hold_id', 'never') ORDER BY name
    """
    for table, copy in COPIED.items():
        assert store.query(sql, {"table": table}) == store.query(sql, {"table": copy}), table


def test_what_is_held_is_read_after_the_originals_are_gone_until_the_last_hold_is_released(store: Store) -> None:
    case = plant(store, WHO, OTHER)
    everyone = {"calls": CALLS + OTHERS, "different": CALLS + OTHERS, "texts": CALLS + OTHERS}
    assert store.query(READ)[0] == everyone
    first = holds.hold(store, case, "LEGAL-7", "kim")
    again = holds.hold(store, case, "asked again", "kim")
    assert again.hold_id == first.hold_id and again.rows == first.rows
    assert first.rows["inference_events"] == CALLS + OTHERS and first.rows["incidents"] == 1
    second = holds.hold(store, incident(1), "LEGAL-8", "kim")
    assert second.hold_id != first.hold_id and second.rows["inference_events"] == CALLS + OTHERS
    assert store.query(READ)[0] == everyone

    for table in (*holds.COPIES, "incident_revisions"):
        store.command(f"TRUNCATE TABLE {table}")  # what a time to live does
    assert store.query(READ)[0] == everyone
    assert store.query("SELECT count() AS n FROM incidents_kept")[0]["n"] == 1
    assert store.query("SELECT count() AS n FROM verdicts_kept")[0]["n"] == 1
    assert store.query("SELECT count() AS n FROM findings_kept")[0]["n"] >= 2

    holds.release(store, first, "LEGAL-7 is closed", "lee")
    assert store.query(READ)[0] == everyone
    assert store.query("SELECT count() AS n FROM incidents_kept")[0]["n"] == 0
    holds.release(store, second, "LEGAL-8 is closed", "lee")
    assert store.query(READ)[0]["calls"] == 0
    assert {each.released_by for each in holds.holds(store)} == {"lee"}


def test_the_log_tells_who_why_and_how_it_ended_and_holds_neither_a_person_nor_a_text(store: Store) -> None:
    asked = Access(
        who="kim",
        verb="ask",
        why=f"{IDENTITY} called about {WHO}",
        what="everything_by",
        parameters={"principal": WHO, "token": "marigold", "since": "2026-11-22T08:00", "deployment": "chat"},
        subjects=[WHO],
        outcome=access.BEGUN,
    )
    access_id = access.record(store, asked)
    access.ended(store, access_id, asked, 12)
    (entry,) = access.entries(store, 0.0, 10, WHO)
    assert (entry.who, entry.verb, entry.rows, entry.outcome) == ("kim", "ask", 12, "done")
    assert entry.parameters["token"] == "(8 characters)" and entry.parameters["deployment"] == "chat"
    assert entry.parameters["since"] == "2026-11-22T08:00"
    kept = str(store.query("SELECT * FROM access_log"))
    assert not any(secret in kept for secret in (WHO, IDENTITY, "marigold"))
    assert access.entries(store, 0.0, 10, OTHER) == []


def test_hold_with_an_incident_is_hold_add_and_a_release_needs_a_hold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = plant(store, WHO, OTHER)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", store._settings.clickhouse_url)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", store._settings.clickhouse_database)
    done = CliRunner().invoke(verbs_hold.app, [case.incident_id, "--reason", "LEGAL-9", "--by", "kim"])
    assert done.exit_code == 0, (done.output, done.exception)
    (held,) = [each for each in holds.holds(store) if not each.released_s]
    assert f"{held.hold_id} holds {case.incident_id}: {CALLS + OTHERS} calls" in done.output
    listed = CliRunner().invoke(verbs_hold.app, ["list"])
    assert "LEGAL-9" in listed.output
    wrong = CliRunner().invoke(verbs_hold.app, ["release", "hold-'; DROP", "--reason", "x"])
    assert isinstance(wrong.exception, SettingsError)
    released = CliRunner().invoke(verbs_hold.app, ["release", held.hold_id, "--reason", "closed"])
    assert released.exit_code == 0, (released.output, released.exception)
    log = [entry.verb for entry in access.entries(store, 0.0, 10)]
    assert log.count("hold") == 1 and log.count("hold release") == 1
