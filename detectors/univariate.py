"""How surprising the next value of a series is, told by nothing but its own past: a score in orders of magnitude.

Six views of a series (value, residual of a fast forecast, level, roughness, distance from the same time of day and
from the same hour of the week) each keep the tail of what they were; a score is minus the decimal logarithm of how
rare the present one is, by excesses over a high quantile and by how often the like was seen. Spikes, steps, changes
of variance, flat lines and a day that is missing are all rare somewhere. Nothing in it has the unit of the series.
"""

from __future__ import annotations

import math

import msgspec

THRESHOLD = 2.6
"""The score of a detection where nothing is known of what a false alarm costs: once in some 2,000 quiet values."""

VIEWS = ("value", "change", "level", "roughness", "time of day", "hour of week")
"""What a series is looked at through, in the order of `Scorer.views`; each has a tail upward and one downward."""

_WARM_UP = 150
_HOLD = 150
"""After a detection nothing is one for so many values: they are of the same anomaly, or learned by then."""

_WEARY = 0.1
_FORGIVE = 3_000.0
"""Each doubling of the detections in some 3,000 values raises the next by so much: a wild series must not cost more."""

_MEMORY = 4_000.0
_KEEP = 1.0 - 1.0 / _MEMORY
_SCALING, _STEPPING = 500.0, 200.0
_LEAST_SCALING, _LEAST_STEPPING = 1.0 / _SCALING, 2.0 / _STEPPING
"""Values after which the scale of a tail and its quantile no longer move faster because little is known."""

_TAIL = 0.02
_LEAST_SEEN = 100
_PRIOR, _PRIOR_SHAPE, _PRIOR_SHAPE_WEIGHT = 3.0, 0.3, 10.0
_MAX_SHAPE = 0.5
_PEAKS, _PEAK_GAP = 12, 20
_LIKE, _LIKE_LENGTH = 0.8, 3.0
"""A peak is like one that was at least 0.8 of it, and lasts three values: seen once in n, it comes once in n / 3."""

_FLOOR = 0.05
"""No view is taken to be steadier than 5 % of the mean deviation of the series."""

_SHORT, _LONG, _ROUGH = 12, 100, 36
_FAST, _SLOW, _SLOWER = 0.3, 1.0 / 2_000.0, 1.0 / 4_000.0
_DAY_S, _HOUR_S, _SLOT_S = 86_400, 3_600, 1_800
_ROUNDS = 3
_SMOOTH_DAY, _SMOOTH_WEEK = 12.0, 6.0
_MOST_SCORE = 300.0
_MOST_VALUE = 1e150
_KNOWN_FROM = 5.0
_STRAIGHT = 1e-3


