"""The README says what the code does: its tables and examples are held against it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
import pytest
import typer.main
import yaml

from detectors.bank import discover
from detectors.types import InferenceEvent
from streams import cli
from streams.codecs import native
from streams.codecs._checks import check
from streams.components.provenance import KINDS, decode, kind_of
from streams.settings import SECRETS, Settings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def rows(first_header: str) -> dict[str, list[str]]:
    """The cells of the table with that first header, by their first cell."""
    table = README[README.index(f"| {first_header} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_table_of_detectors_is_the_catalog() -> None:
    expected = {
        name: [
            kind.metadata.sees.rstrip("."),
            kind.metadata.scope,
            kind.metadata.atlas[0],
            kind.metadata.severity.value,
        ]
        for name, kind in discover().items()
    }
    assert rows("detector") == expected


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    shown = rows("setting")
    assert set(shown) == set(Settings().masked())
    for field, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        said = shown[f"INFERWATCH_{field.upper()}"][0].strip("`")
        assert said == ("" if default in {None, ""} or field in SECRETS else str(default)), field


def test_every_verb_is_in_the_table_of_verbs() -> None:
    commands = typer.main.get_command(cli.app)
    named = " ".join(rows("verb"))
    missing = [name for name in commands.commands if not re.search(rf"\b{name}\b", named)]  # type: ignore[attr-defined]  # a click group
    assert not missing


def test_the_event_of_the_readme_is_accepted_whole() -> None:
    (text,) = blocks("json")
    decoded = native.decode(text.encode())
    (event,) = decoded.items
    assert isinstance(event, InferenceEvent)
    assert isinstance(check(event), InferenceEvent)
    named = set(msgspec.json.decode(text))
    assert named <= set(InferenceEvent.__struct_fields__)
    assert all(getattr(event, name) is not None for name in named)


def test_the_notices_of_the_readme_are_accepted() -> None:
    (text,) = blocks("jsonl")
    kinds = []
    for line in text.encode().splitlines():
        kind = kind_of(line)
        assert kind is not None
        assert decode(kind, line).deployment == "support-chat"
        kinds.append(kind)
    assert tuple(kinds) == KINDS


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0][:40])
def test_the_python_of_the_readme_parses(code: str) -> None:
    ast.parse(code)


def test_the_collector_configuration_of_the_readme_is_yaml() -> None:
    (text,) = blocks("yaml")
    exporter = yaml.safe_load(text)["exporters"]["kafka/inferwatch"]
    assert exporter["traces"]["encoding"] == "otlp_proto"


def test_nothing_is_left_to_fill_in() -> None:
    assert "<!--" not in README
