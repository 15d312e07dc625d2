"""Rates of yes or no against a frozen baseline, several judged together, by likelihood-ratio CUSUMs.

What the warm-up leaves possible for a true rate (a confidence limit, so no hit in 400 calls does not mean
that there are none) is tested against higher and lower rates; their run lengths between false alarms hold
without knowing the rate. Calls are judged in batches, which costs three or four calls of delay and divides
the cost; a rate whose hits come in clusters gets weaker steps.

Source: Lorden, Procedures for reacting to a change in distribution (1971); Shin, Ramdas, Rinaldo,
E-detectors (2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from river.drift import ADWIN

from detectors import alarms

BATCH = 8
"""Calls judged together, where a detector does not say otherwise."""

ODDS = (2.0, 5.0, 25.0)
"""Alternatives tested in either direction, as factors of the odds."""

_CLUSTER = 20
"""Calls per batch when the clustering of a rate is measured in the warm-up."""

_CLUSTERING_NOISE = 1.6
"""Variance ratio of batches that independence alone reaches in about one of 40 warm-ups."""

_CONFIDENCE_Z = 2.0
_LEAST = 1e-6
_LEAST_LIMIT = math.log(alarms.MIN_ARL)


class Walk(msgspec.Struct, kw_only=True):
    """A CUSUM of log-likelihood ratios for one alternative, and what it saw since it last stood at zero."""

    hit: float
    miss: float
    level: float = 0.0
    since_s: float = 0.0
    seen: int = 0
    hits: int = 0

    def step(self, gain: float, hits: int, count: int, time_s: float) -> float:
        """Move by the `gain` of `hits` among `count` calls, the first of them at `time_s`; the level."""
        if self.level <= 0.0:
            self.level, self.since_s, self.seen, self.hits = 0.0, time_s, 0, 0
        self.level = level = self.level + gain
        self.seen += count
        self.hits += hits
        return level


class Rate(msgspec.Struct, kw_only=True):
    """One rate: its warm-up counts, then the walks away from them.

    `rises` and `falls` say whether a rise or a fall is news.
    """

    rises: bool = True
    falls: bool = True
    seen: int = 0
    hits: int = 0
    cluster_hits: int = 0
    cluster_squares: int = 0
    up: list[Walk] = msgspec.field(default_factory=list)
    down: list[Walk] = msgspec.field(default_factory=list)
    resting: bool = False
    usual: tuple[int, int, int] = (0, 0, 0)

    @property
    def before(self) -> float:
        """The baseline's rate."""
        return self.hits / max(self.seen, 1)

    def learn(self, hit: bool) -> None:  # noqa: FBT001 - the outcome itself
        """Count one outcome of the warm-up."""
        self.seen += 1
        self.hits += hit
        self.cluster_hits += hit
        if self.seen % _CLUSTER == 0:
            self.cluster_squares += self.cluster_hits**2
            self.cluster_hits = 0

    def freeze(self, clustering: float | None = None) -> None:
        """End the warm-up. `clustering` is how many calls of a cluster count as one, where that is known."""
        clustering = self._clustering() if clustering is None else clustering
        # A baseline of clusters is worth as many independent calls as there are clusters.
        lowest, highest = interval(self.hits / clustering, self.seen / clustering)
        weight = 1.0 / clustering
        self.up = [_walk(highest, odds, weight) for odds in ODDS] if self.rises and self.hits < self.seen else []
        self.down = [_walk(lowest, 1.0 / odds, weight) for odds in ODDS] if self.falls and self.hits else []

    def step(self, hits: int, count: int, time_s: float) -> float:
        """Move all walks by a batch; the highest level."""
        if self.resting and count == self.usual[0] and self.usual[1] < hits < self.usual[2]:
            return 0.0
        top = 0.0
        # Walks that stand at zero and would fall are most of them, most of the time: told without a call.
        misses, resting = count - hits, True
        for walks in (self.up, self.down):
            for walk in walks:
                gain = hits * walk.hit + misses * walk.miss
                if gain > 0.0 or walk.level > 0.0:
                    level = walk.step(gain, hits, count, time_s)
                    if level > 0.0:
                        resting = False
                        top = max(top, level)
        self.resting = resting
        if resting and not self.usual[0]:
            self.usual = self._usual(count)
        return top

    def rearm(self) -> None:
        """Start all walks anew."""
        for walk in self.up + self.down:
            walk.level = 0.0

    def _usual(self, count: int) -> tuple[int, int, int]:
        """`count`, and the hits among so many between which no walk that stands at zero moves, both exclusive."""
        moves = [
            any(hits * walk.hit + (count - hits) * walk.miss > 0.0 for walk in self.down) for hits in range(count + 1)
        ]
        most = max((hits for hits, moved in enumerate(moves) if moved), default=-1)
        moves = [
            any(hits * walk.hit + (count - hits) * walk.miss > 0.0 for walk in self.up) for hits in range(count + 1)
        ]
        least = min((hits for hits, moved in enumerate(moves) if moved), default=count + 1)
        return count, most, least

    def _clustering(self) -> float:
        """The variance of batches over that of independent calls."""
        mean = self.before
        independent = _CLUSTER * mean * (1.0 - mean)
        if independent <= 0.0:
            return 1.0
        variance = self.cluster_squares * _CLUSTER / self.seen - (mean * _CLUSTER) ** 2
        ratio = variance / independent
        return ratio if ratio > _CLUSTERING_NOISE else 1.0


