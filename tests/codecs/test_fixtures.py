"""Every codec against its committed records: ``tests/fixtures/<format>/<case>.input.*`` -> ``<case>.expected.json``.

A new codec is found by its module and fails here until it has fixtures; a new case is two files.
"""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import streams.codecs
from streams.codecs import Decoded, Reject

if TYPE_CHECKING:
    from types import ModuleType

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMATS = sorted(name for _, name, _ in pkgutil.iter_modules(streams.codecs.__path__) if not name.startswith("_"))
CASES = sorted(path for name in FORMATS for path in (FIXTURES / name).glob("*.input.*"))


def codec(name: str) -> ModuleType:
    return import_module(f"streams.codecs.{name}")


def shown(decoded: Decoded) -> object:
    """What a fixture's expected file says: events as they are sent, rejected ones as their reason."""
    return {
        "items": [
            {"reject": item.reason} if isinstance(item, Reject) else json.loads(msgspec.json.encode(item))
            for item in decoded.items
        ],
        "ignored": decoded.ignored,
    }


def case_id(path: Path) -> str:
    return f"{path.parent.name}: {path.name.partition('.')[0].replace('_', ' ')}"


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_a_record_decodes_to_the_events_beside_it(path: Path) -> None:
    expected = json.loads(path.with_name(f"{path.name.partition('.')[0]}.expected.json").read_text("utf-8"))
    assert shown(codec(path.parent.name).decode(path.read_bytes())) == expected


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_a_record_is_taken_for_no_other_format(path: Path) -> None:
    value = path.read_bytes()
    takers = {name for name in FORMATS if codec(name).sniff(value)}
    assert takers <= {path.parent.name}


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_events_carry_the_name_of_their_codec_and_no_id(path: Path) -> None:
    module = codec(path.parent.name)
    events = [item for item in module.decode(path.read_bytes()).items if not isinstance(item, Reject)]
    assert {(event.source, event.event_id) for event in events} <= {(module.FORMAT, None)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_codec_has_fixtures_its_names_and_a_record_that_it_recognizes(name: str) -> None:
    module = codec(name)
    assert name == module.FORMAT
    assert all(value == value.lower() and ";" not in value for value in module.CONTENT_TYPES)
    cases = [path for path in CASES if path.parent.name == name]
    assert any(module.sniff(path.read_bytes()) for path in cases)


def test_no_content_type_means_two_formats() -> None:
    claimed = [value for name in FORMATS for value in codec(name).CONTENT_TYPES]
    assert len(claimed) == len(set(claimed))
