"""How often something happens, yes or no per call: a baseline, and evidence that it now happens more often."""

from __future__ import annotations

import math

import msgspec

_ODDS = (4.0, 20.0)
"""Alternatives that are tested, as factors of the odds."""

STREAMS = len(_ODDS)
_CONFIDENCE_Z = 2.0
_CROWD = 4
_MAX_CALLERS = 64
_LEAST_CAP = 2.0
"""Where four callers or more are known, one adds at most half of what an alarm takes before a walk is at zero again."""


class Walk(msgspec.Struct, kw_only=True, array_like=True):
    """A CUSUM of log-likelihood ratios for one alternative."""

    hit: float
    miss: float
    level: float = 0.0
    since_s: float = 0.0
    seen: int = 0
    hits: int = 0
    given: dict[int, float] = {}


class Occurrences(msgspec.Struct, kw_only=True):
    """One rate: counts while it is learned, then walks away from the highest rate that the counts leave possible.

    Likelihood ratios of a bound on the rate are e-processes whatever the rate below it is. Source: Shin, Ramdas,
    Rinaldo, E-detectors (2023). Cost: below 1 us.
    """

    seen: int = 0
    hits: int = 0
    walks: list[Walk] = []
    callers: list[int] = []

    def learn(self, *, hit: bool) -> None:
        """Count one call of the warm-up."""
        self.seen += 1
        self.hits += hit

    def freeze(self) -> None:
        """End the warm-up."""
        square = _CONFIDENCE_Z**2
        seen = max(self.seen, 1)
        center = (self.hits + square / 2.0) / (seen + square)
        half = _CONFIDENCE_Z / (seen + square) * math.sqrt(self.hits * (seen - self.hits) / seen + square / 4.0)
        rate = min(max(center + half, 1e-4), 1.0 - 1e-4)
        norms = [1.0 - rate + rate * odds for odds in _ODDS]
        self.walks = [
            Walk(hit=math.log(odds / norm), miss=-math.log(norm)) for odds, norm in zip(_ODDS, norms, strict=True)
        ]

    def step(self, *, hit: bool, caller: int | None, time_s: float, limit: float) -> Walk | None:
        """Move the walks by one call; the highest of those that are at `limit` or beyond."""
        top = None
        if hit and caller is not None and len(self.callers) < _CROWD and caller not in self.callers:
            self.callers.append(caller)
        for walk in self.walks:
            if hit:
                if walk.level <= 0.0:
                    walk.level, walk.since_s, walk.seen, walk.hits, walk.given = 0.0, time_s, 0, 0, {}
                walk.level += self._gain(walk, caller, limit)
                walk.hits += 1
            elif walk.level > 0.0:
                walk.level += walk.miss
            else:
                continue
            walk.seen += 1
            if walk.level >= limit and (top is None or walk.level > top.level):
                top = walk
        return top

    def pass_over(self) -> float:
        """Move the walks by one call without a hit; the highest level. Cheaper than `step`."""
        top = 0.0
        for walk in self.walks:
            if walk.level > 0.0:
                walk.level += walk.miss
                walk.seen += 1
                top = max(top, walk.level)
        return top

    def beyond(self, limit: float) -> Walk | None:
        """The highest walk, if it is at `limit` or beyond."""
        top = max(self.walks, key=lambda walk: walk.level, default=None)
        return top if top is not None and top.level >= limit else None

    @property
    def awake(self) -> bool:
        """Whether any walk stands above zero: only then does a call without a hit move anything."""
        return any(walk.level > 0.0 for walk in self.walks)

    def restart(self) -> None:
        """Begin anew after an alarm; what was learned stays."""
        for walk in self.walks:
            walk.level = 0.0

    def _gain(self, walk: Walk, caller: int | None, limit: float) -> float:
        """What a hit of this caller adds."""
        if caller is None or len(self.callers) < _CROWD:
            return walk.hit
        given = walk.given.get(caller, 0.0)
        if caller not in walk.given and len(walk.given) >= _MAX_CALLERS:
            return walk.hit
        gain = max(min(walk.hit, max(limit / 2.0, _LEAST_CAP) - given), walk.miss)
        walk.given[caller] = given + gain
        return gain
