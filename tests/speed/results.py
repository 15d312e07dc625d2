"""The figures of the bench: kept while it runs, committed when a task is done, read by people as one page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from tests.speed.task import Figures, Task

_HEAD = """# How fast it is

`make bench` writes this page; `make bench TASK=name` measures one part anew, `QUICK=1` with shorter and fewer runs.
A figure is the median of the runs; behind it the least and the most of them. What is compared was measured in turn,
in one run, on one machine.
"""


class Measured(msgspec.Struct):
    """One cell: the figures of each run, or why there are none."""

    runs: list[Figures] = []
    unmeasured: str = ""

    def medians(self) -> Figures:
        """The median of each figure."""
        names = dict.fromkeys(name for run in self.runs for name in run)
        return {name: median(run[name] for run in self.runs if name in run) for name in names}


class Outcome(msgspec.Struct, kw_only=True):
    """What came of one task so far. `source` is a digest of the code that was measured."""

    task: str
    date: str
    machine: str
    load: float
    quick: bool
    source: str
    cells: dict[str, Measured] = {}

    def medians(self) -> dict[str, Figures]:
        """By cell."""
        return {name: cell.medians() for name, cell in self.cells.items()}


def save(path: Path, outcome: Outcome) -> None:
    """Write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
    part.replace(path)


def load(path: Path) -> Outcome:
    """Read it. Raises `OSError`, `msgspec.MsgspecError`."""
    return msgspec.json.decode(path.read_bytes(), type=Outcome)


def number(value: float) -> str:
    """Three digits that count."""
    if math.isnan(value):
        return "not measured"
    if value == 0.0:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def page(tasks: Mapping[str, Task], outcomes: Sequence[Outcome]) -> str:
    """All that was measured."""
    lines = [_HEAD, "| target | must be | is | |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        lines += verdicts(tasks[outcome.task], outcome)
    for outcome in outcomes:
        lines += ["", *_section(tasks[outcome.task], outcome)]
    return "\n".join(lines) + "\n"


def verdicts(task: Task, outcome: Outcome) -> list[str]:
    """The rows of the targets of a task."""
    medians = outcome.medians()
    rows = []
    for target in task.TARGETS:
        value = target.value(medians)
        unit = f" {target.unit}" if target.unit else ""
        bound = f"{'at most' if target.at_most else 'at least'} {number(target.bound)}{unit}"
        said = "reached" if target.reached(value) else "**not reached**"
        shown = "not measured" if math.isnan(value) else f"{number(value)}{unit}"
        rows.append(f"| {target.said} | {bound} | {shown} | {'' if math.isnan(value) else said} |")
    return rows


def _section(task: Task, outcome: Outcome) -> list[str]:
    short = " Short runs (`QUICK=1`)." if outcome.quick else ""
    lines = [f"## {task.TITLE}", "", " ".join(task.NOTE.split()), ""]
    lines += [f"{outcome.date}, {outcome.machine}; load {outcome.load:.1f} before it began.{short}", ""]
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, cell in outcome.cells.items():
        if cell.unmeasured:
            lines += [f"{name}: not measured, {cell.unmeasured}", ""]
        if cell.runs:
            groups.setdefault(tuple(cell.medians()), []).append(name)
    for names, rows in groups.items():
        lines += [f"| | runs | {' | '.join(names)} |", "| --- | --- |" + " --- |" * len(names)]
        lines += [_row(name, outcome.cells[name], names) for name in rows]
        lines.append("")
    lines += [f"![{task.TITLE}](plots/{name})" for name in getattr(task, "PLOTS", ())]
    return lines


def _row(name: str, cell: Measured, names: Sequence[str]) -> str:
    shown = []
    for each in names:
        values = [run[each] for run in cell.runs if each in run]
        spread = f" ({number(min(values))} to {number(max(values))})" if min(values) != max(values) else ""
        shown.append(f"{number(median(values))}{spread}")
    return f"| {name} | {len(cell.runs)} | {' | '.join(shown)} |"
