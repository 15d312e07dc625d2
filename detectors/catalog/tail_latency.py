"""The slowest calls: a path that a few calls take and that makes them far slower moves no median.

Each requested model gets a frozen cost (fixed + per output token + per input token). A call's seconds over that cost,
over the median of the calls just before, say how much slower it was than its like at that hour; the baseline says how
much is rare. Blocks of eight calls hold a slow one or none, and a CUSUM of likelihood ratios counts those that do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import numpy as np

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.call_costs import costs
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_WARM_UP = 1_000
_MAX_MODELS = 16
_MAX_WARMING = 2
"""Rows of a warm-up are the bulk of the state; models beyond this wait until a seat is free."""

_SEAT_PATIENCE = 2_000
_FROZEN_PATIENCE = 100_000

_BLOCK = 8
"""Slow calls come in clumps: several in a block count once."""

_RARE = 0.98
_MARGIN = 1.3
"""Slow is 30 % beyond the baseline's 98 % quantile."""

_PACE = 0.03
"""The running median moves 3 % a call: it follows a doubling within 25 calls, and a few slow ones not at all."""

_TIMES = 3.0
_MOST_SHARE = 0.7
_HIGH_SHARE = 0.25
_MAX_TOKENS = 10_000_000
_MIN_LATENCY_S, _MAX_LATENCY_S = 1e-6, 86_400.0


class Tail(msgspec.Struct, kw_only=True):
    """One requested model: rows of a warm-up (latency_s, input, output; -1 is unknown), then what they gave.

    `median` is the running one of seconds over cost; beyond `slow` times it a call is slow. A block holds a slow call
    with probability `usual` at most. `level` is the CUSUM; since it last stood at zero, `blocks` came, of which
    `slow_blocks` held `slow_calls` that took `excess_s` longer than their like; `caller` is who sent most of them,
    ahead by `lead`.
    """

    rows: np.ndarray | None
    filled: int = 0
    last_seen: int = 0
    fixed: float = 0.0
    per_output: float = 0.0
    per_input: float = 0.0
    least_s: float = 0.0
    median: float = 1.0
    slow: float = 0.0
    usual: float = 1.0
    place: int = 0
    slow_here: bool = False
    level: float = 0.0
    since_s: float = 0.0
    blocks: int = 0
    slow_blocks: int = 0
    slow_calls: int = 0
    excess_s: float = 0.0
    caller: str | None = None
    lead: int = 0

    def relative(self, latency_s: float, inputs: float, outputs: float) -> tuple[float, float]:
        """How many times as long as its like a call took, and how long its like take; moves the running median."""
        idle_s = max(self.fixed + self.per_input * inputs + self.per_output * outputs, self.least_s)
        ratio = latency_s / idle_s
        usual = self.median
        self.median = usual * (1.0 + _PACE if ratio > usual else 1.0 / (1.0 + _PACE))
        return ratio / usual, idle_s * usual

    def freeze(self) -> None:
        """Take what is usual from the rows; without a single known duration, it stays blind."""
        rows = np.array(self.rows, dtype=float)
        self.rows = None
        seconds, tokens = rows[:, 0], np.maximum(rows[:, 1:], 0.0)
        columns = np.column_stack((np.ones(len(rows)), tokens[:, 1], tokens[:, 0]))
        self.fixed, self.per_output, self.per_input = costs(columns, seconds)[0].tolist()
        self.least_s = 0.01 * float(np.median(seconds))
        # From the second half on the running median has settled, whatever it began with.
        for _ in range(2):
            ratios = [self.relative(*row)[0] for row in rows.tolist()]
        self.slow = _MARGIN * max(float(np.quantile(ratios, _RARE)), 1.0)
        blocks = len(ratios) // _BLOCK
        slow = sum(max(ratios[_BLOCK * place : _BLOCK * (place + 1)]) > self.slow for place in range(blocks))
        self.usual = min((slow + 2.0 * math.sqrt(slow + 1.0) + 1.0) / blocks, _MOST_SHARE / _TIMES)


