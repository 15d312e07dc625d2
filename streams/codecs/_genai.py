"""One span or log record with GenAI attributes, read into an inference event; what is no model call is told apart.

A model call is a span whose operation is one (``chat``, ``embeddings``, ...), an OpenInference span of kind LLM
or EMBEDDING, a log event `OPERATION_DETAILS`, or a span that names a model or counts its tokens without saying
that it is something else. Agents, workflows, tools, retrievals, HTTP and database spans are none: the model calls
within them have spans of their own, and counting both would double every token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.types import InferenceEvent
from streams.codecs._genai_components import components
from streams.codecs._genai_found import Found
from streams.codecs._genai_messages import Turn, documents, message, nest, structured, turns, words
from streams.codecs._json import FieldError, amount, count, flag, identity, number, text
from streams.codecs._openai import answer as answered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detectors.types import Message
    from streams.codecs._otlp_parts import Attributes, Part, SpanEvent

OPERATION_DETAILS = "gen_ai.client.inference.operation.details"

_CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_NO_CALLS = frozenset(
    {"create_agent", "execute_tool", "invoke_agent", "invoke_workflow", "plan", "retrieval", "search_memory"}
)
_KINDS = {"LLM": "chat", "EMBEDDING": "embeddings"}
_REQUEST_TYPES = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_EVIDENCE = ("model", "served_model", "named_model", "input_tokens", "output_tokens", "request_type")
_PROMPT_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_COMPLETIONS = ("llm.prompts", "llm.choices.")
_CHATS = ("llm.input_messages", "llm.output_messages")
_FIRST_CHUNK = "First Token Stream Event"
_CHUNKS = frozenset({"gen_ai.content.completion.chunk", "llm.content.completion.chunk"})
_UNKNOWN_SERVICE = "unknown_service"
_NS_PER_S = 1e9


def read(part: Part) -> InferenceEvent | None:
    """Return the model call that a part tells of, or None; raises `FieldError` on one that will never decode."""
    details = [event.attributes for event in part.events if event.name == OPERATION_DETAILS]
    attributes = {**details[0], **part.attributes} if details else part.attributes
    found = Found(attributes, part.resource)
    operation = _operation(part, found)
    if operation is None:
        return None
    prompt = _turns(found, "input", "user") or _prompt_of(part.events) or _plain(found, "input", "user")
    answer = _turns(found, "output", "assistant") or _answer_of(part.events) or _plain(found, "output", "assistant")
    failure = _failure(part, found)
    named = found(text, "named_model")
    whole = _whole_answer(found)
    return InferenceEvent(
        source="otlp",
        deployment=_deployment(found),
        operation=operation or None,
        time_s=part.start_ns / _NS_PER_S if part.start_ns else None,
        input_messages=_messages(prompt, "user"),
        output_messages=_messages(answer, "assistant"),
        system=found(_system, "system"),
        documents=documents(found.raw("documents") or nest(found.flat.get("documents", ()))),
        input_tokens=found(count, "input_tokens"),
        output_tokens=found(count, "output_tokens"),
        cached_tokens=found(count, "cached_tokens"),
        reasoning_tokens=found(count, "reasoning_tokens"),
        temperature=found.asked(amount, "temperature"),
        top_p=found.asked(number, "top_p"),
        max_tokens=found.asked(count, "max_tokens"),
        n=found.asked(count, "n"),
        logprobs=found.asked(_wants_logprobs, "logprobs"),
        top_logprobs=_top_logprobs(found),
        logit_bias=found.asked(_biased, "logit_bias"),
        stream=found.asked(flag, "stream"),
        latency_s=_latency_s(part, found),
        ttft_s=_ttft_s(part, found),
        finish_reasons=answered(whole)[1] or found(_finish_reasons, "finish_reasons") or _finish_reasons_of(answer),
        error_type=failure,
        http_status=found(count, "http_status"),
        cost_usd=found(amount, "cost_usd"),
        principal=found.asked(identity, "principal"),
        network=found(text, "network"),
        user_agent=found(text, "user_agent"),
        session=found.asked(identity, "session"),
        region=found(text, "region"),
        model=found.asked(text, "model") or named,
        served_model=found(text, "served_model") or (None if failure else named),
        provider=found(text, "provider"),
        components=components(found, part.resource),
        trace_id=part.trace_id,
        span_id=part.span_id,
        response_id=found(text, "response_id") or _id_of(whole),
    )


def _operation(part: Part, found: Found) -> str | None:
    """Return the operation of a model call, "" for one that does not say, None for what is none."""
    kind, operation = found.raw("kind"), found.raw("operation")
    if (part.is_log and part.name != OPERATION_DETAILS) or (isinstance(kind, str) and kind.upper() not in _KINDS):
        return None
    is_evident = part.is_log or any(field in found.spots for field in _EVIDENCE)
    if isinstance(operation, str):
        return operation if operation in _CALLS or (is_evident and operation not in _NO_CALLS) else None
    if isinstance(kind, str):
        return "text_completion" if _is_completion(part.attributes) else _KINDS[kind.upper()]
    if not is_evident or "workflow" in found.spots or "tool" in found.spots:
        return None
    request_type = found.raw("request_type")
    return _REQUEST_TYPES.get(request_type, "") if isinstance(request_type, str) else ""


def _is_completion(attributes: Attributes) -> bool:
    """Whether an OpenInference span of kind LLM is a call of the older interface, which has prompts and no messages."""
    names = [name for name in attributes if name.startswith("llm.")]
    return any(name.startswith(_COMPLETIONS) for name in names) and not any(map(_is_of_chat, names))


def _is_of_chat(name: str) -> bool:
    return name.startswith(_CHATS)


def _deployment(found: Found) -> str:
    service = found(text, "service")
    if service is not None and service.startswith(_UNKNOWN_SERVICE):
        service = None
    endpoint = "/".join(filter(None, (found(text, "provider"), found(text, "server"))))
    return found(text, "deployment") or service or endpoint or "unknown"


def _turns(found: Found, field: str, role: str) -> list[Turn]:
    value = found.raw(field)
    if value is not None:
        return turns(value, role)
    flat = found.flat.get(field)
    return turns(nest(flat), role) if flat else []


def _plain(found: Found, field: str, role: str) -> list[Turn]:
    """Return OpenInference's ``input.value``, but not where it is the whole request or answer as JSON."""
    value = found.raw(f"{field}_value")
    if isinstance(value, str) and found.raw(f"{field}_mime") != "application/json" and "kind" in found.spots:
        return [{"role": role, "content": value}]
    return []


