"""How long a call takes in normal times: a frozen baseline of one metric of one model, and walks away from it.

Seconds are an additive cost (fixed + per output token + per input token) slowed by load, fitted
robustly; what that leaves unexplained is kept as quantiles, so that later calls become normal scores.
"""

from __future__ import annotations

import bisect
import math

import msgspec
import numpy as np

from detectors import alarms
from detectors.call_costs import LEAST_SHARE, Floats, costs, median, middle
from detectors.walks import Walk

DEAD_ZONE = math.log(1.04)
"""Steps smaller than 4 % are weather: no provider is steadier."""

STREAMS = 4
"""Tests per call: two metrics in two directions. Models split the traffic, so they need no correction."""

_IN_FLIGHT = 1
_LIGHT = (0.04, 0.12, 0.22, 0.35, 0.5, 0.65, 0.78, 0.88, 0.96)
_NEAR = 25
"""The load curve is taken at these shares of the calls, each from the 50 calls nearest in load."""

_DOUBT = 2.0
"""Standard errors by which the curve may be off."""

_CLEARLY = 0.98
"""Load must explain this much of the mean deviation to be believed to do something."""

_PLAINLY = 0.95
"""Arrivals must leave this much less than calls in flight, which are what a machine is busy with."""

_SURE = 3.0
"""Standard errors by which a slope must fit worse than the best to be ruled out."""

_NOISE_FLOOR = 0.005
"""Residuals are never taken to be steadier than 0.5 %, however constant the baseline was."""

_Z_STEP = 0.2
_Z_MAX = 2.4
_MIDDLE = 12
_NORMAL_CDF = [0.5 * math.erfc(-(index * _Z_STEP - _Z_MAX) / math.sqrt(2.0)) for index in range(25)]
"""Shares of the baseline below the knots: scores are cut at +-2.4, where 500 calls still have quantiles."""

_BUSY = 2
_RECENT = 1.0 / 16.0
_LAGS = 20
_MIN_STRATUM = 50
_MAX_SLACK = 0.5

_NARROW, _WIDE = 1.15, 2.0
"""Spreads of token counts (95th over 5th percentile) that let a slope be learned at all, and be trusted far."""

_REACH_NARROW, _REACH, _REACH_WIDE = 1.05, 1.5, 4.0
"""How far beyond the baseline's token counts a call may lie to be judged, as a factor."""


