"""What a store must do, whoever serves it: the body of the tests for the engine in process and for a server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from detectors.types import InferenceEvent, Observation, Severity
from streams.asking import Filter, list_findings
from streams.clickhouse import Store, StoreError, UnstorableError, migrate
from streams.migrations import migrations
from streams.rows import DEAD_LETTERS, EVENTS, FINDINGS
from streams.settings import Settings
from tests.store_values import (
    CONVERSATION,
    FINDING,
    FULL_EVENT,
    FULL_OBSERVATION,
    FULL_ROW,
    LETTER,
    NOT_NULL,
    NOW,
    NOW_S,
    TEXTS,
    said,
    state,
    stored,
)


def everything(**changes: Any) -> Filter:
    """A filter that lets all findings through, but for what is changed."""
    widest: dict[str, Any] = {"severity": "info", "detector": "", "deployment": "", "since": "36500d", "limit": 100}
    return Filter.parse(**{**widest, **changes})


def new_database() -> str:
    return f"test_{uuid.uuid4().hex[:12]}"


def drop(settings: Settings) -> None:
    store = Store.connect(msgspec.structs.replace(settings, clickhouse_database="default"))
    store._client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database}")
    store.close()


class StoreConformance:
    """Inherit it and give `servers`: settings that name where the store is."""

    @pytest.fixture(scope="class")
    def servers(self) -> Settings:
        raise NotImplementedError

    @pytest.fixture
    def fresh(self, servers: Settings) -> Iterator[Settings]:
        """Settings with a database that does not exist yet."""
        settings = msgspec.structs.replace(servers, clickhouse_database=new_database())
        yield settings
        drop(settings)

    @pytest.fixture(scope="class")
    def settings(self, servers: Settings) -> Iterator[Settings]:
        """Settings with a migrated database that keeps the rows of these tests, which are of 2025."""
        settings = msgspec.structs.replace(servers, clickhouse_database=new_database(), retention_days=36_500)
        migrate(settings)
        yield settings
        drop(settings)

    @pytest.fixture
    def store(self, settings: Settings) -> Iterator[Store]:
        """A store without rows."""
        connected = Store.connect(settings)
        for table in ("inference_events", "findings", "dead_letters", "detector_snapshots"):
            connected._client.command(f"TRUNCATE TABLE {table}")
        yield connected
        connected.close()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"system": "\ud800"},
            {"input_tokens": 2**70},
            {"http_status": 70_000},
            {"score": "x"},
            {"egress_hosts": (1,)},
        ],
        ids=lambda each: next(iter(each)),
    )
    def test_a_row_that_no_column_takes_is_told_apart_from_a_store_that_is_down_and_harms_nothing(
        self, store: Store, wrong: dict[str, Any]
    ) -> None:
        good = stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2))
        bad = msgspec.structs.replace(good, event=msgspec.structs.replace(good.event, **wrong))
        with pytest.raises(UnstorableError):
            store.insert_events([good, bad])
        assert store.query("SELECT count() AS rows FROM inference_events") == [{"rows": 0}]
        store.insert_events([good])
        assert store.query("SELECT count() AS rows FROM inference_events") == [{"rows": 1}]

    def test_migrations_are_applied_once_and_again_without_harm(self, fresh: Settings) -> None:
        settings = fresh
        versions = [migration.version for migration in migrations()]
        assert [each.what for each in migrate(settings)] == [migration.what for migration in migrations()]
        assert migrate(settings) == []
        store = Store.connect(settings)
        store.insert_findings([FINDING])
        for migration in migrations():
            store.apply(migration)
        assert store.pending() == []
        assert len(store.query("SELECT 1 FROM findings_latest")) == 1
        applied = store.query("SELECT version FROM schema_migrations FINAL ORDER BY version")
        assert applied == [{"version": each} for each in versions]
        store.close()

    def test_the_retention_is_that_of_the_settings(self, fresh: Settings) -> None:
        changed = msgspec.structs.replace(fresh, retention_days=17)
        migrate(changed)
        store = Store.connect(changed)
        rows = store.query(
            "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND name IN"
            " ('inference_events', 'findings', 'dead_letters', 'detector_snapshots')"
        )
        store.close()
        assert len(rows) == 4
        assert all("toIntervalDay(17)" in row["engine_full"] for row in rows), rows

    def test_an_event_with_every_field_reads_back_as_it_was(self, store: Store) -> None:
        assert all(getattr(FULL_EVENT, name) is not None for name in InferenceEvent.__struct_fields__)
        store.insert_events([stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2))])
        (row,) = store.query("SELECT * FROM events_latest")
        assert json.loads(row.pop("conversation")) == CONVERSATION
        assert json.loads(row.pop("features")) == FULL_EVENT.features
        assert row == FULL_ROW
        assert {name for name, _, _ in EVENTS} == {*FULL_ROW, "conversation", "features"}

    def test_what_is_not_known_of_an_event_is_null_and_never_a_value(self, store: Store) -> None:
        event = InferenceEvent(deployment="empty", time_s=NOW_S, event_id="t:0:0:0")
        store.insert_events(
            [stored(event, Observation(event_id="t:0:0:0", time_s=NOW_S, deployment="empty"), (0, 0, 0))]
        )
        (row,) = store.query("SELECT * FROM events_latest")
        assert (row.pop("time"), row.pop("record_time")) == (NOW, NOW)
        assert {name: value for name, value in row.items() if value is not None} == NOT_NULL

    def test_known_and_unknown_values_in_one_batch_do_not_mix(self, store: Store) -> None:
        unknown = InferenceEvent(deployment="chat", time_s=NOW_S, event_id="t:0:0:0")
        observation = Observation(event_id="t:0:0:0", time_s=NOW_S, deployment="chat")
        store.insert_events(
            [stored(unknown, observation, (0, 0, 0)), stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2))] * 2
        )
        rows = store.query("SELECT latency_s, logprobs, model, principal FROM events_latest ORDER BY event_id")
        assert [tuple(row.values()) for row in rows] == [(None, None, None, None), (1.25, True, "gpt-4o", "p_1")]

    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_a_text_reads_back_as_it_was_said(self, store: Store, text: str) -> None:
        store.insert_events([said(text)])
        assert store.query("SELECT prompt FROM events_latest") == [{"prompt": text}]
        found = store.query(
            "SELECT count() AS found FROM events_latest WHERE prompt = {text:String}", {"text": text[:1_000]}
        )
        assert found == [{"found": int(len(text) <= 1_000)}]

    def test_a_finding_reads_back_as_it_was(self, store: Store) -> None:
        bare = msgspec.structs.replace(
            FINDING,
            finding_id="0" * 32,
            principal=None,
            evidence=(),
            atlas=(),
            owasp=(),
            time_s=NOW_S + 1,
            onset_s=-1.0,
        )
        store.insert_findings([FINDING, bare])
        assert list_findings(store, everything(), NOW_S) == [FINDING, msgspec.structs.replace(bare, onset_s=0.0)]
        (row,) = store.query("SELECT * FROM findings_latest WHERE finding_id = {id:String}", {"id": "f" * 32})
        assert set(row) == {*(name for name, _, _ in FINDINGS), "stored_at"}
        assert (row["severity"], row["onset"]) == ("high", NOW - timedelta(seconds=60))

    @pytest.mark.parametrize("least", list(Severity))
    def test_findings_are_filtered_by_how_bad_they_are_not_by_the_alphabet(self, store: Store, least: Severity) -> None:
        store.insert_findings(
            [msgspec.structs.replace(FINDING, finding_id=level.value, severity=level) for level in Severity]
        )
        found = {finding.severity for finding in list_findings(store, everything(severity=least.value), NOW_S)}
        assert found == {level for level in Severity if level.rank >= least.rank}

    def test_findings_are_filtered_by_detector_deployment_and_age_and_the_newest_stay(self, store: Store) -> None:
        rows = [msgspec.structs.replace(FINDING, finding_id=f"{age_s}", time_s=NOW_S - age_s) for age_s in range(100)]
        other = msgspec.structs.replace(FINDING, finding_id="o", detector="o'x", deployment="\\d")
        store.insert_findings([*rows, other])
        assert [row.finding_id for row in list_findings(store, everything(detector="o'x"), NOW_S)] == ["o"]
        assert [row.finding_id for row in list_findings(store, everything(deployment="\\d"), NOW_S)] == ["o"]
        assert len(list_findings(store, everything(deployment="chat", since="9s", limit=1_000), NOW_S)) == 10
        newest = list_findings(store, everything(deployment="chat", limit=3), NOW_S)
        assert [row.finding_id for row in newest] == ["2", "1", "0"]

    def test_a_dead_letter_reads_back_as_it_was(self, store: Store) -> None:
        store.insert_dead_letters([LETTER])
        (row,) = store.query("SELECT * FROM dead_letters_latest")
        assert set(row) == {name for name, _, _ in DEAD_LETTERS}
        assert row.pop("record_time") == NOW
        assert row == {name: getattr(LETTER, name) for name in row}

    def test_rows_that_come_again_after_a_crash_are_there_once(self, store: Store) -> None:
        event, empty = stored(FULL_EVENT, FULL_OBSERVATION, (3, 41, 2)), said("hello")
        neighbor = msgspec.structs.replace(LETTER, event_index=0)
        for _ in range(3):
            store.insert_events([event, empty])
            store.insert_findings([FINDING])
            store.insert_dead_letters([LETTER, neighbor])
        assert store.query("SELECT count() AS rows FROM events_latest") == [{"rows": 2}]
        assert store.query("SELECT count() AS rows FROM findings_latest") == [{"rows": 1}]
        assert store.query("SELECT count() AS rows FROM dead_letters_latest") == [{"rows": 2}]

    def test_the_newest_snapshot_is_the_one_with_the_highest_next_offset(self, store: Store) -> None:
        for next_offset in (5, 9, 7):
            store.insert_snapshots([state("a", next_offset, b"at %d" % next_offset)])
        store.insert_snapshots([state("b", 1), msgspec.structs.replace(state("a", 99), scope="principal")])
        found = store.snapshots("t", "deployment", "observations", ["a", "b", "absent"])
        assert found == {"a": state("a", 9, b"at 9"), "b": state("b", 1)}
        assert store.snapshots("other", "deployment", "observations", ["a"]) == {}
        assert store.snapshots("t", "deployment", "observations", []) == {}

    @pytest.mark.parametrize("envelope", [b"", bytes(range(256)), b"\xff\xfe'\\\x00" * 50_000])
    def test_an_envelope_reads_back_byte_for_byte(self, store: Store, envelope: bytes) -> None:
        subject = "it's a \\subject\t北京"
        store.insert_snapshots([state(subject, 1, envelope)])
        assert store.snapshots("t", "deployment", "observations", [subject]) == {subject: state(subject, 1, envelope)}

    def test_a_thousand_subjects_are_asked_for_at_once(self, store: Store) -> None:
        subjects = [f"p_{number:032x}" for number in range(1_000)]
        store.insert_snapshots([state(subject, 1) for subject in subjects])
        assert set(store.snapshots("t", "deployment", "observations", subjects)) == set(subjects)

    def test_the_states_of_a_flood_of_names_are_asked_for_in_parts_that_the_server_takes(self, store: Store) -> None:
        nasty = ["\"'\\ \t" * 60 + str(number) for number in range(300)]
        subjects = [f"p_{number:032x}" for number in range(5_000)] + nasty
        store.insert_snapshots([state(subject, 1) for subject in (subjects[0], subjects[4_999], nasty[7])])
        found = store.snapshots("t", "deployment", "observations", subjects)
        assert set(found) == {subjects[0], subjects[4_999], nasty[7]}

    def test_words_of_a_prompt_are_found_by_the_index(self, store: Store) -> None:
        store.insert_events([said(f"please summarize page {number}", number) for number in range(20_000)])
        store.insert_events([said("where is the Zanzibar treasure", 20_001)])
        found = "FROM inference_events WHERE hasAllTokens(prompt, {words:String})"
        asked = {"words": "treasure zanzibar"}
        assert store.query(f"SELECT prompt {found}", asked) == [{"prompt": "where is the Zanzibar treasure"}]
        plan = "\n".join(str(row) for row in store.query(f"EXPLAIN indexes = 1 SELECT prompt {found}", asked))
        assert "prompt_words" in plan

    def test_events_from_every_century_are_taken_in_one_batch(self, store: Store) -> None:
        rows = [
            msgspec.structs.replace(said("x", number), record_time_s=time_s)
            for number, time_s in enumerate((-1.0, 0.0, NOW_S, 4.1e9, 1e12, 2.0**63 / 1_000))
        ]
        store.insert_events(rows)
        letters = [msgspec.structs.replace(LETTER, record_time_s=row.record_time_s) for row in rows]
        store.insert_dead_letters(letters)
        assert store.query("SELECT count() AS rows FROM inference_events") == [{"rows": len(rows)}]

    def test_nothing_to_insert_is_no_error(self, store: Store) -> None:
        store.insert_events([])
        store.insert_findings([])
        store.insert_dead_letters([])
        store.insert_snapshots([])

    def test_a_missing_schema_is_said_with_what_to_do(self, settings: Settings) -> None:
        absent = msgspec.structs.replace(settings, clickhouse_database="never_made")
        with pytest.raises(StoreError) as caught:
            Store.connect(absent).query("SELECT 1 FROM findings_latest")
        assert "run `inferwatch migrate`" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_table_is_said_without_repeating_the_statement(self, store: Store) -> None:
        with pytest.raises(StoreError, match="run `inferwatch migrate`") as caught:
            store.query("SELECT {secret:String} FROM no_such_table", {"secret": "hunter2"})
        assert "hunter2" not in str(caught.value)
        assert "SELECT" not in str(caught.value)
