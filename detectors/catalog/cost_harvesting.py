"""Money that flows out for days: spending and the price of a call against a principal's own frozen past."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from detectors.alarms import average_run_length, bonferroni, cusum_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

HOUR_S, DAY_S = 3_600.0, 86_400.0
_STREAMS = 2
_SLACK, _MOST = 1.0, 4.0
"""Standard deviations that are no evidence, and the most one day or hour may count: one burst is `token_volume`'s."""

_LEAST_SPREAD = 0.35
"""The least standard deviation of ln that is believed: ordinary use varies by a third."""

_WARM_DAYS, _WARM_BLOCKS = 14, 40
"""Active days, and blocks of calls, whose values are the frozen baseline."""

_BLOCK = 16
"""Calls whose mean of ln price is one value: sizes of single calls differ a hundredfold."""

_BLOCKS_A_DAY = 100.0
"""Blocks a day for which the limit is cut: 1,600 calls; more of them are seldom independent."""

_LEAST_FACTOR = math.log(2.0)
"""Twice the usual is the least worth saying."""

_OUTPUT_WEIGHT = 4.0
"""An output token costs about as much as four of the input, where the source gives no price."""

_DOLLARS = 1e6
_DEAREST = 1e9
"""A call is counted in millionths of a dollar, up to 1,000 dollars."""

_MAX_LATE = 20
"""Calls in a row from before the current hour that are left out; after them the clock is taken to have been wrong."""