class Baseline(msgspec.Struct, kw_only=True):
    """The frozen reference of one metric of one model, and the walks away from it.

    Seconds expected are ``(fixed + per_output * output + per_input * input) * exp(slowness(load))``; load is
    calls in flight or, where `signal` is 0, arrivals per second, whichever explained more, and slowness
    grows with it along `curve` (load, natural log, and how far off that may be), between the loads of the baseline.
    `knots[stratum]` are residuals (natural log of observed over expected) at the normal scores
    -2.4, -2.2, .. 2.4. The four strata are short or long calls (cut at `cut_s` expected seconds), under
    light or heavy load (cut at `cut_load` per second), since they are not equally noisy.
    `per_load` is by how much one more unit of load may slow a call where the baseline showed nothing, at most.
    `up` and `down` take out what load may have done; `crowded` walks upward slowly where that is all there is.
    `drift` is by how much the last calls were slower than usual at their load (natural log, smoothed over 16).
    `inflation` is the standard deviation of a sum of scores over that of independent ones.
    """

    least_s: float
    fixed: float
    per_output: float
    per_input: float
    output_range: tuple[float, float] | None
    input_range: tuple[float, float] | None
    signal: int
    curve: list[tuple[float, float, float]]
    rises: bool
    per_load: float
    cut_s: float
    cut_load: float
    knots: list[list[float]]
    drift: float = 0.0
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
        seconds, reach = self.fixed, self.output_range
        if reach is not None:
            if outputs is None or not reach[0] <= outputs <= reach[1]:
                return None
            seconds += self.per_output * outputs
        reach = self.input_range
        if reach is not None:
            if inputs is None or not reach[0] <= inputs <= reach[1]:
                return None
            seconds += self.per_input * inputs
        least_s = self.least_s
        return seconds if seconds > least_s else least_s  # noqa: FURB136 - a call of `max` takes several times as long

    def slowness(self, load: float) -> tuple[float, float]:
        """What load does to a call's seconds (natural log), and how far off that may be."""
        curve = self.curve
        if load <= curve[0][0] or not self.rises:
            return curve[0][1], curve[0][2]
        for place in range(1, len(curve)):
            high = curve[place]
            if load <= high[0]:
                low = curve[place - 1]
                part = (load - low[0]) / (high[0] - low[0])
                return low[1] + part * (high[1] - low[1]), low[2] + part * (high[2] - low[2])
        return curve[-1][1], curve[-1][2]

    def allowances(self, load: float) -> tuple[float, float]:
        """How much slower a load above, and quicker one below those of the baseline may make a call; natural logs."""
        light, heavy = self.curve[0][0], self.curve[-1][0]
        if load > heavy:
            return math.log((1.0 + self.per_load * load) / (1.0 + self.per_load * heavy)), 0.0
        if load < light:
            return 0.0, math.log((1.0 + self.per_load * light) / (1.0 + self.per_load * load))
        return 0.0, 0.0

    def walk(  # noqa: C901, PLR0912 - runs twice a call: functions would cost more than what they do
        self, idle_s: float, observed_s: float, load: float, time_s: float
    ) -> bool:
        """Walk on; whether a walk stands at or above the least limit.

        What load may have done speaks neither for nor against a step, except slowly, in `crowded`.
        """
        curve, up, down, crowded = self.curve, self.up, self.down, self.crowded
        rises = self.rises
        lightest, slowness, unsure = curve[0]
        if rises and load > lightest:
            slowness, unsure = self.slowness(load)
        unexplained = math.log(observed_s / idle_s) - slowness
        above, below = unexplained - unsure, unexplained + unsure
        stratum = 2 * (load > self.cut_load) + (idle_s > self.cut_s)
        knots = self.knots[stratum]
        usual = knots[_MIDDLE]
        off, drift = 0.5 * (above + below) - usual, self.drift
        self.drift = drift + _RECENT * ((off if -1.0 <= off <= 1.0 else min(max(off, -1.0), 1.0)) - drift)
        # A call on the quick side adds nothing to a walk that stands at zero, nor one on the slow side to the other.
        rising = up.level > 0.0 or crowded.level > 0.0
        rise = fall = -1.0
        if rising or above - DEAD_ZONE > usual:
            rise = (_score(knots, above - DEAD_ZONE) - self.allowance) / self.inflation
            rising = rising or rise > 0.0
        falling = down.level > 0.0
        if falling or below + DEAD_ZONE < usual:
            fall = (-_score(knots, below + DEAD_ZONE) - self.allowance) / self.inflation
            falling = falling or fall > 0.0
        if not rising and not falling:
            return False
        least = self.least_limit
        if rises and stratum >= _BUSY:
            if rise > 0.0:
                rise = up.rationed(rise, time_s, least)
            if fall > 0.0:
                fall = down.rationed(fall, time_s, least)
        expected_s = idle_s * math.exp(slowness)
        if not lightest <= load <= curve[-1][0]:
            self._walk_unsure(load, stratum, (rise, fall), (above, below), expected_s, time_s)
        else:
            if rising:
                if rise > 0.0 or crowded.level > 0.0:
                    crowded.step(rise, above - usual, expected_s, time_s)
                if rise > 0.0 or up.level > 0.0:
                    up.step(rise, above - usual, expected_s, time_s)
            if falling and (fall > 0.0 or down.level > 0.0):
                down.step(fall, below - usual, expected_s, time_s)
        return up.level >= least or down.level >= least or crowded.level >= least

    def _walk_unsure(
        self,
        load: float,
        stratum: int,
        gains: tuple[float, float],
        residuals: tuple[float, float],
        expected_s: float,
        time_s: float,
    ) -> None:
        """Walk on where load is beyond that of the baseline."""
        (rise, fall), (above, below) = gains, residuals
        knots = self.knots[stratum]
        usual = knots[_MIDDLE]
        slower, quicker = self.allowances(load)
        if rise > 0.0 or self.crowded.level > 0.0:
            if slower:
                self.crowded.step_unsure(rise, above - usual, expected_s, time_s, self.least_limit)
            else:
                self.crowded.step(rise, above - usual, expected_s, time_s)
        if slower and rise > 0.0:
            rise = min(rise, max(self.rise(knots, above - slower), 0.0))
        if rise > 0.0 or self.up.level > 0.0:
            self.up.step(rise, above - usual - slower, expected_s, time_s)
        if quicker and fall > 0.0:
            fall = min(fall, max(self.fall(knots, below + quicker), 0.0))
        if fall > 0.0 or self.down.level > 0.0:
            self.down.step(fall, below - usual + quicker, expected_s, time_s)

    def rise(self, knots: list[float], above: float) -> float:
        """What a call with this residual adds to the upward walk of its stratum."""
        return (_score(knots, above - DEAD_ZONE) - self.allowance) / self.inflation

    def fall(self, knots: list[float], below: float) -> float:
        """What a call with this residual adds to the downward walk of its stratum."""
        return (-_score(knots, below + DEAD_ZONE) - self.allowance) / self.inflation


