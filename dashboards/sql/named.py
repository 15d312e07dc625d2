"""Named questions on screens: the SQL that `inferwatch ask` asks, read as data, with Grafana's values in its places.

The files are beside this package, `streams/forensics/<name>.sql`. Their parameters become what a person chose on the
screen, the time range, or the default that the header gives; nothing else of the SQL changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dashboards.queries import Query, shown, value

QUESTIONS = Path(__file__).resolve().parents[2] / "streams" / "forensics"

_PARAMETER = re.compile(r"-- parameter: (\w+) [^\n]*?(?: = ([^\n]*?))? -- ")
_COLUMN = re.compile(r"-- column: (\w+) (\S+)")
_PLACE = re.compile(r"\{(\w+):[^{}]*\}")
_RANGE = {"since": "$__fromTime_ms", "until": "$__toTime_ms"}
"""The macros of the screen's time range, for the parameters that every question with a span has."""

_WORD, _NUMBER = re.compile(r"\w*"), re.compile(r"\d+(?:\.\d+)?")
_TEXTS = re.compile(r"\b(?:prompt|output|system|conversation|features|prediction)\b")
"""Columns of what was asked and answered: a question that reads one goes to the data source that may."""

_LINES = 100
_MOST_CHARS = 400
_LINKED = ("deployment", "principal", "event_id")


def named(name: str, given: Mapping[str, str], lines: int = _LINES) -> Query:
    """A question as a table of at most `lines`; `given` are variables of the screen by parameter.

    Raises `ValueError` where a parameter has neither a value nor a default that can stand in SQL.
    """
    text = (QUESTIONS / f"{name}.sql").read_text(encoding="utf-8")
    header = re.match(r"(?:--[^\n]*\n)+", text)
    if header is None:
        raise ValueError(f"{name}.sql has no header")
    defaults = {found[1]: found[2] for found in _PARAMETER.finditer(header.group())}
    unknown = given.keys() - defaults.keys()
    if unknown:
        raise ValueError(f"{name}.sql takes no {', '.join(sorted(unknown))}")
    values = {each: _written(name, each, defaults[each], given) for each in defaults}
    sql = _PLACE.sub(lambda found: values[found[1]], text[header.end() :].strip())
    columns = ", ".join(_cell(found[1], found[2]) for found in _COLUMN.finditer(header.group()))
    asked = f"SELECT {columns}\nFROM\n(\n{sql}\n)\nLIMIT {lines}"
    texts = _TEXTS.search(sql) is not None or "-- text: yes\n" in header.group()
    return Query(asked, texts=texts)


def _written(name: str, parameter: str, default: str | None, given: Mapping[str, str]) -> str:
    """What stands in a parameter's place."""
    if parameter in given:
        return value(given[parameter])
    if parameter in _RANGE:
        return _RANGE[parameter]
    if default is not None and _NUMBER.fullmatch(default):
        return default
    plain = None if default is None else default.removeprefix("'").removesuffix("'")
    if plain is None or not _WORD.fullmatch(plain):
        raise ValueError(f"{name}.sql: {parameter} needs a value")
    return f"'{plain}'"


def _cell(column: str, kind: str) -> str:
    """Text of senders without characters that work unseen; what a link is made of stays as it is."""
    text = kind in {"String", "Nullable(String)"} and column not in _LINKED
    return f"{shown(column, _MOST_CHARS)} AS {column}" if text else column


SIGHTINGS = named("sightings", {"name": "sighted"})
SENDERS = named("first_sender_of_template", {"event": "event"})
SUBJECT = named("subject", {"pseudonym": "pseudonym"})
