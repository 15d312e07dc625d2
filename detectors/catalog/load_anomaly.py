"""Requests, tokens and cost of a deployment against its own seasons, in bins of five minutes of event time.

Callers choose the times they claim, so the clock is the median of what was claimed lately, and a call far from it
counts where the clock stands. A bin is scored when the clock has left it, each series by an own `univariate.Scorer`;
what is learned of a bin is cut to what the series has been, for a day after a detection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity
from detectors.univariate import VIEWS, Scorer

_BIN_S = 300
_BINS_A_DAY = 288
_DAYS = 3
_CLOCK = 31
"""Claimed times the clock is the median of: who sends less than half of the calls does not move it."""

_EVERY = 8
_GRACE_BINS = 1
"""Bins that stay open behind the clock: partitions are read in turns."""

_MOST_SKIPPED = 24
"""Empty bins in a row that are learned as such; a longer gap is an outage of the source and not the deployment's."""

_SERIES = ("requests", "tokens", "cost")
_SCALE = (1.0, 1.0, 1e4)
_UNITS = ("calls", "tokens", "USD")
"""Series are scored as ln(1 + scale * total): cost in hundredths of a cent."""
_MAX_FROZEN = 288
"""Bins for which learning is cut after a detection: a day, for what lasts longer is the new load."""

_LEAST_FACTOR = 2.0
"""A departure to less than twice or more than half of the usual is nobody's business, however rare it is."""

_MEDIUM_FACTOR = 3.0
_SLACK = 1.5
"""Scores are summed above this: one extreme bin, or an hour of rare ones, which no burst makes."""

_REACH = 3.0
_MOST_TOKENS = 10_000_000
_MOST_COST = 1e6


