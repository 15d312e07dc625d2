"""A systematic set hidden in a person's own traffic, a quarter of all calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.quality import principals, prompts, thieves
from tests.quality.task import Figure, Target, Task
from tests.quality.thieves import FLAGGED, FOUND, MEDIAN

WITHIN = 1_500
RUNS = 3
"""Mixes of each set in a run."""


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """Three mixes of each set, and 200 benign principals."""
    sweeps = [
        principals.mixed(data, 100 * seed + 10 * place + run, which, WITHIN)
        for place, which in enumerate(prompts.SYSTEMATIC)
        for run in range(RUNS)
    ]
    yield from thieves.sweep_figures(sweeps, WITHIN)
    yield from thieves.benign_figures(data, seed)


TASK = Task(
    title="extraction, 25 % mixed in benign",
    needs=("queries", "backdoor", "swap"),
    measure=measure,
    targets=(
        Target(metric=FOUND, unit="% of sweeps within 1,500 calls", must=90.0, averaged=True),
        Target(metric=MEDIAN, unit="calls, own ones included", must=1_500.0, aim=600.0, less_is_better=True),
        Target(metric=FLAGGED, unit="% of principals", must=0.3, less_is_better=True, averaged=True),
        *(
            Target(metric=f"{FLAGGED}: {kind}", unit="% of principals", less_is_better=True, averaged=True)
            for kind in principals.SHARES
        ),
    ),
    note=(
        "After 0-200 calls of its own a person's account sends a sweep at random among its own calls, at a person's "
        "times; HumanEval ends after 164 queries. An alarm before the sweep begins counts as not found."
    ),
)
