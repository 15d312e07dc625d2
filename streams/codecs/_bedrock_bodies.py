"""Request and response bodies of the models that Bedrock serves, also as the chunks of a stream.

Not a codec. Each model family has its own names; the tables here are in order of preference, and what none of
them names is unknown. Callers write request bodies and models write responses, so nothing here refuses an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from detectors.types import Components, Message, ToolCall
from streams.codecs._json import amount, count
from streams.codecs._openai import answer, arguments_of, lenient, message, messages, tool_components

Body = Mapping[str, object]
Value = TypeVar("Value")

_PROMPTS = ("prompt", "inputText", "message", "texts")
_MAX_TOKENS = ("maxTokens", "max_tokens", "max_tokens_to_sample", "max_gen_len", "maxTokenCount")
_TOP_P = ("topP", "top_p", "p")
_ANSWERS = ("generation", "completion", "outputText", "text")
_REASONS = ("stopReason", "stop_reason", "completionReason", "finish_reason", "finishReason")
_LISTS = ("results", "outputs", "generations", "choices")
_INPUT_TOKENS = (
    "inputTokens",
    "input_tokens",
    "inputTokenCount",
    "inputTextTokenCount",
    "prompt_token_count",
    "prompt_tokens",
)
_OUTPUT_TOKENS = (
    "outputTokens",
    "output_tokens",
    "outputTokenCount",
    "tokenCount",
    "generation_token_count",
    "completion_tokens",
)
_CACHED = ("cacheReadInputTokens", "cache_read_input_tokens", "cacheReadInputTokenCount")
_CACHE_WRITTEN = ("cacheWriteInputTokens", "cache_creation_input_tokens", "cacheWriteInputTokenCount")
_LATENCY = ("latencyMs", "invocationLatency")
_MAX_TOP_P = 1.0
_METRICS = "amazon-bedrock-invocationMetrics"
_GUARDRAIL_ACTION = "amazon-bedrock-guardrailAction"
_INTERVENED = "guardrail_intervened"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in the terms of `InferenceEvent`."""

    operation: str | None = None
    messages: tuple[Message, ...] | None = None
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    components: Components | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `input_tokens` are without the cached ones."""

    messages: tuple[Message, ...] | None = None
    finish_reasons: tuple[str, ...] | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_written_tokens: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None


def read_input(body: object) -> Input:
    """Read a request body; one that was not delivered says nothing."""
    if not isinstance(body, dict):
        return Input()
    configs = [_object(body, key) for key in ("inferenceConfig", "textGenerationConfig")] + [body]
    turns = _turns(body.get("messages"))
    prompt = next((prompt for key in _PROMPTS if (prompt := messages(body.get(key)))), None)
    top_p = _first(amount, configs, _TOP_P)
    guardrail = _object(body, "guardrailConfig")
    names = (guardrail.get("guardrailIdentifier"), guardrail.get("guardrailVersion"))
    return Input(
        operation="chat" if turns or "message" in body else "text_completion" if prompt else None,
        messages=turns or prompt,
        system=_text(body.get("system")),
        temperature=_first(amount, configs, ("temperature",)),
        top_p=top_p if top_p is not None and top_p <= _MAX_TOP_P else None,
        max_tokens=_first(count, configs, _MAX_TOKENS),
        components=tool_components(
            _object(body, "toolConfig").get("tools", body.get("tools")),
            guardrail=":".join(name for name in names if isinstance(name, str)) or None,
        ),
    )


def read_output(body: object) -> Output:
    """Read a response body, or the list of a stream's chunks, each of which is a part of one."""
    if isinstance(body, dict):
        parts: list[Body] = [body]
        turns = tuple(_answers(body)) or None
    elif isinstance(body, list):
        parts = [part for part in body if isinstance(part, dict)]
        turns = _streamed(parts)
    else:
        return Output()
    counted = [counts for part in parts for counts in _counts(part)]
    reasons = [reason for part in parts for reason in _reasons(part)]
    if any(part.get(_GUARDRAIL_ACTION) == "INTERVENED" for part in parts):
        reasons = [_INTERVENED]
    timed = [_object(part, key) for part in parts for key in ("metrics", _METRICS)]
    timed += [_object(_object(part, "metadata"), "metrics") for part in parts]
    models = (part.get("model", _object(part, "message").get("model")) for part in parts)
    # A stream counts up: the last count is the whole.
    counted.reverse()
    return Output(
        messages=turns,
        finish_reasons=tuple(reasons) or None,
        model=next((model for model in models if isinstance(model, str) and model), None),
        input_tokens=_first(count, counted, _INPUT_TOKENS),
        output_tokens=_first(count, counted, _OUTPUT_TOKENS),
        cached_tokens=_first(count, counted, _CACHED),
        cache_written_tokens=_first(count, counted, _CACHE_WRITTEN),
        latency_s=_seconds(timed, _LATENCY),
        ttft_s=_seconds(timed, ("firstByteLatency",)),
    )


def _turns(value: object) -> tuple[Message, ...] | None:
    if not isinstance(value, list):
        return messages(value)
    return tuple(_turn(turn, "user") for turn in value if isinstance(turn, dict)) or None