class Level(msgspec.Struct, array_like=True):
    """A CUSUM of ln values against the mean and deviation of the first ones, which stay frozen.

    `excess` is the sum, `since_s` when it last left zero, `count` values learned, `over` values since then.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    excess: float = 0.0
    since_s: float = 0.0
    over: int = 0
    gained: float = 0.0

    def learn(self, value: float) -> None:
        """A value of the baseline; one far above the others counts as far as three deviations."""
        self.count += 1
        if self.count > _WARM_DAYS // 2:
            value = min(value, self.mean + 3.0 * self.spread())
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)

    def spread(self) -> float:
        """Standard deviation of ln values, widened for what so few of them leave open."""
        known = math.sqrt(self.squares / max(self.count - 1, 1)) * (1.0 + 2.0 / max(self.count, 1))
        return max(known, _LEAST_SPREAD)

    def after(self, value: float) -> float:
        """What the sum would be with `value`."""
        step = min((value - self.mean) / self.spread(), _MOST) - _SLACK
        return max(self.excess + step, 0.0)

    def add(self, value: float, start_s: float) -> None:
        """Judge a value for good."""
        excess = self.after(value)
        if excess <= 0.0:
            self.over, self.gained = 0, 0.0
        else:
            if self.excess <= 0.0:
                self.since_s = start_s
            self.over += 1
            self.gained += value - self.mean
        self.excess = excess


class CostHarvesting(Detector, kw_only=True, array_like=True):
    """Two CUSUMs against a frozen past: spending of active days, and the mean of ln price of blocks of calls.

    Unlike `token_volume`, which says at once that an hour or a day is beyond anything known, this one adds up what
    each day or block alone would not give away: twice to five times the spending for days, or as many calls as ever
    that cost much more each (long outputs, the largest model). A day's sum only grows, so it is judged while it
    does. Spending is in dollars where calls have a price, else in tokens weighted as prices are. Values of days are
    taken for independent. No River object: two Welford sums a principal do not repay 300 bytes of pickle each.
    Cost: below 1 us a call.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Spending far above a principal's own past, for days",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees="Daily spending or the price of a call that stays at twice its frozen past or more.",
        requires=("time_s",),
        any_of=("cost_usd", "input_tokens", "output_tokens"),
        warm_up=_WARM_DAYS,
        score_unit="standard deviations of ln spending, summed beyond a slack of one",
        atlas=("AML.T0034", "AML.T0034.001", "AML.T0034.002"),
        owasp=("LLM10:2025",),
        causes=(
            "a key was stolen and is resold, at a rate that stays below limits",
            "prompts are made to give the longest and dearest answers",
            "an agent that loops now and then, or whose context only grows",
        ),
        false_positives=(
            "an application whose use has doubled for good: said once, and again when it has doubled once more",
            "a change to a dearer model or to longer answers that was meant",
            "a price list that changed at the source",
        ),
        known_gaps=(
            "blind in the first 14 active days and, for prices, the first 640 calls",
            "a principal whose own days differ tenfold is told of only after weeks",
            "where neither price nor tokens are given there is nothing to add up",
        ),
        runbook=(
            "Compare models, lengths of outputs and number of calls of the days since the onset with the weeks before.",
            "Ask the owner of the key whether the growth is theirs; set a budget for the key meanwhile.",
            "Look for calls from networks or clients the key never had (`new_context`).",
            "Revoke the key when the owner cannot explain them.",
        ),
        references=(
            "MITRE ATLAS, Cost Harvesting: Resource-Intensive Queries",
            "Shumailov et al., Sponge Examples: Energy-Latency Attacks on Neural Networks (2021)",
            "Siegmund, Sequential Analysis (1985)",
        ),
    )

    priced: bool = False
    hour: int = -1
    late: int = 0
    spent: float = 0.0
    logs: float = 0.0
    calls: int = 0
    block_s: float = 0.0
    daily: Level = msgspec.field(default_factory=Level)
    price: Level = msgspec.field(default_factory=Level)
    said: int = -1

    def update(self, observation: Observation) -> Detection | None:
        """Add one call's cost; calls without one, or of an hour that is over, are left out."""
        time_s = observation.time_s
        if not 0.0 <= time_s <= MAX_TIME_S:
            return None
        cost = observation.cost_usd
        if cost is not None and not self.priced and 0.0 < cost <= _DEAREST:
            # Two units do not mix: what was learned in tokens is dropped at the first price.
            self.priced, self.spent, self.logs, self.calls = True, 0.0, 0.0, 0
            self.daily, self.price = Level(), Level()
        if self.priced:
            if cost is None or not 0.0 <= cost <= _DEAREST:
                return None
            units = min(cost * _DOLLARS, _DEAREST)
        else:
            known, out = observation.input_tokens, observation.output_tokens
            if known is None and out is None:
                return None
            units = min(max(known or 0, 0) + _OUTPUT_WEIGHT * max(out or 0, 0), _DEAREST)
        hour = int(time_s // HOUR_S)
        if hour != self.hour:
            if hour < self.hour:
                self.late += 1
                if self.late <= _MAX_LATE:
                    return None
            self._turn(hour)
        self.late = 0
        self.spent += units
        self.logs += math.log1p(units)
        self.calls = calls = self.calls + 1
        if calls == 1:
            self.block_s = time_s
        return self._look(time_s) if calls % (_BLOCK // 2) == 0 else None

    def _look(self, time_s: float) -> Detection | None:
        """Judge the day so far, and the block where it is full."""
        found = self._today(time_s)
        return (self._priced(time_s) if self.calls >= _BLOCK else None) or found

    def _turn(self, hour: int) -> None:
        """Begin `hour`: judge what ended, or forget what a wrong clock had begun."""
        if hour < self.hour:
            self.spent, self.said = 0.0, -1
        if hour // 24 != self.hour // 24:
            if 0 <= self.hour < hour and self.spent > 0.0:
                value = math.log1p(self.spent)
                if self.daily.count < _WARM_DAYS:
                    self.daily.learn(value)
                else:
                    self.daily.add(value, self.hour // 24 * DAY_S)
            self.spent = 0.0
        self.hour = hour

    def _priced(self, time_s: float) -> Detection | None:
        """End a block of calls."""
        value, self.logs, self.calls = self.logs / self.calls, 0.0, 0
        if self.price.count < _WARM_BLOCKS:
            self.price.learn(value)
            return None
        self.price.add(value, self.block_s)
        return self._judge(self.price, self.price.excess, value, time_s, per_day=_BLOCKS_A_DAY)

    def _today(self, time_s: float) -> Detection | None:
        """The running day: what it has spent can only get more, so it may be said before it is over."""
        if self.daily.count < _WARM_DAYS:
            return None
        day = int(time_s // DAY_S)
        if day == self.said:
            return None
        value = math.log1p(self.spent)
        found = self._judge(self.daily, self.daily.after(value), value, time_s, per_day=1.0)
        if found is not None:
            self.said = day
        return found

    def _judge(self, level: Level, excess: float, value: float, time_s: float, per_day: float) -> Detection | None:
        limit = cusum_limit(bonferroni(average_run_length(self.share, per_day), _STREAMS), _SLACK)
        days = level is self.daily
        over = level.over + days
        gained = (level.gained + (value - level.mean if days else 0.0)) / max(over, 1)
        if excess < limit or gained < _LEAST_FACTOR:
            return None
        since_s = level.since_s if level.excess > 0.0 else time_s
        unit = ("USD" if self.priced else "weighted tokens") + ("/day" if days else "/call")
        scale = _DOLLARS if self.priced else 1.0
        usual, factor = math.expm1(level.mean) / scale, math.exp(min(gained, 20.0))
        severity = Severity.HIGH if factor >= 5.0 else Severity.MEDIUM  # noqa: PLR2004 - money gone within a week
        # The new level is said; it is said again only when it has doubled once more.
        level.excess, level.over, level.gained = 0.0, 0, 0.0
        level.mean += gained
        return Detection(
            summary=(
                f"{'daily spending' if days else 'the price of a call'} is {factor:.1f} times its past "
                f"({usual:.3g} {unit}) over {over} {'active days' if days else f'blocks of {_BLOCK} calls'}"
            ),
            severity=severity,
            score=excess,
            threshold=limit,
            onset_s=min(since_s, time_s),
            evidence=(
                Evidence(name="now", observed=usual * factor, expected=usual, unit=unit),
                Evidence(name="times its past", observed=factor, expected=1.0),
                Evidence(name="for", observed=float(over), unit="active days" if days else f"blocks of {_BLOCK} calls"),
                Evidence(name="own spread", observed=level.spread(), unit="sd of ln"),
            ),
        )
