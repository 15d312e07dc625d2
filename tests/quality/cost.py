"""What it costs to run everything: CPU per observation of a full bank of each scope, and of each detector alone.

Four chat deployments (synthetic traffic of three with all that it plants, and the quiet stream of the conformance
suite) and two of classic models go through the banks in messages of a hundred, as a worker feeds them. No call is of
both kinds: a chat has no features and no score, a classic model neither texts nor tokens. The first half warms the
detectors up and is not timed.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from river import anomaly, drift

from detectors import features
from detectors.alarms import Budget
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector
from detectors.types import Observation
from streams.plays.traffic import synthetic
from tests.detectors import conformance
from tests.quality.task import OURS, Figure, Target, Task

_EVENTS, _QUIET, _CLASSIC, _MESSAGE = 7_000, 5_000, 3_000, 100
_SPAN_S = _QUIET * conformance.QUIET_GAP_S
_CLASSIC_MODELS, _CLIENTS = 2, 20
_HOSTS_EVERY = 20
"""One answer in so many of the quiet deployment names hosts."""

_ALL = {scope: f"everything, {scope} scope" for scope in (DEPLOYMENT, PRINCIPAL)}
_ONE = {scope: f"one detector, {scope} scope" for scope in (DEPLOYMENT, PRINCIPAL)}
_MICROSECONDS = 1e6


@functools.lru_cache(maxsize=1)
def _messages(seed: int) -> list[list[Observation]]:
    played = synthetic(seed, conformance.START_S + _SPAN_S, events=_EVENTS, hours=_SPAN_S / 3_600.0)
    events = [
        msgspec.structs.replace(event, event_id=f"t:0:{index}:0", time_s=event.time_s or 0.0)
        for index, event in enumerate(played.events)
    ]
    observed = [
        observation
        for start in range(0, len(events), _MESSAGE)
        for observation in features.observe(events[start : start + _MESSAGE], b"k" * 32)
    ]
    mixed = sorted([*observed, *_application(seed), *_classic(seed)], key=lambda observation: observation.time_s)
    return [mixed[start : start + _MESSAGE] for start in range(0, len(mixed), _MESSAGE)]


def _application(seed: int) -> Iterator[Observation]:
    """The quiet chat deployment without the fields of classic models, which it has to feed every detector."""
    for index, observation in enumerate(conformance.quiet(_QUIET, seed)):
        yield msgspec.structs.replace(
            observation,
            deployment="application",
            prediction=None,
            score=None,
            features=None,
            features_schema=None,
            hosts=observation.hosts if index % _HOSTS_EVERY == 1 or observation.hosts is None else (),
        )


def _classic(seed: int) -> Iterator[Observation]:
    """Calls of classic models by several clients, over the same time: rows of six numbers and a category."""
    for index, drawn in enumerate(conformance.quiet(_CLASSIC, seed + 1)):
        yield Observation(
            event_id=f"classic:{index}",
            time_s=conformance.START_S + (drawn.time_s - conformance.START_S) * _QUIET / _CLASSIC,
            deployment=f"classic-{index % _CLASSIC_MODELS}",
            principal=f"client-{index % _CLIENTS}",
            model="scores",
            network=drawn.network,
            user_agent=drawn.user_agent,
            latency_s=drawn.latency_s,
            failed=drawn.failed,
            error_type=drawn.error_type,
            prediction=None if drawn.failed else drawn.prediction,
            score=None if drawn.failed else drawn.score,
            features=drawn.features,
            features_schema=drawn.features_schema,
        )


def _is_classic(observation: Observation) -> bool:
    return observation.features is not None


def _is_chat(observation: Observation) -> bool:
    return observation.features is None


_KINDS = {
    "everything, deployment scope, chat only": _is_chat,
    "everything, deployment scope, classic only": _is_classic,
}


def _only(messages: list[list[Observation]], wanted: Callable[[Observation], bool]) -> list[list[Observation]]:
    """Those messages with only some of their observations."""
    return [[observation for observation in message if wanted(observation)] for message in messages]


def _bank_us(scope: str, kinds: Mapping[str, type[Detector]], messages: list[list[Observation]]) -> float:
    """CPU microseconds per observation of a bank with `kinds`, in the second half of `messages`."""
    bank = Bank(scope, Budget(), kinds)
    half = len(messages) // 2
    for offset, message in enumerate(messages[:half]):
        bank.apply(0, offset, message)
    seen = sum(bank.subject_of(observation) is not None for message in messages[half:] for observation in message)
    began_s = time.process_time()
    for offset, message in enumerate(messages[half:], half):
        bank.apply(0, offset, message)
    return (time.process_time() - began_s) / seen * _MICROSECONDS


class _Naive:
    """River as the examples have it: two change detectors on each number, half-space trees over all of them."""

    def __init__(self) -> None:
        self._watches = [(drift.ADWIN(), drift.PageHinkley()) for _ in range(5)]
        self._trees = anomaly.HalfSpaceTrees()

    def update(self, observation: Observation) -> None:
        lengths = (observation.style or ())[:2]
        known = (observation.latency_s, observation.ttft_s, observation.output_tokens, *lengths)
        values = [0.0 if value is None or not math.isfinite(value) else float(value) for value in known]
        for value, watches in zip(values, self._watches, strict=False):
            for watch in watches:
                watch.update(value)
        self._trees.score_one(row := dict(enumerate(values)))
        self._trees.learn_one(row)


def _naive_us(messages: list[list[Observation]]) -> float:
    made: dict[str, _Naive] = {}
    half = len(messages) // 2
    began_s, seen = 0.0, 0
    for offset, observation in enumerate(itertools.chain.from_iterable(messages)):
        if offset == half * _MESSAGE:
            began_s = time.process_time()
        seen += offset >= half * _MESSAGE
        made.setdefault(observation.deployment, _Naive()).update(observation)
    return (time.process_time() - began_s) / seen * _MICROSECONDS


def _measure(data: Path, seed: int) -> Iterator[Figure]:
    messages, catalog = _messages(seed), discover()
    for scope, metric in _ALL.items():
        kinds = {name: kind for name, kind in catalog.items() if kind.metadata.scope == scope}
        yield Figure(contender=OURS, metric=metric, value=_bank_us(scope, kinds, messages))
        if scope == DEPLOYMENT:
            for named, wanted in _KINDS.items():
                some = _only(messages, wanted)
                yield Figure(contender=OURS, metric=named, value=_bank_us(scope, kinds, some))
        empty_us = _bank_us(scope, {}, messages)
        yield Figure(contender="the bank alone", metric=_ONE[scope], value=empty_us)
        for name, kind in kinds.items():
            usable = _only(messages, kind.metadata.can_use)
            cost_us = max(_bank_us(scope, {name: kind}, usable) - empty_us, 0.0)
            yield Figure(contender=name, metric=_ONE[scope], value=cost_us)
    yield Figure(contender="River naive", metric=_ALL[DEPLOYMENT], value=_naive_us(messages))


TASK = Task(
    title="Cost",
    needs=(),
    measure=_measure,
    targets=(
        Target(metric=_ALL[DEPLOYMENT], unit="µs", must=60.0, aim=30.0, less_is_better=True),
        Target(metric=_ALL[PRINCIPAL], unit="µs", must=15.0, aim=7.5, less_is_better=True),
        *(Target(metric=metric, unit="µs", less_is_better=True) for metric in _KINDS),
        Target(metric=_ONE[DEPLOYMENT], unit="µs", less_is_better=True),
        Target(metric=_ONE[PRINCIPAL], unit="µs", less_is_better=True),
    ),
    note=(
        "CPU time of one process per observation, after warm-up, on the machine at hand: banks of all detectors, and "
        "each detector alone, on the calls that have the fields it needs, less the bank around it. Four of five calls "
        "are chats, to four deployments, one is to a classic model; no call has the fields of both, as earlier "
        "versions of this bench had it, so their figures are not comparable. A deployment of chats costs its own "
        "figure, not that of the mix. River naive is ADWIN and PageHinkley on each of five numbers "
        "and one HalfSpaceTrees over them, per deployment, with defaults. A second run changes these figures alone. "
        "Tried: blocks of 12 to 64 observations instead of one, limits computed only near an alarm, plain numbers for "
        "small arrays, a whole message to one detector after the other (all of it halved the cost); turning garbage "
        "collection off (nothing)."
    ),
    seeds=5,
    alone=True,
)
