"""Measures: ``python -m tests.speed.bench``; ``--help`` says what. A run that was cut short goes on where it was.

What is done of a task is kept under ``.cache/speed`` until all of it is; then it is committed data beside this file.
It is thrown away when the code that was measured is not the code that is here.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from tests.speed import machine, sizing
from tests.speed.results import Measured, Outcome, load, number, page, save, verdicts
from tests.speed.task import Cell, Task, UnmeasuredError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".cache" / "speed"
TASKS = ("throughput", "storage", "latency", "workers", "recovery", "growth")
"""In the order in which they run: what matters most first."""

ASKED_FOR = ("hour",)
"""Only where they are named."""


class Bench:
    """Runs tasks and keeps what they give."""

    def __init__(self, *, quick: bool, runs: int | None = None, out: Path = HERE, kept: Path = KEPT) -> None:
        """Results go to `out`, unfinished ones to `kept`; `runs` of each cell, in the place of what a task takes."""
        self._quick = quick
        self._runs = runs
        self.failed: list[str] = []
        self._out = out
        self._kept = kept

    def run(self, name: str) -> Outcome:
        """One task, to its end."""
        task = task_of(name)
        outcome = self._unfinished(name)
        cells, repeats = task.cells(quick=self._quick), self._runs or task.repeats(quick=self._quick)
        left = [
            (turn, cell)
            for turn in range(repeats)
            for cell in cells
            if len(outcome.cells.get(cell.name, Measured()).runs) <= turn
        ]
        if left:
            with task.opened(quick=self._quick) as place:
                for place_in, (turn, cell) in enumerate(left, 1):
                    say(f"{name} {place_in}/{len(left)}: {cell.name}, run {turn + 1} of {repeats}")
                    self._measure(cell, place, outcome)
                    save(self._kept / f"{name}.json", outcome)
        save(self._out / "results" / f"{name}.json", outcome)
        (self._kept / f"{name}.json").unlink(missing_ok=True)
        if hasattr(task, "draw"):
            task.draw(outcome, self._out / "plots")
        self.write()
        for line in verdicts(task, outcome):
            say(line)
        return outcome

    def write(self) -> None:
        """The page of all that was measured."""
        paths = [self._out / "results" / f"{name}.json" for name in (*TASKS, *ASKED_FOR)]
        found = [load(path) for path in paths if path.exists()]
        tasks = {each.task: task_of(each.task) for each in found}
        (self._out / "RESULTS.md").write_text(page(tasks, found), encoding="utf-8")
        if self._out == HERE:
            sizing.write(found)

    def _measure(self, cell: Cell, place: object, outcome: Outcome) -> None:
        began_s = time.monotonic()
        kept = outcome.cells.setdefault(cell.name, Measured())
        try:
            figures = cell.measure(place)
        except UnmeasuredError as error:
            kept.unmeasured = str(error)
            say(f"  not measured: {error}")
            return
        except Exception as error:  # noqa: BLE001 - hours of other figures must not be lost with one
            lines = str(error).strip().splitlines() or [""]
            kept.unmeasured = f"it failed: {type(error).__name__}: {lines[0]}"
            self.failed.append(cell.name)
            say(f"  FAILED: {error!r}")
            return
        kept.unmeasured = ""
        kept.runs.append(figures)
        shown = ", ".join(f"{name} {number(value)}" for name, value in list(figures.items())[:6])
        say(f"  {shown} ({time.monotonic() - began_s:.0f} s)")

    def _unfinished(self, name: str) -> Outcome:
        try:
            kept = load(self._kept / f"{name}.json")
        except (OSError, msgspec.MsgspecError):
            kept = None
        source = measured_code()
        if kept is not None and (kept.source, kept.quick) == (source, self._quick):
            say(f"{name}: goes on where it was")
            return kept
        return Outcome(
            task=name,
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            machine=machine.described(),
            load=os.getloadavg()[0],
            quick=self._quick,
            source=source,
        )


def task_of(name: str) -> Task:
    """The task of a name."""
    return cast("Task", importlib.import_module(f"tests.speed.{name}"))


def measured_code() -> str:
    """A digest of the product and of the bench."""
    digest = hashlib.sha256()
    for folder in (ROOT / "detectors", ROOT / "streams", HERE):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".sql", ".lock"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def say(text: str) -> None:
    """To whoever waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """What `make bench` runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.bench", description=__doc__)
    parser.add_argument(
        "--task", action="append", choices=(*TASKS, *ASKED_FOR), help="only this one; may be given again"
    )
    parser.add_argument("--quick", action="store_true", help="shorter and fewer runs, the essential part of each task")
    parser.add_argument("--runs", type=int, metavar="N", help="measure each cell N times")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page anew")
    asked = parser.parse_args(arguments)
    bench = Bench(quick=asked.quick, runs=asked.runs)
    if asked.page:
        bench.write()
        return 0
    for name in asked.task or TASKS:
        bench.run(name)
    return int(bool(bench.failed))


if __name__ == "__main__":
    raise SystemExit(main())
