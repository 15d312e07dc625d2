"""Who stands behind what is learned and judged: one caller of several must not be most of either."""

from __future__ import annotations

import msgspec

WINDOW = 32
"""The last admitted calls in which one principal may hold only so many places."""

_PLACES = WINDOW // 8
_EVEN = 2 * WINDOW
"""Two or fewer principals may hold everything, eight of them a quarter each, sixteen or more an eighth each: a run of
five rare outcomes is no news where one of many sent them all."""

_LEAK = 32
"""Of the calls beyond a principal's places one in so many is admitted: it may be all that is left."""

_MAX_NAME_CHARS = 64


class Crowd(msgspec.Struct, kw_only=True):
    """The principals of the last admitted calls. Cost: about 0.2 us; state: up to 4 KB."""

    window: list[str] = msgspec.field(default_factory=list)
    places: dict[str, int] = msgspec.field(default_factory=dict)
    passed_over: int = 0

    def admits(self, principal: str | None) -> bool:
        """Whether a call is to be learned from; one of whom nothing is known always is."""
        if principal is None:
            return True
        name = principal if len(principal) <= _MAX_NAME_CHARS else principal[:_MAX_NAME_CHARS]
        places, window = self.places, self.window
        held = places.get(name, 0)
        if held >= _PLACES and held * len(places) >= _EVEN:
            self.passed_over += 1
            if self.passed_over % _LEAK:
                return False
        if len(window) < WINDOW:
            window.append(name)
            places[name] = held + 1
            return True
        # Shorter than to keep a place in it: fields are dear, and these are 32.
        gone = window.pop(0)
        window.append(name)
        if gone == name:
            return True
        left = places[gone] - 1
        if left:
            places[gone] = left
        else:
            del places[gone]
        places[name] = held + 1
        return True
