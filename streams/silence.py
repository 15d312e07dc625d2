"""When a source that stopped is news: pure. Its own past says how long it may be quiet; the clock is an argument.

A source is a deployment in one format. Its silence is due when it has lasted longer than its own pauses ever
were, three times over, or when in the same hours of each of the weeks before, give or take one, calls
kept coming. The due time follows from stored arrivals alone, so every worker and every restart
finds the same one, and with it the same finding.
"""

from __future__ import annotations

import bisect
import hashlib
import heapq
import itertools
import math
from collections.abc import Mapping, Sequence

import msgspec

from detectors.base import DEPLOYMENT
from detectors.types import Evidence, Finding, Severity

SILENT = "pipeline.source_silent"
CHANGED = "pipeline.format_changed"
REFUSED = "pipeline.dead_letters_rose"

HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0
LOOK_BACK_S = 22 * DAY_S
"""Three weeks to compare with, and the slack around them."""

BUCKET_S = 300.0

_LEAST_EVENTS = 20
_LEAST_SPANS = 4
"""A source is one that came for at least four times the shortest silence that counts: no single try-out."""

_PAUSES, _PAUSES_AT_FIRST = 3.0, 6.0
"""How much longer than the longest pause a silence must be, and while less than eight days are known."""

_AGES = 2.0
_LONGEST_NIGHT_S = 20 * HOUR_S
_LONGEST_WEEKEND_S = 72 * HOUR_S
"""What is allowed for while a source's first night is still to come, and no more than twice its age; and its first
weekend, where its nights are quiet."""

_ONE_WEEKEND_S, _TWO_WEEKENDS_S = WEEK_S + DAY_S, 2 * WEEK_S + DAY_S
_REST_S = HOUR_S
_WEEKS = 3
_SLACK_S = HOUR_S
_ACTIVE_BUCKETS = 18
"""So many buckets with calls there must be in the comparable hours of all weeks together: a source that is
active at random would leave them all empty by chance once in e^18."""

_NEW_FOR_S = DAY_S
_DEAD_WINDOW_S = 1_800.0
_DEAD_SHARE = 0.05
_DEAD_FACTOR = 5.0
_DEAD_PAST = 100


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment in one format, as far as `LOOK_BACK_S` reaches: when it came first and last, and how often."""

    deployment: str
    source: str
    first_s: float
    last_s: float
    events: int

    @property
    def key(self) -> tuple[str, str]:
        """What it is told apart by."""
        return self.deployment, self.source


Bucket = tuple[float, float]
"""First and last arrival within five minutes that had one, unix seconds."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a source's silence is news, and the past that says so."""

    last_s: float
    due_s: float
    longest_pause_s: float
    span_s: float


def judged(buckets: Sequence[Bucket], minimum_s: float) -> Due:
    """When the silence after the last of `buckets` (in order, at least one) is due; never before `minimum_s`."""
    first_s, last_s = buckets[0][0], buckets[-1][1]
    span_s = last_s - first_s
    pauses_s = heapq.nlargest(2, (later[0] - earlier[1] for earlier, later in itertools.pairwise(buckets))) or [0.0]
    # With two weekends known, the longest pause but one counts: one outage must not hide the next for weeks.
    pause_s = pauses_s[-1] if span_s >= _TWO_WEEKENDS_S else pauses_s[0]
    allowed_s = _PAUSES * pause_s
    if span_s < DAY_S:
        allowed_s = max(allowed_s, min(_AGES * span_s, _LONGEST_NIGHT_S))
    elif span_s < _ONE_WEEKEND_S:
        allowed_s = max(allowed_s, _LONGEST_WEEKEND_S) if pause_s >= _REST_S else _PAUSES_AT_FIRST * pause_s
    due_s = min(last_s + allowed_s, _missed_since(buckets))
    return Due(last_s=last_s, due_s=max(due_s, last_s + minimum_s), longest_pause_s=pause_s, span_s=span_s)


