"""Events of about 1.6 kB: prompt and answer of a call in full, with who called and what answered. Seeded.

Every text is put together anew from a pool of sentences, so no two are alike: a cache of whole texts would gain
nothing. A few sentences hold what privacy has to find (addresses, keys, numbers), as real traffic does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

JSON = "application/vnd.inferwatch.event+json"
PROTOBUF = "application/x-protobuf"
OTLP_SPANS = 200
"""In one request of a collector."""

GOOD = "sha256:" + "a" * 64
_PROMPT_SENTENCES, _ANSWER_SENTENCES = 5, 7
_POOL, _WORDS = 2_000, 2_000
_SYLLABLES = ("an", "be", "cor", "de", "el", "fi", "gra", "hu", "in", "ju", "ka", "lo", "mi", "no", "or", "pe", "qui")
_PRIVATE = (
    "Write to maria.{0}@example.org about it.",
    "The call came from 10.1.2.{0} again.",
    "Her number is +49 170 555 12{0}.",
    "It said that the password=hunter{0} was refused.",
)
_PRIVATE_SHARE = 0.02

Event = dict[str, Any]


class Load:
    """Calls of `principals` to `deployments`, all equally often."""

    def __init__(self, seed: int, deployments: int = 20, principals: int = 1_000, sentences: int = _POOL) -> None:
        """The same seed gives the same events; of few `sentences` a store finds many again and packs them away."""
        self._random = random.Random(seed)
        self._pool = list(self._sentences(sentences))
        self.deployments = [f"deployment-{number}" for number in range(deployments)]
        self._principals = principals

    def event(self, time_s: float, deployment: str | None = None, weights: str = GOOD) -> Event:
        """One call in our own format."""
        draw = self._random
        prompt, answer = (" ".join(draw.choices(self._pool, k=k)) for k in (_PROMPT_SENTENCES, _ANSWER_SENTENCES))
        principal = draw.randrange(self._principals)
        return {
            "deployment": deployment or draw.choice(self.deployments),
            "time_s": time_s,
            "operation": "chat",
            "provider": "self-hosted",
            "model": "m-1",
            "served_model": "m-1-2026-10",
            "components": {"weights": weights},
            "principal": f"key-{principal}",
            "network": f"192.0.2.{principal % 250}",
            "user_agent": "python-sdk/2.1",
            "session": f"s-{principal}-{int(time_s) // 600}",
            "response_id": f"resp-{draw.getrandbits(64):016x}",
            "trace_id": f"{draw.getrandbits(128):032x}",
            "span_id": f"{draw.getrandbits(64):016x}",
            "latency_s": round(0.4 + draw.expovariate(2.0), 4),
            "ttft_s": round(0.1 + draw.expovariate(20.0), 4),
            "input_tokens": len(prompt) // 4,
            "output_tokens": len(answer) // 4,
            "temperature": 0.7,
            "max_tokens": 1024,
            "finish_reasons": ["stop"],
            "input_messages": [{"role": "user", "content": prompt}],
            "output_messages": [{"role": "assistant", "content": answer}],
        }

    def records(self, events: int, per_record: int, end_s: float, rate: float = 5_000.0) -> Iterator[bytes]:
        """`events` calls at `rate` a second that end at `end_s`; one in a record is an object, more are an array."""
        for first in range(0, events, per_record):
            times = [end_s - (events - at) / rate for at in range(first, min(first + per_record, events))]
            batch = [self.event(time_s) for time_s in times]
            yield msgspec.json.encode(batch[0] if per_record == 1 else batch)

    def requests(self, events: int, end_s: float, rate: float = 5_000.0) -> Iterator[bytes]:
        """The same as requests of an OpenTelemetry collector, `OTLP_SPANS` each, a resource for each deployment."""
        for first in range(0, events, OTLP_SPANS):
            request = ExportTraceServiceRequest()
            by_deployment: dict[str, list[Event]] = {}
            for at in range(first, min(first + OTLP_SPANS, events)):
                event = self.event(end_s - (events - at) / rate)
                by_deployment.setdefault(event["deployment"], []).append(event)
            for deployment, calls in by_deployment.items():
                resource = request.resource_spans.add()
                resource.resource.attributes.append(_attribute("service.name", deployment))
                spans = resource.scope_spans.add().spans
                for call in calls:
                    _fill(spans.add(), call)
            yield request.SerializeToString()

    def _sentences(self, count: int) -> Iterator[str]:
        draw = self._random
        words = ["".join(draw.choices(_SYLLABLES, k=draw.randrange(1, 4))) for _ in range(_WORDS)]
        for _ in range(count):
            if draw.random() < _PRIVATE_SHARE:
                yield draw.choice(_PRIVATE).format(draw.randrange(10, 250))
            else:
                yield " ".join(draw.choices(words, k=draw.randrange(12, 18))).capitalize() + "."


def _fill(span: Any, call: Event) -> None:
    span.name = "chat m-1"
    span.kind = 3
    span.trace_id, span.span_id = bytes.fromhex(call["trace_id"]), bytes.fromhex(call["span_id"])
    span.start_time_unix_nano = int(call["time_s"] * 1e9)
    span.end_time_unix_nano = int((call["time_s"] + call["latency_s"]) * 1e9)
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": call["provider"],
        "gen_ai.request.model": call["model"],
        "gen_ai.response.model": call["served_model"],
        "gen_ai.response.id": call["response_id"],
        "gen_ai.conversation.id": call["session"],
        "gen_ai.usage.input_tokens": call["input_tokens"],
        "gen_ai.usage.output_tokens": call["output_tokens"],
        "gen_ai.request.temperature": call["temperature"],
        "gen_ai.request.max_tokens": call["max_tokens"],
        "enduser.id": call["principal"],
        "client.address": call["network"],
        "user_agent.original": call["user_agent"],
        "inferwatch.component.weights": call["components"]["weights"],
        "gen_ai.input.messages": _parts(call["input_messages"]),
        "gen_ai.output.messages": _parts(call["output_messages"], finish_reason="stop"),
    }
    span.attributes.extend(_attribute(name, value) for name, value in said.items())


def _parts(messages: list[dict[str, str]], **fields: str) -> str:
    """Messages as the GenAI conventions write them: JSON text with a list of parts."""
    written = [
        {"role": each["role"], "parts": [{"type": "text", "content": each["content"]}], **fields} for each in messages
    ]
    return msgspec.json.encode(written).decode()


def _attribute(name: str, value: str | float) -> KeyValue:
    match value:
        case int():
            return KeyValue(key=name, value=AnyValue(int_value=value))
        case float():
            return KeyValue(key=name, value=AnyValue(double_value=value))
        case _:
            return KeyValue(key=name, value=AnyValue(string_value=value))