def _whole_answer(found: Found) -> Mapping[str, object]:
    """Return OpenInference's ``output.value`` where it is the provider's whole answer: it says what attributes do not.

    The attributes have one finish reason however many choices there are, and no id.
    """
    value = found.raw("output_value")
    if found.raw("kind") != "LLM" or found.raw("output_mime") != "application/json" or not isinstance(value, str):
        return {}
    whole = structured(value)
    return whole if isinstance(whole, dict) else {}


def _id_of(whole: Mapping[str, object]) -> str | None:
    given = whole.get("id")
    return given if isinstance(given, str) else None


def _prompt_of(events: tuple[SpanEvent, ...]) -> list[Turn]:
    prompt: list[Turn] = []
    for event in events:
        role = _PROMPT_EVENTS.get(event.name)
        if role is not None:
            prompt.append({"role": role, **_opened(event.attributes)})
        elif event.name == "gen_ai.content.prompt":
            prompt.extend(turns(event.attributes.get("gen_ai.prompt"), "user"))
    return prompt


def _answer_of(events: tuple[SpanEvent, ...]) -> list[Turn]:
    answer: list[Turn] = []
    for event in events:
        if event.name == "gen_ai.choice":
            choice = _opened(event.attributes)
            answer.extend(turns([choice], "assistant"))
        elif event.name == "gen_ai.content.completion":
            answer.extend(turns(event.attributes.get("gen_ai.completion"), "assistant"))
    return answer


def _opened(attributes: Attributes) -> Turn:
    """Return an event's attributes with JSON texts of ``message`` and ``tool_calls`` parsed, null roles left out."""
    opened: Turn = {key: value for key, value in attributes.items() if value is not None}
    for key in ("message", "tool_calls"):
        value = opened.get(key)
        if isinstance(value, str):
            parsed = structured(value)
            opened[key] = {"content": value} if parsed is None and key == "message" else parsed
    if "message" not in opened and "content" not in opened and "gen_ai.event.content" in opened:
        opened["content"] = opened["gen_ai.event.content"]
    return opened


def _messages(shaped: list[Turn], role: str) -> tuple[Message, ...] | None:
    return tuple(message(turn, role) for turn in shaped) or None


def _system(fields: Mapping[str, object], key: str, _at: str) -> str | None:
    value = fields[key]
    parts = structured(value) if isinstance(value, str) else value
    return words(value if parts is None else parts)


def _finish_reasons(fields: Mapping[str, object], key: str, at: str) -> tuple[str, ...] | None:
    value = fields[key]
    if isinstance(value, str):
        parsed = structured(value)
        value = [value] if parsed is None else parsed
    if not isinstance(value, list) or not all(reason is None or isinstance(reason, str) for reason in value):
        raise FieldError(f"{at}.{key}: expected texts" if at else f"{key}: expected texts")
    return tuple(reason for reason in value if reason) or None


def _finish_reasons_of(answer: list[Turn]) -> tuple[str, ...] | None:
    reasons = (turn.get("finish_reason") for turn in answer)
    return tuple(reason for reason in reasons if isinstance(reason, str) and reason) or None


def _wants_logprobs(fields: Mapping[str, object], key: str, at: str) -> bool | None:
    """Read a flag, or the number of the older completions interface, where it asks for that many."""
    return flag(fields, key, at) if isinstance(fields[key], bool | str) else count(fields, key, at) is not None


def _top_logprobs(found: Found) -> int | None:
    asked = found.raw("logprobs")
    older = found.asked(count, "logprobs") if isinstance(asked, int) and not isinstance(asked, bool) else None
    top = found.asked(count, "top_logprobs")
    return older if top is None else top


def _biased(fields: Mapping[str, object], key: str, at: str) -> int | None:
    value = fields[key]
    value = structured(value) if isinstance(value, str) else value
    return len(value) if isinstance(value, dict) else count(fields, key, at)


def _latency_s(part: Part, found: Found) -> float | None:
    """Return what the server measured, else the span's length; an end before the start is a broken clock."""
    measured = found(amount, "latency_s")
    if measured is None and 0 < part.start_ns <= part.end_ns:
        return (part.end_ns - part.start_ns) / _NS_PER_S
    return measured


def _ttft_s(part: Part, found: Found) -> float | None:
    measured = found(amount, "ttft_s")
    if measured is None:
        for event in part.events:
            is_first = event.name == _FIRST_CHUNK or (event.name in _CHUNKS and part.has_all_events)
            if is_first and 0 < part.start_ns <= event.time_ns:
                return (event.time_ns - part.start_ns) / _NS_PER_S
    return measured


def _failure(part: Part, found: Found) -> str | None:
    given = found(text, "error_type")
    if given is not None:
        return given
    for event in part.events:
        if event.name == "exception":
            raised = text(event.attributes, "exception.type")
            if raised is not None:
                return raised
    return "error" if part.failed else None
