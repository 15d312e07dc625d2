"""A task with one run, whose data may be absent."""

from __future__ import annotations

from pathlib import Path

from tests.quality.task import OURS, Figure, Target, Task


def _measure(data: Path, seed: int) -> list[Figure]:
    return [Figure(contender=OURS, metric="stamps", value=float((data / "stamps.txt").read_text()))]


TASK = Task(
    title="Stamps",
    needs=("stamps.txt",),
    measure=_measure,
    targets=(Target(metric="stamps", unit="", must=3.0),),
    note="A toy that breaks where the file holds no number.",
    seeds=1,
)
