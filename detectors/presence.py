"""Whether calls have something: a stream of yes or no, in which a lasting fall is news.

A likelihood-ratio CUSUM tests against half of the share that the warm-up leaves for certain; only falls are looked for.
Source: Lorden, Procedures for reacting to a change in distribution (1971).
"""

from __future__ import annotations

import math

import msgspec

WARM_UP = 400
_BATCH = 20
_CLUSTERING_NOISE = 1.6
"""Variance ratio of batches that independence alone reaches in about one of 40 warm-ups."""

_CONFIDENCE_Z = 2.0
_LEAST_SHARE = 0.05
"""What fewer calls had was never something to see by."""


class Presence(msgspec.Struct, kw_only=True):
    """One thing that calls have: its warm-up counts, then the walk away from them.

    `hit` and `miss` are the steps of `level` in nats; `returned` is the same walk the other way while it
    is `lost`.
    """

    seen: int = 0
    hits: int = 0
    batch_hits: int = 0
    batch_squares: int = 0
    hit: float = 0.0
    miss: float = 0.0
    level: float = 0.0
    since_s: float = 0.0
    calls: int = 0
    missing: int = 0
    lost: bool = False
    returned: float = 0.0

    @property
    def before(self) -> float:
        """The share of the warm-up's calls that had it."""
        return self.hits / max(self.seen, 1)

    @property
    def now(self) -> float:
        """The share of the calls since the onset that have it."""
        return 1.0 - self.missing / max(self.calls, 1)

    def learn(self, present: bool) -> None:  # noqa: FBT001 - the outcome itself
        """Count one call of the warm-up; the last one freezes the baseline."""
        self.seen += 1
        self.hits += present
        self.batch_hits += present
        if self.seen % _BATCH == 0:
            self.batch_squares += self.batch_hits**2
            self.batch_hits = 0
        if self.seen == WARM_UP and self.before >= _LEAST_SHARE:
            share, half = _lowest(self.hits, self.seen), _lowest(self.hits, self.seen) / 2.0
            weight = 1.0 / self._clustering()
            self.hit = weight * math.log(half / share)
            self.miss = weight * math.log((1.0 - half) / (1.0 - share))

    def step(self, present: bool, time_s: float) -> None:  # noqa: FBT001 - the outcome itself
        """Move the walk by one call."""
        gain = self.hit if present else self.miss
        if self.level <= 0.0:
            if gain <= 0.0:
                return
            self.level, self.since_s, self.calls, self.missing = 0.0, time_s, 0, 0
        self.level += gain
        self.calls += 1
        self.missing += not present

    def come_back(self, present: bool, limit: float) -> None:  # noqa: FBT001 - the outcome itself
        """Watch what was lost return; when it certainly has, it can be lost again."""
        self.returned = max(self.returned - (self.hit if present else self.miss), 0.0)
        if self.returned >= limit:
            self.lost, self.returned, self.level = False, 0.0, 0.0

    def _clustering(self) -> float:
        """How many calls of a cluster count as one: the variance of batches over that of independent calls."""
        independent = _BATCH * self.before * (1.0 - self.before)
        if independent <= 0.0:
            return 1.0
        variance = self.batch_squares * _BATCH / self.seen - (self.before * _BATCH) ** 2
        return max(1.0, variance / independent / _CLUSTERING_NOISE)


def _lowest(hits: int, seen: int) -> float:
    """The lower end of Wilson's 95 % interval of a rate."""
    square = _CONFIDENCE_Z**2
    center = (hits + square / 2.0) / (seen + square)
    half = _CONFIDENCE_Z / (seen + square) * math.sqrt(hits * (seen - hits) / seen + square / 4.0)
    return max(center - half, 1e-6)
