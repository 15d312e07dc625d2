"""Dead letters: records and events that will never decode, kept with their origin and the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

WHOLE_RECORD = -1
"""The `event_index` of a dead letter that is a whole record."""

_HEAD_CHARS = 256
_READ_BYTES = 4_096
"""Redaction looks at more than is kept, so that a secret cut in two is still recognized."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes with key, headers and origin: Kafka's word. `time_s` is the broker's or producer's timestamp."""

    topic: str
    partition: int
    offset: int
    time_s: float
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def content_type(self) -> str:
        """The ``content-type`` header without parameters, lowercase; "" when there is none."""
        for name, value in self.headers:
            if name.lower() == "content-type":
                return value[:200].decode("utf-8", "replace").partition(";")[0].strip().lower()
        return ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Why one record, or one event of it, will never be an event.

    `head` is the record's first bytes with everything but printable ASCII escaped, so that it can be
    printed anywhere; `sha256` is of the whole value.
    """

    topic_id: str
    topic: str
    partition: int
    offset: int
    event_index: int
    record_time_s: float
    reason: str
    content_type: str
    size_bytes: int
    sha256: str
    head: str


def dead_letter(
    record: Record, topic_id: str, reason: str, event_index: int, redact: Callable[[str], str]
) -> DeadLetter:
    """The dead letter of `record`; `reason` is shown to people and cut to 500 characters."""
    head = redact(record.value[:_READ_BYTES].decode("utf-8", "backslashreplace"))
    return DeadLetter(
        topic_id=topic_id,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        event_index=event_index,
        record_time_s=record.time_s,
        reason=printable(reason)[:500],
        content_type=printable(record.content_type),
        size_bytes=len(record.value),
        sha256=hashlib.sha256(record.value).hexdigest(),
        head=printable(head[:_HEAD_CHARS]),
    )


def printable(text: str) -> str:
    r"""`text` with every character outside printable ASCII written as an escape (``\x1b``, ``\u202e``)."""
    return "".join(each if " " <= each <= "~" else each.encode("unicode_escape").decode("ascii") for each in text)
