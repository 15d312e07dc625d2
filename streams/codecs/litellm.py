"""LiteLLM's `StandardLoggingPayload`, as its callbacks write it to topics, buckets and webhooks.

What is chosen where the payload says it more than once, or not quite:

- `deployment`: `model_group` (the name the operator gave and clients ask for), else ``provider/model``. Not
  `api_base` and not `model_id`: failed calls lack them, and failures must count where successes do.
- `principal`: the first that is known of the API key's hash, its user, the end user, and what the caller wrote as
  ``user``: without a proxy before it LiteLLM knows nobody else.
- `latency_s`: end - start. `response_time` is the same, but of a stream it is the time to the first token.
- `ttft_s`: first chunk - start, of streams only, because LiteLLM fills in the end of all other calls.
- `served_model`: as the response says, else as sent to the provider; of a failed call none served.
- Tokens: 0 and 0 is what LiteLLM fills in for failed calls and for streams that ended without usage, so they are
  unknown, and so is what they cost.
- Content that LiteLLM itself took out ("redacted-by-litellm") is content that was not delivered.
- Times without a zone are UTC.
- What the caller wrote (identities, parameters, tags) is unknown where it is of a wrong type, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from detectors.types import Document, InferenceEvent, Message
from streams.codecs import Decoded
from streams.codecs._json import FieldError, amount, count, flag, identity, mapping, number, sequence, text
from streams.codecs._openai import answer, lenient, messages, parameters, text_of, tool_components, usage
from streams.codecs._records import Entry, decode_each, first_entry, moment

FORMAT = "litellm"
CONTENT_TYPES = frozenset({"application/vnd.inferwatch.litellm+json", "application/vnd.inferwatch.litellm+x-ndjson"})

_WRAPPER = "standard_logging_object"
_REDACTED = "redacted-by-litellm"
_USER_AGENT_TAG = "User-Agent: "
_STATUS = range(100, 600)
_OPERATIONS = {
    "completion": "chat",
    "acompletion": "chat",
    "responses": "chat",
    "aresponses": "chat",
    "anthropic_messages": "chat",
    "generate_content": "chat",
    "agenerate_content": "chat",
    "text_completion": "text_completion",
    "atext_completion": "text_completion",
    "embedding": "embeddings",
    "aembedding": "embeddings",
}


def decode(value: bytes) -> Decoded:
    """Return one event per payload; payloads may also be wrapped as callbacks get them."""
    return decode_each(value, _event)


def sniff(value: bytes) -> bool:
    """Whether the first entry has the names that only this payload has together."""
    entry = first_entry(value, b'"call_type"')
    if entry is None:
        return False
    wrapped = entry.get(_WRAPPER)
    entry = wrapped if isinstance(wrapped, dict) else entry
    return "call_type" in entry and "startTime" in entry and ("hidden_params" in entry or "model_parameters" in entry)


def _event(entry: Entry) -> InferenceEvent:
    entry = mapping(entry, _WRAPPER) or entry
    if "call_type" not in entry and "startTime" not in entry:
        raise FieldError("call_type, startTime: expected a StandardLoggingPayload, got neither")
    about = mapping(entry, "metadata") or {}
    hidden = mapping(entry, "hidden_params") or {}
    asked = mapping(entry, "model_parameters") or {}
    provider = text(entry, "custom_llm_provider")
    sent_model = text(entry, "model")
    stream = lenient(flag, entry, "stream")
    has_failed = text(entry, "status") == "failure"
    response = entry.get("response")
    reply = response if isinstance(response, dict) else {}
    output, finish_reasons = answer(reply)
    if isinstance(response, str) and response:
        output = (Message(role="assistant", content=response),)
    counts = _counts(entry, reply)
    cost_usd = amount(entry, "response_cost")
    call_type = text(entry, "call_type")
    time_s, latency_s, ttft_s = _timing(entry, is_stream=stream is True)
    error_type, http_status = _error(entry) if has_failed else (None, None)
    return InferenceEvent(
        source=FORMAT,
        deployment=text(entry, "model_group") or _unnamed_deployment(provider, sent_model),
        operation=_OPERATIONS.get(call_type, call_type) if call_type else None,
        time_s=time_s,
        latency_s=latency_s,
        ttft_s=ttft_s,
        input_messages=_delivered(messages(entry.get("messages"))),
        output_messages=_delivered(output),
        documents=_documents(about),
        **counts,
        **parameters(asked),
        stream=lenient(flag, asked, "stream") if stream is None else stream,
        finish_reasons=finish_reasons,
        error_type=error_type,
        http_status=http_status,
        cost_usd=cost_usd or (cost_usd if counts else None),
        principal=_principal(entry, about, asked),
        network=text(about, "requester_ip_address", "metadata") or text(entry, "requester_ip_address"),
        user_agent=_user_agent(entry, about),
        session=_session(entry, about),
        region=_region(about, hidden),
        model=text(entry, "model_group") or sent_model,
        served_model=None if has_failed else text(reply, "model") or text(hidden, "litellm_model_name"),
        provider=provider,
        components=tool_components(asked.get("tools")),
        trace_id=lenient(text, entry, "trace_id"),
        response_id=text(entry, "id") or text(reply, "id"),
    )


def _unnamed_deployment(provider: str | None, model: str | None) -> str:
    if model is None:
        raise FieldError("model, model_group: expected one of them")
    return model if provider is None or model.startswith(provider + "/") else f"{provider}/{model}"


def _timing(entry: Entry, *, is_stream: bool) -> tuple[float | None, float | None, float | None]:
    """Return start, whole duration and time to the first token; a clock turned back makes durations unknown."""
    start_s, end_s = moment(entry, "startTime"), moment(entry, "endTime")
    first_s = moment(entry, "completionStartTime")
    response_s = amount(entry, "response_time")
    latency_s = None if is_stream else response_s
    if start_s is not None and end_s is not None:
        latency_s = _at_least_zero(end_s - start_s)
    ttft_s = None
    if is_stream:
        ttft_s = response_s if start_s is None or first_s is None else _at_least_zero(first_s - start_s)
    return start_s, latency_s, ttft_s or None


def _at_least_zero(duration_s: float) -> float | None:
    return round(duration_s, 6) if duration_s >= 0.0 else None


def _counts(entry: Entry, reply: Entry) -> dict[str, Any]:
    """Return the token counts under the names of `InferenceEvent`; nothing where LiteLLM did not know them."""
    counts = usage(reply, "response")
    for name, key in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        given = count(entry, key)
        counts[name] = counts[name] if given is None else given
    return counts if counts["input_tokens"] or counts["output_tokens"] else {}


def _error(entry: Entry) -> tuple[str, int | None]:
    """Return the class of error and the status; the code is text, and sometimes no number."""
    error = mapping(entry, "error_information") or {}
    at = "error_information"
    code = identity(error, "error_code", at)
    normalized = lenient(text, error, "normalized_error") or ""
    status = _status(code or "") or _status(normalized.partition("_")[0])
    return text(error, "error_class", at) or code or "failure", status


def _status(digits: str) -> int | None:
    status = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == len("500") else None
    return status if status in _STATUS else None


def _principal(entry: Entry, about: Entry, asked: Entry) -> str | None:
    return (
        text(about, "user_api_key_hash", "metadata")
        or identity(about, "user_api_key_user_id", "metadata")
        or lenient(identity, about, "user_api_key_end_user_id")
        or lenient(identity, entry, "end_user")
        or lenient(identity, asked, "safety_identifier")
        or lenient(identity, asked, "user")
    )


def _session(entry: Entry, about: Entry) -> str | None:
    """Return the conversation's id, which a proxy's caller sends in its metadata."""
    callers = about.get("requester_metadata")
    return (
        lenient(identity, entry, "session_id")
        or lenient(identity, about, "session_id")
        or (lenient(identity, callers, "session_id") if isinstance(callers, dict) else None)
    )


def _user_agent(entry: Entry, about: Entry) -> str | None:
    """Return the caller's program; LiteLLM tags a request with its name and then with name and version."""
    tags = [tag for tag in lenient(sequence, entry, "request_tags") or () if isinstance(tag, str)]
    agents = [tag.removeprefix(_USER_AGENT_TAG) for tag in tags if tag.startswith(_USER_AGENT_TAG)]
    named = lenient(text, entry, "user_agent") or lenient(text, about, "user_agent")
    return named or max(agents, key=len, default=None) or None


