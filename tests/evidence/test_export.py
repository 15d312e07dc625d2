"""Evidence as it is written: complete, the same each time, and whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from streams.clickhouse import Store
from streams.custody.holds import COPIES, hold, release
from streams.evidence import checking, tables
from streams.evidence.exporting import EvidenceError
from streams.evidence.manifest import decoded
from streams.settings import SettingsError
from tests.evidence import planted
from tests.evidence.conftest import Exporter
from tests.findings import START_S


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


def rows(store: Store, path: Path, what: str = "*") -> list[dict[str, Any]]:
    return store.query(f"SELECT {what} FROM file('{path}', Parquet)")  # noqa: S608 - a path of this test


def test_it_holds_the_calls_between_onset_and_end_of_this_deployment_once_each(pristine: Path, store: Store) -> None:
    (found,) = rows(
        store,
        pristine / "events-*.parquet",
        "count() AS calls, uniqExact(event_id) AS ids, groupUniqArray(deployment) AS of, toFloat64(min(time)) AS first",
    )
    expected = sum(number % 10 != 9 for number in range(20, planted.CALLS))
    assert found == {"calls": expected, "ids": expected, "of": ["chat"], "first": START_S}
    (said,) = rows(store, pristine / "events-*.parquet", "countIf(position(prompt, '\u202e=cmd') > 0) AS hostile")
    assert said == {"hostile": 1}


def test_it_holds_findings_history_provenance_detectors_settings_and_queries(pristine: Path) -> None:
    read = {path.stem: json.loads(path.read_bytes()) for path in pristine.glob("*.json")}
    assert [(row["detector"], row["of_incident"]) for row in read["findings"]] == [
        ("served_model_change", True),
        ("latency_shift", True),
        ("leakage", False),
        ("egress", True),
    ]
    assert [row["revision"] for row in read["incident_revisions"]] == [2, 4, 6]
    assert [(row["verdict"], row["said_by"]) for row in read["verdicts"]] == [("true", "kim")]
    assert [row["reason"] for row in read["suppressions"]] == [planted.HOSTILE]
    assert [row["digest"] for row in read["component_reports"]] == ["sha256:1"]
    assert [row["ticket"] for row in read["changes"]] == ["CHG-1"]
    assert [row["name"] for row in read["baselines"]] == ["may"]
    assert read["incident"]["plan"]["radius"]["deployment"] == "chat"
    of = {row["detector"]: row for row in read["detectors"]}
    assert of["latency_shift"]["versions_that_found"] == [1] and of["extraction"]["versions_that_found"] == []
    assert of["latency_shift"]["metadata"]["known_gaps"] and of["latency_shift"]["false_alarms_a_day_and_subject"] > 0
    assert read["settings"]["alarm_budget"] == 2.0
    assert not {"key", "clickhouse_url", "kafka_brokers"} & set(read["settings"])
    assert b"stored_at" not in b"".join((pristine / f"{name}.json").read_bytes() for name in tables.SMALL)


def test_the_queries_in_it_give_the_very_files_again(pristine: Path, store: Store) -> None:
    queries = json.loads((pristine / "queries.json").read_bytes())
    of_parquet = [each for each in queries if each["file"].endswith(".parquet")]
    assert {each["file"] for each in of_parquet} == {path.name for path in pristine.glob("*.parquet")}
    for each in of_parquet:
        again = b"".join(store.read(each["sql"], each["parameters"], whole=True))
        assert again == (pristine / each["file"]).read_bytes(), each["file"]


def test_every_file_is_in_the_manifest_with_its_digest_size_and_rows(pristine: Path, store: Store) -> None:
    manifest = decoded((pristine / "manifest.json").read_bytes())
    files = contents(pristine)
    assert {each.path for each in manifest.files} == set(files) - {"manifest.json", "manifest.sig", "public_key.pem"}
    for each in manifest.files:
        data = files[each.path]
        assert (each.sha256, each.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        if each.path.endswith(".parquet"):
            assert rows(store, pristine / each.path, "count() AS rows") == [{"rows": each.rows}]
    assert (manifest.case.revision, manifest.case.state, manifest.texts.exported) == (6, "open", True)
    assert manifest.texts.calls == manifest.texts.with_text == 342
    assert (manifest.texts.gone, manifest.texts.bare) == (19, 0)
    assert "19 calls the prompt is not here" in manifest.texts.said
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in pristine.iterdir())
    assert pristine.stat().st_mode & 0o777 == 0o700


def test_the_sums_are_those_that_a_reader_without_our_program_checks(pristine: Path) -> None:
    lines = (pristine / "SHA256SUMS").read_text().splitlines()
    named = dict(reversed(line.split("  ")) for line in lines)
    assert set(named) == set(contents(pristine)) - {"SHA256SUMS", "manifest.json", "manifest.sig", "public_key.pem"}
    assert all(hashlib.sha256((pristine / name).read_bytes()).hexdigest() == digest for name, digest in named.items())
    page = (pristine / "README.md").read_text("ascii")
    assert all(max(map(len, part.splitlines())) <= 140 for part in page.split("\n\n"))
    assert decoded((pristine / "manifest.json").read_bytes()).signed_by in page


def test_without_texts_no_text_is_in_it(exporter: Exporter, store: Store, tmp_path: Path) -> None:
    manifest = exporter(tmp_path / "e", with_texts=False)
    (first,) = rows(store, tmp_path / "e" / "events-*.parquet", "*")[:1] or [{}]
    assert not set(tables.TEXTS) & set(first) and {"principal", "prompt_hash", "components"} <= set(first)
    assert not manifest.texts.exported and "--without-text" in manifest.texts.said
    assert checking.check(tmp_path / "e").intact


def test_many_calls_are_cut_into_files_of_whole_minutes(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SLICE_EVENTS", 100)
    told: list[tuple[int, int]] = []
    manifest = exporter(tmp_path / "e", told=lambda done, calls: told.append((done, calls)))
    counts = [each.rows for each in manifest.files if each.path.startswith("events-")]
    assert len(counts) > 3 and sum(filter(None, counts)) == 342 and max(filter(None, counts)) <= 108
    assert told[0] == (0, 342) and told[-1] == (342, 342)
    assert len(told) == len(counts) + 1
    assert checking.check(tmp_path / "e").intact


def test_a_directory_that_exists_is_left_alone(exporter: Exporter, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    with pytest.raises(SettingsError, match="exists"):
        exporter(tmp_path / "e")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="exists"):
        exporter(tmp_path / "link")
    with pytest.raises(SettingsError, match="no directory"):
        exporter(tmp_path / "a" / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "link"]


def test_an_export_that_nobody_recorded_does_not_appear(exporter: Exporter, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        assert [path.name.startswith(".e.partial-") for path in tmp_path.iterdir()] == [True]
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        exporter(tmp_path / "e", kept=refuse)
    assert list(tmp_path.iterdir()) == []


def test_the_same_incident_gives_the_same_bytes_also_after_a_replay_and_merges(
    pristine: Path, exporter: Exporter, store: Store, tmp_path: Path
) -> None:
    exporter(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(pristine)
    (before,) = store.query("SELECT count() AS rows FROM inference_events")
    planted.insert_calls(store, 0, 100)
    exporter(tmp_path / "replayed")
    assert contents(tmp_path / "replayed") == contents(pristine)
    planted.stir(store)
    (after,) = store.query("SELECT count() AS rows FROM inference_events")
    assert after["rows"] > before["rows"], "no duplicates: nothing was tested"
    exporter(tmp_path / "stirred")
    assert contents(tmp_path / "stirred") == contents(pristine)


SAID = ("incident_verdicts", "suppressions", "component_reports", "changes", "baselines")


def test_what_is_held_gives_the_same_bytes_when_its_time_is_over(
    pristine: Path, exporter: Exporter, store: Store, tmp_path: Path
) -> None:
    held = hold(store, planted.incident(store), "LEGAL-7", "kim")
    try:
        exporter(tmp_path / "held")
        assert contents(tmp_path / "held") == contents(pristine)
        for table in (*COPIES, "incident_revisions"):
            store.command(f"TRUNCATE TABLE {table}")
        assert planted.cases(store) == []
        exporter(tmp_path / "expired")
        assert contents(tmp_path / "expired") == contents(pristine)
    finally:
        for table in SAID:  # with the times at which it was said
            store.command(f"INSERT INTO {table} SELECT * EXCEPT (hold_id) FROM held_{table} FINAL")  # noqa: S608 - names of the schema
        release(store, held, "over", "kim")
        planted.insert_calls(store)
        planted.take(store, *planted.FINDINGS, planted.STRANGER)
    exporter(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(pristine)


def test_nothing_appears_when_somebody_writes_meanwhile(exporter: Exporter, store: Store, tmp_path: Path) -> None:
    def write(done: int, calls: int) -> None:
        if not done:
            planted.insert_calls(store, planted.CALLS, 5)

    try:
        with pytest.raises(EvidenceError, match="run it again"):
            exporter(tmp_path / "e", told=write)
    finally:
        store.command(f"DELETE FROM inference_events WHERE offset >= {planted.CALLS}")  # noqa: S608 - a number of ours
    assert list(tmp_path.iterdir()) == []
