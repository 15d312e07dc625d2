"""What a task of the quality bench is: data, contenders, figures by seed, and what has to be reached.

A task is a module beside this one that holds `TASK`; nothing registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

OURS = "inferwatch"
"""The contender whose figures are held against the targets: the shipped detectors with shipped defaults."""

SEEDS = 20
"""Runs behind every figure."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one contender in one run; `math.nan` where it gave none (never found: `math.inf`)."""

    contender: str
    metric: str
    value: float


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What `OURS` must reach in `metric`, and what is aimed at; whether less is better.

    `averaged` figures are summed up by their mean instead of their median: of rare events, such as false alarms, the
    median over the runs is zero however many there are.
    """

    metric: str
    unit: str
    must: float | None = None
    aim: float | None = None
    less_is_better: bool = False
    averaged: bool = False

    def reached(self, value: float, bound: float | None) -> bool | None:
        """Whether `value` keeps `bound`; `None` where there is none."""
        if bound is None:
            return None
        return value <= bound if self.less_is_better else value >= bound


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the bench: `measure(data, seed)` gives the figures of all contenders for one run.

    `data` is the folder of real data; `needs` names what of it has to be there. `measure` depends on its arguments
    alone. `targets` are in the order of the table; every metric of a figure has one. A task whose outcome is the same
    for every seed says so with ``seeds=1``, one that measures time runs `alone`. `note` is what a reader must know:
    how it was set up, what was tried.
    """

    title: str
    needs: tuple[str, ...]
    measure: Callable[[Path, int], Iterable[Figure]]
    targets: tuple[Target, ...]
    note: str
    seeds: int = SEEDS
    alone: bool = False
