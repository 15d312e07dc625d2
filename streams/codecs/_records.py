"""What the gateways' log formats share: a record is one JSON object, a JSON array, or lines of objects (NDJSON).

Not a codec. `decode_each` is total: what is wrong with one log entry is the `Reject` of that entry, and only
what cannot be told apart at all is an `UndecodableError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from detectors.types import InferenceEvent
from streams.codecs import MAX_EVENTS, Decoded, Reject, UndecodableError
from streams.codecs._json import FieldError, number, parse

Entry = dict[str, object]
Read = Callable[[Entry], InferenceEvent | None]
"""One log entry to its event; `None` when it is no model call. May raise `FieldError`."""


def decode_each(value: bytes, read: Read, envelope: str = "") -> Decoded:
    """Read every entry of a record, in order; blank lines and entries that are no model calls have no position.

    `envelope` names the array within an object that some transports wrap around entries.
    """
    items: list[InferenceEvent | Reject] = []
    ignored = 0
    for entry in _entries(value, envelope):
        if isinstance(entry, Reject):
            items.append(entry)
            continue
        try:
            event = read(entry)
        except FieldError as error:
            items.append(Reject(str(error)))
            continue
        if event is None:
            ignored += 1
        else:
            items.append(event)
    return Decoded(items, ignored)


def first_entry(value: bytes, needle: bytes, envelope: str = "") -> Entry | None:
    """Return the first entry that is an object, for a look at its keys; without `needle` in it nothing is parsed."""
    if needle not in value:
        return None
    try:
        entries = _entries(value, envelope)
    except UndecodableError:
        return None
    return next((entry for entry in entries if isinstance(entry, dict)), None)


def moment(fields: Mapping[str, object], key: str, at: str = "") -> float | None:
    """Read a time as unix seconds: seconds, also as text, or ISO 8601 text; without an offset it is UTC."""
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        return number(fields, key, at)
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return number(fields, key, at)
    except FieldError:
        path = f"{at}.{key}" if at else key
        raise FieldError(f"{path}: expected ISO 8601 time or unix seconds") from None


def _entries(value: bytes, envelope: str) -> list[Entry | Reject]:
    try:
        parsed = parse(value)
    except UndecodableError as error:
        return _lines(value, envelope, error)
    if not isinstance(parsed, list | dict):
        raise UndecodableError("expected a JSON object, a JSON array, or lines of JSON objects")
    return _opened(parsed if isinstance(parsed, list) else [parsed], envelope)


def _opened(elements: list[object], envelope: str) -> list[Entry | Reject]:
    entries: list[Entry | Reject] = []
    for element in elements:
        inner = element.get(envelope) if isinstance(element, dict) else None
        inside = inner if isinstance(inner, list) else [element]
        entries += [entry if isinstance(entry, dict) else Reject("expected a JSON object") for entry in inside]
    return entries


def _lines(value: bytes, envelope: str, error: UndecodableError) -> list[Entry | Reject]:
    """Read as NDJSON; where no line is an object the record was none, and `error` says what was wrong with it."""
    lines = [line for line in value.splitlines() if line.strip()]
    entries: list[Entry | Reject] = []
    if 1 < len(lines) <= MAX_EVENTS:
        for line in lines:
            try:
                entries += _opened([parse(line)], envelope)
            except UndecodableError as line_error:
                entries.append(Reject(str(line_error)))
    if not any(isinstance(entry, dict) for entry in entries):
        raise error
    return entries
