"""What a query returned, against what its place on a dashboard needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.dashboards.extraction import Found

TIMES = ("DateTime", "Date")
NUMBERS = ("UInt", "Int", "Float", "Decimal")


def problems(query: Found, names: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Empty for a frame that the panel can show. `types` are ClickHouse's, Nullable and LowCardinality included."""
    kinds = [_kind(declared) for declared in types]
    found = [f"no column {column}" for column in query.columns if column not in names]
    if not rows:
        return [*found, "no rows"]
    return [*found, *CHECKS[query.kind](names, kinds, rows)]


def _kind(declared: str) -> str:
    plain = declared
    for wrapper in ("LowCardinality(", "Nullable("):
        plain = plain.removeprefix(wrapper)
    if plain.startswith(TIMES):
        return "time"
    if plain.startswith(NUMBERS):
        return "number"
    return "text" if plain.startswith(("String", "Enum")) else plain


def _time_series(_names: Sequence[str], kinds: list[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if kinds[0] != "time":
        yield f"the first column is {kinds[0]}, not time"
        return
    times = [row[0] for row in rows]
    if times != sorted(times):
        yield "not sorted by time"
    if "text" not in kinds and len(set(times)) != len(times):
        yield "one time twice and no label to split series"
    numbers = [index for index, kind in enumerate(kinds) if kind == "number"]
    if not numbers:
        yield "no number to draw"
    for index in numbers:
        if all(row[index] is None for row in rows):
            yield f"column {index} has no value"


def _stat(names: Sequence[str], kinds: list[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if set(kinds) != {"number"}:
        yield f"a stat shows numbers, not {kinds}"
    if len(rows) != 1:
        yield f"{len(rows)} rows where the last one hides the others"
    for name, value in zip(names, rows[0], strict=True):
        if value is None:
            yield f"{name} has no value"


def _table(names: Sequence[str], kinds: list[str], _rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    for name, kind in zip(names, kinds, strict=True):
        if kind not in {"time", "number", "text"}:
            yield f"{name} is {kind}, which a cell does not show as text"


def _variable(_names: Sequence[str], kinds: list[str], _rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if kinds != ["text"]:
        yield f"a variable is one column of text, not {kinds}"


def _annotation(names: Sequence[str], _kinds: list[str], _rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if list(names) != ["time", "title", "text"]:
        yield f"an annotation is time, title, text, not {list(names)}"


def _alert(_names: Sequence[str], kinds: list[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if kinds.count("number") != 1 or set(kinds) != {"number", "text"}:
        yield f"an alert is one number and labels, not {kinds}"
    labels = [tuple(cell for cell, kind in zip(row, kinds, strict=True) if kind == "text") for row in rows]
    if len(set(labels)) != len(labels):
        yield "two rows have the same labels"


CHECKS = {
    "timeseries": _time_series,
    "stat": _stat,
    "table": _table,
    "variable": _variable,
    "annotation": _annotation,
    "alert": _alert,
}
