"""OTLP on the wire of JSON: export requests of traces and of logs, read into parts.

Source: the JSON mapping of the OTLP specification, from which senders in the field deviate in known ways:
`intValue` is text or a number, names are in camelCase or snake_case, ids are hex or base64.
"""

from __future__ import annotations

import binascii
import re
from itertools import chain
from typing import TYPE_CHECKING

from streams.codecs import Reject, UndecodableError
from streams.codecs._json import FieldError, count, mapping, sequence
from streams.codecs._otlp_parts import (
    ERROR_CODES,
    MAX_ID_CHARS,
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
    from collections.abc import Callable, Iterable, Iterator, Mapping

_SNAKE = {
    "resourceSpans": "resource_spans",
    "resourceLogs": "resource_logs",
    "scopeSpans": "scope_spans",
    "scopeLogs": "scope_logs",
    "logRecords": "log_records",
    "traceId": "trace_id",
    "spanId": "span_id",
    "startTimeUnixNano": "start_time_unix_nano",
    "endTimeUnixNano": "end_time_unix_nano",
    "timeUnixNano": "time_unix_nano",
    "observedTimeUnixNano": "observed_time_unix_nano",
    "eventName": "event_name",
    "droppedEventsCount": "dropped_events_count",
}
_NONE_DROPPED: tuple[object, ...] = (None, 0, "0")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)


def from_json(request: Mapping[str, object]) -> Iterator[Part | Reject]:
    """Return the parts of a parsed export request, a `Reject` for each that is malformed.

    Raises `UndecodableError` where the request itself is malformed: which parts there are can then not be told.
    """
    try:
        spans = list(_scopes(request, "resourceSpans", "scopeSpans", "spans"))
        records = list(_scopes(request, "resourceLogs", "scopeLogs", "logRecords"))
    except FieldError as error:
        raise UndecodableError(str(error)) from None
    return chain(_parts(_span, spans), _parts(_record, records))


def is_json_request(request: object) -> bool:
    """Whether a parsed JSON value has what only an export request has at its top."""
    return isinstance(request, dict) and any(
        isinstance(request.get(name), list)
        for camel in ("resourceSpans", "resourceLogs")
        for name in (camel, _SNAKE[camel])
    )


def _scopes(
    request: Mapping[str, object], groups: str, scopes: str, parts: str
) -> Iterator[tuple[Attributes, list[object]]]:
    for at, group in enumerate(_objects(request, groups)):
        path = f"{groups}[{at}]"
        resource = mapping(group, "resource", path) or {}
        attributes = _attributes(sequence(resource, "attributes", f"{path}.resource"))
        for scope in _objects(group, scopes, path):
            yield attributes, sequence(scope, _named(scope, parts), path) or []


def _parts(
    read: Callable[[Mapping[str, object], Attributes], Part], scopes: Iterable[tuple[Attributes, list[object]]]
) -> Iterator[Part | Reject]:
    for resource, parts in scopes:
        for part in parts:
            try:
                yield read(part, resource) if isinstance(part, dict) else Reject("expected a span or a log record")
            except FieldError as error:
                yield Reject(str(error))


def _span(span: Mapping[str, object], resource: Attributes) -> Part:
    status = mapping(span, "status") or {}
    return Part(
        is_log=False,
        name=_name(span.get("name")),
        attributes=_attributes(sequence(span, "attributes")),
        resource=resource,
        trace_id=_id(span, "traceId", TRACE_ID_BYTES),
        span_id=_id(span, "spanId", SPAN_ID_BYTES),
        start_ns=count(span, _named(span, "startTimeUnixNano")) or 0,
        end_ns=count(span, _named(span, "endTimeUnixNano")) or 0,
        failed=status.get("code") in ERROR_CODES,
        events=tuple(
            SpanEvent(
                _name(event.get("name")),
                count(event, _named(event, "timeUnixNano"), "events") or 0,
                _attributes(sequence(event, "attributes", "events")),
            )
            for event in _objects(span, "events")
        ),
        has_all_events=span.get(_named(span, "droppedEventsCount")) in _NONE_DROPPED,
    )


def _record(record: Mapping[str, object], resource: Attributes) -> Part:
    attributes = _attributes(sequence(record, "attributes"))
    time_ns = count(record, _named(record, "timeUnixNano"))
    return Part(
        is_log=True,
        name=_name(record.get(_named(record, "eventName"))) or event_name(attributes),
        attributes=with_body(_value(record.get("body")), attributes),
        resource=resource,
        trace_id=_id(record, "traceId", TRACE_ID_BYTES),
        span_id=_id(record, "spanId", SPAN_ID_BYTES),
        start_ns=time_ns or count(record, _named(record, "observedTimeUnixNano")) or 0,
    )


def _objects(fields: Mapping[str, object], name: str, at: str = "") -> list[dict[str, object]]:
    objects: list[dict[str, object]] = []
    for entry in sequence(fields, _named(fields, name), at) or []:
        if not isinstance(entry, dict):
            raise FieldError(f"{name}: expected objects")
        objects.append(entry)
    return objects


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _named(fields: Mapping[str, object], name: str) -> str:
    return name if name in fields else _SNAKE.get(name, name)


def _attributes(entries: list[object] | None) -> Attributes:
    attributes: Attributes = {}
    for entry in entries or ():
        if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
            raise FieldError("attributes: expected objects with a key and a value")
        attributes[entry["key"]] = _value(entry.get("value"))
    return attributes


def _value(value: object) -> object:
    if not isinstance(value, dict):
        if value is None:
            return None
        raise FieldError("attributes: expected every value to be an object such as {stringValue: ...}")
    for kind, held in value.items():
        if kind in {"intValue", "int_value"} and isinstance(held, str):
            return _whole(held)
        if kind in {"arrayValue", "array_value"} and isinstance(held, dict):
            return [_value(element) for element in sequence(held, "values", kind) or ()]
        if kind in {"kvlistValue", "kvlist_value"} and isinstance(held, dict):
            return _attributes(sequence(held, "values", kind))
        return held
    return None


def _whole(digits: str) -> int:
    if not _INTEGER.fullmatch(digits):
        raise FieldError("attributes: expected every intValue to be a 64-bit integer")
    return int(digits)


def _id(fields: Mapping[str, object], name: str, size_bytes: int) -> str | None:
    """Read an id written as hex (as OTLP has it), as base64 (as protobuf's JSON has it), or as any short text."""
    value = fields.get(_named(fields, name))
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        return None
    for read in (binascii.unhexlify, binascii.a2b_base64):
        try:
            raw = read(value)
        except ValueError:
            continue
        if len(raw) == size_bytes:
            return hexadecimal(raw)
    return value