def _score(knots: list[float], residual: float) -> float:
    """The normal score of a residual among those of the baseline, within +-2.4."""
    place = bisect.bisect_right(knots, residual)
    if place == 0:
        return -_Z_MAX
    if place == len(knots):
        return _Z_MAX
    low = knots[place - 1]
    return (place - 1 + (residual - low) / (knots[place] - low)) * _Z_STEP - _Z_MAX


def fit(values: Floats, inputs: Floats, outputs: Floats, loads: Floats) -> Baseline | None:
    """Freeze a baseline from warm-up rows (NaN: unknown); `None` when fewer than half have the value.

    `loads` has two columns: arrivals per second of late, and calls in flight when this one began, itself included.
    """
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
    columns_used = np.column_stack(columns)[usable]
    signal, slowness, prices, expected = 0, np.zeros(len(values)), np.zeros(3), values
    curve = [(float(np.median(loads[:, _IN_FLIGHT])), 0.0, 0.0)]
    for _ in range(4):
        prices, expected = costs(columns_used, values / np.exp(slowness))
        signal, curve = _curve(np.log(values / expected), loads)
        at, heights, _ = np.array(curve).T
        slowness = np.interp(loads[:, signal], at, heights)
    load = loads[:, signal]
    residuals = np.log(values / expected) - slowness
    cut_s, cut_load = median(expected), median(load)
    busy = load > cut_load
    strata = 2 * busy + (expected > cut_s)
    knots = []
    for stratum in range(4):
        members = residuals[strata == stratum]
        quantiles = np.quantile(members if len(members) >= _MIN_STRATUM else residuals, _NORMAL_CDF)
        knots.append((quantiles + _NOISE_FLOOR * (np.arange(25) * _Z_STEP - _Z_MAX)).tolist())
    baseline = Baseline(
        least_s=LEAST_SHARE * median(values),
        fixed=float(prices[0]),
        per_output=float(prices[1]),
        per_input=float(prices[2]),
        output_range=ranges[0],
        input_range=ranges[1],
        signal=signal,
        curve=curve,
        rises=curve[-1][1] > curve[0][1],
        per_load=_steepest(np.log(values / expected), load),
        cut_s=cut_s,
        cut_load=cut_load,
        knots=knots,
    )
    scores = [_score(knots[at], left) for left, at in zip(residuals.tolist(), strata.tolist(), strict=True)]
    _calibrate(baseline, np.array(scores), list(zip(expected.tolist(), values.tolist(), load.tolist(), strict=True)))
    return baseline


