"""How synthetic deployments answer: with which model and components, how fast, and what changes of that when."""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_right
from random import Random

import msgspec

from detectors.types import Components, InferenceEvent, Message, ToolCall
from streams.plays import _traffic_texts as texts
from streams.plays._traffic_callers import Call, Deployment

SELF_HOSTED = "self_hosted"
_ERRORS = (("timeout", 504, 30.0), ("rate_limit_exceeded", 429, 0.02), ("server_error", 500, 0.4))
_ERROR_SHARE, _REFUSAL_SHARE, _TAIL_SHARE = 0.01, 0.007, 0.01
_CHARS_PER_TOKEN = 4.2
_TURN_TOKENS = 160
_MAX_LOAD = 40
_TIME_BASE_TOKENS = 10_000


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment answers for a while.

    `slower` multiplies times, `added_s` comes on top of each time to the first token. `served_model` and `components`
    are what the serving side says of itself, where that is not what it says from the start. `tools` are names of tools
    with the address that their calls go to, called in a `tool_share` of the answers; `links` are addresses that a
    `link_share` of the answers name; `hosts` are what a `host_share` of the calls is seen to connect to.
    """

    voice: texts.Voice = texts.MEASURED
    slower: float = 1.0
    added_s: float = 0.0
    served_model: str | None = None
    components: Components | None = None
    error_share: float = _ERROR_SHARE
    refusal_share: float = _REFUSAL_SHARE
    tools: tuple[tuple[str, str], ...] = ()
    tool_share: float = 0.0
    links: tuple[str, ...] = ()
    link_share: float = 0.0
    hosts: tuple[str, ...] = ()
    host_share: float = 0.0


class Endpoint:
    """One deployment while it answers: what is in flight, and how it behaves from when on."""

    def __init__(
        self, deployment: Deployment, rng: Random, *, provider: str = SELF_HOSTED, stands_for: float = 1.0
    ) -> None:
        """It says nothing of its components where it is another `provider`'s; a call stands for so many like it."""
        self.deployment = deployment
        self._rng = rng
        self._provider = provider
        self._stands_for = stands_for
        self._in_flight: list[float] = []
        self._components = components_of(deployment) if provider == SELF_HOSTED else None
        self._since_s: list[float] = [float("-inf")]
        self._manners = [Manner()]

    def behaves(self, time_s: float, manner: Manner) -> None:
        """Answer in this manner from a time on; times come in order."""
        self._since_s.append(time_s)
        self._manners.append(manner)

    def manner(self, time_s: float) -> Manner:
        """How it behaves at a time."""
        return self._manners[bisect_right(self._since_s, time_s) - 1]

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
            region=caller.region,
            session=call.session,
            model=self.deployment.model,
            provider=self._provider,
            trace_id=f"{rng.getrandbits(128):032x}",
            span_id=f"{rng.getrandbits(64):016x}",
        )
        manner = self.manner(time_s)
        event = self._failed(asked) if rng.random() < manner.error_share else self._answered(asked, call, manner)
        heapq.heappush(self._in_flight, time_s + (event.latency_s or 0.0))
        return event

    def _failed(self, asked: InferenceEvent) -> InferenceEvent:
        error_type, status, latency_s = self._rng.choice(_ERRORS)
        latency_s *= self._rng.lognormvariate(0.0, 0.1)
        return msgspec.structs.replace(asked, error_type=error_type, http_status=status, latency_s=round(latency_s, 4))

    def _answered(self, asked: InferenceEvent, call: Call, manner: Manner) -> InferenceEvent:
        rng, prompt = self._rng, call.prompt
        output = self._write(call, manner)
        output_tokens = max(int(len(output) / _CHARS_PER_TOKEN * rng.lognormvariate(0.0, 0.05)), 1)
        finish_reason = "stop"
        if call.caller.max_tokens is not None and output_tokens > call.caller.max_tokens:
            output_tokens, finish_reason = call.caller.max_tokens, "length"
            output = output[: int(output_tokens * _CHARS_PER_TOKEN)]
        context = self.deployment.context_tokens * rng.lognormvariate(0.0, 0.35) + call.turn * _TURN_TOKENS
        input_tokens = int(len(prompt) / _CHARS_PER_TOKEN + context)
        ttft_s, latency_s = self._times(manner, input_tokens, output_tokens)
        answered = msgspec.structs.replace(
            asked,
            output_messages=(Message(role="assistant", content=output, tool_calls=self._called(manner)),),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            ttft_s=round(ttft_s, 4),
            latency_s=round(latency_s, 4),
            finish_reasons=(finish_reason,),
            http_status=200,
            cost_usd=round((0.5 * input_tokens + 1.5 * output_tokens) / 1e6, 8),
            served_model=manner.served_model or self.deployment.model,
            components=manner.components or self._components,
            response_id=f"resp-{rng.getrandbits(64):016x}",
        )
        if manner.hosts and rng.random() < manner.host_share:
            answered = msgspec.structs.replace(answered, egress_hosts=(rng.choice(manner.hosts),))
        return answered

    def _called(self, manner: Manner) -> tuple[ToolCall, ...] | None:
        """A call of one of the tools, now and then."""
        rng = self._rng
        if not manner.tools or rng.random() >= manner.tool_share:
            return None
        name, address = rng.choice(manner.tools)
        arguments = msgspec.json.encode({"url": f"{address}/{rng.getrandbits(24):06x}"}).decode()
        return (ToolCall(name=name, arguments=arguments, call_id=f"call-{rng.getrandbits(32):08x}"),)

    def _write(self, call: Call, manner: Manner) -> str:
        rng, deployment = self._rng, self.deployment
        if rng.random() < manner.refusal_share:
            return texts.refusal(rng, call.topic)
        chars = int(deployment.chars * manner.voice.scale * rng.lognormvariate(0.0, 0.6))
        answer = texts.answer(rng, manner.voice, call.topic, chars, deployment.code_share)
        if manner.links and rng.random() < manner.link_share:
            answer += f"\n\nSee {rng.choice(manner.links)} for more."
        return answer

    def _times(self, manner: Manner, input_tokens: int, output_tokens: int) -> tuple[float, float]:
        """Time to the first token and of the whole call, both in seconds, by tokens and load."""
        rng, deployment = self._rng, self.deployment
        load = min(self._stands_for * len(self._in_flight), _MAX_LOAD)
        ttft_s = deployment.ttft_s * (1.0 + input_tokens / _TIME_BASE_TOKENS) * (1.0 + 0.03 * load)
        ttft_s *= rng.lognormvariate(0.0, 0.18)
        per_token_s = deployment.per_token_s * (1.0 + 0.01 * load) * rng.lognormvariate(0.0, 0.1)
        if rng.random() < _TAIL_SHARE:
            ttft_s *= 1.5 + rng.expovariate(0.7)
        ttft_s, per_token_s = manner.slower * ttft_s + manner.added_s, manner.slower * per_token_s
        return ttft_s, ttft_s + per_token_s * output_tokens


def components_of(deployment: Deployment) -> Components:
    """What a deployment that we host is made of at first."""
    name = f"{deployment.name}/{deployment.model}"
    return Components(
        weights=digest(f"{name}/weights"),
        tokenizer=digest(f"{deployment.model}/tokenizer"),
        prompt_template=digest(f"{name}/prompt_template"),
        image=digest("serving-image"),
    )


def digest(text: str) -> str:
    """The digest of a component that does not exist."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
