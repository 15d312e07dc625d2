"""One, two and four workers over eight partitions: the work divides, and nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from tests.speed import drain
from tests.speed.machine import cpu_s
from tests.speed.rig import Rig
from tests.speed.task import Cell, Figures, Target, figure
from tests.speed.throughput import Place

TITLE = "One, two and four workers"
NOTE = """
Eight partitions, 10 events a record. On two cores more workers are not faster; what shows is that the partitions
divide, that an event costs the same processor time, and that by identity every event is there once. `least share` is
the part of the processor time of the workers that the least busy of them took; `rows again` are rows that replace a
row with the same identity, which a reader sees once.
"""
COUNTS = (1, 2, 4)
_CELL = "{} worker(s)"
_FORM = "10 a record"

TARGETS = (
    *(Target(f"events lost, {n} worker(s)", figure(_CELL.format(n), "lost"), 0, at_most=True) for n in COUNTS),
    *(Target(f"events seen twice, {n} worker(s)", figure(_CELL.format(n), "twice"), 0, at_most=True) for n in COUNTS),
)

_COUNTED = """
    SELECT uniqExact(event_id) AS known, count() AS rows,
        (SELECT count() - uniqExact(event_id) FROM events_latest) AS twice
    FROM inference_events
"""


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[Place]:
    """Over servers that stay up."""
    with Rig.running() as rig:
        yield Place(rig, 8.0 if quick else 30.0)


def repeats(*, quick: bool) -> int:
    """In turn."""
    return 1 if quick else 3


def cells(*, quick: bool) -> list[Cell]:
    """One for each count."""
    return [Cell(_CELL.format(count), functools.partial(_measure, count=count)) for count in COUNTS]


def _measure(place: Place, count: int) -> Figures:
    cell = _CELL.format(count)
    events = place.events(cell, "inferwatch, {}")
    with place.rig.installation() as installation:
        place.backlog(installation, _FORM, events)
        drained = drain.ours(place.rig, installation, events, count)
        each_s = [cpu_s(worker.pid) for worker in installation.workers]
        found = installation.stack.store.query(_COUNTED)[0]
    figures = place.took(cell, drained.figures())
    return {
        **figures,
        "lost": float(events - found["known"]),
        "twice": float(found["twice"]),
        "rows again": float(found["rows"] - found["known"]),
        "least share": min(each_s) / sum(each_s),
    }
