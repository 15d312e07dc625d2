"""What only a hold keeps: named questions find it when the originals are gone, and when their texts are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("chdb", reason="the extra `local` is not installed")

from streams.clickhouse import Store, migrate
from streams.custody import holds
from streams.forensics.asking import ask
from streams.forensics.preparing import prepared
from streams.forensics.questions import questions
from streams.settings import Settings
from tests.chdb_directory import chdb_url
from tests.speed.planted import (
    ANSWER,
    ATTACKER,
    DEPLOYMENT,
    DIGEST,
    DUPLICATES,
    HOST,
    KEY,
    LOUD,
    PROMPT,
    SESSION,
    TOOL,
    TRIGGER,
    WORD,
    plant,
    planted,
)

NOW_S = 1_790_000_000.0
WHAT = planted(NOW_S)
CASE = WHAT.incident.incident_id
LOUD_IDS = [each.event.event_id for each in WHAT.duplicates]
SPAN = {"since": str(int(NOW_S) - 90 * 86_400), "until": str(int(NOW_S))}
SETTINGS = Settings(clickhouse_url=chdb_url(), clickhouse_database="held", key=KEY)

GONE, BLANKED = "gone", "blanked"
_BLANK = "ALTER TABLE inference_events UPDATE prompt = NULL, output = NULL, system = NULL, conversation = '' WHERE 1"
_ROLLUPS = ("traffic", "callers", "sightings", "incident_revisions")


@pytest.fixture(scope="module", params=[GONE, BLANKED])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An installation that holds the incident and has forgotten the rest, or its texts."""
    migrate(SETTINGS)
    opened = Store.connect(SETTINGS)
    plant(opened, WHAT)
    holds.hold(opened, WHAT.incident, "LEGAL-7", "kim")
    if request.param == BLANKED:
        opened.command(_BLANK)
    else:
        for table in (*holds.COPIES, *_ROLLUPS):
            opened.command(f"TRUNCATE TABLE {table}")
    yield opened
    opened.command(f"DROP DATABASE {SETTINGS.clickhouse_database}")
    opened.close()


def answered(store: Store, asked: str, /, **given: str) -> list[dict[str, Any]]:
    question = questions()[asked]
    known = {each.name for each in question.parameters}
    values = {**{key: value for key, value in SPAN.items() if key in known}, **given}
    answer = ask(store, question, prepared(store, SETTINGS, asked, values))
    return [dict(zip([each.name for each in answer.columns], row, strict=True)) for row in answer.rows]


@pytest.mark.parametrize("name", ["blast_radius", "blast_radius_sessions"])
def test_whom_the_incident_touched(name: str, store: Store) -> None:
    (worst,) = [row for row in answered(store, name, incident=CASE) if row["principal"] == ATTACKER]
    assert (worst["calls"], worst["answers"], worst["tools"], worst["hosts"]) == (
        DUPLICATES,
        DUPLICATES,
        [TOOL],
        [HOST],
    )


def test_what_its_caller_did_and_where_they_are_stored(store: Store) -> None:
    assert [row["event_id"] for row in answered(store, "everything_by", principals=ATTACKER)] == LOUD_IDS
    for pseudonym, role in ((ATTACKER, "principal"), (SESSION, "session")):
        rows = [row for row in answered(store, "subject", pseudonym=pseudonym) if row["place"] == "calls"]
        assert [(row["deployment"], row["role"], row["found"]) for row in rows] == [(DEPLOYMENT, role, DUPLICATES)]


def test_what_was_said(store: Store) -> None:
    rows = answered(store, "answers_containing", words=ANSWER.upper())
    assert [row["event_id"] for row in rows] == LOUD_IDS
    assert all(ANSWER in row["text"] for row in rows)
    for name, given in (
        ("first_sender_of_token", {"token": WORD.upper()}),
        ("first_sender_of_trigger", {"trigger": TRIGGER.upper()}),
    ):
        assert [(row["principal"], row["calls"]) for row in answered(store, name, **given)] == [(ATTACKER, DUPLICATES)]


def test_prompts_that_were_almost_the_same(store: Store) -> None:
    for given in ({"prompt": PROMPT.format(number=77)}, {"event": LOUD_IDS[0]}):
        near = [row for row in answered(store, "near_duplicates", **given) if row["principal"] == ATTACKER]
        assert [row["event_id"] for row in near if WORD in row["text"]] and len(near) == DUPLICATES
        senders = answered(store, "first_sender_of_template", **given)
        assert (ATTACKER, DUPLICATES) in [(row["principal"], row["calls"]) for row in senders]


@pytest.mark.parametrize("name", [HOST, TOOL, DIGEST])
def test_where_a_name_was_seen_and_no_call_counts_twice(name: str, store: Store) -> None:
    (row,) = answered(store, "sightings", name=name)
    assert (row["deployment"], row["calls"]) == (DEPLOYMENT, LOUD)


def test_what_happened_in_which_order_and_what_changed(store: Store) -> None:
    assert {"onset", "incident"} <= {row["kind"] for row in answered(store, "timeline", deployment=DEPLOYMENT)}
    moment = str(int(WHAT.incident.onset_s))
    measures = {row["measure"]: row for row in answered(store, "before_after", deployment=DEPLOYMENT, moment=moment)}
    assert measures["calls"]["after"] == LOUD


def test_the_detectors_are_played_what_is_held(store: Store) -> None:
    rows = {row["detector"]: row for row in answered(store, "would_have_seen", incident=CASE)}
    assert max(row["usable"] for row in rows.values()) >= LOUD
    assert rows["canary"]["answer"] != "seen"
    assert any(row["answer"] != "blind" and row["usable"] >= LOUD for row in rows.values())


@pytest.mark.parametrize("store", [BLANKED], indirect=True)
@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("deployment = 'till' AND toStartOfHour(time) >= '2026-09-01 00:00:00'", "PrimaryKey"),
        ("principal = 'p_0'", "by_principal"),
        ("hasAllTokens(prompt, 'zqxvunlock')", "prompt_words"),
        ("hasAllTokens(output, 'zqxvunlock')", "output_words"),
    ],
)
def test_what_finds_rows_in_the_table_finds_them_where_something_is_held(
    condition: str, index: str, store: Store
) -> None:
    sql = f"EXPLAIN indexes = 1 SELECT count(), min(time) FROM calls_kept WHERE {condition}"  # noqa: S608 - of this test
    plan = [row["explain"].strip() for row in store.query(sql)]
    held = next(at for at, line in enumerate(plan) if "held_inference_events" in line)
    table = next(at for at, line in enumerate(plan) if line.endswith(".inference_events)"))
    of_table = plan[table:held] if table < held else plan[table:]
    assert any(index in line for line in of_table), plan
