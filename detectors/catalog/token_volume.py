"""A principal's calls and tokens against its own past: stolen keys, runaway loops, cost harvesting."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from detectors.alarms import average_run_length, bonferroni, student_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

HOUR_S = 3_600.0
_HOURS_A_DAY = 24
_STREAMS = 4

_WARM_DAYS, _FROZEN_AT_DAYS, _MEMORY_DAYS = 7, 28, 30
"""Active days before anything is said, until the baseline stands still, and that the recent mean remembers.

The first use of a key is growth. Student's limit makes a short baseline pay with a wide limit.
"""

_HIGHEST = 60.0
"""ln of a limit that is as good as none; a short ragged past must not overflow."""

_CALM_SPREAD = 0.3
"""The least standard deviation of ln totals that is believed: ordinary use varies by a third."""

_ABOVE_PEAK = math.log(1.5)
_PEAK_LOSS = 0.01
"""Share of the way to the mean that the largest window seen loses per active day: monthly jobs stay known."""

_NO_BAR = 1e300
"""A total that is never reached, and finite: states hold nothing else."""

_DRIFT = math.log(8.0)
"""How far the learned mean may leave the frozen one: usage that was grown eightfold, however slowly, is said."""

_MAX_TOKENS = 10_000_000
_MAX_LATE = 20
"""Calls in a row from before the current hour that are left out; after them the clock is taken to have been wrong."""


class _Kind(msgspec.Struct, frozen=True):
    """One way of counting: what, in windows of how many hours, and the least total worth saying."""

    name: str
    hours: int
    least: float


_KINDS = (
    _Kind("calls", 1, 20.0),
    _Kind("tokens", 1, 10_000.0),
    _Kind("calls", _HOURS_A_DAY, 100.0),
    _Kind("tokens", _HOURS_A_DAY, 50_000.0),
)


class Volume(msgspec.Struct, array_like=True):
    """Totals of one kind: the current window's, and the busiest window of each active day as ln(1 + total).

    Only the busiest window of a day is learned, so that neither quiet hours nor the hour at which a nightly
    job runs blur what is usual. `spread` is the upward variance (squared deviations of days above the mean);
    it stands still once the mean is `frozen`. `limit` is the total that is said; `said` the total when
    this episode was last said: again means doubled; `held` how many days in a row were over the limit and not learned.
    `bar` is the total beyond which there is something to say: the limit, or twice what was said.
    """

    total: int = 0
    top: int = 0
    mean: float = 0.0
    spread: float = 0.0
    peak: float = 0.0
    frozen: float | None = None
    limit: float | None = None
    said: int = 0
    days: int = 0
    held: int = 0
    bar: float = _NO_BAR

    def deviation(self) -> float:
        """Standard deviation of ln totals."""
        return max(math.sqrt(self.spread), _CALM_SPREAD)

    def end_window(self) -> None:
        """The hour (or day) is over."""
        self.top = max(self.top, self.total)
        self.total = 0

    def say(self) -> None:
        """Take the total for said."""
        self.said = max(self.said, self.total)
        self._set_bar()

    def _set_bar(self) -> None:
        if self.limit is not None:
            self.bar = max(self.limit, 2.0 * self.said)

    def end_day(self, kind: _Kind, run_length: float) -> None:
        """Learn the day's busiest window, unless it was over the limit, for at most `_MEMORY_DAYS` days."""
        top, self.top = self.top, 0
        if top <= 0:
            return
        if self.limit is not None and top > self.limit:
            self.held += 1
            if self.held <= _MEMORY_DAYS:
                return
        else:
            self.held, self.said = 0, 0
            self._set_bar()
        value = math.log1p(top)
        if self.frozen is None:
            self._learn(value)
            if self.days < _WARM_DAYS:
                return
            self.frozen = self.mean if self.days >= _FROZEN_AT_DAYS else None
        else:
            widest = 3.0 * self.deviation()
            value = min(max(value, self.mean - widest), self.mean + widest)
            mean = self.mean + (value - self.mean) / _MEMORY_DAYS
            self.mean = min(max(mean, self.frozen - _DRIFT), self.frozen + _DRIFT)
        self.peak = max(self.peak - _PEAK_LOSS * (self.peak - self.mean), value)
        width = student_limit(run_length, self.days / 2.0) * self.deviation() * math.sqrt(1.0 + 1.0 / self.days)
        highest = min(max(self.mean + width, self.peak + _ABOVE_PEAK), _HIGHEST)
        self.limit = max(math.expm1(highest), kind.least)
        self._set_bar()

    def _learn(self, value: float) -> None:
        self.days += 1
        off = value - self.mean
        self.mean += off / self.days
        if off > 0.0 and self.days > 1:
            self.spread += (off * off - self.spread) / (1.0 + self.days / 2.0)
        self.peak = max(self.peak, value)