class Shifted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rate moved: `index` in the order given, from `before` to `now`, over `calls` since `since_s`."""

    index: int
    before: float
    now: float
    calls: int
    since_s: float
    score: float
    threshold: float

    @property
    def rose(self) -> bool:
        """Whether it went up."""
        return self.now > self.before


class Rates(msgspec.Struct, kw_only=True):
    """Rates over the same calls: a warm-up of `warm_up` calls, then batches; one change is said once.

    `pending` are the hits of each rate in the batch so far, and last how many calls that are.
    """

    warm_up: int
    rates: list[Rate]
    batch: int = BATCH
    seen: int = 0
    since_s: float = 0.0
    pending: list[int] = msgspec.field(default_factory=list)

    @property
    def streams(self) -> int:
        """How many walks share the run length between false alarms."""
        return len(ODDS) * sum(rate.rises + rate.falls for rate in self.rates)

    @property
    def warming(self) -> bool:
        """Whether the baseline is still being learned."""
        return self.seen < self.warm_up

    @property
    def quiet(self) -> bool:
        """Whether a batch begins and no walk has left zero."""
        return not any(self.pending) and all(walk.level <= 0.0 for rate in self.rates for walk in rate.up + rate.down)

    def see(self, hits: Sequence[int], time_s: float, share: float, pace: alarms.Rhythm) -> Shifted | None:
        """Learn one call, which hit the rates numbered `hits`; what shifted, where a batch ends and shows it."""
        if self.seen < self.warm_up:
            self.learn(hits)
            return None
        pending = self.pending
        for index in hits:
            pending[index] += 1
        pending[-1] = waiting = pending[-1] + 1
        if waiting == 1:
            self.since_s = time_s
        if waiting < self.batch:
            return None
        self.pending = [0] * len(pending)
        return self.judge(pending[:-1], self.since_s, share, pace)

    def judge(self, counts: Sequence[int], since_s: float, share: float, pace: alarms.Rhythm) -> Shifted | None:
        """Learn a batch of calls, the first of them at `since_s`, that had so many hits of each rate."""
        top = 0.0
        for rate, count in zip(self.rates, counts, strict=True):
            level = rate.step(count, self.batch, since_s)
            if level > 0.0:
                top = max(top, level)
        # No limit is lower than this one: the true one is worth its logarithms only now and then.
        if top < _LEAST_LIMIT:
            return None
        limit = limit_of(share, pace, self.streams)
        if top < limit:
            return None
        shifted = self._loudest(limit)
        self.rearm()
        return shifted

    def rearm(self) -> None:
        """Start all walks anew: one change mostly shows in several rates."""
        for rate in self.rates:
            rate.rearm()

    def learn(self, hits: Sequence[int]) -> None:
        """Count one call of the warm-up; the last one freezes the baseline."""
        for index, rate in enumerate(self.rates):
            rate.learn(index in hits)
        self.seen += 1
        if self.seen >= self.warm_up:
            self.pending = [0] * (len(self.rates) + 1)
            for rate in self.rates:
                rate.freeze()

    def _loudest(self, limit: float) -> Shifted:
        walks = [(walk, index) for index, rate in enumerate(self.rates) for walk in rate.up + rate.down]
        walk, index = max(walks, key=lambda each: each[0].level)
        return Shifted(
            index=index,
            before=self.rates[index].before,
            now=walk.hits / walk.seen,
            calls=walk.seen,
            since_s=walk.since_s,
            score=walk.level,
            threshold=limit,
        )


def recent_window() -> ADWIN:
    """An empty adaptive window, which tells the recent past: it drops what was before a change.

    Its own alarms are not used. Source: Bifet, Gavalda, Learning from time-changing data with adaptive windowing
    (2007).
    """
    return ADWIN()  # type: ignore[no-untyped-call]  # River has no annotations


def remember(window: ADWIN, value: float) -> None:
    """Add a finite `value` to an adaptive window."""
    window.update(value)  # type: ignore[no-untyped-call]  # River has no annotations


def limit_of(share: float, pace: alarms.Rhythm, streams: int) -> float:
    """The level that one of `streams` walks passes by chance as seldom as `share` allows."""
    # Batches are fewer than calls; that they count as calls here makes up for clusters within one.
    return alarms.e_limit(alarms.bonferroni(alarms.average_run_length(share, pace.per_day), streams))


def interval(hits: float, seen: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate; above 0 and below 1 whatever the counts."""
    square = _CONFIDENCE_Z**2
    center = (hits + square / 2.0) / (seen + square)
    half = _CONFIDENCE_Z / (seen + square) * math.sqrt(hits * (seen - hits) / seen + square / 4.0)
    return max(center - half, _LEAST), min(center + half, 1.0 - _LEAST)


def _walk(rate: float, odds: float, weight: float) -> Walk:
    """A walk whose steps are the weighted log-likelihood ratios of `odds` times the odds of `rate`."""
    other = odds * rate / (1.0 - rate + odds * rate)
    return Walk(hit=weight * math.log(other / rate), miss=weight * math.log((1.0 - other) / (1.0 - rate)))
