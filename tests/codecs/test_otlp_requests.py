"""Which bytes are an OpenTelemetry request, of which kind, and what is refused."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.codecs import UndecodableError, otlp
from tests.codecs.instrumented import CHAT, START_NS, Application, only


def test_a_request_that_begins_like_a_line_feed_and_a_brace_is_still_protobuf() -> None:
    beginnings = set()
    for padding in range(100):
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=START_NS)
        span.name = "n" * padding
        entry = span.attributes.add(key="gen_ai.request.model")
        entry.value.string_value = "m"
        value = request.SerializeToString()
        beginnings.add(value[:2])
        assert otlp.sniff(value)
        assert only(value).model == "m"
    assert b"\n{" in beginnings


def test_a_request_with_fields_that_none_of_its_kind_has_is_not_recognized() -> None:
    application = Application()
    application.call(CHAT)
    value = application.request()
    with_field_90 = value + b"\xd2\x05\x01x"
    assert otlp.sniff(value)
    assert not otlp.sniff(with_field_90)
    assert otlp.decode(with_field_90) == otlp.decode(value)


def test_metrics_are_refused_and_not_recognized() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name, metric.unit = "gen_ai.client.token.usage", "{token}"
    metric.sum.data_points.add(as_int=5, time_unix_nano=START_NS)
    value = request.SerializeToString()
    assert not otlp.sniff(value)
    with pytest.raises(UndecodableError, match="ExportTraceServiceRequest"):
        otlp.decode(value)


def test_a_request_without_calls_is_empty_and_no_dead_letter() -> None:
    assert otlp.decode(b'{"resourceSpans":[]}').items == []
    assert otlp.decode(b'{"resourceSpans":[{"scopeSpans":[{"spans":[]}]}]}').items == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "expected an ExportTraceServiceRequest"),
        (b"{}", "resourceSpans"),
        (b'{"resourceSpans":{}}', "resourceSpans"),
        (b'{"resourceSpans":[7]}', "resourceSpans"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":7}]}]}', "spans: expected an array"),
        (b'{"resourceSpans":[{"resource":{"attributes":[7]}}]}', "attributes"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"\xff"}]}]}]}]}', "invalid UTF-8"),
    ],
)
def test_a_request_that_cannot_be_told_apart_is_refused_as_a_whole(value: bytes, said: str) -> None:
    with pytest.raises(UndecodableError, match=said):
        otlp.decode(value)


def test_a_truncated_request_is_refused_as_a_whole() -> None:
    application = Application()
    application.call(CHAT)
    value = application.request()
    for size in range(1, len(value)):
        assert not otlp.sniff(value[:size])
        with pytest.raises(UndecodableError):
            otlp.decode(value[:size])


def test_attributes_nested_without_end_are_survived() -> None:
    nested = '{"arrayValue":{"values":[' * 5_000 + "]}}" * 5_000
    with pytest.raises(UndecodableError, match="nested"):
        otlp.decode(f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{nested}]}}]}}]}}]}}'.encode())