class TokenVolume(Detector, kw_only=True, array_like=True):
    """Calls and tokens per hour and day are compared with a log-normal of the principal's own busiest ones.

    A window's total only grows, so the moment it passes its limit is the alarm, in the middle of a burst, and
    a day's busiest window is one test. A silent day is no day: weekends cost nothing. What was over the limit
    is not learned, for a bounded time; the learned mean stays within a factor of the frozen one.
    Assumes that upward deviations of ln totals are no heavier than Gaussian and that days are independent; the
    upward spread is taken to have half as many degrees of freedom as days, which is a working choice.
    Cost: four additions a call.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Volume beyond a principal's own past",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees="Calls or tokens in an hour or a day beyond what this principal's own past explains, while they rise.",
        requires=("time_s",),
        warm_up=_WARM_DAYS,
        score_unit="standard deviations of ln(1 + total) above the principal's own mean",
        atlas=("AML.T0034", "AML.T0034.000"),
        owasp=("LLM10:2025",),
        causes=(
            "a key was stolen and is resold or used for bulk generation",
            "an agent or a retry loop runs away",
            "the model is queried for extraction",
            "somebody spends the owner's money on purpose",
        ),
        false_positives=(
            "a planned backfill, migration or load test under an existing key",
            "a product launch that multiplies the traffic of an application within a day",
            "many users moved behind one key",
        ),
        known_gaps=(
            "blind in a principal's first 7 active days and, but for extreme bursts, in the first 14",
            "a principal whose own days differ tenfold is only told of far larger bursts",
            "growth by less than the limit is followed up to eightfold before it is said",
            "a job that is larger once a quarter is new each time",
        ),
        runbook=(
            "Ask the owner of the key whether a backfill, launch or load test is running.",
            "Compare network, user agent, model and prompts of the calls since the onset with the week before.",
            "If calls repeat one prompt or fail again and again, look for a retry loop and stop it.",
            "Set a rate limit on the key now; revoke it when the owner cannot explain the calls.",
        ),
        references=(
            "MITRE ATLAS, Cost Harvesting: Excessive Queries",
            "OWASP Top 10 for LLM Applications, LLM10 Unbounded Consumption (2025)",
            "Hill, ACM Algorithm 396: Student's t-Quantiles (1970)",
        ),
    )

    hour: int = -1
    late: int = 0
    calls: Volume = msgspec.field(default_factory=Volume)
    tokens: Volume = msgspec.field(default_factory=Volume)
    daily_calls: Volume = msgspec.field(default_factory=Volume)
    daily_tokens: Volume = msgspec.field(default_factory=Volume)

    def update(self, observation: Observation) -> Detection | None:
        """Count one call; calls of an hour that is over are left out."""
        time_s = observation.time_s
        if not 0.0 <= time_s <= MAX_TIME_S:
            return None
        hour = int(time_s // HOUR_S)
        if hour != self.hour:
            if hour < self.hour:
                self.late += 1
                if self.late <= _MAX_LATE:
                    return None
            self._turn(hour)
        if self.late:
            self.late = 0
        # Four volumes a call: written out, it costs half of what loops do.
        tokens, known = 0, observation.input_tokens
        if known is not None and known > 0:
            tokens = min(_MAX_TOKENS, known)
        known = observation.output_tokens
        if known is not None and known > 0:
            tokens += min(_MAX_TOKENS, known)
        volume = self.calls
        volume.total = total = volume.total + 1
        over = total > volume.bar
        volume = self.daily_calls
        volume.total = total = volume.total + 1
        over |= total > volume.bar
        volume = self.tokens
        volume.total = total = volume.total + tokens
        over |= total > volume.bar
        volume = self.daily_tokens
        volume.total = total = volume.total + tokens
        over |= total > volume.bar
        return self._over(time_s) if over else None

    def _over(self, time_s: float) -> Detection:
        """The first volume that is over its bar; then all totals count as said."""
        volumes = (self.calls, self.tokens, self.daily_calls, self.daily_tokens)
        at = next(at for at, volume in enumerate(volumes) if volume.total > volume.bar)
        for volume in volumes:
            volume.say()
        return _detection(_KINDS[at], volumes[at], volumes[at].limit or 0.0, time_s)

    @property
    def reading(self) -> tuple[float, float] | None:
        """The total that is nearest to its limit."""
        near = [
            ((math.log1p(volume.total) - volume.mean) / spread, (math.log1p(volume.limit) - volume.mean) / spread)
            for volume in (self.calls, self.tokens, self.daily_calls, self.daily_tokens)
            if volume.limit is not None and (spread := volume.deviation())
        ]
        return max(near, key=lambda each: each[0] - each[1], default=None)

    def _turn(self, hour: int) -> None:
        """Begin `hour`: close what ended, or forget what a wrong clock had begun."""
        before, self.hour = self.hour, hour
        if hour > before >= 0 and hour // _HOURS_A_DAY == before // _HOURS_A_DAY:
            self.calls.end_window()
            self.tokens.end_window()
            return
        volumes = (self.calls, self.tokens, self.daily_calls, self.daily_tokens)
        if hour < before:
            for volume in volumes:
                volume.total = volume.top = 0
        elif before >= 0:
            run_length = bonferroni(average_run_length(self.share, 1.0), _STREAMS)
            for kind, volume in zip(_KINDS, volumes, strict=True):
                volume.end_window()
                volume.end_day(kind, run_length)


def _detection(kind: _Kind, volume: Volume, limit: float, time_s: float) -> Detection:
    window_s = kind.hours * HOUR_S
    onset_s = time_s // window_s * window_s
    usual, largest = math.expm1(volume.mean), math.expm1(volume.peak)
    elapsed_s = max(time_s - onset_s, 60.0)
    pace = volume.total * window_s / elapsed_s
    per = "hour" if kind.hours == 1 else "day"
    severity = Severity.LOW
    if pace >= 3.0 * largest:
        severity = Severity.HIGH if pace >= 10.0 * largest else Severity.MEDIUM
    return Detection(
        summary=(
            f"{volume.total} {kind.name} within {elapsed_s / 60.0:.0f} min of this {per}; "
            f"its usual {per} has {usual:.0f}, its largest had {largest:.0f}"
        ),
        severity=severity,
        score=(math.log1p(volume.total) - volume.mean) / volume.deviation(),
        threshold=(math.log1p(limit) - volume.mean) / volume.deviation(),
        onset_s=onset_s,
        evidence=(
            Evidence(name=f"{kind.name} in this {per}", observed=float(volume.total), expected=usual, unit=kind.name),
            Evidence(name=f"{kind.name} at this pace", observed=pace, expected=largest, unit=f"{kind.name}/{per}"),
            Evidence(name="limit", observed=float(volume.total), expected=limit, unit=kind.name),
            Evidence(name="own past", observed=float(volume.days), unit="active days learned"),
        ),
    )
