"""Whether the operator's number holds: what all detectors together say about traffic in which nothing happens.

The stretch before the incident of the demo's traffic: two days of synthetic calls to three deployments, and half an
hour of recorded ones (real arrivals, answers, latencies and questions, joined as for the demo). The first stretch also
warms the detectors up, as it would in an installation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from river import drift

from detectors import features
from detectors.alarms import DAY_S, Budget
from detectors.bank import Bank
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Finding, Observation
from streams.composing import PATIENCE
from streams.plays.recorded import recorded
from streams.plays.traffic import Traffic, synthetic
from tests.quality.task import OURS, Figure, Target, Task

_END_S = 1_763_200_000.0
_MESSAGE = 100
_DAY, _HOUR = "false findings, synthetic days", "false findings, recorded half hour"


def _quiet(traffic: Traffic) -> list[Observation]:
    """Observations of all calls before the first thing that was planted."""
    until_s = min(planted.time_s for planted in traffic.planted)
    events = [
        msgspec.structs.replace(event, event_id=f"t:0:{index}:0")
        for index, event in enumerate(traffic.events)
        if (event.time_s or 0.0) < until_s
    ]
    return [
        observation
        for start in range(0, len(events), _MESSAGE)
        for observation in features.observe(events[start : start + _MESSAGE], b"k" * 32)
    ]


def _said(observations: list[Observation]) -> list[Finding]:
    """What the banks of a worker with shipped defaults say."""
    banks = [Bank(scope, Budget(), patience=PATIENCE) for scope in (DEPLOYMENT, PRINCIPAL)]
    return [
        finding
        for offset in range(0, len(observations), _MESSAGE)
        for bank in banks
        for finding in bank.apply(0, offset, observations[offset : offset + _MESSAGE])
    ]


def _adwin(observations: list[Observation]) -> int:
    """Changes that ADWIN with defaults sees in latency and output tokens of each deployment."""
    watches: dict[tuple[str, str], drift.ADWIN] = {}
    seen: Counter[str] = Counter()
    for observation in observations:
        for name in ("latency_s", "output_tokens"):
            value = getattr(observation, name)
            if value is None or not math.isfinite(value):
                continue
            watch = watches.setdefault((observation.deployment, name), drift.ADWIN())
            watch.update(float(value))
            seen[name] += watch.drift_detected
    return seen.total()


def _measure(data: Path, seed: int) -> Iterator[Figure]:
    days = _quiet(synthetic(seed, _END_S, events=24_000, hours=96.0))
    span = (days[-1].time_s - days[0].time_s) / DAY_S
    yield Figure(contender=OURS, metric=_DAY, value=len(_said(days)) / span)
    yield Figure(contender="River ADWIN", metric=_DAY, value=_adwin(days) / span)
    hour = _quiet(recorded(data, seed, _END_S))
    yield Figure(contender=OURS, metric=_HOUR, value=float(len(_said(hour))))
    yield Figure(contender="River ADWIN", metric=_HOUR, value=float(_adwin(hour)))


TASK = Task(
    title="Alarm budget",
    needs=("traces", "swap", "queries"),
    measure=_measure,
    targets=(
        Target(metric=_DAY, unit="per day, whole installation", must=2.0, less_is_better=True, averaged=True),
        Target(metric=_HOUR, unit="findings", less_is_better=True, averaged=True),
    ),
    note=(
        "Everything on, default budget of two a day; calls before anything is planted. Real traffic is not labelled: a "
        "finding about the recorded stretch counts as false although load may have done something to its latencies. "
        "River's ADWIN watches latency and output tokens alone. Synthetic people write by a grammar: extraction takes "
        "some of the busiest for the sweeps they look like."
    ),
)
