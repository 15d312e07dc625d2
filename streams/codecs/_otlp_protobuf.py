"""OTLP on the wire of protobuf: export requests of traces and of logs, read into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.codecs import UndecodableError
from streams.codecs._otlp_parts import (
    ERROR_CODES,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Attributes,
    Part,
    SpanEvent,
    event_name,
    hexadecimal,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


def from_protobuf(value: bytes) -> Iterator[Part]:
    """Return the parts of an export request, of traces or of logs.

    The two have no mark that tells them apart, and the bytes of one often parse as the other, with most fields
    unknown. What decides are fields whose wire types differ: a span has its start as fixed64 in field 7 (or
    ids of 16 and 8 bytes), a log record one of its two times in fields 1 and 11; neither another log record,
    another span nor a metric can have that. Raises `UndecodableError` where it is neither.
    """
    traces = _as_traces(value)
    if traces is not None:
        return _protobuf_spans(traces)
    logs = _as_logs(value)
    if logs is not None:
        return _protobuf_logs(logs)
    raise UndecodableError("expected an ExportTraceServiceRequest or an ExportLogsServiceRequest as protobuf")


def is_protobuf_request(value: bytes) -> bool:
    """Whether `value` can be nothing but an export request: it is one, and its upper levels hold nothing unknown."""
    request = _as_traces(value) or _as_logs(value)
    if request is None:
        return False
    groups = request.resource_spans if isinstance(request, ExportTraceServiceRequest) else request.resource_logs
    return not any(len(UnknownFieldSet(message)) for message in (request, *groups))


def _as_traces(value: bytes) -> ExportTraceServiceRequest | None:
    """Parse a request that holds spans, or resources without any."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(value)
    except DecodeError:
        return None
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    return request if request.resource_spans and (not spans or any(map(_is_span, spans))) else None


def _as_logs(value: bytes) -> ExportLogsServiceRequest | None:
    """Parse a request that holds log records."""
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(value)
    except DecodeError:
        return None
    records = [record for group in request.resource_logs for scope in group.scope_logs for record in scope.log_records]
    return request if any(record.time_unix_nano or record.observed_time_unix_nano for record in records) else None


def _is_span(span: Span) -> bool:
    return bool(span.start_time_unix_nano) or (
        len(span.trace_id) == TRACE_ID_BYTES and len(span.span_id) == SPAN_ID_BYTES
    )


def _protobuf_spans(request: ExportTraceServiceRequest) -> Iterator[Part]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Part(
                    is_log=False,
                    name=span.name,
                    attributes=_attributes(span.attributes),
                    resource=resource,
                    trace_id=hexadecimal(span.trace_id),
                    span_id=hexadecimal(span.span_id),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code in ERROR_CODES,
                    events=tuple(
                        SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
                        for event in span.events
                    ),
                    has_all_events=not span.dropped_events_count,
                )


def _protobuf_logs(request: ExportLogsServiceRequest) -> Iterator[Part]:
    for group in request.resource_logs:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                attributes = _attributes(record.attributes)
                yield Part(
                    is_log=True,
                    name=record.event_name or event_name(attributes),
                    attributes=with_body(_value(record.body), attributes),
                    resource=resource,
                    trace_id=hexadecimal(record.trace_id),
                    span_id=hexadecimal(record.span_id),
                    start_ns=record.time_unix_nano or record.observed_time_unix_nano,
                )


def _attributes(entries: Iterable[KeyValue]) -> Attributes:
    # Most are texts, and what has one has nothing else: asking which it is would take longer than all the rest.
    return {entry.key: entry.value.string_value or _value(entry.value) for entry in entries}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return value.int_value
    if kind == "array_value":
        return [_value(element) for element in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
