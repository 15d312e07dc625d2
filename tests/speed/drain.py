"""A backlog that is there before anybody reads it, and how fast and at what cost it is done.

The backlog is durable on the broker before the first process that reads it starts, so that the sender, which is
elsewhere in an installation, takes nothing from the two cores. The first fifth warms up and does not count, and
neither does what comes before all have started and divided the partitions. The end
is when all is stored *and* nothing waits in any topic on the way: findings told, state saved, everything acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from tests.speed.machine import Meter
from tests.speed.rig import Installation, Rig

WARM_UP = 0.2
PATIENCE_S = 900.0
_POLL_S = 0.25
"""Each look is a query that the database is charged for."""

Figures = dict[str, float]

MAY_REST = frozenset({"triage"})
"""Stages that have nothing to do when nothing is found."""

WORKER, KAFKA, CLICKHOUSE = "worker", "Kafka", "ClickHouse"


class Drained(msgspec.Struct, frozen=True):
    """What the counted part of a backlog took; processor time by process, and by stage where it was asked for."""

    events: int
    wall_s: float
    cpu_s: dict[str, float]
    stages_s: dict[str, float]

    def figures(self) -> Figures:
        """Events a second of the clock, and processor time in microseconds an event."""
        figures = {"events/s": self.events / self.wall_s}
        for name, seconds in self.cpu_s.items():
            figures[f"us/event {name}"] = seconds / self.events * 1e6
        figures["us/event all"] = sum(self.cpu_s.values()) / self.events * 1e6
        figures["cores busy"] = sum(self.cpu_s.values()) / self.wall_s
        if idle := [name for name, seconds in self.stages_s.items() if not seconds and name not in MAY_REST]:
            raise AssertionError(f"nothing was counted for {', '.join(idle)}: what is wrapped is not what is called")
        total = sum(self.stages_s.values())
        for name, seconds in self.stages_s.items():
            figures[f"share {name}"] = seconds / total
        return figures


def measured(
    rig: Rig,
    roots: Iterable[int],
    events: int,
    done: Callable[[], int],
    finished: Callable[[], bool],
    stages: Callable[[], dict[str, float]] = dict,
    begun: Callable[[], bool] = lambda: True,
) -> Drained:
    """Watch `done` events grow to `events`; `roots` are the processes that do it, which were just started."""
    groups = {WORKER: tuple(roots), KAFKA: (rig.kafka.pid,), CLICKHOUSE: (rig.clickhouse.pid,)}
    until_s = time.monotonic() + PATIENCE_S
    while (first := done()) < events * WARM_UP or not begun():
        _pause(until_s, first, events)
    began_s, meter = time.monotonic(), Meter(groups)
    while (last := done()) < events or not finished():
        _pause(until_s, last, events)
    wall_s, cpu_s = time.monotonic() - began_s, meter.taken_s()
    # Stages from the very beginning: a call counts when it has returned, so a window would have parts of others.
    return Drained(last - first, wall_s, cpu_s, stages())


def _pause(until_s: float, done: int, events: int) -> None:
    if time.monotonic() > until_s:
        raise AssertionError(f"only {done} of {events} events were done in {PATIENCE_S:.0f} s")
    time.sleep(_POLL_S)


def ours(
    rig: Rig, installation: Installation, events: int, workers: int, stages: Path | None = None, before: int = 0
) -> Drained:
    """Workers with all roles over a backlog of `events`; `before` rows are there, `stages` is for files of theirs."""
    installation.start(workers, "streams.cli" if stages is None else "tests.speed.staged_worker")
    return measured(
        rig,
        [worker.pid for worker in installation.workers],
        events,
        lambda: installation.alive() and installation.stored() - before,
        lambda: installation.waiting() == 0,
        dict if stages is None else lambda: _summed(stages),
        installation.ready,
    )


def _summed(folder: Path) -> dict[str, float]:
    """Stages of all workers together."""
    total: dict[str, float] = {}
    for path in folder.glob("*.json"):
        for name, seconds in msgspec.json.decode(path.read_bytes(), type=dict[str, float]).items():
            total[name] = total.get(name, 0.0) + seconds
    return total