class LoadAnomaly(Detector):
    """Tail scores of requests, tokens and cost per five minutes."""

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Load unlike the season's",
        scope=DEPLOYMENT,
        severity=Severity.MEDIUM,
        sees="Requests, tokens or cost per five minutes far from what this deployment has at that time of day.",
        requires=("time_s",),
        warm_up=_BINS_A_DAY,
        score_unit="orders of magnitude of rarity, summed over bins above a slack",
        atlas=("AML.T0029", "AML.T0034"),
        owasp=("LLM10:2025",),
        causes=(
            "Cost harvesting or a flood of expensive requests.",
            "A leaked key that many use, or a client in a retry loop.",
            "A batch job, a launch or a campaign.",
            "Far less than usual: callers moved elsewhere, or a route in front is broken.",
        ),
        false_positives=(
            "A planned load test, a launch, a backfill.",
            "Public holidays: the season is of days and weeks.",
            "A deployment whose traffic starts or ends within the first weeks.",
        ),
        known_gaps=(
            "Needs three days of traffic before it judges.",
            "A change within one five-minute bin is seen only if it is extreme.",
            "Growth over weeks is learned as it comes, whoever it comes from.",
            "Silence itself shows only when calls come again; pipeline.source_silent sees it by the clock.",
        ),
        runbook=(
            "See which callers, networks and models the difference is made of.",
            "If it is one caller: findings of token_volume, cost_harvesting and extraction about it; its limits.",
            "If it is all callers: ask who launched, moved or is testing something.",
            "If cost rose and requests did not: look at tokens per call and at which model answered.",
        ),
        references=(
            "Siffer et al., Anomaly detection in streams with extreme value theory (2017)",
            "Lavin and Ahmad, Evaluating real-time anomaly detection algorithms (2015)",
            "Misra and Gries, Finding repeated elements (1982)",
        ),
    )

    claimed: list[int] = msgspec.field(default_factory=list)
    waiting: int = 0
    clock: int | None = None
    next_bin: int = 0
    scored: int = 0
    open_bins: dict[int, list[float]] = msgspec.field(default_factory=dict)
    scorers: list[Scorer] = msgspec.field(default_factory=lambda: [Scorer() for _ in _SERIES])
    sums: list[float] = msgspec.field(default_factory=lambda: [0.0 for _ in _SERIES])
    since: list[int] = msgspec.field(default_factory=lambda: [0 for _ in _SERIES])
    frozen: int = 0
    caller: str | None = None
    lead: int = 0

    def learn(  # noqa: C901 - runs for every call: functions would cost more than what they do
        self, observations: Iterable[Observation]
    ) -> Iterator[Detection]:
        """Count calls; score the bins that the clock has left."""
        for observation in observations:
            time_s = observation.time_s
            if not 0.0 <= time_s <= MAX_TIME_S:
                continue
            place = int(time_s) // _BIN_S
            clock = self.clock
            if clock is None:
                clock = self.clock = self.next_bin = place
            at = place if self.next_bin <= place <= clock + 1 else clock
            entry = self.open_bins.get(at)
            if entry is None:
                entry = self.open_bins[at] = [0.0, 0.0, 0.0]
            entry[0] += 1.0
            inputs, outputs, cost = observation.input_tokens, observation.output_tokens, observation.cost_usd
            if inputs is not None and 0 < inputs <= _MOST_TOKENS:
                entry[1] += inputs
            if outputs is not None and 0 < outputs <= _MOST_TOKENS:
                entry[1] += outputs
            if cost is not None and 0.0 < cost <= _MOST_COST:
                entry[2] += cost
            if self.lead == 0:
                self.caller, self.lead = observation.principal and observation.principal[:128], 1
            else:
                self.lead += 1 if observation.principal == self.caller else -1
            claimed = self.claimed
            claimed.append(place)
            self.waiting = waiting = self.waiting + 1
            if waiting >= _EVERY:
                self.waiting = 0
                del claimed[:-_CLOCK]
                if (found := self._tick(sorted(claimed)[len(claimed) // 2])) is not None:
                    yield found

    def _tick(self, clock: int) -> Detection | None:
        """Set the clock, and score what it has left."""
        if clock < self.next_bin - _BINS_A_DAY or clock > self.next_bin + _MOST_SKIPPED:
            # An outage of the source, or a clock that was wrong: begin anew from here.
            self.clock = self.next_bin = clock
            self.open_bins.clear()
            return None
        self.clock = max(clock, self.next_bin)
        found = None
        while self.next_bin < clock - _GRACE_BINS:
            totals = self.open_bins.pop(self.next_bin, None) or [0.0, 0.0, 0.0]
            found = self._score(totals) or found
            self.next_bin += 1
        return found

    def _score(self, totals: list[float]) -> Detection | None:
        """Score the bin `next_bin` in all series; the greatest departure is said."""
        self.scored += 1
        arl = alarms.average_run_length(self.share, float(_BINS_A_DAY))
        limit = alarms.e_limit(alarms.bonferroni(arl, len(_SERIES) * len(VIEWS))) / math.log(10.0)
        found = None
        for index, (scorer, total) in enumerate(zip(self.scorers, totals, strict=True)):
            usual = scorer.slow
            value = math.log1p(_SCALE[index] * total)
            if self.frozen:
                reach = _REACH * scorer.spread
                value = min(max(value, usual - reach), usual + reach)
            scorer.update(self.next_bin * float(_BIN_S), value)
            if self.scored <= _DAYS * _BINS_A_DAY or self.frozen:
                self.sums[index] = 0.0
                continue
            if self.sums[index] == 0.0:
                self.since[index] = self.next_bin
            self.sums[index] = max(self.sums[index] + scorer.alone - _SLACK, 0.0)
            score = max(self.sums[index], scorer.raw)
            factor = math.exp(min(abs(value - usual), 50.0))
            if score >= limit and factor >= _LEAST_FACTOR and (found is None or score > found.score):
                found = self._say(index, (total, math.expm1(usual) / _SCALE[index]), score, limit)
        self.frozen = _MAX_FROZEN if found else max(self.frozen - 1, 0)
        self.caller, self.lead = None, 0
        return found

    def _say(self, index: int, amounts: tuple[float, float], score: float, limit: float) -> Detection:
        scorer, name = self.scorers[index], _SERIES[index]
        total, usual = amounts
        more = total > usual
        factor = max(total, usual) / max(min(total, usual), 1.0 / _SCALE[index])
        one = self.lead > 1
        who = " One caller sent most of it lately." if more and one else ""
        return Detection(
            summary=f"{name.capitalize()} per five minutes {'rose' if more else 'fell'} to {total:,.4g} from "
            f"{usual:,.4g} (a factor of {factor:.1f}), unlike its {VIEWS[scorer.view]} so far.{who}",
            severity=Severity.MEDIUM if more and factor >= _MEDIUM_FACTOR else Severity.LOW,
            score=score,
            threshold=limit,
            onset_s=self.since[index] * float(_BIN_S),
            evidence=(
                Evidence(name=f"{name} in five minutes", observed=total, expected=usual, unit=_UNITS[index]),
                Evidence(name="factor", observed=factor, expected=1.0),
                Evidence(name="view", observed=VIEWS[scorer.view]),
            ),
        )
