"""What a query returned, against what its place on a dashboard needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.dashboards.extraction import Found

TIMES = ("DateTime", "Date")
NUMBERS = ("UInt", "Int", "Float", "Decimal")


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns with ClickHouse's types (Nullable and LowCardinality included), and rows."""

    names: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def kinds(self) -> list[str]:
        """Of each column: time, number, text, yes or no, or ClickHouse's own name of something else."""
        return [_kind(declared) for declared in self.types]

    def column(self, name: str) -> list[Any]:
        """The cells of one column."""
        return [row[self.names.index(name)] for row in self.rows]


def problems(query: Found, frames: Sequence[Frame]) -> list[str]:
    """Empty for frames that the place can show."""
    names = {name for frame in frames for name in frame.names}
    found = [f"no column {column}" for column in query.columns if column not in names]
    if not all(frame.rows for frame in frames):
        return [*found, "no rows"]
    if query.kind == "nodeGraph":
        return [*found, *_graph(frames)]
    if query.kind not in CHECKS:
        return [*found, f"nothing here knows what a {query.kind} needs"]
    return [*found, *(problem for frame in frames for problem in CHECKS[query.kind](frame))]


def _kind(declared: str) -> str:
    plain = declared
    for wrapper in ("LowCardinality(", "Nullable("):
        plain = plain.removeprefix(wrapper)
    if plain.startswith(TIMES):
        return "time"
    if plain.startswith(NUMBERS):
        return "number"
    if plain.startswith("Bool"):
        return "yes or no"
    return "text" if plain.startswith(("String", "Enum")) else plain


def _time_first(frame: Frame) -> Iterator[str]:
    if frame.kinds[0] != "time":
        yield f"the first column is {frame.kinds[0]}, not time"
        return
    times = [row[0] for row in frame.rows]
    if times != sorted(times):
        yield "not sorted by time"


def _time_series(frame: Frame) -> Iterator[str]:
    kinds = frame.kinds
    yield from _time_first(frame)
    if kinds[0] != "time":
        return
    labels = [index for index, kind in enumerate(kinds) if kind in {"time", "text"}]
    points = [tuple(row[index] for index in labels) for row in frame.rows]
    if len(set(points)) != len(points):
        yield "one time twice in a series"
    numbers = [index for index, kind in enumerate(kinds) if kind == "number"]
    if not numbers:
        yield "no number to draw"
    for index in numbers:
        if all(row[index] is None for row in frame.rows):
            yield f"column {index} has no value"


def _states(frame: Frame) -> Iterator[str]:
    """Time first, then states as words or numbers: a text of a time series would be taken for a label."""
    yield from _time_first(frame)
    if len(frame.kinds) < 2:
        yield "no state to draw"


def _heatmap(frame: Frame) -> Iterator[str]:
    """Buckets by their upper ends, lowest first: Grafana reads a column's name as the end of its bucket."""
    yield from _time_series(frame)
    try:
        ends = [float(name) for name in frame.names[1:]]
    except ValueError:
        yield f"buckets are named after numbers, not {list(frame.names[1:])}"
    else:
        if ends != sorted(set(ends)):
            yield "buckets out of order"


def _stat(frame: Frame) -> Iterator[str]:
    if set(frame.kinds) != {"number"}:
        yield f"a stat shows numbers, not {frame.kinds}"
    if len(frame.rows) != 1:
        yield f"{len(frame.rows)} rows where the last one hides the others"
    for name, value in zip(frame.names, frame.rows[0], strict=True):
        if value is None:
            yield f"{name} has no value"


def _bars(frame: Frame) -> Iterator[str]:
    if "number" not in frame.kinds:
        yield "no number to draw"


def _table(frame: Frame) -> Iterator[str]:
    for name, kind in zip(frame.names, frame.kinds, strict=True):
        if kind not in {"time", "number", "text", "yes or no"}:
            yield f"{name} is {kind}, which a cell does not show as text"


def _graph(frames: Sequence[Frame]) -> Iterator[str]:
    edges = [frame for frame in frames if {"id", "source", "target"} <= set(frame.names)]
    nodes = [frame for frame in frames if "id" in frame.names and frame not in edges]
    if len(edges) != 1 or len(nodes) != 1:
        yield f"a node graph is one frame of nodes and one of edges, not {len(nodes)} and {len(edges)}"
        return
    for frame in (*nodes, *edges):
        if len(set(frame.column("id"))) != len(frame.rows):
            yield "one id twice"
    known = set(nodes[0].column("id"))
    for end in ("source", "target"):
        if loose := set(edges[0].column(end)) - known:
            yield f"an edge's {end} is no node: {min(loose)!r}"


def _variable(frame: Frame) -> Iterator[str]:
    if frame.kinds not in (["text"], ["text", "text"]):
        yield f"a variable is one column of text, or values and texts, not {frame.kinds}"
    values = [row[0] for row in frame.rows]
    if len(set(values)) != len(values):
        yield "one choice twice"


def _annotation(frame: Frame) -> Iterator[str]:
    names = list(frame.names)
    if names not in (["time", "title", "text"], ["time", "timeEnd", "title", "text"]):
        yield f"an annotation is time, title, text, not {names}"
    elif set(frame.kinds[: names.index("title")]) != {"time"}:
        yield f"an annotation begins and ends at times, not {frame.kinds}"


def _alert(frame: Frame) -> Iterator[str]:
    kinds = frame.kinds
    if kinds.count("number") != 1 or not set(kinds) <= {"number", "text"}:
        yield f"an alert is one number and labels, not {kinds}"
    labels = [tuple(cell for cell, kind in zip(row, kinds, strict=True) if kind == "text") for row in frame.rows]
    if len(set(labels)) != len(labels):
        yield "two rows have the same labels"


CHECKS = {
    "timeseries": _time_series,
    "heatmap": _heatmap,
    "state-timeline": _states,
    "status-history": _states,
    "stat": _stat,
    "gauge": _stat,
    "bargauge": _bars,
    "barchart": _bars,
    "piechart": _bars,
    "table": _table,
    "logs": _table,
    "variable": _variable,
    "annotation": _annotation,
    "alert": _alert,
}
