"""`inferwatch evidence` as it is typed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.clickhouse import Store
from streams.custody.access import entries, fingerprint
from streams.evidence.exporting import EvidenceError
from streams.evidence.manifest import decoded
from streams.settings import Settings, SettingsError
from tests.evidence import planted


@pytest.fixture
def typed(settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", settings.clickhouse_url)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", settings.clickhouse_database)
    monkeypatch.setenv("INFERWATCH_EVIDENCE_KEY_PATH", str(tmp_path / "evidence.key"))
    return CliRunner()


def test_from_a_key_to_evidence_that_was_checked(typed: CliRunner, store: Store, tmp_path: Path) -> None:
    made = typed.invoke(app, ["evidence", "keygen"])
    assert made.exit_code == 0
    key = made.stdout.split()[-1]
    incident_id = planted.incident(store).incident_id
    place = tmp_path / "e"
    done = typed.invoke(
        app, ["evidence", "export", incident_id[:10], "-o", str(place), "--why", "TICKET-12", "--by", "kim"]
    )
    assert done.exit_code == 0, done.output
    manifest = decoded((place / "manifest.json").read_bytes())
    assert manifest.digest in done.stdout and key in done.stdout and "342 calls" in done.stdout
    assert "the incident is open" in done.stderr
    (entry,) = [entry for entry in entries(store, 0.0, 100) if entry.verb == "evidence export"]
    assert (entry.who, entry.why, entry.what) == ("kim", "TICKET-12", f"{incident_id}, with texts")
    assert (entry.rows, entry.outcome) == (342, "done")
    (row,) = store.query("SELECT kind, incident_id, path, sha256, made_by, subjects FROM exports FINAL")
    assert (row["kind"], row["incident_id"], row["made_by"]) == ("evidence", incident_id, "kim")
    assert (row["path"], row["sha256"]) == (str(place), manifest.digest)
    assert sorted(row["subjects"]) == sorted(fingerprint(f"p_{number}") for number in range(7))
    seen = typed.invoke(app, ["evidence", "verify", str(place), "--signer", key])
    assert seen.exit_code == 0 and "the key that you named" in seen.stdout and "all 24 files" in seen.stdout
    (place / "notes\x1b[31m.txt").touch()
    (place / os.fsdecode(b"\xff")).touch()
    (place / "findings.json").write_bytes(b"[]")
    seen = typed.invoke(app, ["evidence", "verify", str(place)])
    assert seen.exit_code == 1 and "NOT as it was exported: 3 of 26" in seen.stdout
    assert "merely the one in the directory" in seen.stdout and "\x1b[31m" not in seen.stdout
    assert [line.split()[:2] for line in seen.stdout.splitlines() if line.startswith(("added", "truncated"))] == [
        ["truncated", "findings.json"],
        ["added", "notes\\x1b[31m.txt"],
        ["added", "\\udcff"],
    ]
    seen = typed.invoke(app, ["evidence", "verify", str(place), "--json", "--signer", "sha256:" + "0" * 64])
    told = json.loads(seen.stdout)
    assert seen.exit_code == 1 and (told["intact"], told["key"], told["signed"]) == (False, "another", True)


def refused(typed: CliRunner, *arguments: str) -> str:
    result = typed.invoke(app, ["evidence", *arguments])
    assert isinstance(result.exception, SettingsError), result.output
    return str(result.exception)


def test_texts_need_a_reason_and_are_left_out_without_one(typed: CliRunner, store: Store, tmp_path: Path) -> None:
    incident_id = planted.incident(store).incident_id
    typed.invoke(app, ["evidence", "keygen"])
    before = len(entries(store, 0.0, 1_000))
    assert "--why" in refused(typed, "export", incident_id, "-o", str(tmp_path / "e"))
    assert "--why" in refused(typed, "export", incident_id, "-o", str(tmp_path / "e"), "--why", " ")
    assert len(entries(store, 0.0, 1_000)) == before and not (tmp_path / "e").exists()
    done = typed.invoke(app, ["evidence", "export", incident_id, "-o", str(tmp_path / "e"), "--without-text"])
    assert done.exit_code == 0 and "--without-text" in done.stderr
    assert entries(store, 0.0, 1_000)[0].what == f"{incident_id}, without texts"


def test_an_installation_that_stores_no_texts_exports_none(
    typed: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERWATCH_CONTENT_MODE", "features")
    assert "--without-text is needed" in refused(typed, "export", "inc-1", "-o", str(tmp_path / "e"), "--why", "x")


def test_what_cannot_be_done_is_said_before_anything_is_read(typed: CliRunner, tmp_path: Path) -> None:
    place = str(tmp_path / "e")
    assert "evidence keygen" in refused(typed, "export", "inc-1", "-o", place, "--why", "x")
    typed.invoke(app, ["evidence", "keygen"])
    assert "not replaced" in refused(typed, "keygen")
    assert "no incident" in refused(typed, "export", "inc-0000", "-o", place, "--why", "x")
    assert "no id" in refused(typed, "export", "../x", "-o", place, "--why", "x")
    assert "exists" in refused(typed, "export", "inc-1", "-o", str(tmp_path), "--why", "x")
    (tmp_path / "evidence.key").chmod(0o644)
    assert "chmod 600" in refused(typed, "export", "inc-1", "-o", place, "--why", "x")
    assert "cannot be read" in refused(typed, "verify", str(tmp_path / "nothing"))
    assert "cannot be read" in refused(typed, "verify", str(tmp_path / "evidence.key"))
    assert "--signer" in refused(typed, "verify", str(tmp_path), "--signer", "sha256:1")


def test_an_export_that_failed_is_in_the_log_as_one_that_did(
    typed: CliRunner, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed.invoke(app, ["evidence", "keygen"])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streams.evidence.draft.os.fsync", full)
    incident_id = planted.incident(store).incident_id
    done = typed.invoke(app, ["evidence", "export", incident_id, "-o", str(tmp_path / "e"), "--without-text"])
    assert isinstance(done.exception, EvidenceError) and "No space left" in str(done.exception)
    assert entries(store, 0.0, 1)[0].outcome == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.key", "evidence.key.pub"]


def test_an_export_that_was_killed_is_named(typed: CliRunner, store: Store, tmp_path: Path) -> None:
    typed.invoke(app, ["evidence", "keygen"])
    (tmp_path / ".e.partial-abc").mkdir()
    incident_id = planted.incident(store).incident_id
    done = typed.invoke(app, ["evidence", "export", incident_id, "-o", str(tmp_path / "e"), "--without-text"])
    assert done.exit_code == 0 and ".e.partial-abc" in done.stderr
