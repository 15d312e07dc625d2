"""The values seen of one thing that should seldom change: what is new is said once, what was seen may take turns.

Values seen while it is learned are legitimate, several of them too (a router, a canary rollout).
"""

from __future__ import annotations

import msgspec

WARM_UP_QUIET = 20
_WARM_UP = 200
_WARM_UP_S = 86_400.0
"""What is stated seldom has been learned after a day and 20 sights, whichever way it counts."""

_MAX_VALUES = 12
_VOLATILE = 8
"""What has so many values in its warm-up changes by nature and is not judged."""

_CHATTER = 6
_QUIET_S = 7 * 86_400.0
"""After so many new values, the next is said only when none was said for a week: what is built anew each night."""


class Sightings(msgspec.Struct, kw_only=True):
    """`values` maps a value to the sight it was last seen at, `current` is the last one.

    It has learned after more than `needs` sights; `since_s` is when the first was.
    """

    since_s: float
    needs: int = _WARM_UP
    values: dict[str, int] = msgspec.field(default_factory=dict)
    current: str = ""
    count: int = 0
    learned: bool = False
    volatile: bool = False
    said: int = 0
    said_s: float = 0.0

    def pin(self) -> None:
        """What it should be is known: from now on it is judged, however little was seen."""
        self.learned = True

    def see(self, value: str, now_s: float) -> str | None:
        """Learn one clean value: the value before it where it is news ("" where nothing was before)."""
        if value in self.values:
            self.accept(value, now_s)
            return None
        before, judged = self.current, self.learned or self._has_learned(now_s)
        self.accept(value, now_s)
        if not judged:
            self.volatile = len(self.values) >= _VOLATILE
            return None
        return before if not self.volatile and self.may_say(now_s) else None

    def accept(self, value: str, now_s: float) -> None:
        """Learn one clean value that is no news, in place of the one unseen for longest where there is no room."""
        if self.current in self.values:
            # Whoever knows that nothing changed may have counted without a word.
            self.values[self.current] = self.count
        self.count += 1
        if not self.learned:
            self.learned = self._has_learned(now_s)
        if value not in self.values and len(self.values) >= _MAX_VALUES:
            del self.values[min(self.values, key=self.values.__getitem__)]
        self.values[value] = self.count
        self.current = value

    def may_say(self, now_s: float) -> bool:
        """Whether one more new value is to be said; if so, it is."""
        if self.said >= _CHATTER and abs(now_s - self.said_s) < _QUIET_S:
            return False
        self.said += 1
        self.said_s = now_s
        return True

    def _has_learned(self, now_s: float) -> bool:
        slow = self.count >= WARM_UP_QUIET and now_s - self.since_s >= _WARM_UP_S
        return self.count >= self.needs or slow


def sighted(kept: dict[str, Sightings], key: str, most: int, made: Sightings) -> Sightings:
    """What was seen under a key, or `made`; where there are too many keys, the first leaves."""
    found = kept.get(key)
    if found is None:
        if len(kept) >= most:
            del kept[next(iter(kept))]
        found = kept[key] = made
    return found
