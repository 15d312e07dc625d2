"""OpenTelemetry export requests: GenAI spans and log events, as protobuf or JSON.

One record is one `ExportTraceServiceRequest` or `ExportLogsServiceRequest`, which is what the collector's Kafka
exporter writes with encoding ``otlp_proto`` and ``otlp_json``: many calls of many callers. Read are

- spans of the OpenTelemetry GenAI conventions, both generations of names, also mixed, with content in
  attributes, in flattened attributes (OpenLLMetry) or in span events;
- OpenInference spans of kind LLM and EMBEDDING;
- vLLM's ``llm_request`` span, which has token counts and times but never text;
- log records of the event ``gen_ai.client.inference.operation.details``, which have no duration.

Everything else is counted as ignored, also log events of single messages (``gen_ai.user.message``,
``gen_ai.choice``): the call that they belong to is a span of another request. A span that is a model call but has
a field of the wrong type, or out of range, is one `Reject`; the others of its record live. What the caller chose
(parameters, requested model, user, session) is unknown instead: nobody may hide calls by how they ask. Send either
spans or log events of one call, not both: each is an event.

`deployment` is ``inferwatch.deployment`` (span or resource), else the resource's ``service.name`` unless the
SDK made it up (``unknown_service...``), else provider and ``server.address``, else ``unknown``. Components are
``inferwatch.component.<name>`` (span or resource); a tool list's digest is computed from
``gen_ai.tool.definitions`` where the sender gives none. ``system_fingerprint`` is not taken: it names a backend
configuration that providers change daily, and is none of the components.

A protobuf message has no mark of its own: `_otlp_protobuf.from_protobuf` says how the two requests are told
apart. ``application/json`` is not claimed; `sniff` looks for ``resourceSpans`` or ``resourceLogs`` at the top.
Costs about 65 us a span with two short messages as protobuf, 90 us as JSON.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streams.codecs import Decoded, Reject, UndecodableError
from streams.codecs._genai import read
from streams.codecs._json import BOM, FieldError, parse
from streams.codecs._otlp_json import from_json, is_json_request
from streams.codecs._otlp_protobuf import from_protobuf, is_protobuf_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detectors.types import InferenceEvent
    from streams.codecs._otlp_parts import Part

FORMAT = "otlp"
CONTENT_TYPES = frozenset({"application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf"})

_PROTOBUF_START = b"\n"
"""Field 1, length-delimited. It is also a line feed, and a first resource of 123 bytes makes the next byte ``{``:
so protobuf is tried before JSON where a value begins with it."""

_SAYS_EMPTY = re.compile(rb'"(?:[a-z_]*[sS]pans|[a-z_]*[lL]ogs|log_?[rR]ecords)"\s*:\s*\[\s*\]', re.ASCII)
"""A request that says it is empty. One that holds nothing and does not say so was damaged, or means something else:
one flipped bit in a field's number and its spans would be gone without a trace."""


def _may_name_parts(value: bytes) -> bool:
    """Whether it may be an object with ``resourceSpans`` and the like, which may write letters as escapes."""
    is_object = value.removeprefix(BOM).lstrip()[:1] == b"{"
    return is_object and (b'"resource' in value or b"\\u" in value)


def decode(value: bytes) -> Decoded:
    """Return the model calls of one export request, in its order, spans before log records."""
    items: list[InferenceEvent | Reject] = []
    ignored = 0
    for part in _parts(value):
        item = _item(part)
        if item is None:
            ignored += 1
        else:
            items.append(item)
    if not items and not ignored and not _SAYS_EMPTY.search(value):
        raise UndecodableError("expected a span or a log record in it")
    return Decoded(items, ignored)


def sniff(value: bytes) -> bool:
    """Whether the value is JSON with ``resourceSpans`` or ``resourceLogs``, or protobuf with nothing unknown in it."""
    if value.startswith(_PROTOBUF_START) and is_protobuf_request(value):
        return True
    # Parsing costs more than all else that is asked of a record; most are another format's and can be told unparsed.
    if not _may_name_parts(value):
        return False
    try:
        return is_json_request(parse(value))
    except UndecodableError:
        return False


def _parts(value: bytes) -> Iterator[Part | Reject]:
    if not _looks_like_json(value):
        return from_protobuf(value)
    if value.startswith(_PROTOBUF_START) and is_protobuf_request(value):
        return from_protobuf(value)
    request = parse(value)
    if not isinstance(request, dict) or not is_json_request(request):
        raise UndecodableError("expected an object with resourceSpans or resourceLogs")
    return from_json(request)


def _looks_like_json(value: bytes) -> bool:
    return value.removeprefix(BOM).lstrip()[:1] in {b"{", b"["}


def _item(part: Part | Reject) -> InferenceEvent | Reject | None:
    if isinstance(part, Reject):
        return part
    try:
        return read(part)
    except FieldError as error:
        return Reject(str(error))