def _missed_since(buckets: Sequence[Bucket]) -> float:
    """When the hours that were active in all comparable weeks have passed in silence; infinity if none are known."""
    first_s, last_s = buckets[0][0], buckets[-1][1]
    weeks = [week for week in range(1, _WEEKS + 1) if last_s - week * WEEK_S >= first_s]
    if not weeks:
        return math.inf
    needed = math.ceil(_ACTIVE_BUCKETS / len(weeks))
    starts = [bucket[0] for bucket in buckets]
    missed = []
    for week, (early_s, late_s) in itertools.product(weeks, ((0.0, _SLACK_S), (_SLACK_S, 0.0))):
        # A day may end an hour early, and the next begin an hour late.
        begun = bisect.bisect_right(starts, last_s - week * WEEK_S + early_s)
        index = begun + needed - 1
        missed.append(buckets[index][1] + week * WEEK_S + late_s if index < len(buckets) else math.inf)
    return max(missed)


class Silences:
    """The silences that are going on. A small machine: `suspects`, then `learn` each, then `due`."""

    def __init__(self, minimum_s: float) -> None:
        """No silence below `minimum_s` seconds is news."""
        self._minimum_s = minimum_s
        self._sources: dict[tuple[str, str], Source] = {}
        self._dues: dict[tuple[str, str], Due] = {}

    def suspects(self, sources: Sequence[Source], now_s: float) -> list[Source]:
        """Those of all `sources` that are quiet and whose past must be looked at: once for each silence."""
        self._sources = {source.key: source for source in sources}
        self._dues = {
            key: due
            for key, due in self._dues.items()
            if key in self._sources and self._sources[key].last_s <= due.last_s
        }
        return [
            source
            for key, source in self._sources.items()
            if key not in self._dues
            and now_s - source.last_s >= self._minimum_s
            and source.events >= _LEAST_EVENTS
            and source.last_s - source.first_s >= _LEAST_SPANS * self._minimum_s
        ]

    def learn(self, source: Source, buckets: Sequence[Bucket]) -> None:
        """Take in the past of a suspect: its buckets from `LOOK_BACK_S` before its last arrival on."""
        if buckets:
            self._dues[source.key] = judged(buckets, self._minimum_s)

    def due(self, now_s: float) -> list[Finding]:
        """The silences that are news at `now_s`, every time they are asked for: each with one identity."""
        return [self._finding(self._sources[key], due) for key, due in self._dues.items() if now_s >= due.due_s]

    def _finding(self, source: Source, due: Due) -> Finding:
        others = sorted(
            other.source
            for other in self._sources.values()
            if other.deployment == source.deployment and other.last_s > due.last_s
        )
        silence_s = due.due_s - due.last_s
        what = f"No call arrives as {source.source} any more" if others else "The source is silent: no call arrives"
        since = f"; calls still came as {', '.join(others)} after that" if others else ""
        severity = Severity.HIGH if due.span_s >= DAY_S else Severity.MEDIUM
        return _finding(
            SILENT,
            source.deployment,
            (source.source, _millis(due.last_s)),
            scope=DEPLOYMENT,
            time_s=due.due_s,
            onset_s=due.last_s,
            severity=Severity.LOW if others else severity,
            summary=f"{what} for {spoken(silence_s)}{since}. The longest usual pause in the {spoken(due.span_s)} "
            f"before was {spoken(due.longest_pause_s)}.",
            score=silence_s,
            evidence=(
                Evidence(name="silence", observed=silence_s, expected=due.longest_pause_s, unit="s"),
                Evidence(name="past that was looked at", observed=due.span_s, unit="s"),
                Evidence(name="format", observed=source.source),
            ),
        )


