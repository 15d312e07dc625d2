"""`inferwatch attest` as a person types it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from streams.cli import app
from streams.settings import SettingsError


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def typed(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["attest", *arguments])


def test_a_page_for_people_says_what_is_alarming_and_ends_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Harm()))
    done = typed(str(tmp_path))
    assert done.exit_code == 1
    assert "posix.system" in done.stdout and "sha256:" in done.stdout and "model.pkl" in done.stdout


def test_several_subjects_are_one_document_a_line(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "tools.json").write_text('{"tools": [{"name": "a", "description": "b"}]}')
    done = typed(
        *(str(tmp_path / "model"), "--mcp", str(tmp_path / "tools.json"), "--code", str(tmp_path / "model"), "--json")
    )
    assert done.exit_code == 0, done.output
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["subject"] for each in said] == ["model", "tools", "code"]
    assert all(each["digest"].startswith("sha256:") for each in said)


def test_names_and_texts_reach_a_terminal_inert(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J[red]\n.pkl").write_bytes(b"x")
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "a\x1b[2J", "description": "\u202e"}]))
    done = typed(str(tmp_path), "--mcp", str(tmp_path / "tools.json"))
    assert "\x1b[2J" not in done.stdout and "\u202e" not in done.stdout
    assert "[red]" in done.stdout


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments in ((), (str(tmp_path / "no"),), ("--mcp", str(tmp_path)), ("--site-packages", str(tmp_path))):
        done = typed(*arguments)
        assert isinstance(done.exception, SettingsError) and "\n" not in str(done.exception)
