"""How long a call takes in normal times: a frozen baseline of one metric of one model, and walks away from it.

Seconds are an additive cost (fixed + per output token + per input token) slowed by load, fitted
robustly; what that leaves unexplained is kept as quantiles, so that later calls become normal scores.
"""

from __future__ import annotations

import bisect
import math

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import alarms
from detectors.arrivals import Loads

Floats = npt.NDArray[np.float64]

DEAD_ZONE = math.log(1.04)
"""Steps smaller than 4 % are weather: no provider is steadier."""

STREAMS = 4
"""Tests per call: two metrics in two directions. Models split the traffic, so they need no correction."""

_SURE = 3.0
"""Standard errors by which a slope must fit worse than the best to be ruled out."""

_UNSURE_WEIGHT = 1.0 / 16.0
_UNSURE_HOURS = 12.0
_HOUR_S = 3_600.0
"""What load may explain counts little, and at most so much in an hour that the least limit takes 12 of nothing else:
longer than a busy day, so that peaks are quiet, while load that stays does not hide a step for ever."""

_LEAST_SHARE = 0.01
"""No call is expected to take less than this share of the median one."""

_NOISE_FLOOR = 0.005
"""Residuals are never taken to be steadier than 0.5 %, however constant the baseline was."""

_Z_STEP = 0.2
_Z_MAX = 2.4
_NORMAL_CDF = [0.5 * math.erfc(-(index * _Z_STEP - _Z_MAX) / math.sqrt(2.0)) for index in range(25)]
"""Shares of the baseline below the knots: scores are cut at +-2.4, where 500 calls still have quantiles."""

_LAGS = 20
_MIN_STRATUM = 50
_RECENT = 32
_MAX_SLACK = 0.5

_NARROW, _WIDE = 1.15, 2.0
"""Spreads of token counts (95th over 5th percentile) that let a slope be learned at all, and be trusted far."""

_REACH_NARROW, _REACH, _REACH_WIDE = 1.05, 1.5, 4.0
"""How far beyond the baseline's token counts a call may lie to be judged, as a factor."""


class Walk(msgspec.Struct, kw_only=True):
    """A one-sided CUSUM and what happened since it last stood at zero.

    `recent` holds the last 32 residuals (natural log of observed over explained). `unsure` counts calls of which load
    may explain all; `overtime` is what they added in the hour of event time that began at `hour_s`.
    """

    level: float = 0.0
    since_s: float = 0.0
    seen: int = 0
    unsure: int = 0
    overtime: float = 0.0
    hour_s: float = 0.0
    expected_s: float = 0.0
    recent: list[float] = msgspec.field(default_factory=list)

    def step(self, gain: float, residual: float, expected_s: float, time_s: float) -> None:
        """Add one gain."""
        if self.level <= 0.0:
            if gain <= 0.0:
                return
            self.since_s, self.seen, self.unsure, self.expected_s = time_s, 0, 0, 0.0
            self.recent.clear()
        self.level = max(self.level + gain, 0.0)
        self.seen += 1
        self.expected_s += expected_s
        self.recent.append(residual)
        if len(self.recent) > _RECENT:
            del self.recent[0]

    def step_unsure(self, gain: float, residual: float, expected_s: float, time_s: float, limit: float) -> None:
        """Add one gain that load may explain: a little of it, and not much of `limit` in an hour."""
        if not -alarms.DAY_S < time_s - self.hour_s < _HOUR_S:
            self.hour_s, self.overtime = time_s, 0.0
        gain = min(gain * _UNSURE_WEIGHT, limit / _UNSURE_HOURS - self.overtime)
        self.overtime = max(self.overtime + gain, 0.0)
        self.step(gain, residual, expected_s, time_s)
        self.unsure += 1


