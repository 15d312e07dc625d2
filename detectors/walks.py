"""A one-sided walk away from zero: what has been added up of a change, and how much of it load may explain."""

from __future__ import annotations

import msgspec

from detectors import alarms

_RECENT = 32

_UNSURE_WEIGHT = 1.0 / 16.0
_UNSURE_HOURS = 12.0
_HOUR_S = 3_600.0
"""What load may explain counts little, and at most so much in an hour that the least limit takes 12 of nothing else:
longer than a busy day, so that peaks are quiet, while load that stays does not hide a step for ever."""

_SLOT_S = 10
_SLOT_SHARE = 0.4
"""Busy calls of ten seconds give at most this much of the limit."""


class Walk(msgspec.Struct, kw_only=True):
    """A one-sided CUSUM and what happened since it last stood at zero.

    `recent` holds the last 32 residuals (natural log of observed over explained). `unsure` counts calls of which load
    may explain all; `overtime` is what they added in the hour of event time that began at `hour_s`, and `slot_gain`
    what busy calls added in the ten seconds `slot`.
    """

    level: float = 0.0
    since_s: float = 0.0
    seen: int = 0
    unsure: int = 0
    overtime: float = 0.0
    hour_s: float = 0.0
    expected_s: float = 0.0
    slot: int = 0
    slot_gain: float = 0.0
    recent: list[float] = msgspec.field(default_factory=list)

    def step(self, gain: float, residual: float, expected_s: float, time_s: float) -> None:
        """Add one gain."""
        level, recent = self.level, self.recent
        if level <= 0.0:
            if gain <= 0.0:
                return
            self.since_s, self.seen, self.unsure, self.expected_s = time_s, 0, 0, 0.0
            recent.clear()
        level += gain
        self.level = level if level > 0.0 else 0.0  # noqa: FURB136 - a call of `max` takes several times as long
        self.seen += 1
        self.expected_s += expected_s
        recent.append(residual)
        if len(recent) > _RECENT:
            del recent[0]

    def rationed(self, gain: float, time_s: float, limit: float) -> float:
        """What of the gain of a busy call counts: one burst, whose load may be counted wrong, must not decide."""
        slot = int(time_s) // _SLOT_S
        if slot != self.slot:
            self.slot, self.slot_gain = slot, 0.0
        gain = min(gain, _SLOT_SHARE * limit - self.slot_gain)
        self.slot_gain += gain
        return gain

    def step_unsure(self, gain: float, residual: float, expected_s: float, time_s: float, limit: float) -> None:
        """Add one gain that load may explain: a little of it, and not much of `limit` in an hour."""
        if not -alarms.DAY_S < time_s - self.hour_s < _HOUR_S:
            self.hour_s, self.overtime = time_s, 0.0
        gain = min(gain * _UNSURE_WEIGHT, limit / _UNSURE_HOURS - self.overtime)
        self.overtime = max(self.overtime + gain, 0.0)
        self.step(gain, residual, expected_s, time_s)
        self.unsure += 1
