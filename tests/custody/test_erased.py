"""A person erased from everything by one run of the verb, overriding a hold; looked for afterwards in every place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from streams.clickhouse import Store
from streams.custody import access, exports, holds
from streams.custody.access import Entry
from streams.custody.holds import Hold
from streams.custody.places import everywhere
from streams.custody.subjects import Subject
from streams.keys import derive
from streams.privacy import Pseudonymizer
from tests.chdb_directory import chdb_url
from tests.custody.conftest import Typed, empty
from tests.custody.planted import CALLS, KEY, OTHERS, files_with, plant, plant_beside

IDENTITY, NAME, WORD = "Chloé.Vance@planted.example", "Chloé O'Vance (née Quirk)", "herown"
WHO = Pseudonymizer(derive(KEY).pseudonyms).pseudonym("principal", IDENTITY)
OTHER = "p_" + "0c" * 16
SUBJECT = Subject(pseudonyms=(WHO,), texts=(IDENTITY, NAME))
TEXTS = (WHO, IDENTITY, f"{WORD}prompt", f"{WORD}output", f"{WORD}evidence")

FIGURES = (
    "SELECT count() AS calls, uniqExact(principal) AS callers, sum(input_tokens) AS tokens FROM inference_events",
    "SELECT sum(calls) AS n, uniqExact(principal) AS who FROM callers",
    "SELECT sum(calls) AS n FROM traffic",
)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one person's erasure was like, step by step."""

    case: str
    held: Hold
    found: dict[str, dict[str, int]]
    found_when_refused: dict[str, dict[str, int]]
    on_disk: dict[str, list[Path]]
    figures: list[list[dict[str, Any]]]
    dry: Result
    running: Result
    exported: Result
    told: dict[str, Any]
    mode: int
    refused: Result
    there_when_refused: bool
    done: Result
    notes: str
    again: Result
    spared: bool
    log: list[Entry]
    evidence_id: str


def everything(store: Store) -> dict[str, dict[str, int]]:
    return {place.table: place.found for place in everywhere(store, SUBJECT) if place.found}


