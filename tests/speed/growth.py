"""What an event costs as history, principals, deployments and detectors grow."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from detectors.bank import discover
from detectors.base import DEPLOYMENT, PRINCIPAL
from tests.speed import drain, plots
from tests.speed.load import JSON, Load
from tests.speed.results import Outcome
from tests.speed.rig import Installation, Rig
from tests.speed.subjects import Asked
from tests.speed.task import Cell, Figures, Target, UnmeasuredError, figure, quotient

TITLE = "Cost of an event as things grow"
NOTE = """
Principals, deployments and detectors are grown in the real banks, in a process of their own: processor time of all
detectors an event, and resident memory. A worker keeps 50,000 principals live whatever comes; states of the others
are in the store (see the recovery for what it costs to have them back). History is grown by SQL in the real tables,
with short texts, and then real workers drain a backlog: processor time of workers, broker and database an event.
"""
CELL = "{} {}"
COST = "us/event"
PRINCIPALS = (1_000, 10_000, 100_000, 1_000_000)
DEPLOYMENTS = (10, 100, 1_000)
DETECTORS = (1, 8, 16, len(discover()))
HISTORY = (100_000, 1_000_000, 10_000_000)
WORKERS = 2
PLOTS = tuple(f"growth_{of}.svg" for of in ("history", "principals", "deployments", "detectors"))

_LEARNED_MESSAGES = 52
"""Ten deployments in a message of a hundred calls: 520 calls each, more than any detector's warm-up but one."""

_BACKLOG = 20_000
_PER_RECORD = 10
_MiB_OF_GiB = 1024.0

TARGETS = (
    Target(
        "RSS at 10^6 principals", figure(CELL.format("principals", PRINCIPALS[-1]), "peak MiB"), _MiB_OF_GiB,
        at_most=True, unit="MiB",
    ),
    Target(
        "cost at 10^6 principals over that at 10^3",
        quotient(CELL.format("principals", PRINCIPALS[-1]), CELL.format("principals", PRINCIPALS[0]), COST),
        1.1,
        at_most=True,
    ),
    Target(
        "cost at 10^7 stored events over that at 10^5",
        quotient(CELL.format("history", HISTORY[-1]), CELL.format("history", HISTORY[0]), "us/event all"),
        1.1,
        at_most=True,
    ),
)  # fmt: skip

_FILL = """
    INSERT INTO inference_events
    SELECT e.* REPLACE (
        concat('history:', toString({first:UInt64} + n.number), ':', event_id) AS event_id,
        time - toIntervalSecond(3600 + n.number % 2000000) AS time,
        substring(prompt, 1, 24) AS prompt, substring(output, 1, 24) AS output)
    FROM (SELECT * FROM inference_events WHERE event_id NOT LIKE 'history:%' ORDER BY event_id LIMIT 1000) AS e
    CROSS JOIN numbers({count:UInt64}) AS n
"""
_KIND_ROWS = 1_000
_FILL_ROWS = 500_000


class Place:
    """Servers, and one installation whose history grows from cell to cell."""

    def __init__(self, rig: Rig, installation: Installation, drains: int) -> None:
        """`drains` are how often each size is measured, in a row."""
        self.rig = rig
        self.installation = installation
        self.drains = drains

    def drained(self) -> Figures:
        """A backlog by workers that are started for it and stopped again."""
        before = self.installation.settled()
        self.installation.produce(Load(4).records(_BACKLOG, _PER_RECORD, time.time()), JSON)
        drained = drain.ours(self.rig, self.installation, _BACKLOG, WORKERS, before=before)
        self.installation.stop()
        return drained.figures()

    def fill(self, rows: int) -> None:
        """Add history until there are so many rows."""
        while (there := self.installation.stored()) < rows:
            times = min(_FILL_ROWS, rows - there) // _KIND_ROWS + 1
            self.installation.stack.store.query(_FILL, {"first": there, "count": times})


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[Place]:
    """Over servers that stay up."""
    with Rig.running() as rig, rig.installation() as installation:
        yield Place(rig, installation, 1 if quick else 3)


def repeats(*, quick: bool) -> int:
    """History cannot be taken back."""
    return 1


def cells(*, quick: bool) -> list[Cell]:
    """All sizes; the greatest only where there is time."""
    most = -1 if quick else None
    learned = {"scopes": (DEPLOYMENT,), "together": 10, "calls": _LEARNED_MESSAGES}
    return [
        *(_in_process("principals", n, Asked(principals=n, scopes=(PRINCIPAL,))) for n in PRINCIPALS[:most]),
        *(_in_process("deployments", n, Asked(deployments=n, **learned)) for n in DEPLOYMENTS[:most]),
        *(
            _in_process("detectors", n, Asked(detectors=n, principals=100, together=10, calls=_LEARNED_MESSAGES))
            for n in DETECTORS
        ),
        *(Cell(CELL.format("history", n), functools.partial(_with_history, rows=n)) for n in HISTORY[:most]),
    ]


def draw(outcome: Outcome, folder: Path) -> None:
    """A plot of each."""
    for of, name in (
        ("history", "us/event all"),
        *((each, COST) for each in ("principals", "deployments", "detectors")),
    ):
        points = {
            int(cell.rpartition(" ")[2]): [run[name] for run in measured.runs]
            for cell, measured in outcome.cells.items()
            if cell.startswith(f"{of} ") and measured.runs
        }
        plots.draw(folder / f"growth_{of}.svg", of, points)


def _in_process(of: str, count: int, asked: Asked) -> Cell:
    return Cell(CELL.format(of, count), functools.partial(_subjects, asked=asked))


def _subjects(_: Place, asked: Asked) -> Figures:
    command = [sys.executable, "-m", "tests.speed.subjects", msgspec.json.encode(asked).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnmeasuredError(done.stderr.strip().splitlines()[-1])
    return msgspec.json.decode(done.stdout, type=Figures)


def _with_history(place: Place, rows: int) -> Figures:
    if not place.installation.stored():
        place.drained()
    place.fill(rows)
    runs = [place.drained() for _ in range(place.drains)]
    return {name: median(run[name] for run in runs) for name in runs[0]}