class Tail(msgspec.Struct, kw_only=True):
    """The upper tail of a stream: a generalized Pareto law, by moments, of what lies above its 98 % quantile.

    `law` holds that quantile, the scale of distances from it, and count, sum and sum of squares of the excesses, of
    about 4,000 values; `peaks` the highest excesses and when. It is a list, for to change a number in one takes a
    third of a field's time. Source: Siffer et al., Anomaly detection in streams with extreme value theory (2017).
    """

    law: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0, 0.0])
    peaks: list[tuple[float, int]] = msgspec.field(default_factory=list)

    def score(self, excess: float, floor: float, seen: float) -> float:
        """Minus the decimal logarithm of the chance of a value so far (> 0) above the quantile, after `seen` values."""
        _, scale, over, total, squares = self.law
        mean = max((total + _PRIOR * max(scale, floor)) / (over + _PRIOR), floor, 1e-12)
        shape = _PRIOR_SHAPE
        if over >= _KNOWN_FROM:
            own = total / over
            variance = squares / over - own * own
            shape = min(max(0.5 - 0.5 * own * own / variance, 0.0), _MAX_SHAPE) if variance > 0.0 else 0.0
        shape = (over * shape + _PRIOR_SHAPE_WEIGHT * _PRIOR_SHAPE) / (over + _PRIOR_SHAPE_WEIGHT)
        beyond = excess / (mean * (1.0 - shape))
        rarity = math.log1p(shape * beyond) / shape if shape > _STRAIGHT else beyond
        score = (rarity - math.log(min((over + 1.0) / (seen + 1.0), 1.0))) / math.log(10.0)
        like = _LIKE * excess
        alike = sum([peak >= like for peak, _ in self.peaks])
        if alike:
            score = min(score, math.log10(seen / (_LIKE_LENGTH * alike) + 1.0))
        return min(score, _MOST_SCORE)

    def exceed(self, excess: float, step: float, place: int) -> None:
        """Add a value so far (> 0) above the quantile, at `place`, a count of values."""
        law = self.law
        law[0] += step * (1.0 - _TAIL)
        law[2] += 1.0
        law[3] += excess
        law[4] += excess * excess
        peaks = self.peaks
        if peaks and place - peaks[-1][1] < _PEAK_GAP:
            if excess > peaks[-1][0]:
                peaks[-1] = (excess, peaks[-1][1])
            return
        peaks.append((excess, place))
        if len(peaks) > _PEAKS:
            faded = [peak * 0.5 ** ((place - since) / _MEMORY) for peak, since in peaks[:-1]]
            del peaks[faded.index(min(faded))]


class View(msgspec.Struct, kw_only=True):
    """Both tails of a stream, of which `seen` values came, at most some 4,000."""

    up: Tail = msgspec.field(default_factory=Tail)
    down: Tail = msgspec.field(default_factory=Tail)
    seen: float = 0.0

    def learn(self, value: float, floor: float, place: int) -> float:
        """Score a value and learn it. Costs about 0.8 us; 18 of these are a bin of load."""
        seen, up, down = self.seen, self.up.law, self.down.law
        if seen == 0.0:
            up[0], down[0] = value, -value
        above, below = value - up[0], -value - down[0]
        score = 0.0
        if seen >= _LEAST_SEEN:
            if above > 0.0:
                score = self.up.score(above, floor, seen)
            if below > 0.0:
                score = max(score, self.down.score(below, floor, seen))
        seen += 1.0
        scaling = 1.0 / seen if seen < _SCALING else _LEAST_SCALING
        stepping = 2.0 / seen if seen < _STEPPING else _LEAST_STEPPING
        up[1] += (abs(above) - up[1]) * scaling
        down[1] += (abs(below) - down[1]) * scaling
        if seen > _MEMORY:
            seen *= _KEEP
            for law in (up, down):
                law[2] *= _KEEP
                law[3] *= _KEEP
                law[4] *= _KEEP
        self.seen = seen
        if above <= 0.0:
            up[0] -= stepping * up[1] * _TAIL
        else:
            self.up.exceed(above, stepping * up[1], place)
        if below <= 0.0:
            down[0] -= stepping * down[1] * _TAIL
        else:
            self.down.exceed(below, stepping * down[1], place)
        return score


class Season(msgspec.Struct, kw_only=True):
    """The usual value in each slot of a cycle; a slot is (mean, days, day, sum of that day, count of that day).

    A value between the means of its slot and the two beside it is as usual: days do not begin on the second.
    """

    slots: list[list[float]]
    smooth: float
    off: float = 0.0

    def learn(self, slot: int, day: float, value: float) -> float | None:
        """Add a value; how far values have been from usual lately, `None` while the slot is not known."""
        entry = self.slots[slot]
        if not entry:
            self.slots[slot] = [value, 1.0, day, value, 1.0]
            return None
        if entry[2] != day:
            entry[0] += max(1.0 / entry[1], 0.2) * (entry[3] / entry[4] - entry[0])
            entry[1:] = [min(entry[1] + 1.0, 1e6), day, value, 1.0]
        else:
            entry[3] += value
            entry[4] += 1.0
        if entry[1] < _ROUNDS:
            return None
        low = high = entry[0]
        slots = self.slots
        for beside in (slots[slot - 1], slots[slot + 1 - len(slots)]):
            if beside:
                mean = beside[0]
                if mean < low:
                    low = mean
                elif mean > high:
                    high = mean
        distance = value - low if value < low else value - high if value > high else 0.0
        self.off += (distance - self.off) / self.smooth
        return self.off


