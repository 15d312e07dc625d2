"""A systematic set sent by one principal among 200 benign ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tests.quality import principals, prompts, thieves
from tests.quality.principals import PACES
from tests.quality.task import OURS, Figure, Target, Task
from tests.quality.thieves import FLAGGED, FOUND, MEDIAN

WITHIN = 300


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """Each systematic set at each pace once, and 200 benign principals."""
    sweeps = [
        principals.sweep(data, 100 * seed + place, which, WITHIN, pace)
        for place, (which, pace) in enumerate((which, pace) for which in prompts.SYSTEMATIC for pace in PACES)
    ]
    yield from thieves.sweep_figures(sweeps, WITHIN)
    for pace in PACES:
        yield _found(f"{FOUND}: {pace}", [each for each in sweeps if each.habit.endswith(f", {pace}")])
    unseen = [principals.sweep(data, 100 * seed + place, prompts.REVIEWS, WITHIN) for place in range(6)]
    yield _found(f"{FOUND}: a set that nothing was chosen on", unseen)
    yield from thieves.benign_figures(data, seed)


def _found(metric: str, sweeps: list[principals.Principal]) -> Figure:
    numbers = [thieves.first_alarm(thieves.ours(), each.observations) for each in sweeps]
    return Figure(contender=OURS, metric=metric, value=100.0 * sum(map(math.isfinite, numbers)) / len(numbers))


TASK = Task(
    title="extraction, pure",
    needs=("queries", "backdoor", "swap"),
    measure=measure,
    targets=(
        Target(metric=FOUND, unit="% of sweeps within 300 queries", must=99.0, averaged=True),
        Target(metric=MEDIAN, unit="queries", must=300.0, aim=150.0, less_is_better=True),
        Target(metric=FLAGGED, unit="% of principals", must=0.3, less_is_better=True, averaged=True),
        *(
            Target(metric=f"{FLAGGED}: {kind}", unit="% of principals", less_is_better=True, averaged=True)
            for kind in principals.SHARES
        ),
        *(Target(metric=f"{FOUND}: {pace}", unit="% of sweeps within 300 queries", averaged=True) for pace in PACES),
        Target(
            metric=f"{FOUND}: a set that nothing was chosen on", unit="% of sweeps within 300 queries", averaged=True
        ),
    ),
    note=(
        "GSM8K, HumanEval (164 queries in all) and BOLD, in file order or shuffled, each at six paces: a loop, a loop "
        "with jitter, at random, bursts in working hours, 20 a day, sessions as a person has. Benign principals are "
        "flagged if anything is ever said of them; HalfSpaceTrees see every eighth. The reference of how people write "
        "is fitted on the same benign sets. Fitted on all but one, it flags 0.6 % of people of that one (7 of 1,200)."
    ),
)