class TailLatency(Detector):
    """CUSUM of blocks that hold a call far slower than its like."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="More of the slowest calls",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="More calls than before that take far longer than others of their tokens, while most do not.",
        requires=("latency_s", "output_tokens"),
        warm_up=_WARM_UP,
        score_unit="natural log of a likelihood ratio",
        atlas=("AML.T0029", "AML.T0034"),
        owasp=("LLM10:2025",),
        causes=(
            "One replica of several is slow, or serves from other hardware, another region or another build.",
            "A share of the calls is routed through a proxy, a logger or a second model.",
            "Prompts crafted to keep the model busy (hidden reasoning, tool loops).",
            "A guardrail or retrieval step that times out for some calls.",
        ),
        false_positives=(
            "A new kind of call whose cost tokens do not show (images, tools, long cached prompts).",
            "A provider that retries inside the call, on its bad days.",
            "A load so uneven that calls next to each other meet quite different queues.",
        ),
        known_gaps=(
            "A step of all calls is not seen here; it is latency_shift's.",
            "Fewer than about one slow call in 50 is not told from the tail of the baseline.",
            "Providers whose usual times are spread over a factor of three hide what takes three times as long.",
            "At most 16 requested models per deployment; others are not judged.",
        ),
        runbook=(
            "List the slowest calls since the onset: is it one replica, region, caller, tool or kind of prompt?",
            "Compare their routes hop by hop with those of ordinary calls.",
            "Look for findings of latency_shift, egress or output_drift since the onset.",
            "If it is one caller, look at that caller's findings and limits.",
        ),
        references=(
            "Page, Continuous inspection schemes (1954)",
            "Reynolds and Stoumbos, A CUSUM chart for monitoring a proportion when inspecting continuously (1999)",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
        ),
        rebaselined=True,  # what a call of its tokens costs is of the replaced version
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    tails: dict[str, Tail] = msgspec.field(default_factory=dict)
    count: int = 0
    now_s: float = 0.0

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn the durations of calls."""
        arriving = alarms.Arriving(self.pace)
        for observation in observations:
            latency_s, outputs = observation.latency_s, observation.output_tokens
            if (
                latency_s is None
                or outputs is None
                or observation.failed
                or not _MIN_LATENCY_S <= latency_s <= _MAX_LATENCY_S
                or not 0 <= outputs <= _MAX_TOKENS
            ):
                continue
            self.count = count = self.count + 1
            time_s = observation.time_s
            if 0.0 <= time_s <= MAX_TIME_S:
                self.now_s = time_s
            else:
                time_s = self.now_s
            arriving.see(time_s)
            model = (observation.model or "")[:128]
            tail = self.tails.get(model)
            if tail is None:
                tail = self._seat(model)
                if tail is None:
                    continue
            tail.last_seen = count
            inputs = observation.input_tokens or 0
            inputs = inputs if 0 <= inputs <= _MAX_TOKENS else 0
            if tail.rows is not None:
                tail.rows[tail.filled] = (latency_s, inputs, outputs)
                tail.filled += 1
                if tail.filled == _WARM_UP:
                    tail.freeze()
                continue
            ratio, like_s = tail.relative(latency_s, inputs, outputs)
            if ratio > tail.slow:
                tail.slow_here = True
                self._note(tail, latency_s - like_s, observation.principal)
            tail.place = place = tail.place + 1
            if place >= _BLOCK and (found := self._close(tail, observation.model, arriving)) is not None:
                yield found
        arriving.settle()

    def _note(self, tail: Tail, excess_s: float, principal: str | None) -> None:
        """Remember a slow call, and by majority vote (Boyer and Moore) who sends them."""
        tail.slow_calls += 1
        tail.excess_s += excess_s
        if tail.lead == 0:
            tail.caller, tail.lead = principal and principal[:128], 1
        else:
            tail.lead += 1 if principal == tail.caller else -1

    def _close(self, tail: Tail, model: str | None, pace: alarms.Rhythm) -> Detection | None:
        """Count a block; a detection where there were too many with a slow call."""
        usual = tail.usual
        many = min(_TIMES * usual, _MOST_SHARE)
        slow, tail.slow_here, tail.place = tail.slow_here, False, 0
        gain = math.log(many / usual) if slow else math.log((1.0 - many) / (1.0 - usual))
        if tail.level <= 0.0 and slow:
            tail.since_s, tail.blocks, tail.slow_blocks = self.now_s, 0, 0
        tail.level = max(tail.level + gain, 0.0)
        tail.blocks += 1
        tail.slow_blocks += slow
        if tail.level <= 0.0:
            tail.slow_calls, tail.excess_s, tail.lead, tail.caller = 0, 0.0, 0, None
            return None
        if not slow:
            return None
        arl = alarms.average_run_length(self.share, pace.per_day / _BLOCK)
        limit = alarms.e_limit(arl)
        if tail.level < limit:
            return None
        found = _detection(tail, limit, model)
        tail.level, tail.slow_calls, tail.excess_s, tail.lead, tail.caller = 0.0, 0, 0.0, 0, None
        return found

    def _seat(self, model: str) -> Tail | None:
        """A tail for a new model, or `None` while there is no room for one more."""
        warming = {name: seat for name, seat in self.tails.items() if seat.rows is not None}
        crowded = [(warming, _MAX_WARMING, _SEAT_PATIENCE), (self.tails, _MAX_MODELS, _FROZEN_PATIENCE)]
        for seats, room, patience in crowded:
            if len(seats) >= room:
                idle = min(seats, key=lambda name: seats[name].last_seen)
                if self.count - seats[idle].last_seen < patience:
                    return None
                del self.tails[idle]
        tail = self.tails[model] = Tail(rows=np.zeros((_WARM_UP, 3), dtype=np.float32))
        return tail


def _detection(tail: Tail, limit: float, model: str | None) -> Detection:
    """What a CUSUM past its limit means."""
    calls = _BLOCK * tail.blocks
    share, usual = tail.slow_calls / calls, -math.log1p(-tail.usual) / _BLOCK
    longer_s = tail.excess_s / max(tail.slow_calls, 1)
    named = f" of {model[:128]}" if model and model.isprintable() else ""
    who = f" One caller sent at least {tail.lead} of them." if 2 * tail.lead > tail.slow_calls > 1 else ""
    return Detection(
        summary=f"{tail.slow_calls} of the last {calls} calls{named} ({share:.1%}, at most {usual:.1%} expected) took "
        f"more than {tail.slow:.1f} times as long as their like, {longer_s:.1f} s longer on average.{who}",
        severity=Severity.HIGH if share >= _HIGH_SHARE else Severity.MEDIUM,
        score=tail.level,
        threshold=limit,
        onset_s=tail.since_s,
        evidence=(
            Evidence(name="slow calls", observed=share * 100.0, expected=usual * 100.0, unit="%"),
            Evidence(name="slow is beyond", observed=tail.slow, unit="times the usual"),
            Evidence(name="longer by", observed=longer_s, expected=0.0, unit="s"),
            Evidence(name="calls since onset", observed=float(calls), unit="calls"),
        ),
    )
