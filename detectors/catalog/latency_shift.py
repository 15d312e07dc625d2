"""Latency and time to first token at equal tokens, model and load: a step, slower or faster.

A longer answer is not a slower model, and a busy hour is not a tampered one. Each requested model
gets a frozen baseline: an additive cost (fixed + per output token + per input token) slowed
by load, fitted robustly, and the quantiles of what it leaves unexplained. Later calls become
normal scores against those quantiles, and two one-sided CUSUMs per metric add them up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import numpy as np

from detectors import alarms
from detectors.arrivals import Arrivals
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.timing import DEAD_ZONE, STREAMS, Baseline, fit
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity
from detectors.walks import Walk

_WARM_UP = 500
_MAX_MODELS = 12
_MAX_WARMING = 2
"""Warm-up rows are the bulk of the state; models beyond this wait until a seat is free."""

_SEAT_PATIENCE = 1_000
_FROZEN_PATIENCE = 100_000
"""Observations of the deployment after which an unseen model gives its seat or its baseline to another."""

_UNKNOWN = -1.0
_RECENT = 1.0 / 16.0
_LEAST_STREAMED = 8.0
_LEAST_KNOWN = 0.2
"""Seconds per output token are followed where a fifth of the calls have a first token and seven further ones."""

_MAX_TOKENS = 10_000_000
_MIN_LATENCY_S = 1e-6
_MAX_LATENCY_S = 86_400.0
"""Durations a call can have: zero is a missing measurement, and 5e-324 breaks the regression."""

_HIGH_STEP = math.log(2.0)


class Profile(msgspec.Struct, kw_only=True):
    """One requested model: rows of a warm-up (latency_s, ttft_s, input, output, two loads), then baselines.

    An unknown entry of a row is -1. `per_token` is the natural log of the seconds per further output token: what the
    warm-up's median was, and what it is now, smoothed over 16 calls.
    """

    rows: np.ndarray | None
    filled: int = 0
    last_seen: int = 0
    latency: Baseline | None = None
    ttft: Baseline | None = None
    per_token: tuple[float, float] | None = None

    def stream(self, latency_s: float, ttft_s: float, outputs: float) -> None:
        """Follow the seconds per further output token."""
        if self.per_token is not None and outputs >= _LEAST_STREAMED and latency_s > ttft_s:
            usual, now = self.per_token
            off = math.log((latency_s - ttft_s) / (outputs - 1.0)) - usual
            self.per_token = usual, now + _RECENT * (min(max(off, -1.0), 1.0) + usual - now)

    def moves(self) -> tuple[Evidence, ...]:
        """By how much first and further tokens are slower than usual of late."""
        moved = (
            ("time to first token moved by", None if self.ttft is None else self.ttft.drift),
            (
                "time per output token moved by",
                None if self.per_token is None else self.per_token[1] - self.per_token[0],
            ),
        )
        return tuple(
            Evidence(name=name, observed=math.expm1(off) * 100.0, expected=0.0, unit="%")
            for name, off in moved
            if off is not None
        )

    def learn(self, row: tuple[float | None, ...]) -> None:
        """Add a call to the rows, and freeze a baseline when they are full."""
        if self.rows is None:
            return
        self.rows[self.filled] = [_UNKNOWN if value is None else value for value in row]
        self.filled += 1
        if self.filled == _WARM_UP:
            rows = np.where(self.rows >= 0.0, self.rows, np.nan).astype(float)
            self.latency = fit(rows[:, 0], rows[:, 2], rows[:, 3], rows[:, 4:])
            self.ttft = fit(rows[:, 1], rows[:, 2], np.full(len(rows), np.nan), rows[:, 4:])
            further = rows[:, 3] - 1.0
            known = (rows[:, 0] > rows[:, 1]) & (further >= _LEAST_STREAMED - 1.0)
            if known.sum() >= _LEAST_KNOWN * _WARM_UP:
                usual = float(np.median(np.log((rows[known, 0] - rows[known, 1]) / further[known])))
                self.per_token = usual, usual
            self.rows = None


class LatencyShift(Detector):
    """Two-sided CUSUM of normal scores of latency at equal tokens, model and load."""

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Latency step at equal load",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting step of latency or time to first token that tokens, requested model and load do not explain.",
        requires=("latency_s", "output_tokens"),
        warm_up=_WARM_UP,
        score_unit="standard deviations, summed above a slack",
        atlas=("AML.T0029", "AML.T0034"),
        owasp=("LLM10:2025", "LLM03:2025"),
        causes=(
            "Slower: a proxy, logger or guardrail was put into the serving path (inspection or interception).",
            "Slower: the model, its quantization, its hardware or its region was changed.",
            "Slower: prompts crafted to be expensive, or a neighbor that takes the accelerator's time.",
            "Faster: a smaller or more quantized model answers under the same name.",
            "Faster: answers come from a cache or a short-circuited path, safety checks were removed.",
        ),
        false_positives=(
            "A planned change of hardware, batching, region or serving engine.",
            "Prompt caching that starts to hit (faster first token) or stops to hit (slower).",
            "A provider's time of day when the baseline was learned within minutes.",
            "Load that stays above the baseline's around the clock and slows calls.",
        ),
        known_gaps=(
            "Steps below 4 % are ignored by design.",
            "Load is what this deployment's own arrivals show; a shared accelerator may be busy with others.",
            "Where load visibly slows calls, steps of less than some 15 % are found late or not at all.",
            "A step that begins with unusual load may be found only when that has passed, or after one or two days.",
            "Calls in flight are counted among the last 384; those that arrive later are taken to have come alone.",
            "Cached input tokens and batch neighbors are not in an observation.",
            "At most 12 requested models per deployment; others are not judged.",
            "Calls with far more tokens than those of the baseline are not judged.",
            "A change that was in place during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Compare the onset with deployments, configuration changes and the provider's status page.",
            "Look for a finding of served_model_change or output_drift on this deployment since the onset.",
            "Call the model directly, past gateways, with a fixed prompt and compare latency and answer.",
            "Trace one slow call hop by hop; list what was inserted into the path (proxy, guardrail, logger).",
            "If the change was planned, approve it and learn a new baseline.",
        ),
        references=(
            "Page, Continuous inspection schemes (1954)",
            "Ayer et al., An empirical distribution function for sampling with incomplete information (1955)",
            "Little, A proof for the queuing formula L = lambda W (1961)",
            "Siegmund, Sequential Analysis: Tests and Confidence Intervals (1985)",
            "Newey and West, A simple positive semi-definite covariance matrix (1987)",
        ),
        rebaselined=True,  # another version has another speed
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    profiles: dict[str, Profile] = msgspec.field(default_factory=dict)
    count: int = 0
    now_s: float = 0.0
    arrivals: Arrivals = msgspec.field(default_factory=Arrivals)

    def learn(  # noqa: C901, PLR0912 - runs for every call: functions would cost more than what they do
        self, observations: Iterable[Observation]
    ) -> Iterator[Detection]:
        """Learn the timing of calls."""
        arriving, arrivals = alarms.Arriving(self.pace), self.arrivals
        for observation in observations:
            self.count += 1
            now_s = observation.time_s
            if 0.0 <= now_s <= MAX_TIME_S:
                self.now_s = now_s
            else:
                now_s = self.now_s
            latency_s, ttft_s = observation.latency_s, observation.ttft_s
            if latency_s is not None and not _MIN_LATENCY_S <= latency_s <= _MAX_LATENCY_S:
                latency_s = None
            if ttft_s is not None and not _MIN_LATENCY_S <= ttft_s <= _MAX_LATENCY_S:
                ttft_s = None
            in_flight = arrivals.see(now_s, latency_s or 0.0)
            if observation.failed or (latency_s is None and ttft_s is None):
                continue
            arriving.see(now_s)
            profile = self._profile((observation.model or "")[:128])
            if profile is None:
                continue
            inputs, outputs = _tokens(observation.input_tokens), _tokens(observation.output_tokens)
            if profile.rows is not None:
                profile.learn((latency_s, ttft_s, inputs, outputs, arrivals.rate(now_s), in_flight))
                continue
            found = first = None
            if latency_s is not None:
                if ttft_s is not None and outputs is not None:
                    profile.stream(latency_s, ttft_s, outputs)
                if profile.latency is not None:
                    conditions = inputs, outputs, in_flight
                    found = self._judge(profile.latency, "latency", latency_s, conditions, observation, arriving)
            if ttft_s is not None and profile.ttft is not None:
                conditions = inputs, None, in_flight
                first = self._judge(profile.ttft, "time to first token", ttft_s, conditions, observation, arriving)
            found = found or first
            if found is not None:
                yield msgspec.structs.replace(found, evidence=found.evidence + profile.moves())
        arriving.settle()

    @property
    def reading(self) -> tuple[float, float] | None:
        """The walk that is nearest to its limit."""
        near = [
            (walk.level, max(self._limit(slack), baseline.least_limit))
            for profile in self.profiles.values()
            for baseline in (profile.latency, profile.ttft)
            if baseline is not None
            for walk, slack in (
                (baseline.up, baseline.slack_up),
                (baseline.down, baseline.slack_down),
                (baseline.crowded, baseline.slack_up),
            )
        ]
        return max(near, key=lambda each: each[0] - each[1], default=None)

    def _profile(self, model: str) -> Profile | None:
        """The profile of a requested model, or `None` while there is no room for one more."""
        profile = self.profiles.get(model)
        if profile is not None:
            profile.last_seen = self.count
            return profile
        warming = {name: seat for name, seat in self.profiles.items() if seat.rows is not None}
        crowded = [(warming, _MAX_WARMING, _SEAT_PATIENCE), (self.profiles, _MAX_MODELS, _FROZEN_PATIENCE)]
        for seats, room, patience in crowded:
            if len(seats) >= room:
                idle = min(seats, key=lambda name: seats[name].last_seen)
                if self.count - seats[idle].last_seen < patience:
                    return None
                del self.profiles[idle]
        profile = Profile(rows=np.zeros((_WARM_UP, 6), dtype=np.float32), last_seen=self.count)
        self.profiles[model] = profile
        return profile

    def _judge(
        self,
        baseline: Baseline,
        metric: str,
        observed_s: float,
        conditions: tuple[float | None, float | None, float],
        observation: Observation,
        arriving: alarms.Arriving,
    ) -> Detection | None:
        """Walk one metric on; a detection where a walk passes its limit."""
        inputs, outputs, in_flight = conditions
        idle_s = baseline.idle_s(inputs, outputs)
        if idle_s is None:
            return None
        now_s = self.now_s
        load = in_flight if baseline.signal else self.arrivals.rate(now_s)
        if not baseline.walk(idle_s, observed_s, load, now_s):
            return None
        arriving.settle()
        found = None
        for walk in (baseline.up, baseline.down, baseline.crowded):
            slower = walk is not baseline.down
            limit = max(self._limit(baseline.slack_up if slower else baseline.slack_down), baseline.least_limit)
            if walk.level >= limit:
                found = found or _detection(metric, observation.model, walk, limit, slower=slower)
                walk.level = 0.0
        return found

    def _limit(self, slack: float) -> float:
        arl = alarms.average_run_length(self.share, self.pace.per_day)
        return alarms.cusum_limit(alarms.bonferroni(arl, STREAMS), slack)


def _tokens(value: int | None) -> float | None:
    return float(value) if value is not None and 0 <= value <= _MAX_TOKENS else None


def _detection(metric: str, model: str | None, walk: Walk, limit: float, *, slower: bool) -> Detection | None:
    """What a walk past its limit means; nothing when the median call since onset does not show the step."""
    step = sorted(walk.recent)[len(walk.recent) // 2]
    if (step if slower else -step) < DEAD_ZONE:
        return None
    expected_s = walk.expected_s / walk.seen
    change_s = expected_s * math.expm1(step)
    severity = Severity.LOW
    if slower:
        severity = Severity.HIGH if step >= _HIGH_STEP else Severity.MEDIUM
    verb, meaning = ("rose", "") if slower else ("fell", "; a smaller model, a cache or a skipped step may answer")
    named = f" of {model[:128]}" if model else ""
    equal = "tokens, under load unlike the baseline's," if 2 * walk.unsure > walk.seen else "tokens and load"
    return Detection(
        summary=f"{metric.capitalize()}{named} at equal {equal} {verb} by {abs(change_s) * 1e3:.0f} ms "
        f"({math.expm1(step):+.0%}) over the last {walk.seen} calls{meaning}.",
        severity=severity,
        score=walk.level,
        threshold=limit,
        onset_s=walk.since_s,
        evidence=(
            Evidence(name=metric, observed=expected_s + change_s, expected=expected_s, unit="s"),
            Evidence(name="step", observed=math.expm1(step) * 100.0, expected=0.0, unit="%"),
            Evidence(name="calls since onset", observed=float(walk.seen), unit="calls"),
        ),
    )
