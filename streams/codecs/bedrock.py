"""Amazon Bedrock's ModelInvocationLog 1.0: Converse, InvokeModel and their streams, with or without bodies.

What is chosen:

- `deployment`: ``account/region/model``, the model without the front of its ARN. `model`: `modelId` as asked for.
- `principal`: `identity.arn`. `requestMetadata` is the caller's own word and not used.
- `input_tokens`: with the tokens read from and written to the cache, which Bedrock counts beside the others.
- `latency_s`, `ttft_s`: only bodies have them; where bodies are not delivered, or are in S3, they are unknown.
- `finish_reasons`: ``guardrail_intervened`` where a guardrail answered, whatever the body's stop reason says.
- `http_status`: of errors, by their code, as the API reference lists it.

Everything is read from its own place in the parsed record: a prompt may hold the text of another log.
"""

from __future__ import annotations

from collections.abc import Mapping

from detectors.types import InferenceEvent
from streams.codecs import Decoded, UndecodableError
from streams.codecs import _bedrock_bodies as bodies
from streams.codecs._json import FieldError, count, mapping, parse, text
from streams.codecs._records import Entry, decode_each, first_entry, moment

FORMAT = "bedrock"
CONTENT_TYPES = frozenset({"application/vnd.inferwatch.bedrock+json", "application/vnd.inferwatch.bedrock+x-ndjson"})

_SCHEMA = "ModelInvocationLog"
_VERSION = "1.0"
_PROVIDER = "aws.bedrock"
_STATUS = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}


def decode(value: bytes) -> Decoded:
    """Return one event per invocation."""
    return decode_each(value, _event)


def sniff(value: bytes) -> bool:
    """Whether the first entry says its schema."""
    entry = first_entry(value, b'"ModelInvocationLog"')
    return entry is not None and entry.get("schemaType") == _SCHEMA


def _event(entry: Entry) -> InferenceEvent:
    _check_schema(entry)
    model = text(entry, "modelId")
    if model is None:
        raise FieldError("modelId: expected the model that was asked for")
    operation = text(entry, "operation")
    account, region = text(entry, "accountId"), text(entry, "region")
    given, got = mapping(entry, "input") or {}, mapping(entry, "output") or {}
    asked = bodies.read_input(_body(given, "inputBodyJson"))
    reply = bodies.read_output(_body(got, "outputBodyJson"))
    error = text(entry, "errorCode")
    cached = _either(count(given, "cacheReadInputTokenCount", "input"), reply.cached_tokens)
    written = _either(count(given, "cacheWriteInputTokenCount", "input"), reply.cache_written_tokens)
    uncached = _either(count(given, "inputTokenCount", "input"), reply.input_tokens)
    return InferenceEvent(
        source=FORMAT,
        deployment="/".join(name for name in (account, region, model.rpartition("/")[2] or model) if name),
        operation=_operation(operation, asked, model),
        time_s=moment(entry, "timestamp"),
        input_messages=asked.messages,
        output_messages=reply.messages,
        system=asked.system,
        input_tokens=None if uncached is None else uncached + (cached or 0) + (written or 0),
        output_tokens=_either(count(got, "outputTokenCount", "output"), reply.output_tokens),
        cached_tokens=cached,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_tokens,
        stream=operation in {"ConverseStream", "InvokeModelWithResponseStream"} if operation else None,
        latency_s=reply.latency_s,
        ttft_s=reply.ttft_s,
        finish_reasons=reply.finish_reasons,
        error_type=error,
        http_status=_STATUS.get(error) if error else None,
        principal=text(mapping(entry, "identity") or {}, "arn", "identity"),
        region=region,
        model=model,
        served_model=reply.model,
        provider=_PROVIDER,
        components=asked.components,
        response_id=text(entry, "requestId"),
    )


def _check_schema(entry: Entry) -> None:
    """Refuse another version rather than half understand it; some forwarders strip both fields."""
    if text(entry, "schemaType") not in {None, _SCHEMA}:
        raise FieldError(f"schemaType: expected {_SCHEMA}")
    if text(entry, "schemaVersion") not in {None, _VERSION}:
        raise FieldError(f"schemaVersion: unknown version, expected {_VERSION}")


def _operation(operation: str | None, asked: bodies.Input, model: str) -> str | None:
    """Return what kind of call it was; InvokeModel says it only by its body."""
    if operation is not None and operation.startswith("Converse"):
        return "chat"
    return "embeddings" if "embed" in model else asked.operation


def _body(part: Mapping[str, object], key: str) -> object:
    """Return a body, also one that a forwarder made a text of; what does not parse is not delivered."""
    body = part.get(key)
    if not isinstance(body, str):
        return body
    try:
        return parse(body.encode())
    except UndecodableError:
        return None


def _either(preferred: int | None, other: int | None) -> int | None:
    return other if preferred is None else preferred
