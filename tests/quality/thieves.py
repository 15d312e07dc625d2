"""Contenders that are to tell who copies a model, and how they are measured on benign principals and on sweeps."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from river.anomaly import HalfSpaceTrees
from river.drift import ADWIN

from detectors.alarms import Budget
from detectors.bank import discover
from detectors.base import PRINCIPAL
from detectors.catalog.extraction import Extraction
from detectors.types import Observation
from tests.quality import principals
from tests.quality.principals import HOUR_S, Principal
from tests.quality.task import OURS, Figure

BENIGN = 200
SIMPLE, TREES, WINDOW = "simple extraction", "River HalfSpaceTrees", "River ADWIN"
MIXED_UP = 8
"""River's trees cost 100 us a call: they see every eighth benign principal, which is a fair sample of each kind."""

FOUND, MEDIAN, FLAGGED = "found", "queries until found, median", "benign principals flagged"

Verdict = Callable[[Observation], bool]
"""Takes the calls of one principal in order and says of each whether it raises an alarm."""


def ours() -> Verdict:
    """The shipped detector with its share of the default budget."""
    detector = Extraction(share=Budget().share(PRINCIPAL, len(discover())))
    return lambda observation: detector.update(observation) is not None


def simple() -> Verdict:
    """More than 1,000 queries in an hour, or a unique ratio above 0.85 or a length variance below 50 after 50."""
    times: deque[float] = deque()
    seen: set[int | None] = set()
    sums = [0.0, 0.0, 0.0]

    def flags(observation: Observation) -> bool:
        times.append(observation.time_s)
        while times[0] <= observation.time_s - HOUR_S:
            times.popleft()
        seen.add(observation.prompt_hash)
        chars = float(observation.prompt_chars or 0)
        for power in range(3):
            sums[power] += chars**power
        mean = sums[1] / sums[0]
        unusual = len(seen) > 0.85 * sums[0] or sums[2] / sums[0] - mean * mean < 50.0
        return len(times) > 1_000 or (sums[0] >= 50.0 and unusual)

    return flags


def trees() -> Verdict:
    """HalfSpaceTrees with defaults on length, gap and novelty, each squeezed into 0..1; an alarm is above 0.95."""
    forest: Any = HalfSpaceTrees(seed=1)
    seen: set[int | None] = set()
    last_s, count = -math.inf, 0

    def flags(observation: Observation) -> bool:
        nonlocal last_s, count
        gap_s = min(max(observation.time_s - last_s, 0.0), 1e6)
        point = {
            "length": min(math.log1p(observation.prompt_chars or 0) / 12.0, 1.0),
            "gap": math.log1p(gap_s) / math.log1p(1e6),
            "novelty": float(observation.prompt_hash not in seen),
        }
        last_s, count = observation.time_s, count + 1
        seen.add(observation.prompt_hash)
        score = forest.score_one(point)
        forest.learn_one(point)
        return bool(count > forest.window_size and score > 0.95)

    return flags


def window() -> Verdict:
    """ADWIN with defaults on novelty: whether the prompt was never sent before."""
    make: Any = ADWIN
    drift = make()
    seen: set[int | None] = set()

    def flags(observation: Observation) -> bool:
        drift.update(float(observation.prompt_hash not in seen))
        seen.add(observation.prompt_hash)
        return bool(drift.drift_detected)

    return flags


CONTENDERS: dict[str, Callable[[], Verdict]] = {OURS: ours, SIMPLE: simple, TREES: trees, WINDOW: window}


def first_alarm(verdict: Verdict, calls: Iterable[Observation]) -> float:
    """The number of the first call that raises an alarm, from 1; infinite when none does."""
    for number, call in enumerate(calls, 1):
        if verdict(call):
            return float(number)
    return math.inf


def benign_figures(data: Path, seed: int) -> list[Figure]:
    """For each contender the share of benign principals it ever flags, in all and by kind, in percent."""
    flagged: Counter[tuple[str, str]] = Counter()
    shown: Counter[tuple[str, str]] = Counter()
    for number, principal in enumerate(principals.population(data, seed, BENIGN)):
        for name, make in CONTENDERS.items():
            if name == TREES and number % MIXED_UP:
                continue
            shown[name, principal.kind] += 1
            flagged[name, principal.kind] += math.isfinite(first_alarm(make(), principal.observations))
    figures = []
    for name in CONTENDERS:
        kinds = [kind for kind in principals.SHARES if shown[name, kind]]
        total = sum(shown[name, kind] for kind in kinds)
        share = 100.0 * sum(flagged[name, kind] for kind in kinds) / total
        figures.append(Figure(contender=name, metric=FLAGGED, value=share))
        figures += [
            Figure(contender=name, metric=f"{FLAGGED}: {kind}", value=100.0 * flagged[name, kind] / shown[name, kind])
            for kind in kinds
        ]
    return figures


def sweep_figures(sweeps: Sequence[Principal], within: int) -> list[Figure]:
    """For each contender the share of sweeps found within so many queries in percent, and the median number.

    An alarm before the sweep begins is a false one: the sweep is then not found.
    """
    figures = []
    for name, make in CONTENDERS.items():
        numbers = []
        for principal in sweeps:
            number = first_alarm(make(), principal.observations) - principal.begins
            numbers.append(number if number > 0.0 else math.inf)
        numbers.sort()
        found = 100.0 * sum(number <= within for number in numbers) / len(numbers)
        figures.append(Figure(contender=name, metric=FOUND, value=found))
        figures.append(Figure(contender=name, metric=MEDIAN, value=numbers[len(numbers) // 2]))
    return figures