@pytest.fixture(scope="module")
def seen(store: Store, typed: Typed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    place = tmp_path_factory.mktemp("erased")
    subject_json, evidence, changed = place / "subject.json", place / "evidence", place / "changed.json"
    case = plant(store, WHO, OTHER, IDENTITY, WORD)
    plant_beside(store, WHO, IDENTITY, NAME)
    figures = [store.query(sql) for sql in FIGURES]
    dry = typed("erase", WHO, "--why", "DSR-31", "--dry-run")
    found, on_disk = everything(store), files_with(chdb_url().removeprefix("chdb://"), TEXTS)

    store.command("INSERT INTO worker_metrics (worker, time) VALUES ('host:1', now64(3))")
    running = typed("erase", WHO, "--why", "DSR-31")
    store.command("TRUNCATE TABLE worker_metrics")

    exported = typed("export", WHO, "-o", str(subject_json), "--why", "DSR-30")
    mode, told = subject_json.stat().st_mode & 0o777, json.loads(subject_json.read_text())["tables"]
    evidence.mkdir()
    (evidence / exports.MANIFEST).write_text("{}")
    kept = exports.register(
        store, exports.EVIDENCE, evidence, "kim", subjects=[WHO, OTHER], incident_id=case.incident_id
    )
    held = holds.hold(store, case, "LEGAL-7", "kim")
    refused = typed("erase", WHO, "--why", "DSR-31")
    there, found_when_refused = evidence.is_dir() and subject_json.is_file(), everything(store)

    (place / "names.txt").write_text(f"{NAME}\n")
    done = typed(
        *("erase", "-", "--why", f"DSR-31 of {IDENTITY.lower()}", "--texts-file", str(place / "names.txt")),
        *("--override-hold", f"court says so, {NAME}"),
        stdin=IDENTITY + "\n",
    )
    notes = "".join((place / f"{each}.erased.txt").read_text() for each in ("subject.json", "evidence"))
    changed.write_text("before")
    exports.register(store, exports.SUBJECT, changed, "kim", subjects=[WHO])
    changed.write_text("somebody else's file now")
    again = typed("erase", WHO, "--why", "DSR-31", "--patience", "0")
    yield Seen(
        case=case.incident_id,
        held=held,
        found=found,
        found_when_refused=found_when_refused,
        on_disk=on_disk,
        figures=figures,
        dry=dry,
        running=running,
        exported=exported,
        told=told,
        mode=mode,
        refused=refused,
        there_when_refused=there,
        done=done,
        notes=notes if not (evidence.exists() or subject_json.exists()) else "",
        again=again,
        spared=changed.exists(),
        log=access.entries(store, 0.0, 20, WHO),
        evidence_id=kept.export_id,
    )
    empty(store)


@pytest.fixture(autouse=True)
def _empty() -> None:
    """Nothing in between: one erasure is looked at from all sides."""


def test_a_dry_run_says_where_they_are_and_a_worker_that_runs_or_a_hold_stops_the_erasure(seen: Seen) -> None:
    assert seen.dry.exit_code == 0 and f"principal: {CALLS}" in seen.dry.output
    assert set(seen.found) >= {"inference_events", "callers", "findings", "incidents", "dead_letters", "suppressions"}
    assert set(seen.found) >= {"incident_verdicts", "detector_snapshots", "incident_revisions"}
    assert set(seen.found) >= {"changes", "baselines", "exports", "access_log", "component_reports"}
    assert all(seen.on_disk.values()), "what is looked for afterwards is not found where it is"
    assert seen.running.exit_code != 0 and "stop all workers" in str(seen.running.exception)
    assert seen.refused.exit_code == 1 and "nothing was erased" in seen.refused.output
    assert f"{seen.held.hold_id} holds {seen.case}: LEGAL-7" in seen.refused.output
    assert f"{seen.held.hold_id} holds the export {seen.evidence_id} too" in seen.refused.output
    assert seen.there_when_refused
    assert seen.found.items() <= {**seen.found_when_refused, "exports": seen.found["exports"]}.items()
    assert set(seen.found_when_refused) - set(seen.found) == {
        f"held_{table}" for table in holds.COPIES if table in seen.found
    }


def test_they_are_nowhere_afterwards_not_even_on_the_disk(store: Store, seen: Seen) -> None:
    assert seen.done.exit_code == 0, (seen.done.output, seen.done.exception)
    assert "nothing remains" in seen.done.output and "inference-logs: 168 hours" in seen.done.output
    assert IDENTITY not in seen.done.output
    assert everything(store) == {}
    assert not any(files_with(chdb_url().removeprefix("chdb://"), TEXTS).values())
    for view in ("events_kept", "findings_kept", "incidents_kept", "changes_kept", "baselines_kept"):
        rows = store.query(f"SELECT * FROM {view}")  # noqa: S608 - a name of the schema
        assert not any(text in str(row) for row in rows for text in TEXTS), view


def test_what_the_server_keeps_of_the_deletions_names_nobody(store: Store, seen: Seen) -> None:
    assert seen.done.exit_code == 0
    kept = " ".join(row["command"] for row in store.query("SELECT command FROM system.mutations"))
    assert "SHA256" in kept
    assert WHO not in kept and IDENTITY not in kept and NAME not in kept


def test_the_figures_and_the_calls_of_others_stay(store: Store, seen: Seen) -> None:
    assert [store.query(sql) for sql in FIGURES] == seen.figures
    others = store.query(
        "SELECT count() AS n FROM events_latest WHERE principal = {p:String} AND prompt != ''", {"p": OTHER}
    )
    assert others[0]["n"] == OTHERS
    assert store.query("SELECT countIf(prompt LIKE '%[erased]%') AS n FROM events_latest")[0]["n"] == 1
    assert holds.count(store, "held_inference_events", seen.held.hold_id) == CALLS + OTHERS
    (change,) = store.query("SELECT who, reason FROM changes")
    assert change == {"who": "[erased]", "reason": "as [erased] asked"}


def test_the_log_says_who_erased_why_and_which_hold_was_overridden_with_which_export(seen: Seen) -> None:
    _again, override, done = seen.log[0], *sorted(seen.log[1:3], key=lambda each: each.verb, reverse=True)
    assert (done.verb, done.outcome, done.why) == ("erase", "done", "DSR-31 of (the subject)")
    assert (override.verb, override.outcome) == ("hold override", "done")
    assert override.why == "court says so, (the subject)"
    assert override.what == f"{seen.held.hold_id} of {seen.case}, {seen.evidence_id}"
    (called,) = [entry for entry in seen.log if entry.who == "lee"]
    assert called.why == "[erased] called"


def test_an_access_request_gives_all_of_the_person_to_one_reader(seen: Seen) -> None:
    assert seen.exported.exit_code == 0, (seen.exported.output, seen.exported.exception)
    assert seen.mode == 0o600
    calls = seen.told["inference_events"]
    assert len(calls) == CALLS
    assert all(row["principal"] == WHO and row["prompt"].startswith(WORD) for row in calls)
    assert {"callers", "findings", "incidents", "suppressions", "detector_snapshots"} <= set(seen.told)


def test_files_that_are_as_they_were_written_go_and_one_that_is_not_is_left_to_a_person(seen: Seen) -> None:
    assert "evidence held data of a person" in seen.notes and "subject.json held data of a person" in seen.notes
    assert seen.spared and "a person has to erase" in seen.again.output and seen.again.exit_code == 1
