"""Traffic with an incident planted in it, for the demo: a seeded synthetic generator.

Synthetic: the texts are templates of this repository and the numbers are drawn, shaped like published traces of
language model serving (bursts of arrivals, log-normal latencies with a heavy tail, time by tokens and load).
`recorded` plays real data instead. The same seed gives the same events.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random

import msgspec

from detectors.types import Components, InferenceEvent, Message
from streams import _traffic_texts as texts
from streams._traffic_callers import ASSISTANT, CHAT, DEPLOYMENTS, SUMMARIES, Call, Deployment, Span, plan

MIN_EVENTS = 1_000
"""Below this no detector has seen enough of a deployment to have an opinion when the incident begins."""

INCIDENT_AT = 0.6
"""Share of the span that has passed when the incident begins."""

SLOWER = 1.18
"""What the latency step multiplies times with."""

_STEP_AFTER_S, _SWEEP_AFTER_S = 300.0, 600.0
_ERRORS = (("timeout", 504, 30.0), ("rate_limit_exceeded", 429, 0.02), ("server_error", 500, 0.4))
_ERROR_SHARE, _REFUSAL_SHARE, _TAIL_SHARE = 0.01, 0.007, 0.01
_CHARS_PER_TOKEN = 4.2
_TURN_TOKENS = 160
_MAX_LOAD = 40


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
    endpoints = {each.name: _Endpoint(each, rng) for each in DEPLOYMENTS}
    endpoints[CHAT.name].swap_s = swap_s
    endpoints[SUMMARIES.name].step_s = step_s
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


class _Endpoint:
    """One deployment while it answers: what is in flight, and which parts of the incident it has."""

    def __init__(self, deployment: Deployment, rng: Random) -> None:
        self.deployment = deployment
        self.swap_s = self.step_s = math.inf
        self._rng = rng
        self._in_flight: list[float] = []
        name = f"{deployment.name}/{deployment.model}"
        self._components = Components(
            weights=_digest(f"{name}/weights"),
            tokenizer=_digest(f"{deployment.model}/tokenizer"),
            prompt_template=_digest(f"{name}/prompt_template"),
            image=_digest("serving-image"),
        )

    def serve(self, call: Call) -> InferenceEvent:
        """Answer one call; calls come in order of time."""
        rng, caller, time_s = self._rng, call.caller, call.time_s
        while self._in_flight and self._in_flight[0] <= time_s:
            heapq.heappop(self._in_flight)
        asked = InferenceEvent(
            deployment=self.deployment.name,
            time_s=time_s,
            operation="chat",
            input_messages=(Message(role="user", content=call.prompt),),
            temperature=caller.temperature,
            top_p=caller.top_p,
            max_tokens=caller.max_tokens,
            logprobs=True if call.top_logprobs else None,
            top_logprobs=call.top_logprobs,
            stream=caller.stream,
            principal=caller.principal,
            network=caller.network,
            user_agent=caller.user_agent,
            session=call.session,
            model=self.deployment.model,
            provider="self_hosted",
            trace_id=f"{rng.getrandbits(128):032x}",
            span_id=f"{rng.getrandbits(64):016x}",
        )
        event = self._failed(asked) if rng.random() < _ERROR_SHARE else self._answered(asked, call)
        heapq.heappush(self._in_flight, time_s + (event.latency_s or 0.0))
        return event

    def _failed(self, asked: InferenceEvent) -> InferenceEvent:
        error_type, status, latency_s = self._rng.choice(_ERRORS)
        latency_s *= self._rng.lognormvariate(0.0, 0.1)
        return msgspec.structs.replace(asked, error_type=error_type, http_status=status, latency_s=round(latency_s, 4))

    def _answered(self, asked: InferenceEvent, call: Call) -> InferenceEvent:
        rng, prompt = self._rng, call.prompt
        output = self._write(call)
        output_tokens = max(int(len(output) / _CHARS_PER_TOKEN * rng.lognormvariate(0.0, 0.05)), 1)
        finish_reason = "stop"
        if call.caller.max_tokens is not None and output_tokens > call.caller.max_tokens:
            output_tokens, finish_reason = call.caller.max_tokens, "length"
            output = output[: int(output_tokens * _CHARS_PER_TOKEN)]
        context = self.deployment.context_tokens * rng.lognormvariate(0.0, 0.35) + call.turn * _TURN_TOKENS
        input_tokens = int(len(prompt) / _CHARS_PER_TOKEN + context)
        ttft_s, latency_s = self._times(asked.time_s or 0.0, input_tokens, output_tokens)
        return msgspec.structs.replace(
            asked,
            output_messages=(Message(role="assistant", content=output),),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            ttft_s=round(ttft_s, 4),
            latency_s=round(latency_s, 4),
            finish_reasons=(finish_reason,),
            http_status=200,
            cost_usd=round((0.5 * input_tokens + 1.5 * output_tokens) / 1e6, 8),
            served_model=self.deployment.model,
            components=self._components,
            response_id=f"resp-{rng.getrandbits(64):016x}",
        )

    def _write(self, call: Call) -> str:
        rng, deployment = self._rng, self.deployment
        if rng.random() < _REFUSAL_SHARE:
            return texts.refusal(rng, call.topic)
        voice = texts.LIVELY if call.time_s >= self.swap_s else texts.MEASURED
        chars = int(deployment.chars * voice.scale * rng.lognormvariate(0.0, 0.6))
        return texts.answer(rng, voice, call.topic, chars, deployment.code_share)

    def _times(self, time_s: float, input_tokens: int, output_tokens: int) -> tuple[float, float]:
        """Time to the first token and of the whole call, both in seconds, by tokens and load."""
        rng, deployment = self._rng, self.deployment
        load = min(len(self._in_flight), _MAX_LOAD)
        ttft_s = deployment.ttft_s * (1.0 + input_tokens / 10_000) * (1.0 + 0.03 * load) * rng.lognormvariate(0.0, 0.18)
        per_token_s = deployment.per_token_s * (1.0 + 0.01 * load) * rng.lognormvariate(0.0, 0.1)
        if rng.random() < _TAIL_SHARE:
            ttft_s *= 1.5 + rng.expovariate(0.7)
        if time_s >= self.step_s:
            ttft_s, per_token_s = SLOWER * ttft_s, SLOWER * per_token_s
        return ttft_s, ttft_s + per_token_s * output_tokens


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
