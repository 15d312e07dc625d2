"""Runs tasks and keeps what came out.

Every module of the package that holds a `TASK` is one; each runs in processes of its own, so that what it keeps in
memory goes with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import re
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.quality import plots, results
from tests.quality.results import Outcome
from tests.quality.task import Figure, Task

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "shared" / "data"
PACKAGE = "tests.quality"
PROCESSES = 2
_HOLDS_TASK = re.compile(r"^TASK\b", re.MULTILINE)


class NoSuchTaskError(Exception):
    """A name on the command line that is no task."""


def discover(package: str = PACKAGE) -> list[str]:
    """The names of all tasks of a package, without importing them: one that does not load stops no other."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    sources = sorted(path for folder in folders for path in Path(folder).glob("*.py"))
    return [path.stem for path in sources if _HOLDS_TASK.search(path.read_text(encoding="utf-8"))]


def loaded(package: str, name: str) -> Task:
    """The task of a module."""
    task = importlib.import_module(f"{package}.{name}").TASK
    if not isinstance(task, Task):
        raise TypeError(f"{package}.{name}.TASK is no task")
    return task


def measured(package: str, name: str, data: Path, seed: int) -> list[Figure]:
    """One run of one task; what another process does."""
    task = loaded(package, name)
    return results.checked(task, task.measure(data, seed))


class Bench:
    """The tasks of a package over one folder of data, written into one folder."""

    def __init__(self, package: str, data: Path, out: Path, console: Console) -> None:
        """`out` gets ``RESULTS.md``, ``results/`` and ``plots/``."""
        self._package = package
        self._data = data
        self._out = out
        self._console = console
        self.tasks = discover(package)

    def run(self, names: Iterable[str] = (), seeds: int | None = None, seed: int = 0) -> int:
        """Run tasks, write what came out, and give the exit status: 1 where a task broke."""
        chosen = list(names) or self.tasks
        unknown = sorted(set(chosen) - set(self.tasks))
        if unknown:
            raise NoSuchTaskError(f"no task {', '.join(unknown)}; there are {', '.join(self.tasks)}")
        broken = 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            for name in chosen:
                try:
                    self._one(name, seeds, seed, progress)
                except Exception as error:  # noqa: BLE001 - a task that breaks is said and costs the others nothing
                    broken += 1
                    self._console.print(f"{name}: broke: {type(error).__name__}: {error}", style="red", markup=False)
                    if error.__cause__ is not None:  # what the other process saw
                        self._console.print(str(error.__cause__), markup=False, highlight=False)
        self.write()
        return 1 if broken else 0

    def write(self) -> None:
        """The page, from all raw figures there are of tasks that exist."""
        outcomes = [each for each in results.load(self._out / "results") if each.name in self.tasks]
        self._out.mkdir(parents=True, exist_ok=True)
        (self._out / "RESULTS.md").write_text(results.page(outcomes), encoding="utf-8")

    def _one(self, name: str, seeds: int | None, seed: int, progress: Progress) -> None:
        task, began_s = loaded(self._package, name), time.monotonic()
        missing = [need for need in task.needs if not (self._data / need).exists()]
        if missing:
            self._console.print(f"{name}: left out, there is no {', '.join(missing)} in {self._data}")
            return
        count = task.seeds if seeds is None else min(task.seeds, seeds)
        bar = progress.add_task(name, total=count)
        processes = 1 if task.alone else min(PROCESSES, count)
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            runs = [pool.submit(measured, self._package, name, self._data, seed + number) for number in range(count)]
            try:
                for done in as_completed(runs):
                    done.result()
                    progress.advance(bar)
            finally:
                pool.shutdown(cancel_futures=True)
        self._keep(results.gathered(name, task, seed, [run.result() for run in runs]))
        self._console.print(f"{name}: {count} runs in {time.monotonic() - began_s:.0f} s")

    def _keep(self, outcome: Outcome) -> None:
        results.save(self._out / "results", outcome)
        plots.draw(outcome, self._out / "plots")
