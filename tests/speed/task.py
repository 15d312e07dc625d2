"""A task of the bench: cells that are measured in turn, again and again, over servers that stay up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

Figures = dict[str, float]
"""By name; what is compared between machines has its unit in the name."""


class UnmeasuredError(Exception):
    """This machine cannot measure a cell; the message says why, and stands in the place of its figures."""


class Cell(msgspec.Struct, frozen=True):
    """One thing to measure, by the name of its row."""

    name: str
    measure: Callable[[Any], Figures]


class Target(msgspec.Struct, frozen=True):
    """What has to be reached: a figure of one cell, or a quotient of two, against a bound."""

    said: str
    value: Callable[[Mapping[str, Mapping[str, float]]], float]
    bound: float
    at_most: bool = False
    unit: str = ""

    def reached(self, value: float) -> bool:
        """Whether a value is on the right side; one that is none is not."""
        return value <= self.bound if self.at_most else value >= self.bound


def figure(cell: str, name: str) -> Callable[[Mapping[str, Mapping[str, float]]], float]:
    """The figure of a cell; no number where it was not measured."""
    return lambda measured: measured.get(cell, {}).get(name, math.nan)


def quotient(cell: str, other: str, name: str) -> Callable[[Mapping[str, Mapping[str, float]]], float]:
    """The figure of a cell over that of another."""
    above, below = figure(cell, name), figure(other, name)
    return lambda measured: above(measured) / below(measured)


class Task(Protocol):
    """A module of `tests.speed` that the bench runs."""

    TITLE: str
    NOTE: str
    TARGETS: tuple[Target, ...]

    def opened(self, *, quick: bool) -> AbstractContextManager[Any]:
        """What all cells are measured over."""

    def cells(self, *, quick: bool) -> list[Cell]:
        """All there is to measure."""

    def repeats(self, *, quick: bool) -> int:
        """How often each cell is measured."""
