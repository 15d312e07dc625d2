"""Thresholds in one unit for all detectors: expected false alarms.

The operator sets one number, false alarms per day for the whole installation, since that is what
an analyst sees. Every detector of the catalog, whatever its scope, gets the same part of it, and divides that
evenly over the subjects of its scope that are planned for: the shares of all (detector, subject) add up to the
budget exactly. Expectations add whatever depends on whatever, so nothing about independence is assumed. Each
detector turns its share into its own limit with the functions here; one that runs several tests on a subject
(streams, models, cohorts) divides once more (`bonferroni`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import Protocol

import msgspec

DAY_S = 86_400.0
MIN_ARL = 1_000.0
"""No detector alarms by chance more than once in this many observations, however generous the budget."""

_MEMORY_DAYS = 7.0
_PATIENCE = 100
"""Observations in a row from more than a day ago that turn a clock back: an export of old calls holds fewer."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm budget and what it is shared over.

    `per_day` is false alarms per day in all; `deployments` and `principals` are how many subjects the
    operator plans for. They are settings, not counts of what was seen: a threshold that moved with
    the number of accounts an attacker opens could be moved by an attacker.
    """

    per_day: float = 2.0
    deployments: int = 10
    principals: int = 1_000

    def share(self, scope: str, detectors: int) -> float:
        """False alarms per day for one of `detectors` detectors, those of all scopes, on one subject of `scope`."""
        subjects = self.deployments if scope == "deployment" else self.principals
        return self.per_day / (max(detectors, 1) * max(subjects, 1))


class Pace(msgspec.Struct, kw_only=True):
    """How many usable observations per day a subject sends, by event time, over its last seven days.

    Callers choose the times they claim, and thresholds hang on the pace: one of them must not move it. Time
    passes only where a new latest is set, at most a day at once, so late arrivals count and take no time. Times of
    more than a day ago are taken for late too, until nothing else came `_PATIENCE` times in a row: then it was
    the clock that was wrong, and the leap that had brought it there is taken back. Cost: 0.1 us.

    `clock` holds the latest time, arrivals and days, empty before the first.
    """

    clock: list[float] = msgspec.field(default_factory=list)
    left_s: float | None = None
    behind: int = 0
    leap: float = 0.0

    @property
    def last_s(self) -> float | None:
        """The latest time; `None` before the first."""
        return self.clock[0] if self.clock else None

    def see(self, time_s: float) -> None:
        """Learn one arrival; a time that is not finite is none."""
        # Numbers that change with each arrival are in a list, where to change one takes a third of a field's time.
        clock = self.clock
        if clock and self.left_s is None and not self.behind and 0.0 < (jump_s := time_s - clock[0]) < DAY_S:
            clock[0] = time_s
            clock[1] += 1.0
            clock[2] = days = clock[2] + jump_s / DAY_S
            if days > _MEMORY_DAYS:
                clock[1] *= _MEMORY_DAYS / days
                clock[2] = _MEMORY_DAYS
        elif math.isfinite(time_s):
            self._see_unusual(time_s)

    def see_all(self, times_s: Iterable[float]) -> None:
        """Learn arrivals in their order, each in a third of the time that `see` takes."""
        clock = self.clock
        usual = bool(clock) and self.left_s is None and not self.behind
        last_s, seen, days = clock or (0.0, 0.0, 0.0)
        for time_s in times_s:
            if usual and 0.0 < (jump_s := time_s - last_s) < DAY_S:
                last_s = time_s
                seen += 1.0
                days += jump_s / DAY_S
                if days > _MEMORY_DAYS:
                    seen *= _MEMORY_DAYS / days
                    days = _MEMORY_DAYS
            elif math.isfinite(time_s):
                if clock:
                    clock[:] = last_s, seen, days
                self._see_unusual(time_s)
                clock = self.clock
                last_s, seen, days = clock
                usual = self.left_s is None and not self.behind
        if clock:
            clock[:] = last_s, seen, days

    def _see_unusual(self, time_s: float) -> None:
        """Learn the first arrival, a late one, one after a day or more, and those that follow a leap."""
        if not self.clock:
            self.clock = [time_s, 0.0, 0.0]
            return
        clock = self.clock
        jump_s = time_s - clock[0]
        clock[1] += 1.0
        if jump_s < -DAY_S:
            self.behind += 1
            if self.behind > _PATIENCE:
                self.left_s, clock[0], self.behind = clock[0], time_s, 0
                clock[2], self.leap = max(clock[2] - self.leap, 0.0), 0.0
            return
        self.behind = 0
        if jump_s <= 0.0:
            return
        clock[0] = time_s
        if self.left_s is not None and abs(time_s - self.left_s) <= DAY_S:
            jump_s, self.left_s = max(time_s - self.left_s, 0.0), None
        if jump_s >= DAY_S:
            # The very first: it may be that time which was absurd.
            jump_s, self.leap = (DAY_S, 1.0) if clock[1] > 1.0 else (0.0, 0.0)
        clock[2] += jump_s / DAY_S
        if clock[2] > _MEMORY_DAYS:
            clock[1] *= _MEMORY_DAYS / clock[2]
            clock[2] = _MEMORY_DAYS

    @property
    def per_day(self) -> float:
        """Observations per day, at least one and never more than one a millisecond."""
        _, seen, days = self.clock or (0.0, 0.0, 0.0)
        return min(max(seen / max(days, 1e-12), 1.0), DAY_S * 1_000.0)


class Rhythm(Protocol):
    """What tells how many observations come per day."""

    @property
    def per_day(self) -> float:
        """Observations per day."""


class Arriving:
    """Arrivals that a pace is to see: it sees them when it is asked for or settled, since one by one costs more."""

    __slots__ = ("_pace", "_times_s", "see")

    def __init__(self, pace: Pace) -> None:
        """Nothing yet; `see` takes the time of an arrival, unix seconds."""
        self._pace = pace
        self._times_s: list[float] = []
        self.see = self._times_s.append

    def settle(self) -> None:
        """Let the pace see all arrivals."""
        self._pace.see_all(self._times_s)
        self._times_s.clear()

    @property
    def per_day(self) -> float:
        """Observations per day as of the last arrival."""
        self.settle()
        return self._pace.per_day


def average_run_length(share: float, per_day: float) -> float:
    """Observations between false alarms that keeps to `share` false alarms per day at `per_day` observations."""
    return max(MIN_ARL, per_day / max(share, 1e-12))


def cusum_limit(arl: float, slack: float) -> float:
    """The decision limit of a one-sided Gaussian CUSUM with in-control average run length `arl`.

    `slack` (often called k) is in standard deviations. Siegmund's approximation
    ``ARL = (exp(2kb) - 1 - 2kb) / (2k^2)`` with ``b = h + 1.166``, inverted by Newton's method.
    Source: Siegmund, Sequential Analysis (1985), p. 27.
    """
    target = 2.0 * slack * slack * arl
    x = math.log(target + 1.0)
    for _ in range(50):
        step = (math.expm1(x) - x - target) / max(math.expm1(x), 1e-12)
        x -= step
        if abs(step) < 1e-10:  # noqa: PLR2004 - far below any float that matters here
            break
    return max(x / (2.0 * slack) - 1.166, 0.0)


def e_limit(arl: float) -> float:
    """The log limit of an e-detector: the sum of e-processes passes ``arl`` by chance once in ``arl``.

    Source: Shin, Ramdas, Rinaldo, E-detectors (2023), theorem 2.4.
    """
    return math.log(arl)


def bonferroni(arl: float, streams: int) -> float:
    """The run length each of `streams` parallel tests must keep so that together they keep `arl`."""
    return arl * max(streams, 1)


def student_limit(arl: float, freedom: float) -> float:
    """How many standard deviations a value passes by chance once in `arl`, when mean and deviation are estimates.

    The upper quantile of Student's t with `freedom` >= 3 degrees of freedom: a short baseline pays with a wider
    limit. Source: Hill, ACM Algorithm 396 (1970).
    """
    tails = 2.0 / arl
    a = 1.0 / (freedom - 0.5)
    b = 48.0 / (a * a)
    c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * math.sqrt(a * math.pi / 2.0) * freedom
    y = (d * tails) ** (2.0 / freedom)
    if y > 0.05 + a:
        x = -NormalDist().inv_cdf(tails / 2.0)
        y = x * x
        if freedom < 5.0:  # noqa: PLR2004 - the algorithm's own constants
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c += (((0.05 * d * -x - 5.0) * -x - 7.0) * -x - 2.0) * -x + b
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
        y = math.expm1(a * y * y)
    else:
        slope = 1.0 / (((freedom + 6.0) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2.0) * 3.0) + 0.5 / (
            freedom + 4.0
        )
        y = (slope * y - 1.0) * (freedom + 1.0) / (freedom + 2.0) + 1.0 / y
    return math.sqrt(freedom * y)
