"""What OTLP carries, whichever wire it came by: a `Part` is one span or one log record.

Nothing here knows what a model call is. Attribute values are plain Python: text, int, float, bool, None,
bytes, list, dict.
"""

from __future__ import annotations

import msgspec

Attributes = dict[str, object]

MAX_ID_CHARS = 64
"""An id is a key of joins and of an index. Without a limit a sender that puts a document there bloats both."""

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
ERROR_CODES: tuple[object, ...] = (2, "2", "STATUS_CODE_ERROR")
"""How a span's status says that it failed, on either wire."""


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened at one moment of a span; `time_ns` is unix nanoseconds, 0 if unknown."""

    name: str
    time_ns: int
    attributes: Attributes


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One span or one log record.

    Times are unix nanoseconds, 0 if unknown; a log record has no end. `name` is the span's or the log event's.
    `has_all_events` is false where the sender says that it dropped some; the SDK drops the oldest.
    """

    is_log: bool
    name: str
    attributes: Attributes
    resource: Attributes
    trace_id: str | None
    span_id: str | None
    start_ns: int
    end_ns: int = 0
    failed: bool = False
    events: tuple[SpanEvent, ...] = ()
    has_all_events: bool = True


def event_name(attributes: Attributes) -> str:
    """Return the name that a log event has in an attribute, where older senders put it."""
    name = attributes.get("event.name")
    return name if isinstance(name, str) else ""


def with_body(body: object, attributes: Attributes) -> Attributes:
    """Merge a structured body, where earlier instrumentations put what later ones put into attributes."""
    return {**body, **attributes} if isinstance(body, dict) else attributes


def hexadecimal(identifier: bytes) -> str | None:
    """Return an id as lowercase hex; one of zeros is no id, nor is one that is too long."""
    return identifier.hex() if 2 * len(identifier) <= MAX_ID_CHARS and any(identifier) else None
