"""Traffic with an incident planted in it, for the demo: a seeded synthetic generator.

Synthetic: the texts are templates of this repository and the numbers are drawn, shaped like published traces of
language model serving (bursts of arrivals, log-normal latencies with a heavy tail, time by tokens and load).
`recorded` plays real data instead. The same seed gives the same events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random

import msgspec

from detectors.types import InferenceEvent
from streams.plays._traffic_callers import ASSISTANT, CHAT, DEPLOYMENTS, SUMMARIES, Span, plan
from streams.plays._traffic_endpoints import Endpoint, Manner
from streams.plays._traffic_texts import LIVELY

MIN_EVENTS = 1_000
"""Below this no detector has seen enough of a deployment to have an opinion when the incident begins."""

INCIDENT_AT = 0.6
"""Share of the span that has passed when the incident begins."""

SLOWER = 1.18
"""What the latency step multiplies times with."""

_STEP_AFTER_S, _SWEEP_AFTER_S = 300.0, 600.0


class TrafficError(Exception):
    """There is nothing to play; the message is one line for a person."""


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the planted incident, as ground truth for the demo's summary.

    `detectors` are the ids that would count as having seen it, `subject` is the deployment or the raw
    principal, `time_s` the event time at which it begins.
    """

    name: str
    detectors: tuple[str, ...]
    scope: str
    subject: str
    time_s: float
    description: str


class Traffic(msgspec.Struct):
    """Events in order of time, and what was planted in them."""

    events: list[InferenceEvent]
    planted: tuple[Planted, ...]
    description: str


def seeded(seed: int) -> Random:
    """The one source of chance."""
    return Random(seed)  # noqa: S311 - reproducible traffic, no secrets


def incident_times(start_s: float, end_s: float) -> tuple[float, float, float]:
    """When the swap, the step and the sweep begin: minutes apart, closer in a short span."""
    span_s = end_s - start_s
    first_s = start_s + INCIDENT_AT * span_s
    return first_s, first_s + min(_STEP_AFTER_S, 0.04 * span_s), first_s + min(_SWEEP_AFTER_S, 0.08 * span_s)


def encode(events: Iterable[InferenceEvent], per_record: int = 50) -> Iterator[bytes]:
    """Records of the native format, `per_record` events each as a JSON array."""
    remaining = iter(events)
    while batch := list(islice(remaining, per_record)):
        yield msgspec.json.encode(batch)


def synthetic(seed: int, end_s: float, events: int = 20_000, hours: float = 6.0) -> Traffic:
    """`events` calls to three deployments in the `hours` before `end_s`.

    Raises `TrafficError` when that is too little to plant anything in. Costs about 100 us an event.
    """
    if events < MIN_EVENTS or not hours > 0.0:
        raise TrafficError(f"expected at least {MIN_EVENTS} events in more than 0 hours, got {events} in {hours}")
    rng = seeded(seed)
    start_s = end_s - hours * 3_600.0
    swap_s, step_s, sweep_s = incident_times(start_s, end_s)
    planned = plan(rng, Span(start_s, end_s, sweep_s), events)
    endpoints = {each.name: Endpoint(each, rng) for each in DEPLOYMENTS}
    endpoints[CHAT.name].behaves(swap_s, Manner(voice=LIVELY))
    endpoints[SUMMARIES.name].behaves(step_s, Manner(slower=SLOWER))
    answered = [endpoints[call.caller.deployment.name].serve(call) for call in planned.calls]
    sweep = [call for call in planned.calls if call.caller.principal == planned.sweeper and call.time_s >= sweep_s]
    planted = (
        Planted(
            name="silent model swap",
            detectors=("output_drift",),
            scope="deployment",
            subject=CHAT.name,
            time_s=swap_s,
            description=f"{CHAT.name} answers in another voice, while served_model stays {CHAT.model}",
        ),
        Planted(
            name="latency step",
            detectors=("latency_shift",),
            scope="deployment",
            subject=SUMMARIES.name,
            time_s=step_s,
            description=f"{SUMMARIES.name} takes {SLOWER - 1.0:.0%} longer at equal tokens and load",
        ),
        Planted(
            name="extracting principal",
            detectors=("extraction", "token_volume"),
            scope="principal",
            subject=planned.sweeper,
            time_s=sweep_s,
            description=(
                f"{len(sweep)} systematic exercises to {ASSISTANT.name} at temperature 0, one every "
                f"{(end_s - sweep_s) / max(len(sweep), 1):.1f} s, log-probabilities asked for in a third of them"
            ),
        ),
    )
    callers = len({call.caller.principal for call in planned.calls})
    description = (
        f"synthetic (seed {seed}): {len(answered)} calls by {callers} principals to {len(DEPLOYMENTS)} deployments "
        f"in {hours:g} hours"
    )
    return Traffic(answered, planted, description)
