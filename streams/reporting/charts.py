"""What a chart shows, as values: numbers over time, or findings over time. All times are unix seconds."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.types import Severity


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One series; None where there was nothing to measure, which leaves a gap."""

    name: str
    values: tuple[float | None, ...]
    severity: Severity | None = None


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A moment that all charts of a page show: `label` is a word of ours, or nothing."""

    time_s: float
    label: str


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The time that the charts of a page share; `blind` are spans in which nothing arrived."""

    since_s: float
    until_s: float
    step_s: float
    marks: tuple[Mark, ...] = ()
    blind: tuple[tuple[float, float], ...] = ()


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines, or bars on top of each other, over the same buckets of `frame.step_s` that begin at `times_s`."""

    kind: ClassVar[str] = "chart"
    title: str
    unit: str
    frame: Frame
    times_s: tuple[float, ...]
    lines: tuple[Line, ...]
    stacked: bool = False
    note: str = ""


class Dot(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: in which row, when, how bad."""

    row: str
    time_s: float
    severity: Severity


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Findings over time, a row for each detector."""

    kind: ClassVar[str] = "timeline"
    title: str
    frame: Frame
    dots: tuple[Dot, ...]
    note: str = ""
