"""Reference numbers of a deployment over a stretch of time, and how far two of them lie apart. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

NAME_CHARS = 128


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A mean (of a share: the share; of a quantile: it) with the standard deviation of single events, over `count`."""

    mean: float
    sd: float
    count: int


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment was like; times are unix seconds UTC.

    `numbers` are by name: ``style.NAME``, ``latency_s``, ``latency_s.p95``, ``refused``, ``finish_reason=stop``, ...;
    `components` count the events that each digest served, by component. `approved_s` is when a person said that this
    is how it should be.
    """

    name: str
    deployment: str
    since_s: float
    until_s: float
    events: int
    principals: int
    numbers: dict[str, Number]
    components: dict[str, dict[str, int]]
    who: str = ""
    note: str = ""
    frozen_s: float = 0.0
    approved_s: float | None = None
    approved_by: str = ""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One number in two baselines.

    `size` is the difference in standard deviations of single events, averaged over both; `None` where one of the two
    has none: it was not measured, or it never varied and now is another.
    """

    name: str
    before: float | None
    now: float | None
    size: float | None


class ComponentDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of one component that only one of two baselines saw."""

    component: str
    gone: tuple[str, ...]
    new: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two baselines, the largest difference first."""

    before: str
    now: str
    numbers: tuple[Difference, ...]
    components: tuple[ComponentDifference, ...]


def compared(before: Baseline, now: Baseline) -> Comparison:
    """All numbers of both by the size of their difference; what cannot be sized comes before what did not change."""
    differences = [_difference(name, before, now) for name in sorted(before.numbers.keys() | now.numbers.keys())]
    return Comparison(
        before=before.name,
        now=now.name,
        numbers=tuple(sorted(differences, key=_rank)),
        components=tuple(_components(before, now)),
    )


def _difference(name: str, before: Baseline, now: Baseline) -> Difference:
    old, new = (_number(name, each) for each in (before, now))
    if old is None or new is None:
        return Difference(
            name=name, before=None if old is None else old.mean, now=None if new is None else new.mean, size=None
        )
    spread = math.sqrt((old.sd**2 + new.sd**2) / 2.0)
    gap = new.mean - old.mean
    if spread > 0.0:
        size: float | None = gap / spread
    else:
        size = None if gap else 0.0
    return Difference(name=name, before=old.mean, now=new.mean, size=size)


def _number(name: str, of: Baseline) -> Number | None:
    """A number; a category that is not there while others of its kind are has a share of nothing."""
    known = of.numbers.get(name)
    field, is_share, _ = name.partition("=")
    if known is None and is_share:
        others = [each.count for other, each in of.numbers.items() if other.startswith(f"{field}=")]
        return Number(mean=0.0, sd=0.0, count=others[0]) if others else None
    return known


def _rank(difference: Difference) -> tuple[float, str]:
    if difference.size is None:
        return (0.0 if difference.before is None or difference.now is None else -math.inf, difference.name)
    return (-abs(difference.size), difference.name)


def _components(before: Baseline, now: Baseline) -> Iterable[ComponentDifference]:
    for name in sorted(before.components.keys() | now.components.keys()):
        old, new = before.components.get(name, {}).keys(), now.components.get(name, {}).keys()
        if old != new:
            yield ComponentDifference(component=name, gone=tuple(sorted(old - new)), new=tuple(sorted(new - old)))
