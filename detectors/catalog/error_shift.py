"""Rates of failed calls, refusals and finish reasons against the frozen baseline.

Each rate is a stream of yes or no. What the warm-up leaves possible for its true rate (a confidence
limit, so no error in 400 calls does not mean that there are none) is tested against higher and lower
rates by likelihood-ratio CUSUMs; their run lengths between false alarms hold without knowing the rate.
"""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
from river.drift import ADWIN

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_WARM_UP = 400
_BATCH = 20
"""Calls per batch when the clustering of a rate is measured in the warm-up."""

_CONFIDENCE_Z = 2.0
_ODDS = (2.0, 5.0, 25.0)
"""Alternatives tested in either direction, as factors of the odds."""

_MAX_CALLERS = 32
_CLUSTERING_NOISE = 1.6
"""Variance ratio of batches that independence alone reaches in about one of 40 warm-ups."""

_REASONS = {
    "stop": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool calls",
    "tool_call": "tool calls",
    "tool_use": "tool calls",
    "function_call": "tool calls",
    "content_filter": "content filter",
    "content_filtered": "content filter",
    "guardrail_intervened": "content filter",
    "safety": "content filter",
    "refusal": "content filter",
    "error": "error",
    "abort": "error",
}
_MAX_REASON_CHARS = 32
_MAX_NAME_CHARS = 64
_FINISHES = ("stop", "length", "tool calls", "content filter", "error", "other")
_FAILED, _REFUSED = "failed calls", "refusals"
_WORDS = {name: f"answers that finished with {name!r}" for name in _FINISHES}
_GUARDED = frozenset((_REFUSED, "content filter"))
_GRAVE = _GUARDED | {_FAILED, "error"}
_OUTAGE = 0.5
_ONE_CALLER = 0.9
"""A share of failures above which they are one caller's trouble and not the deployment's."""

_STREAMS = len(_ODDS) * (2 * (len(_FINISHES) + 1) + 1)  # failures that fall are good news and not tested
_LEAST_LIMIT = alarms.e_limit(alarms.bonferroni(alarms.MIN_ARL, _STREAMS))


class Walk(msgspec.Struct, kw_only=True):
    """A CUSUM of log-likelihood ratios for one alternative, and what it saw since it last stood at zero."""

    hit: float
    miss: float
    level: float = 0.0
    since_s: float = 0.0
    seen: int = 0
    hits: int = 0


class Rate(msgspec.Struct, kw_only=True):
    """One rate: its warm-up counts, then the walks away from them.

    `falls` is whether a fall is news. `recent`, where kept, is an adaptive window: it drops what was
    before a change and so tells the rate of the recent past without the bias of a walk's own start.
    """

    falls: bool = True
    recent: ADWIN | None = None
    seen: int = 0
    hits: int = 0
    batch_hits: int = 0
    batch_squares: int = 0
    up: list[Walk] = msgspec.field(default_factory=list)
    down: list[Walk] = msgspec.field(default_factory=list)

    def learn(self, hit: bool) -> None:  # noqa: FBT001 - the outcome itself
        """Count one outcome of the warm-up; the last one freezes the baseline."""
        self.seen += 1
        self.hits += hit
        self.batch_hits += hit
        if self.seen % _BATCH == 0:
            self.batch_squares += self.batch_hits**2
            self.batch_hits = 0
        if self.seen == _WARM_UP:
            lowest, highest = interval(self.hits, self.seen)
            weight = 1.0 / self._clustering()
            if self.hits < self.seen:
                self.up = [_walk(highest, odds, weight) for odds in _ODDS]
            if self.hits and self.falls:
                self.down = [_walk(lowest, 1.0 / odds, weight) for odds in _ODDS]

    def step(self, hit: bool, time_s: float) -> float:  # noqa: FBT001 - the outcome itself
        """Move all walks by one outcome; the highest level."""
        top = 0.0
        if self.recent is not None:
            self.recent.update(float(hit))  # type: ignore[no-untyped-call]  # River has no annotations
        for walks in (self.up, self.down):
            for walk in walks:
                gain = walk.hit if hit else walk.miss
                if walk.level <= 0.0:
                    if gain <= 0.0:
                        continue
                    walk.level, walk.since_s, walk.seen, walk.hits = 0.0, time_s, 0, 0
                walk.level = level = walk.level + gain
                walk.seen += 1
                walk.hits += hit
                top = max(top, level)
        return top

    def _clustering(self) -> float:
        """How many calls of a cluster count as one: the variance of batches over that of independent calls."""
        mean = self.hits / self.seen
        independent = _BATCH * mean * (1.0 - mean)
        if independent <= 0.0:
            return 1.0
        variance = self.batch_squares * _BATCH / self.seen - (mean * _BATCH) ** 2
        return max(1.0, variance / independent / _CLUSTERING_NOISE)


