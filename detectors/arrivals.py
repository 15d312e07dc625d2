"""How busy a deployment was when a call began, told by event time alone.

Partitions are read in turns, so calls arrive minutes out of order and gaps between consecutive ones say little.
Counts per second of event time do not depend on the order in which they were made.
"""

from __future__ import annotations

import math

import msgspec

Loads = tuple[float, float, float]
"""Arrivals per second over the last 3, 10 and 30 s: a queue forgets a burst somewhere between these."""

_BRIEF_S, _MIDDLE_S, _LASTING_S = 3, 10, 30
_MINUTE_S = 60
_MAX_MINUTES = 128
"""Minutes of event time that are kept: bounds the state and, with it, how late a call may be and still count."""


class Arrivals(msgspec.Struct, kw_only=True):
    """Arrivals per second of event time; `minutes` holds 60 counts each, `first_s` is the earliest time seen."""

    minutes: dict[int, list[int]] = msgspec.field(default_factory=dict)
    first_s: float = math.inf

    def see(self, time_s: float) -> Loads:
        """Count one arrival (unix seconds, finite) and say how many came just before it.

        The second in which a window begins counts in part. Costs about 1.5 us.
        """
        whole = int(time_s)
        minute, second = divmod(whole, _MINUTE_S)
        counts = self.minutes.get(minute)
        if counts is None:
            if len(self.minutes) >= _MAX_MINUTES:
                del self.minutes[next(iter(self.minutes))]
            counts = self.minutes[minute] = [0] * _MINUTE_S
        counts[second] += 1
        self.first_s = min(self.first_s, time_s)
        if second >= _LASTING_S:
            recent = counts[second - _LASTING_S : second + 1]
        else:
            before = self.minutes.get(minute - 1)
            early = [0] * (_LASTING_S - second) if before is None else before[second - _LASTING_S :]
            recent = early + counts[: second + 1]
        part = 1.0 - (time_s - whole)
        brief: float = sum(recent[-_BRIEF_S:])
        middle = brief + sum(recent[-_MIDDLE_S:-_BRIEF_S])
        lasting = middle + sum(recent[1:-_MIDDLE_S])
        brief += part * recent[-_BRIEF_S - 1]
        middle += part * recent[-_MIDDLE_S - 1]
        lasting += part * recent[0]
        watched_s = time_s - self.first_s
        if watched_s >= _LASTING_S:
            return brief / _BRIEF_S, middle / _MIDDLE_S, lasting / _LASTING_S
        watched_s = max(watched_s, 1.0)
        return brief / min(_BRIEF_S, watched_s), middle / min(_MIDDLE_S, watched_s), lasting / watched_s