def _region(about: Entry, hidden: Entry) -> str | None:
    headers = hidden.get("additional_headers")
    azure = headers.get("llm_provider-x-ms-region") if isinstance(headers, dict) else None
    named = lenient(text, hidden, "region_name") or lenient(text, about, "region_name")
    return named or (azure if isinstance(azure, str) and azure else None)


def _delivered(turns: tuple[Message, ...] | None) -> tuple[Message, ...] | None:
    """Leave out what LiteLLM took out; of a conversation of nothing else nothing was delivered."""
    if turns is None:
        return None
    kept = tuple(_kept(turn) for turn in turns)
    is_bare = kept != turns and all(turn.content is None and turn.tool_calls is None for turn in kept)
    return None if is_bare else kept


def _kept(turn: Message) -> Message:
    if turn.content == _REDACTED:
        turn = msgspec.structs.replace(turn, content=None)
    if turn.tool_calls is not None and any(call.arguments == _REDACTED for call in turn.tool_calls):
        calls = (
            msgspec.structs.replace(call, arguments=None) if call.arguments == _REDACTED else call
            for call in turn.tool_calls
        )
        turn = msgspec.structs.replace(turn, tool_calls=tuple(calls))
    return turn


def _documents(about: Entry) -> tuple[Document, ...] | None:
    """Return what LiteLLM's vector store search put before the model."""
    requests = about.get("vector_store_request_metadata")
    found: list[Document] = []
    for request in requests if isinstance(requests, list) else ():
        response = request.get("vector_store_search_response") if isinstance(request, dict) else None
        hits = response.get("data") if isinstance(response, dict) else None
        found += [_document(hit) for hit in (hits if isinstance(hits, list) else ()) if isinstance(hit, dict)]
    return tuple(found) or None


def _document(hit: Mapping[str, object]) -> Document:
    return Document(
        document_id=lenient(text, hit, "file_id"),
        source=lenient(text, hit, "filename"),
        content=text_of(hit.get("content")),
        score=lenient(number, hit, "score"),
    )