def _days() -> Season:
    return Season(slots=[[] for _ in range(_DAY_S // _SLOT_S)], smooth=_SMOOTH_DAY)


def _weeks() -> Season:
    return Season(slots=[[] for _ in range(7 * _DAY_S // _HOUR_S)], smooth=_SMOOTH_WEEK)


class Scorer(msgspec.Struct, kw_only=True):
    """One series, one value at a time, about 15 us and 15 KB each.

    `raw` is the score before anything is held back, `view` the index of the view (`VIEWS`) that gave it, and `alone`
    the score of the bare value, the only one that does not look at values before.
    """

    views: list[View] = msgspec.field(default_factory=lambda: [View() for _ in VIEWS])
    day: Season = msgspec.field(default_factory=_days)
    week: Season = msgspec.field(default_factory=_weeks)
    recent: list[float] = msgspec.field(default_factory=list)
    count: int = 0
    slow: float = 0.0
    fast: float = 0.0
    spread: float = 0.0
    raw: float = 0.0
    view: int = 0
    alone: float = 0.0
    said: float = 0.0
    said_at: int = -_HOLD

    def update(self, time_s: float, value: float) -> float:
        """Score a value against all before it and learn it; 0 while one detection (>= `THRESHOLD`) is held.

        A value that is not finite scores 0 and is not learned.
        """
        if not abs(value) <= _MOST_VALUE or not math.isfinite(time_s):
            return 0.0
        floor, looks = self._look(time_s, value)
        count, raw, alone, view = self.count, 0.0, 0.0, 0
        for index, (through, seen) in enumerate(zip(self.views, looks, strict=True)):
            if seen is not None and (score := through.learn(seen, floor, count)) > raw:
                raw, view = score, index
                if index == 0:
                    alone = score
        if count < _WARM_UP:
            raw = alone = 0.0
        self.raw, self.alone, self.view = raw, alone, view
        passed = count - self.said_at
        if raw < THRESHOLD or passed < _HOLD:
            return 0.0
        said = self.said * 0.5 ** (passed / _FORGIVE)
        score = max(raw - _WEARY * math.log2(1.0 + said), 0.0)
        if score >= THRESHOLD:
            self.said, self.said_at = said + 1.0, count
        return score

    def _look(self, time_s: float, value: float) -> tuple[float, tuple[float | None, ...]]:
        """The least scale of this series, and the value through all views."""
        if self.count == 0:
            self.slow = self.fast = value
        self.count = count = self.count + 1
        share = 1.0 / count
        off, change, spread = value - self.slow, value - self.fast, self.spread
        spread += max(_SLOWER, share) * (abs(off) - spread)
        self.spread = spread
        self.slow += max(_SLOW, share) * off
        self.fast += _FAST * change
        recent = self.recent
        recent.append(value)
        level = roughness = None
        if len(recent) > _ROUGH:
            roughness, last = 0.0, recent[-_ROUGH - 1]
            for each in recent[-_ROUGH:]:
                roughness += each - last if each > last else last - each
                last = each
            roughness /= _ROUGH
        if len(recent) > _SHORT + _LONG:
            del recent[0]
            level = sum(recent[-_SHORT:]) / _SHORT - sum(recent[:_LONG]) / _LONG
        day, second = divmod(int(time_s), _DAY_S)
        daily = self.day.learn(second // _SLOT_S, float(day), value)
        weekly = self.week.learn(day % 7 * 24 + second // _HOUR_S, float(day), value)
        return _FLOOR * spread, (off, change, level, roughness, daily, weekly)
