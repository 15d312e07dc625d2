"""What an erasure is made of: saved states, a run that is cut off, tables of later releases, who may be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.clickhouse import Store
from streams.custody import erasure, removal
from streams.custody.places import Column, everywhere, tables
from streams.custody.subjects import Subject, also_named, identified
from streams.keys import derive
from streams.privacy import Pseudonymizer
from streams.settings import Settings, SettingsError
from streams.snapshots import Origin, unseal
from tests.custody.conftest import Typed
from tests.custody.planted import IDENTITY, KEY, SEALED_WITH, plant, settings

WHO = Pseudonymizer(derive(KEY).pseudonyms).pseudonym("principal", IDENTITY)
OTHER = "p_" + "0b" * 16
SUBJECT = Subject(pseudonyms=(WHO,), texts=(IDENTITY,))
SUMS = "SELECT count() AS calls, uniqExact(principal) AS callers, sum(input_tokens) AS tokens FROM inference_events"


def everything(store: Store) -> dict[str, dict[str, int]]:
    return {place.table: place.found for place in everywhere(store, SUBJECT) if place.found}


def test_the_state_of_the_person_goes_and_that_of_a_deployment_forgets_the_name_and_is_still_vouched_for(
    store: Store,
) -> None:
    plant(store, WHO, OTHER)
    assert removal.states(store, SUBJECT, (SEALED_WITH,)) == (1, 1, 0)
    assert store.snapshots("t", "principal", "observations", [WHO]) == {}
    kept = store.snapshots("t", "deployment", "observations", ["chat"])["chat"]
    origin = Origin(topic_id="t", topic="observations", partition=0, scope="deployment", subject="chat", next_offset=5)
    learned = unseal(kept.envelope, origin, {}, (SEALED_WITH,))
    assert len(learned) == len(b"\x93\x00" + WHO.encode() + b"\xff") and WHO.encode() not in learned
    assert learned.startswith(b"\x93\x00p_")


def test_a_state_that_nobody_can_vouch_for_is_dropped_and_that_is_said(store: Store) -> None:
    plant(store, WHO, OTHER)
    assert removal.states(store, SUBJECT, ()) == (1, 0, 1)
    assert store.snapshots("t", "deployment", "observations", ["chat"]) == {}


def test_an_erasure_that_is_killed_at_any_statement_ends_right_when_it_is_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(store, WHO, OTHER)
    before = store.query(SUMS)[0]
    callers = store.query("SELECT sum(calls) AS n, sum(input_tokens) AS tokens FROM callers")
    command, calls, killed = Store.command, 0, 0

    def dying(self: Store, sql: str, parameters: Mapping[str, Any] | None = None, given: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls > killed:
            raise KeyboardInterrupt
        command(self, sql, parameters, given)

    known = {name: columns for name, columns in tables(store).items() if name in {"callers", "inference_events"}}

    def two(store: Store) -> dict[str, list[Column]]:
        left = {name: columns for name, columns in tables(store).items() if name.startswith("eras")}
        return known | left

    monkeypatch.setattr(erasure, "tables", two)
    while True:
        calls = 0
        monkeypatch.setattr(Store, "command", dying)
        try:
            list(erasure.erase(store, SUBJECT, erasure.traces(store, SUBJECT)))
        except KeyboardInterrupt:
            killed += 1
            continue
        finally:
            monkeypatch.setattr(Store, "command", command)
        break
    assert killed >= 4
    assert not {"callers", "inference_events"} & set(everything(store))
    assert store.query(SUMS)[0] == before
    assert store.query("SELECT sum(calls) AS n, sum(input_tokens) AS tokens FROM callers") == callers


def test_an_erasure_does_not_begin_while_that_of_another_is_half_done(store: Store) -> None:
    plant(store, WHO, OTHER)
    store.command(f"CREATE TABLE erased_callers_{'0' * 12} AS callers")
    with pytest.raises(erasure.UnfinishedError, match="somebody else"):
        erasure.traces(store, SUBJECT)


def test_a_table_and_a_column_that_a_later_release_adds_are_looked_through_and_emptied(store: Store) -> None:
    store.command(
        "CREATE TABLE later_table (id UInt32, tags Map(String, String), names Array(String), "
        "more LowCardinality(String), note Nullable(String)) ENGINE = MergeTree ORDER BY id"
    )
    store.command(
        "INSERT INTO later_table SELECT 1, map('k''ey', {who:String}), [{who:String}, 'a''b'], {who:String}, NULL "
        "UNION ALL SELECT 2, map('x', 'y'), ['c'], 'd', {text:String}",
        {"who": WHO, "text": f"from {IDENTITY.lower()} with love"},
    )
    list(erasure.erase(store, SUBJECT, erasure.traces(store, SUBJECT)))
    assert [left.table for left in erasure.purge(store, ["later_table"], 0.0)] == ["later_table"]
    assert everything(store) == {}
    rows = store.query("SELECT * FROM later_table ORDER BY id")
    assert rows[0]["names"][1] == "a'b" and list(rows[0]["tags"]) == ["k'ey"] and rows[0]["note"] is None
    assert rows[0]["names"][0] == rows[0]["more"] != WHO
    assert rows[1] == {"id": 2, "tags": {"x": "y"}, "names": ["c"], "more": "d", "note": "from [erased] with love"}


def test_no_reason_and_an_identity_among_arguments_are_refused(typed: Typed) -> None:
    assert isinstance(typed("erase", WHO).exception, SettingsError)
    argument = typed("erase", IDENTITY, "--why", "DSR-31")
    assert isinstance(argument.exception, SettingsError) and IDENTITY not in str(argument.exception)


def test_an_export_of_a_person_never_takes_the_place_of_a_file(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "subject.json").write_text("mine")
    refused = typed("export", WHO, "-o", str(tmp_path / "subject.json"), "--why", "DSR-30")
    assert isinstance(refused.exception, SettingsError)
    assert (tmp_path / "subject.json").read_text() == "mine"


def test_an_identity_is_looked_for_under_every_key_there_ever_was(where: Settings) -> None:
    old = "o" * 40
    found = identified(settings(previous_keys=old), "principal", IDENTITY)
    assert found.pseudonyms == (WHO, Pseudonymizer(derive(old).pseudonyms).pseudonym("principal", IDENTITY))
    with pytest.raises(SettingsError, match="fewer than"):
        identified(where, "principal", "ab")


def test_hundreds_of_names_are_looked_for_at_once(store: Store) -> None:
    plant(store, WHO, OTHER)
    many = also_named(Subject(pseudonyms=()), [f"Nobody {number}" for number in range(140)] + [IDENTITY.lower()])
    assert len(many.forms) > 255
    found = {place.table: place.found for place in everywhere(store, many) if place.found}
    assert found["inference_events"] == {"prompt": 1} and found["dead_letters"] == {"head": 2}