def _turn(fields: Body, role: str) -> Message:
    """Read a turn whose content may be blocks; one of nothing but results of tools was said by the tool."""
    blocks = fields.get("content")
    if not isinstance(blocks, list):
        return message(fields, role)
    given = fields.get("role")
    role = given if isinstance(given, str) and given else role
    calls = [call for block in blocks if isinstance(block, dict) and (call := _tool_call(block)) is not None]
    results = [block for block in blocks if isinstance(block, dict) and _result(block)]
    return Message(
        role="tool" if results and len(results) == len(blocks) else role,
        content=_text(blocks),
        tool_calls=tuple(calls) or None,
    )


def _tool_call(block: Body) -> ToolCall | None:
    call = block if block.get("type") == "tool_use" else _object(block, "toolUse")
    name, call_id = call.get("name"), call.get("toolUseId", call.get("id"))
    if not isinstance(name, str):
        return None
    return ToolCall(
        name=name or None,
        arguments=arguments_of(call.get("input")),
        call_id=call_id if isinstance(call_id, str) and call_id else None,
    )


def _result(block: Body) -> Body:
    return block if block.get("type") == "tool_result" else _object(block, "toolResult")


def _text(value: object) -> str | None:
    """Join the texts of content blocks with newlines; documents and images have none."""
    if not isinstance(value, list):
        return value if isinstance(value, str) and value else None
    texts = [text for block in value if (text := _block_text(block)) is not None]
    return "\n".join(texts) if texts else None


def _block_text(block: object) -> str | None:
    if not isinstance(block, dict):
        return block if isinstance(block, str) else None
    text = block.get("text", _object(_object(block, "guardContent"), "text").get("text"))
    if isinstance(text, str):
        return text
    result = _result(block)
    if "json" in block:
        return arguments_of(block["json"])
    return _text(result.get("content")) if result else None


def _answers(body: Body) -> Iterator[Message]:
    said = _object(_object(body, "output"), "message") or body
    if "content" in said:
        yield _turn(said, "assistant")
        return
    turns, _ = answer({"choices": body.get("choices")})
    yield from turns or ()
    for part in [body, *_listed(body)]:
        text = _answer_text(part)
        if text is not None and not turns:
            yield Message(role="assistant", content=text)


def _streamed(parts: list[Body]) -> tuple[Message, ...] | None:
    """Put the blocks of a streamed answer together again, in the order in which they began."""
    texts: dict[int, list[str]] = {}
    calls: dict[int, ToolCall] = {}
    arguments: dict[int, list[str]] = {}
    for part in parts:
        delta = _object(part, "contentBlockDelta") or part
        start = _object(part, "contentBlockStart") or part
        index = delta.get("contentBlockIndex", start.get("contentBlockIndex", part.get("index")))
        block = index if isinstance(index, int) else 0
        begun = _tool_call(_object(start, "content_block") or _object(start, "start"))
        if begun is not None:
            calls[block] = begun
            arguments[block] = []
        change = _object(delta, "delta")
        written = change.get("partial_json", _object(change, "toolUse").get("input"))
        if isinstance(written, str) and block in calls:
            arguments[block].append(written)
        texts.setdefault(block, []).extend(_pieces(part, change))
    blocks = ["".join(pieces) for pieces in texts.values() if pieces]
    asked = [msgspec.structs.replace(call, arguments="".join(arguments[block])) for block, call in calls.items()]
    if not blocks and not asked:
        return None
    return (Message(role="assistant", content="\n".join(blocks) if blocks else None, tool_calls=tuple(asked) or None),)


def _pieces(part: Body, change: Body) -> Iterator[str]:
    candidates = [change.get("text"), _answer_text(part)]
    for listed in _listed(part):
        candidates += [_answer_text(listed), _object(listed, "delta").get("content")]
    yield from (text for text in candidates if isinstance(text, str) and text)


def _answer_text(part: Body) -> str | None:
    return next((text for key in _ANSWERS if isinstance(text := part.get(key), str)), None)


def _reasons(part: Body) -> Iterator[str]:
    for fields in (part, _object(part, "delta"), _object(part, "messageStop"), *_listed(part)):
        reason = next((reason for key in _REASONS if isinstance(reason := fields.get(key), str)), None)
        if reason:
            yield reason


def _counts(part: Body) -> Iterator[Body]:
    yield part
    yield from _listed(part)
    for holder in (part, _object(part, "message"), _object(part, "metadata")):
        yield _object(holder, "usage")
    yield _object(part, _METRICS)


def _listed(part: Body) -> list[Body]:
    lists = (part.get(key) for key in _LISTS)
    return [element for found in lists if isinstance(found, list) for element in found if isinstance(element, dict)]


def _object(fields: Body, key: str) -> Body:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _first(read: Callable[[Body, str], Value | None], bodies: Iterable[Body], keys: Iterable[str]) -> Value | None:
    found = (lenient(read, body, key) for body in bodies if body for key in keys if key in body)
    return next((value for value in found if value is not None), None)


def _seconds(metrics: Iterable[Body], keys: Iterable[str]) -> float | None:
    milliseconds = _first(amount, metrics, keys)
    return None if milliseconds is None else milliseconds / 1000.0
