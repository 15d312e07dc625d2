"""A source that lastingly sends far fewer calls than in the same hours of its past: sampling, a lost part, a bypass.

Calls are counted in hours of event time. The last six whole hours are compared with the same six hours of
the weeks before, an hour earlier and later too; until a week is known, with those of the days before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_HOUR_S = 3_600
_DAY_H, _WEEK_H = 24, 168
_WINDOW_H = 6
_RING_H = 2 * _WEEK_H + _WINDOW_H + 2
"""Two weeks, the window and an hour on either side are remembered."""

_SLACK_H = 1
"""Days begin an hour earlier or later now and then, not least when the clocks change."""

_LEAST_CALLS = 60
"""Fewer calls in six hours of the past say nothing about a fall; from so many, chance alone does not take a third."""

_FACTOR = 0.3
_FACTOR_BEFORE_A_WEEK = 0.15
"""What a weekend leaves of a weekday is often less than a third: before a week is known, more must be gone."""

_AHEAD_H = 3
_CONFIRMED = 5
"""So many calls in a row must agree that the clock has jumped: one absurd time must not wipe the memory."""

_MONDAY_H = 4 * 24
"""The first Monday of 1970, in hours."""

_WORKING_WEEK_H = (18, 108)
"""Hours after Monday 00:00 UTC that close six hours of a working day in every time zone: to Friday noon."""

Hours = Annotated[list[int], msgspec.Meta(min_length=_RING_H, max_length=_RING_H)]


class SourceThinned(Detector):
    """Ratio of six hours' calls to the fewest in comparable hours of the past, by event time."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Source sends far fewer calls than before",
        scope=DEPLOYMENT,
        severity=Severity.MEDIUM,
        sees="A fall of the number of calls, for six hours, to less than a third of the fewest in the same hours of "
        "the weeks before, without silence.",
        requires=("time_s",),
        warm_up=2 * _LEAST_CALLS,
        score_unit="calls expected for each call that came",
        atlas=("AML.T0107",),
        owasp=("LLM03:2025",),
        causes=(
            "Sampling was switched on or turned down in the collector, gateway or instrumentation.",
            "One of several senders of the deployment stopped, or lost its route to Kafka.",
            "Calls go past the gateway that logs them, or to another deployment.",
            "The application itself is used less: an outage in front of it, a holiday, a client that moved away.",
        ),
        false_positives=(
            "Public holidays and company shutdowns.",
            "A load test or batch job in the past weeks' hours that does not come again.",
            "Traffic moved to a new deployment as planned.",
        ),
        known_gaps=(
            "Deployments with fewer than 60 calls in six hours are not judged, nor weekends before a week is known.",
            "Falls by less than a factor of 3 (6 in the first week), or slow ones over weeks, are not seen.",
            "Until a day and a half are known nothing is said. Event times that a sender makes up can hide a fall.",
            "A source that sends nothing at all is another finding, pipeline.source_silent.",
        ),
        runbook=(
            "Compare with counts of the provider's bill or the load balancer: did calls fall, or only their logs?",
            "Look for changed sampling settings in collector and instrumentation at the onset.",
            "Group calls by source, region, user agent and principal before and after the onset: which is missing?",
            "While calls are sampled, detectors need that much longer, and rare misuse may not be seen at all.",
        ),
        references=(
            "MITRE ATT&CK T1562.008, Impair Defenses: Disable or Modify Cloud Logs",
            "OpenTelemetry, Sampling (concepts): what head and tail sampling leave out",
        ),
    )

    calls: Hours = msgspec.field(default_factory=lambda: [0] * _RING_H)
    first_hour: int | None = None
    hour: int = 0
    strays: int = 0
    is_thin: bool = False

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Count calls; when an hour is over, judge the six before."""
        for observation in observations:
            time_s = observation.time_s
            if not 0.0 <= time_s <= MAX_TIME_S:
                continue
            hour = int(time_s // _HOUR_S)
            if self.first_hour is None:
                self.first_hour = self.hour = hour
            if hour == self.hour:
                # Almost every call.
                if self.strays:
                    self.strays = 0
                self.calls[hour % _RING_H] += 1
                continue
            if not self.hour - _RING_H < hour <= self.hour + _AHEAD_H:
                self.strays += 1
                if self.strays < _CONFIRMED:
                    continue
            self.strays = 0
            found = self._advance(hour) if hour > self.hour else None
            if hour <= self.hour - _RING_H:
                self._begin(hour)
            self.calls[hour % _RING_H] += 1
            if found is not None:
                yield found

    def _begin(self, hour: int) -> None:
        """Forget all: time itself has gone back."""
        self.calls = [0] * _RING_H
        self.first_hour = self.hour = hour
        self.is_thin = False

    def _advance(self, hour: int) -> Detection | None:
        """Make room for the hours up to `hour`; those before the new one are complete."""
        for passed in range(max(self.hour + 1, hour - _RING_H + 1), hour + 1):
            self.calls[passed % _RING_H] = 0
        self.hour = hour
        expected, past = self._expected(hour)
        count = self._count(hour)
        if expected < _LEAST_CALLS or count == 0:
            return None
        ratio = expected / count
        limit = 1.0 / (_FACTOR if past == _WEEK_H else _FACTOR_BEFORE_A_WEEK)
        if ratio < limit:
            # Half way back is back: what was said is said again only for another fall.
            self.is_thin = self.is_thin and ratio > limit / 2.0
            return None
        if self.is_thin:
            return None
        self.is_thin = True
        return self._detection(count, expected, ratio, limit)

    def _expected(self, hour: int) -> tuple[int, int]:
        """The fewest calls in comparable windows, and the hours between them; 0 calls where nothing is comparable."""
        known_h = hour - _WINDOW_H - (self.first_hour or 0)
        if known_h >= _WEEK_H + _SLACK_H:
            back = [_WEEK_H * week for week in (1, 2) if known_h >= _WEEK_H * week + _SLACK_H]
            return self._fewest(hour, back), _WEEK_H
        days = (known_h - _SLACK_H) // _DAY_H
        begins, ends = _WORKING_WEEK_H
        if days < 1 or not begins <= (hour - _MONDAY_H) % _WEEK_H <= ends:
            return 0, _DAY_H
        return self._fewest(hour, [_DAY_H * day for day in range(1, days + 1)]), _DAY_H

    def _fewest(self, hour: int, back: list[int]) -> int:
        return min(self._count(hour - hours + slack) for hours in back for slack in (-_SLACK_H, 0, _SLACK_H))

    def _count(self, end: int) -> int:
        """Calls in the six hours before `end`."""
        return sum(self.calls[hour % _RING_H] for hour in range(end - _WINDOW_H, end) if hour > self.hour - _RING_H)

    def _detection(self, count: int, expected: int, ratio: float, limit: float) -> Detection:
        return Detection(
            summary=f"In the last {_WINDOW_H} hours {count} calls came, in the same hours before at least {expected}: "
            f"one of {ratio:.0f}. Sampling, a missing part of the source, or a way around it.",
            severity=Severity.MEDIUM,
            score=ratio,
            threshold=limit,
            onset_s=float((self.hour - _WINDOW_H) * _HOUR_S),
            evidence=(Evidence(name="calls in six hours", observed=float(count), expected=float(expected)),),
        )
