"""Our own format: `detectors.types.InferenceEvent` as one JSON object, a JSON array, or lines of objects (NDJSON).

The names and units are those of `InferenceEvent`; `deployment` is the only field that must be there. Besides:

- `schema_version`: 1, or left out. An event of another version is refused rather than half understood.
- `time`: RFC 3339 text with an offset, for senders that do not count seconds; `time_s` wins where both are.
- `event_id` and `source` are ours to give: what a sender wrote there is dropped.
- Fields that are not known are skipped, so that a newer sender can talk to an older worker.

Types are strict (``"12"`` is no count): the sender is code written for this contract. An event that does not
fit is one `Reject`; the others of its record live. Costs about 5 us an event with two short messages.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from detectors.types import InferenceEvent
from streams.codecs import MAX_EVENTS, Decoded, Reject, UndecodableError
from streams.codecs._json import BOM, guarded, parse

FORMAT = "native"
CONTENT_TYPES = frozenset(
    {
        "application/vnd.inferwatch.event+json",
        "application/vnd.inferwatch.event+x-ndjson",
    }
)
SCHEMA_VERSION = 1


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What an event may carry beside its own fields; `time` needs an offset, as RFC 3339 has it."""

    schema_version: msgspec.Raw = msgspec.Raw(b"null")
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


_FIELDS = frozenset(InferenceEvent.__struct_fields__) | frozenset(Envelope.__struct_fields__)
_WHITESPACE = b" \t\r\n"
_CURRENT = str(SCHEMA_VERSION).encode()

_event = msgspec.json.Decoder(InferenceEvent)
_envelope = msgspec.json.Decoder(Envelope)
_events = msgspec.json.Decoder(list[InferenceEvent])
_envelopes = msgspec.json.Decoder(list[Envelope])
_raw = msgspec.json.Decoder(msgspec.Raw)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def decode(value: bytes) -> Decoded:
    """Return the events of one record, an element or a line each; blank lines have no position."""
    value = value.removeprefix(BOM).strip(_WHITESPACE)
    if value[:1] not in {b"{", b"["}:
        raise UndecodableError("expected a JSON object, a JSON array, or lines of JSON objects")
    try:
        return Decoded(_together(value))
    except UndecodableError:
        parts = _parts(value)
        if len(parts) > MAX_EVENTS:
            raise UndecodableError(f"it holds {len(parts)} events; more than {MAX_EVENTS} are not read") from None
        return Decoded([_alone(part) for part in parts])


def sniff(value: bytes) -> bool:
    """Whether the first object has a `deployment` and either says `schema_version` or has no field but ours."""
    value = value.removeprefix(BOM).strip(_WHITESPACE)
    if value[:1] not in {b"{", b"["}:
        return False
    try:
        first = parse(bytes(_parts(value)[0]))
    except (UndecodableError, IndexError):
        return False
    if not isinstance(first, dict) or not isinstance(first.get("deployment"), str):
        return False
    return "schema_version" in first or _FIELDS.issuperset(first)


def _together(value: bytes) -> list[InferenceEvent | Reject]:
    if value[:1] == b"[":
        envelopes, events = guarded(_envelopes.decode, value), guarded(_events.decode, value)
    else:
        envelopes, events = guarded(_envelope.decode_lines, value), guarded(_event.decode_lines, value)
    return [_merge(envelope, event) for envelope, event in zip(envelopes, events, strict=True)]


def _alone(part: bytes | msgspec.Raw) -> InferenceEvent | Reject:
    part = bytes(part)
    try:
        envelope = guarded(_envelope.decode, part)
        refusal = _refusal(envelope)
        return refusal or _merge(envelope, guarded(_event.decode, part))
    except UndecodableError as error:
        return Reject(str(error))


def _merge(envelope: Envelope, event: InferenceEvent) -> InferenceEvent | Reject:
    refusal = _refusal(envelope)
    if refusal is not None:
        return refusal
    time_s = event.time_s
    if time_s is None and envelope.time is not None:
        time_s = envelope.time.timestamp()
    return msgspec.structs.replace(event, event_id=None, source=FORMAT, time_s=time_s)


def _refusal(envelope: Envelope) -> Reject | None:
    """Return why this version cannot be read; the raw text is compared, so that any type can be refused."""
    if bytes(envelope.schema_version) in {_CURRENT, b"null"}:
        return None
    return Reject(f"schema_version: unknown version, expected {SCHEMA_VERSION}")


def _parts(value: bytes) -> list[msgspec.Raw] | list[bytes]:
    """Split a record that does not decode as a whole; raises where not even its parts can be told apart."""
    if value[:1] == b"[":
        return guarded(_raws.decode, value)
    try:
        return [guarded(_raw.decode, value)]
    except UndecodableError as error:
        lines = [line for line in value.splitlines() if line.strip(_WHITESPACE)]
        if any(map(_is_json, lines[:MAX_EVENTS])):
            return lines
        raise UndecodableError(str(error)) from None


def _is_json(line: bytes) -> bool:
    try:
        guarded(_raw.decode, line)
    except UndecodableError:
        return False
    return True