class Baseline(msgspec.Struct, kw_only=True):
    """The frozen reference of one metric of one model, and the walks away from it.

    Seconds expected are ``(fixed + per_output * output + per_input * input) * (1 + per_load * load)``.
    `knots[stratum]` are residuals (natural log of observed over expected) at the normal scores
    -2.4, -2.2, .. 2.4. The four strata are short or long calls (cut at `cut_s` expected seconds), under
    light or heavy load (cut at `cut_load` per second), since they are not equally noisy.
    `per_load_most` is the steepest slope that the baseline does not rule out; `usual` are, for light and for
    heavy load, the median load over 10 s and the median of the highest of the three.
    `up` and `down` take out what load may have done; `crowded` walks upward slowly where that is all there is.
    `inflation` is the standard deviation of a sum of scores over that of independent ones.
    """

    least_s: float
    fixed: float
    per_output: float
    per_input: float
    output_range: tuple[float, float] | None
    input_range: tuple[float, float] | None
    per_load: float
    per_load_most: float
    load_range: tuple[float, float]
    usual: list[tuple[float, float]]
    cut_s: float
    cut_load: float
    knots: list[list[float]]
    inflation: float = 1.0
    allowance: float = 0.0
    slack_up: float = 0.0
    slack_down: float = 0.0
    least_limit: float = 0.0
    up: Walk = msgspec.field(default_factory=Walk)
    down: Walk = msgspec.field(default_factory=Walk)
    crowded: Walk = msgspec.field(default_factory=Walk)

    def idle_s(self, inputs: float | None, outputs: float | None) -> float | None:
        """Seconds such a call takes on an idle machine; `None` where the baseline cannot tell."""
        seconds = self.fixed
        if self.output_range is not None:
            if outputs is None or not self.output_range[0] <= outputs <= self.output_range[1]:
                return None
            seconds += self.per_output * outputs
        if self.input_range is not None:
            if inputs is None or not self.input_range[0] <= inputs <= self.input_range[1]:
                return None
            seconds += self.per_input * inputs
        return max(seconds, self.least_s)

    def load_factors(self, loads: Loads) -> tuple[float, float, float]:
        """What load does to a call's seconds: the least and the most that it can explain, and the best guess.

        The slope learned from some minutes of traffic may be off by half.
        """
        if self.per_load <= 0.0:
            return 1.0, 1.0, 1.0
        low, high = self.load_range
        within = min(max(loads[1], low), high)
        off = abs(within - self.cut_load)
        tilt = 0.5 * self.per_load / (1.0 + self.per_load * self.cut_load)
        least = (1.0 + self.per_load * min(*loads, high)) * max(1.0 - tilt * off, 0.5)
        most = (1.0 + self.per_load * min(max(loads), high)) * (1.0 + tilt * off)
        return least, max(most, least), 1.0 + self.per_load * within

    def allowances(self, stratum: int, loads: Loads) -> tuple[float, float]:
        """How much slower more load, and quicker less load than is usual may make a call; natural logs >= 0.

        As much as the baseline does not rule out. Where it showed what load does, that is known within its loads.
        """
        (low, high), (light, heavy) = self.load_range, self.usual[stratum // 2]
        if self.per_load > 0.0:
            light, heavy = min(light, low), max(heavy, high)
        most = max(loads)
        if most > heavy:
            return math.log((1.0 + self.per_load_most * most) / (1.0 + self.per_load_most * heavy)), 0.0
        if loads[1] < light:
            return 0.0, math.log((1.0 + self.per_load_most * light) / (1.0 + self.per_load_most * loads[1]))
        return 0.0, 0.0

    def walk(self, idle_s: float, observed_s: float, loads: Loads, time_s: float) -> bool:
        """Walk on; whether a walk stands at or above the least limit.

        What load may have done speaks neither for nor against a step, except slowly, in `crowded`.
        """
        stratum = 2 * (loads[1] > self.cut_load) + (idle_s > self.cut_s)
        above, below, expected_s = self.residuals(idle_s, observed_s, loads)
        slower, quicker = self.allowances(stratum, loads)
        rise, fall = self.rise(stratum, above), self.fall(stratum, below)
        usual = self.knots[stratum][12]
        if rise > 0.0 or self.crowded.level > 0.0:
            if slower:
                self.crowded.step_unsure(rise, above - usual, expected_s, time_s, self.least_limit)
            else:
                self.crowded.step(rise, above - usual, expected_s, time_s)
        if slower and rise > 0.0:
            rise = max(self.rise(stratum, above - slower), 0.0)
        if rise > 0.0 or self.up.level > 0.0:
            self.up.step(rise, above - usual - slower, expected_s, time_s)
        if quicker and fall > 0.0:
            fall = max(self.fall(stratum, below + quicker), 0.0)
        if fall > 0.0 or self.down.level > 0.0:
            self.down.step(fall, below - usual + quicker, expected_s, time_s)
        return max(self.up.level, self.down.level, self.crowded.level) >= self.least_limit

    def residuals(self, idle_s: float, observed_s: float, loads: Loads) -> tuple[float, float, float]:
        """What load leaves unexplained at most and at least (natural log), and the seconds expected of the call."""
        unexplained = math.log(observed_s / idle_s)
        if self.per_load <= 0.0:
            return unexplained, unexplained, idle_s
        least, most, guess = self.load_factors(loads)
        return unexplained - math.log(most), unexplained - math.log(least), idle_s * guess

    def rise(self, stratum: int, above: float) -> float:
        """What a call with this residual adds to the upward walk."""
        return (self.score(above - DEAD_ZONE, stratum) - self.allowance) / self.inflation

    def fall(self, stratum: int, below: float) -> float:
        """What a call with this residual adds to the downward walk."""
        return (-self.score(below + DEAD_ZONE, stratum) - self.allowance) / self.inflation

    def score(self, residual: float, stratum: int) -> float:
        """The normal score of a residual among those of the baseline, within +-2.4."""
        knots = self.knots[stratum]
        place = bisect.bisect_right(knots, residual)
        if place == 0:
            return -_Z_MAX
        if place == len(knots):
            return _Z_MAX
        low = knots[place - 1]
        return (place - 1 + (residual - low) / (knots[place] - low)) * _Z_STEP - _Z_MAX


def fit(values: Floats, inputs: Floats, outputs: Floats, loads: Floats) -> Baseline | None:
    """Freeze a baseline from warm-up rows (NaN: unknown); `None` when fewer than half have the value."""
    usable = np.isfinite(values)
    ranges: list[tuple[float, float] | None] = []
    columns = [np.ones(len(values))]
    for tokens in (outputs, inputs):
        known = np.isfinite(tokens)
        if known.sum() < 0.5 * len(values):
            ranges.append(None)
            columns.append(np.zeros(len(values)))
            continue
        usable &= known
        low, few, many, high = np.quantile(tokens[known], (0.01, 0.05, 0.95, 0.99))
        spread = many / max(few, 1.0)
        reach = _REACH_NARROW if spread < _NARROW else _REACH if spread < _WIDE else _REACH_WIDE
        ranges.append((float(low / reach) if reach < _REACH_WIDE else 0.0, float(max(high, 1.0) * reach)))
        columns.append(np.where(known, tokens, 0.0) if reach > _REACH_NARROW else np.zeros(len(values)))
    if usable.sum() < 0.5 * len(values):
        return None
    values, loads = values[usable], loads[usable]
    load = loads[:, 1]
    columns_used = np.column_stack(columns)[usable]
    per_load = per_load_most = 0.0
    for _ in range(3):
        costs, expected = _costs(columns_used, values / (1.0 + per_load * load))
        per_load, per_load_most = _per_load(np.log(values / expected), load)
    residuals = np.log(values / expected) - np.log1p(per_load * load)
    cut_s, cut_load = float(np.median(expected)), float(np.median(load))
    busy = load > cut_load
    halves = [loads[half] if half.sum() >= _MIN_STRATUM else loads for half in (~busy, busy)]
    strata = 2 * busy + (expected > cut_s)
    knots = []
    for stratum in range(4):
        members = residuals[strata == stratum]
        quantiles = np.quantile(members if len(members) >= _MIN_STRATUM else residuals, _NORMAL_CDF)
        knots.append((quantiles + _NOISE_FLOOR * (np.arange(25) * _Z_STEP - _Z_MAX)).tolist())
    light, heavy = np.quantile(load, (0.02, 0.98)).tolist()
    usual = [(float(np.median(of[:, 1])), float(np.median(of.max(axis=1)))) for of in halves]
    baseline = Baseline(
        least_s=_LEAST_SHARE * float(np.median(values)),
        fixed=float(costs[0]),
        per_output=float(costs[1]),
        per_input=float(costs[2]),
        output_range=ranges[0],
        input_range=ranges[1],
        per_load=per_load,
        per_load_most=per_load_most,
        load_range=(light, heavy),
        usual=usual,
        cut_s=cut_s,
        cut_load=cut_load,
        knots=knots,
    )
    scores = [baseline.score(left, int(stratum)) for left, stratum in zip(residuals.tolist(), strata, strict=True)]
    _calibrate(baseline, np.array(scores), list(zip(expected.tolist(), values.tolist(), loads.tolist(), strict=True)))
    return baseline


def _costs(columns: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Non-negative costs of (fixed, output, input) by Huber's regression on relative errors, and what they predict."""
    costs = np.array([float(np.median(values)), 0.0, 0.0])
    expected = values
    for _ in range(15):
        errors = (values - expected) / expected
        spread = max(1.4826 * float(np.median(np.abs(errors))), 0.01)
        weights = np.sqrt(np.minimum(1.0, 1.345 * spread / np.maximum(np.abs(errors), 1e-9))) / expected
        active = [index for index in range(3) if columns[:, index].any()]
        while active:
            some = np.linalg.lstsq(columns[:, active] * weights[:, None], values * weights, rcond=None)[0]
            if (some >= 0.0).all():
                costs = np.zeros(3)
                costs[active] = some
                break
            active.pop(int(np.argmin(some * np.median(columns[:, active], axis=0))))
        expected = np.maximum(columns @ costs, _LEAST_SHARE * float(np.median(values)))
    return costs, expected


def _per_load(residuals: Floats, load: Floats) -> tuple[float, float]:
    """The share by which one more arrival per second slows a call, 0 unless shown clearly, and the most it may be."""
    slopes = np.concatenate(([0.0], np.geomspace(0.01, 30.0, 40) / float(np.median(load))))
    left = residuals - np.log1p(slopes[:, None] * load)
    left -= np.median(left, axis=1)[:, None]
    losses = np.abs(left)
    means = losses.mean(axis=1)
    best = int(np.argmin(means))
    worse = losses - losses[best]
    possible = worse.mean(axis=1) <= _SURE * worse.std(axis=1) / math.sqrt(len(load)) + 1e-9
    return float(slopes[best]) if means[best] < 0.99 * means[0] else 0.0, float(slopes[possible].max())


def _calibrate(baseline: Baseline, scores: Floats, calls: list[tuple[float, float, list[float]]]) -> None:
    """Set slack, inflation and the least limit from the baseline's own calls (idle_s, observed_s, loads), in order."""
    scores = scores - scores.mean()
    variance = float((scores**2).mean()) + 1e-9
    long_run = variance
    for lag in range(1, _LAGS + 1):
        long_run += 2.0 * (1.0 - lag / (_LAGS + 1)) * float((scores[lag:] * scores[:-lag]).mean())
    baseline.inflation = math.sqrt(max(1.0, long_run / variance))
    baseline.allowance = 2.0 * baseline.inflation / math.sqrt(len(calls))
    regimes: list[list[tuple[float, float]]] = [[], []]
    up = down = highest = 0.0
    for idle_s, seen_s, (brief, middle, lasting) in calls:
        above, below, _ = baseline.residuals(idle_s, seen_s, (brief, middle, lasting))
        busy = middle > baseline.cut_load
        stratum = 2 * busy + (idle_s > baseline.cut_s)
        rise, fall = baseline.rise(stratum, above), baseline.fall(stratum, below)
        regimes[busy].append((rise, fall))
        up, down = max(up + rise, 0.0), max(down + fall, 0.0)
        highest = max(highest, up, down)
    drifts = np.max([np.mean(regime, axis=0) for regime in regimes if regime], axis=0)
    baseline.slack_up, baseline.slack_down = np.clip(-drifts, 0.05, _MAX_SLACK).tolist()
    least = alarms.cusum_limit(alarms.bonferroni(alarms.MIN_ARL, STREAMS), _MAX_SLACK)
    baseline.least_limit = max(1.5 * highest, least)