def format_changes(sources: Sequence[Source], now_s: float, minimum_s: float) -> list[Finding]:
    """Deployments that began, within a day, to arrive in a format that they did not come in before."""
    found = []
    for source in sources:
        older = sorted(
            other.source
            for other in sources
            if other.deployment == source.deployment
            and other.events >= _LEAST_EVENTS
            and other.first_s < source.first_s - _LEAST_SPANS * minimum_s
        )
        if older and source.events >= _LEAST_EVENTS and now_s - source.first_s < _NEW_FOR_S:
            found.append(
                _finding(
                    CHANGED,
                    source.deployment,
                    (source.source, _millis(source.first_s)),
                    scope=DEPLOYMENT,
                    time_s=source.first_s,
                    onset_s=source.first_s,
                    severity=Severity.LOW,
                    summary=f"Calls begin to arrive as {source.source}, before only as {', '.join(older)}: "
                    "fields may have changed with the format.",
                    score=1.0,
                    evidence=(Evidence(name="format", observed=source.source, expected=", ".join(older)),),
                )
            )
    return found


def dead_letter_rise(topic: str, letters: Mapping[float, tuple[int, int]], now_s: float) -> list[Finding]:
    """Whether the share of dead letters in the last half hour left its past; at most one finding a day.

    `letters` maps the start of a five-minute bucket to its stored events and dead letters.
    """
    recent = [each for start_s, each in letters.items() if now_s - _DEAD_WINDOW_S <= start_s <= now_s]
    past = [each for start_s, each in letters.items() if start_s < now_s - _DEAD_WINDOW_S]
    dead, total = _sums(recent)
    dead_before, total_before = _sums(past)
    if dead < _LEAST_EVENTS or total_before < _DEAD_PAST:
        return []
    share, before = dead / total, (dead_before + 1) / (total_before + 2)
    threshold = max(_DEAD_SHARE, _DEAD_FACTOR * before)
    if share < threshold:
        return []
    return [
        _finding(
            REFUSED,
            topic,
            (str(int(now_s // DAY_S)),),
            scope="topic",
            time_s=now_s,
            onset_s=min(start_s for start_s, each in letters.items() if start_s >= now_s - _DEAD_WINDOW_S and each[1]),
            severity=Severity.HIGH if share >= 0.5 else Severity.MEDIUM,  # noqa: PLR2004 - most of it is not read
            summary=f"{share:.0%} of what arrived in the last half hour cannot be read, {before:.1%} before: a source "
            "changed its schema, or somebody sends garbage.",
            score=share,
            threshold=threshold,
            evidence=(
                Evidence(
                    name="dead letters of the last half hour", observed=100.0 * share, expected=100.0 * before, unit="%"
                ),
                Evidence(name="dead letters", observed=float(dead)),
            ),
        )
    ]


def spoken(duration_s: float) -> str:
    """A duration as a person says it."""
    for unit, size_s in (("days", DAY_S), ("hours", HOUR_S), ("minutes", 60.0)):
        if duration_s >= 2.0 * size_s:
            return f"{duration_s / size_s:.1f} {unit}"
    return f"{duration_s:.0f} seconds"


def _sums(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Dead letters, and everything that arrived."""
    dead = sum(each[1] for each in counts)
    return dead, dead + sum(each[0] for each in counts)


def _millis(time_s: float) -> str:
    return str(round(time_s * 1_000))


def _finding(  # noqa: PLR0913 - each of them is a column
    detector: str,
    deployment: str,
    identity: tuple[str, ...],
    *,
    scope: str,
    time_s: float,
    onset_s: float,
    severity: Severity,
    summary: str,
    score: float,
    evidence: tuple[Evidence, ...],
    threshold: float | None = None,
) -> Finding:
    """A finding about the pipeline itself: no event tipped it, and it costs no alarm budget."""
    name = "\0".join((detector, "1", deployment, *identity))
    return Finding(
        finding_id=hashlib.blake2b(name.encode(), digest_size=16).hexdigest(),
        detector=detector,
        version=1,
        scope=scope,
        subject=deployment,
        deployment=deployment,
        time_s=time_s,
        onset_s=onset_s,
        severity=severity,
        summary=summary,
        score=score,
        threshold=score if threshold is None else threshold,
        budget_share=0.0,
        event_id="",
        evidence=evidence,
    )
