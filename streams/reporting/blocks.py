"""What a report is made of: plain values that a template writes down, and that a test can read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from detectors.types import Severity
from streams.reporting.charts import Chart, Timeline

NOTHING = "-"
_LAST_S = 253_402_300_799.0
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3_600.0, 86_400.0
_PAIR = 2


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell: `text` may be anybody's; `key` is what it is sorted by if not by its text; `look` is one of ours."""

    text: str
    key: float | None = None
    look: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that can be sorted; `empty` says what it means that there are none."""

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    note: str = ""


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One number to see first."""

    label: str
    text: str
    note: str = ""
    look: str = ""


class Tiles(msgspec.Struct, frozen=True, kw_only=True):
    """Tiles side by side."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Names of ours and what they are."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One of a list, with what speaks for and against it."""

    text: str
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """A list, with numbers where its order means something."""

    kind: ClassVar[str] = "items"
    items: tuple[Item, ...]
    ordered: bool = False


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """A text of our own making that is there to be copied."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of ours."""

    kind: ClassVar[str] = "note"
    text: str


Block = Table | Tiles | Facts | Items | Code | Note | Chart | Timeline


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A report. `verdict` is its first sentence, `look` the color of it; `attachment` is what machines read (JSON)."""

    title: str
    verdict: str
    look: str
    subtitle: str
    sections: tuple[Section, ...]
    file_name: str
    attachment: bytes


def severity_look(severity: Severity) -> str:
    """The name of a severity's color in the style sheet."""
    return f"sev {severity.value}"


def severity_cell(severity: Severity) -> Cell:
    """Word and color; sorted by how bad it is."""
    return Cell(text=severity, key=severity.rank, look=severity_look(severity))


def name_cell(name: str | None) -> Cell:
    """An id or a name, in letters that are told apart."""
    return Cell(text=name or NOTHING, look="name" if name else "none")


def text_cell(text: str | None) -> Cell:
    """A word or two."""
    return Cell(text=text or NOTHING, look="" if text else "none")


def prose_cell(text: str | None) -> Cell:
    """Sentences, or a text that somebody wrote."""
    return Cell(text=text or NOTHING, look="prose" if text else "none")


def time_cell(time_s: float | None) -> Cell:
    """A moment in UTC."""
    return _number_cell(time_s, "" if time_s is None else moment(time_s), "time")


def number_cell(value: float | None) -> Cell:
    """A count, or a number without a unit."""
    return _number_cell(value, "" if value is None else number(value))


def share_cell(value: float | None) -> Cell:
    """A share of one, as percents."""
    return _number_cell(value, "" if value is None else f"{value:.2%}" if value < 0.1 else f"{value:.1%}")  # noqa: PLR2004 - two digits of small ones


def duration_cell(value_s: float | None) -> Cell:
    """A duration of seconds."""
    return _number_cell(value_s, "" if value_s is None else duration(value_s))


def _number_cell(value: float | None, text: str, look: str = "number") -> Cell:
    return Cell(text=NOTHING, look="none") if value is None else Cell(text=text, key=value, look=look)


def moment(time_s: float) -> str:
    """A time as people write it, UTC; one beyond the calendar is its end."""
    return datetime.fromtimestamp(min(max(time_s, 0.0), _LAST_S), UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def number(value: float) -> str:
    """A number with a few digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.4g}"  # noqa: PLR2004 - beyond them floats have no ones


def duration(value_s: float) -> str:
    """From milliseconds to days, in two units at most."""
    if value_s < 1.0:
        return f"{value_s * 1_000:.0f} ms"
    if value_s < _MINUTE_S:
        return f"{value_s:.1f} s" if value_s < _MINUTE_S / 6 else f"{value_s:.0f} s"
    parts: list[str] = []
    rest = value_s
    for unit_s, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        count, rest = divmod(rest, unit_s)
        if count or parts:
            parts.append(f"{count:,.0f} {name}")
    return " ".join(parts[:_PAIR])


def counted(count: int, what: str) -> str:
    """A number and its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def against(now: float, before: float) -> str:
    """How a count changed from the span before."""
    if not before:
        return "none in the span before" if now else "as in the span before"
    return f"{(now - before) / before:+.0%} against the span before ({before:,.0f})"
