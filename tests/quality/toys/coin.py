"""Quick, seeded, with a contender that never finds anything and one that has no figure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from tests.quality.task import OURS, Figure, Target, Task


def _measure(data: Path, seed: int) -> Iterator[Figure]:
    draw = random.Random(seed)
    yield Figure(contender="slow rule", metric="delay", value=math.inf if draw.random() < 0.7 else 300.0)
    yield Figure(contender=OURS, metric="delay", value=draw.uniform(20.0, 40.0))
    yield Figure(contender=OURS, metric="found", value=draw.choice((80.0, 90.0)))
    yield Figure(contender="mute", metric="found", value=math.nan)
    yield Figure(contender="by size", metric="found", value=float((data / "coins.txt").stat().st_size))


TASK = Task(
    title="Coins, tossed",
    needs=("coins.txt",),
    measure=_measure,
    targets=(
        Target(metric="delay", unit="tosses", must=60.0, aim=25.0, less_is_better=True),
        Target(metric="found", unit="%", must=95.0),
    ),
    note="A toy | with a bar.",
    seeds=6,
)
