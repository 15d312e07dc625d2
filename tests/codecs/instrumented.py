"""A program that the real OpenTelemetry SDK instruments: where the tests of `otlp` get their records."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from detectors.types import InferenceEvent
from streams.codecs import otlp

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


class Application:
    """A program that is instrumented with the real SDK; `request` is what its exporter would send."""

    def __init__(self, **resource: str) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(
            resource=Resource({name.replace("_", "."): value for name, value in resource.items()})
        )
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")

    def call(self, attributes: Mapping[str, object], seconds: float = 1.5) -> None:
        span = self.tracer.start_span("call", start_time=START_NS)
        span.set_attributes(attributes)  # type: ignore[arg-type]  # the tests also set what the SDK warns about
        span.end(START_NS + int(seconds * SECOND_NS))

    def request(self) -> bytes:
        return bytes(encode_spans(self.exporter.get_finished_spans()).SerializeToString())


def only(value: bytes) -> InferenceEvent:
    (item,) = otlp.decode(value).items
    assert isinstance(item, InferenceEvent), item
    return item


def sent(attributes: Mapping[str, object], **resource: str) -> InferenceEvent:
    application = Application(**resource)
    application.call(attributes)
    return only(application.request())


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