def interval(hits: int, seen: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate; above 0 and below 1 whatever the counts."""
    square = _CONFIDENCE_Z**2
    center = (hits + square / 2.0) / (seen + square)
    half = _CONFIDENCE_Z / (seen + square) * math.sqrt(hits * (seen - hits) / seen + square / 4.0)
    return max(center - half, 1e-6), min(center + half, 1.0 - 1e-6)


def _window() -> ADWIN:
    """An empty adaptive window; its own alarms are not used."""
    return ADWIN()  # type: ignore[no-untyped-call]  # River has no annotations


def _walk(rate: float, odds: float, weight: float) -> Walk:
    """A walk whose steps are the weighted log-likelihood ratios of `odds` times the odds of `rate`."""
    other = odds * rate / (1.0 - rate + odds * rate)
    return Walk(hit=weight * math.log(other / rate), miss=weight * math.log((1.0 - other) / (1.0 - rate)))


class ErrorShift(Detector):
    """Likelihood-ratio CUSUMs of failures, refusals and finish reasons against the frozen baseline."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Failure, refusal or finish-reason rate shifted",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting change of the rate of failed calls, of refusals, or of a finish reason (stop, length, tool "
        "calls, content filter, error, other).",
        requires=(),
        any_of=("failed", "refused", "finish_reason"),
        warm_up=_WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0029", "AML.T0031", "AML.T0054", "AML.T0018"),
        owasp=("LLM10:2025", "LLM04:2025", "LLM01:2025"),
        causes=(
            "Failures rose: an outage, a quota, an expired credential, a flood of expensive calls.",
            "Refusals or filtered answers rose: a new safety setting, another model, or a sweep of harmful prompts.",
            "Refusals or filtered answers fell: a guardrail was removed, a jailbreak works, or weights were replaced.",
            "Answers cut by length rose: prompts made to run on, or a repetition loop.",
            "Tool calls rose or fell: the tool list or the prompt template was changed.",
        ),
        false_positives=(
            "One client with a broken loop or an expired key; the evidence says how much came from one caller.",
            "A new application with another mix of prompts on the same deployment.",
            "A planned change of model, guardrail or token limits.",
        ),
        known_gaps=(
            "Rates are of the whole deployment: a shift of one of many routed models is diluted.",
            "Refusals are recognized in English, by their opening words.",
            "Small changes of a rare rate take long: 400 warm-up calls without an error allow for 1 % of errors.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Group the calls since the onset by error type, status, principal and served model.",
            "If one principal carries the change, look at its prompts and at findings about it.",
            "For refusals that fell: replay a few refused prompts from before; check guardrail and model versions.",
            "For failures: check the provider's status, quotas and credentials.",
            "If the change was planned, approve it and learn a new baseline.",
        ),
        references=(
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Wilson, Probable inference, the law of succession, and statistical inference (1927)",
            "Shin, Ramdas, Rinaldo, E-detectors (2023)",
            "Bifet, Gavalda, Learning from time-changing data with adaptive windowing (2007)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    now_s: float = 0.0
    failed: Rate = msgspec.field(default_factory=lambda: Rate(falls=False, recent=_window()))
    refused: Rate = msgspec.field(default_factory=lambda: Rate(recent=_window()))
    finishes: list[Rate] = msgspec.field(default_factory=lambda: [Rate() for _ in _FINISHES])
    callers: dict[str, int] = msgspec.field(default_factory=dict)

    def update(self, observation: Observation) -> Detection | None:
        """Learn how one call ended."""
        failed, refused, reason = observation.failed, observation.refused, observation.finish_reason
        if failed is None and refused is None and reason is None:
            return None
        if 0.0 <= observation.time_s <= MAX_TIME_S:
            self.now_s = observation.time_s
        self.pace.see(self.now_s)
        found = None
        if failed is not None:
            if failed:
                self._blame(observation.principal)
            found = self._judge(self.failed, _FAILED, failed)
        if refused is not None:
            found = self._judge(self.refused, _REFUSED, refused) or found
        if reason is not None:
            ended = _REASONS.get(reason[:_MAX_REASON_CHARS].lower(), "other")
            for name, rate in zip(_FINISHES, self.finishes, strict=True):
                shifted = self._judge(rate, name, name == ended)
                found = found or shifted
        return found

    def _blame(self, principal: str | None) -> None:
        """Count a failed call for its caller, from the time the failures began to rise."""
        if all(walk.level <= 0.0 for walk in self.failed.up):
            self.callers.clear()
        if principal is None:
            return
        principal = principal[:_MAX_NAME_CHARS]
        inherited = 0
        if principal not in self.callers and len(self.callers) >= _MAX_CALLERS:
            inherited = self.callers.pop(min(self.callers, key=self.callers.__getitem__))
        self.callers[principal] = self.callers.get(principal, inherited) + 1

    def _judge(self, rate: Rate, name: str, hit: bool) -> Detection | None:  # noqa: FBT001 - the outcome itself
        """Walk one rate on; a detection where a walk passes the limit."""
        if rate.seen < _WARM_UP:
            rate.learn(hit)
            return None
        if rate.step(hit, self.now_s) < _LEAST_LIMIT:
            return None
        arl = alarms.average_run_length(self.share, self.pace.per_day)
        limit = alarms.e_limit(alarms.bonferroni(arl, _STREAMS))
        walk = max(rate.up + rate.down, key=lambda each: each.level)
        if walk.level < limit:
            return None
        found = self._detection(rate, walk, name, limit)
        self._rearm()
        return found

    def _rearm(self) -> None:
        """Start all walks anew: one change mostly shows in several rates and is said once."""
        for rate in (self.failed, self.refused, *self.finishes):
            for walk in rate.up + rate.down:
                walk.level = 0.0

    def _detection(self, rate: Rate, walk: Walk, name: str, limit: float) -> Detection:
        before, now = rate.hits / rate.seen, walk.hits / walk.seen
        rose = walk.hit > 0.0
        severity = Severity.MEDIUM if name in _GRAVE else Severity.LOW
        evidence = [
            Evidence(name=f"rate of {_WORDS.get(name, name)}", observed=100.0 * now, expected=100.0 * before, unit="%"),
            Evidence(name="calls since onset", observed=float(walk.seen), unit="calls"),
            Evidence(name="calls in the baseline", observed=float(rate.seen), unit="calls"),
        ]
        if rate.recent is not None:
            window = f"the same over an adaptive window of the last {rate.recent.width:.0f} calls"
            evidence.append(Evidence(name=window, observed=100.0 * rate.recent.estimation, unit="%"))
        if name == _FAILED:
            busiest = min(max(self.callers.values(), default=0) / max(walk.hits, 1), 1.0)
            evidence.append(Evidence(name="failures of the busiest caller", observed=100.0 * busiest, unit="%"))
            if busiest >= _ONE_CALLER:
                severity = Severity.LOW
            elif now >= _OUTAGE:
                severity = Severity.HIGH
        elif name in _GUARDED and not rose:
            severity = Severity.HIGH
        return Detection(
            summary=f"The rate of {_WORDS.get(name, name)} {'rose' if rose else 'fell'} from {before:.1%} (frozen "
            f"baseline of {rate.seen} calls) to {now:.1%} over the last {walk.seen} calls.",
            severity=severity,
            score=walk.level,
            threshold=limit,
            onset_s=walk.since_s,
            evidence=tuple(evidence),
        )
