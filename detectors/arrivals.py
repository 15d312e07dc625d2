"""How busy a deployment was when a call began, told by event time alone.

Partitions are read in turns, so calls arrive minutes out of order and gaps between consecutive ones say little.
Counts by event time do not depend on the order in which they were made.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort

import msgspec

_WINDOW_S = 10
_MINUTE_S = 60
_MAX_MINUTES = 128
"""Minutes of event time that are kept: bounds the state and, with it, how late a call may be and still count."""

_MAX_CALLS = 384
"""Calls among which those in flight are counted: by order of coming, so that made-up times leave as others do."""

_MOST_KEPT = 16
"""Long calls in a row that may stay while later ones are forgotten."""


class Flights(msgspec.Struct, kw_only=True):
    """Calls in flight among the last 384; `starts` and `ends` are sorted, `calls` is a ring of both."""

    starts: list[float] = msgspec.field(default_factory=list)
    ends: list[float] = msgspec.field(default_factory=list)
    calls: list[tuple[float, float]] = msgspec.field(default_factory=list)
    place: int = 0

    def see(self, start_s: float, lasting_s: float) -> int:
        """Add a call; how many were in flight when it began, itself included. Costs about 1 us."""
        starts, ends, calls = self.starts, self.ends, self.calls
        end_s = start_s + lasting_s
        began = bisect_right(starts, start_s)
        starts.insert(began, start_s)
        insort(ends, end_s)
        began += 1
        if len(calls) < _MAX_CALLS:
            calls.append((start_s, end_s))
            return max(began - bisect_right(ends, start_s), 1)
        place = self.place
        old_start_s, old_end_s = calls[place]
        if old_start_s <= start_s < old_end_s:
            place = self._leaving(start_s)
            old_start_s, old_end_s = calls[place]
        calls[place] = (start_s, end_s)
        self.place = (place + 1) % _MAX_CALLS
        # In order of time, which is usual, the first to come is the first to leave.
        del starts[0 if starts[0] == old_start_s else bisect_left(starts, old_start_s)]
        del ends[0 if ends[0] == old_end_s else bisect_left(ends, old_end_s)]
        if old_start_s <= start_s:
            began -= 1
        in_flight = began - bisect_right(ends, start_s)
        return in_flight if in_flight > 1 else 1  # noqa: FURB136 - a call of `max` takes several times as long

    def _leaving(self, now_s: float) -> int:
        """Which call is forgotten: the first to come, or one of the next that is no longer in flight."""
        for place in range(self.place, self.place + _MOST_KEPT):
            start_s, end_s = self.calls[place % _MAX_CALLS]
            if not start_s <= now_s < end_s:
                return place % _MAX_CALLS
        return self.place


class Arrivals(msgspec.Struct, kw_only=True):
    """Load by event time; `minutes` holds 60 counts each, `first_s` is the earliest time seen."""

    minutes: dict[int, list[int]] = msgspec.field(default_factory=dict)
    first_s: float = math.inf
    flights: Flights = msgspec.field(default_factory=Flights)

    def see(self, time_s: float, lasting_s: float) -> float:
        """Count one call (unix seconds, finite; seconds >= 0); calls in flight when it began. Costs about 1.5 us."""
        second = int(time_s)
        minute = second // _MINUTE_S
        counts = self.minutes.get(minute)
        if counts is None:
            if len(self.minutes) >= _MAX_MINUTES:
                del self.minutes[next(iter(self.minutes))]
            counts = self.minutes[minute] = [0] * _MINUTE_S
        counts[second - minute * _MINUTE_S] += 1
        if time_s < self.first_s:  # noqa: PLR1730 - `min` takes several times as long
            self.first_s = time_s
        return float(self.flights.see(time_s, lasting_s))

    def rate(self, time_s: float) -> float:
        """Arrivals per second in the 10 s up to a time that was just seen.

        The second in which the window begins counts in part. Costs about 1 us.
        """
        whole = int(time_s)
        minute, second = divmod(whole, _MINUTE_S)
        counts = self.minutes[minute]
        if second >= _WINDOW_S:
            recent = counts[second - _WINDOW_S : second + 1]
        else:
            before = self.minutes.get(minute - 1)
            early = [0] * (_WINDOW_S - second) if before is None else before[second - _WINDOW_S :]
            recent = early + counts[: second + 1]
        arrived = sum(recent) - (time_s - whole) * recent[0]
        watched_s = min(max(time_s - self.first_s, 1.0), _WINDOW_S)
        return arrived / watched_s
