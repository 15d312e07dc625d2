"""When a target may be told: weekly hours in its own time zone. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"([a-z]{3})(?:-([a-z]{3}))?\s+(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY_MINUTES = 24 * 60
_LONGEST_CHARS = 400
_EXAMPLE = "`hours` are like Mon-Fri 08:00-18:00, Sat 10:00-14:00 Europe/Berlin"


class Window(msgspec.Struct, frozen=True):
    """On which days (0 is Monday), from which minute of the day until which; past midnight where it ends first."""

    days: frozenset[int]
    begin: int
    end: int


class Hours(msgspec.Struct, frozen=True):
    """The windows of a week, in the clock of `zone`."""

    windows: tuple[Window, ...]
    zone: str

    def is_open(self, now_s: float) -> bool:
        """Whether `now_s` (unix seconds) is inside."""
        local = datetime.fromtimestamp(now_s, UTC).astimezone(ZoneInfo(self.zone))
        day, minute = local.weekday(), local.hour * 60 + local.minute
        return any(_holds(window, day, minute) for window in self.windows)


def read_hours(text: str) -> Hours:
    """The hours that an operator wrote; without a zone at the end they are UTC. Raises `ValueError`."""
    if len(text) > _LONGEST_CHARS:
        raise ValueError(_EXAMPLE)
    body, _, last = text.strip().rpartition(" ")
    zone = last if body and not last[:1].isdigit() else "UTC"
    windows = body if zone == last else text
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{_EXAMPLE}; no such time zone here") from None
    return Hours(tuple(_window(part.strip()) for part in windows.split(",")), zone)


def _holds(window: Window, day: int, minute: int) -> bool:
    if window.begin < window.end:
        return day in window.days and window.begin <= minute < window.end
    return (day in window.days and minute >= window.begin) or ((day - 1) % 7 in window.days and minute < window.end)


def _window(text: str) -> Window:
    found = _WINDOW.fullmatch(text.lower())
    if found is None or not {found[1], found[2] or found[1]} <= set(_DAYS):
        raise ValueError(_EXAMPLE)
    first, last = _DAYS.index(found[1]), _DAYS.index(found[2] or found[1])
    days = frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
    begin, end = _minute(found[3], found[4]), _minute(found[5], found[6])
    if begin in {end, _DAY_MINUTES}:
        raise ValueError(f"{_EXAMPLE}; a window has a length")
    return Window(days, begin, end)


def _minute(hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) >= 60 or value > _DAY_MINUTES:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(f"{_EXAMPLE}; times are 00:00 to 24:00")
    return value