def _curve(residuals: Floats, loads: Floats) -> tuple[int, list[tuple[float, float, float]]]:
    """Which load explains more of the residuals and how: flat unless one shows clearly."""
    usual = median(residuals)
    best = float(np.abs(residuals - usual).mean()) * _CLEARLY
    flat = np.quantile(loads[:, _IN_FLIGHT], (_LIGHT[0], _LIGHT[-1])).tolist()
    found = (_IN_FLIGHT, [(load, usual, 0.0) for load in flat])
    for signal in (_IN_FLIGHT, 1 - _IN_FLIGHT):
        load = loads[:, signal]
        order = np.argsort(load, kind="stable")
        sorted_load, sorted_residuals = load[order], residuals[order]
        at, heights, unsure = [], [], []
        for share in _LIGHT:
            rank = share * len(load)
            near = slice(max(int(rank - _NEAR), 0), int(rank + _NEAR))
            some = sorted_residuals[near]
            height = median(some)
            at.append(middle(sorted_load[near]))
            heights.append(height)
            unsure.append(_DOUBT * 1.4826 * median(np.abs(some - height)) * 1.2533 / math.sqrt(len(some)))
        rising = _rising(heights)
        distinct = [place for place in range(len(at)) if place == 0 or at[place] > at[place - 1]]
        left = residuals - np.interp(load, [at[place] for place in distinct], [rising[place] for place in distinct])
        loss = float(np.abs(left).mean())
        if loss >= best:
            continue
        best = _PLAINLY * loss
        found = (signal, [(at[place], rising[place], unsure[place]) for place in distinct])
    return found


def _rising(heights: list[float]) -> list[float]:
    """The nearest row of numbers that never falls: more load never makes a call faster. Pools adjacent violators."""
    pools: list[tuple[float, int]] = []
    for height in heights:
        mean, count = height, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _steepest(residuals: Floats, load: Floats) -> float:
    """The steepest share by which one more unit of load may slow a call that the baseline does not rule out."""
    slopes = np.concatenate(([0.0], np.geomspace(0.01, 30.0, 40) / median(load)))
    left = residuals - np.log1p(slopes[:, None] * load)
    left -= np.median(left, axis=1)[:, None]
    losses = np.abs(left)
    worse = losses - losses[int(np.argmin(losses.mean(axis=1)))]
    possible = worse.mean(axis=1) <= _SURE * worse.std(axis=1) / math.sqrt(len(load)) + 1e-9
    return float(slopes[possible].max())


def _calibrate(baseline: Baseline, scores: Floats, calls: list[tuple[float, float, float]]) -> None:
    """Set slack, inflation and the least limit from the baseline's own calls (idle_s, observed_s, load), in order."""
    scores = scores - scores.mean()
    variance = float((scores**2).mean()) + 1e-9
    long_run = variance
    for lag in range(1, _LAGS + 1):
        long_run += 2.0 * (1.0 - lag / (_LAGS + 1)) * float((scores[lag:] * scores[:-lag]).mean())
    baseline.inflation = math.sqrt(max(1.0, long_run / variance))
    baseline.curve = [(load, height, unsure * baseline.inflation) for load, height, unsure in baseline.curve]
    baseline.allowance = 2.0 * baseline.inflation / math.sqrt(len(calls))
    regimes: list[list[tuple[float, float]]] = [[], []]
    up = down = highest = 0.0
    for idle_s, seen_s, load in calls:
        slowness, unsure = baseline.slowness(load)
        unexplained = math.log(seen_s / idle_s) - slowness
        busy = load > baseline.cut_load
        knots = baseline.knots[2 * busy + (idle_s > baseline.cut_s)]
        rise, fall = baseline.rise(knots, unexplained - unsure), baseline.fall(knots, unexplained + unsure)
        regimes[busy].append((rise, fall))
        up, down = max(up + rise, 0.0), max(down + fall, 0.0)
        highest = max(highest, up, down)
    drifts = np.max([np.mean(regime, axis=0) for regime in regimes if regime], axis=0)
    baseline.slack_up, baseline.slack_down = np.clip(-drifts, 0.05, _MAX_SLACK).tolist()
    least = alarms.cusum_limit(alarms.bonferroni(alarms.MIN_ARL, STREAMS), _MAX_SLACK)
    baseline.least_limit = max(1.5 * highest, least)
