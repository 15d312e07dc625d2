"""The chat shape of OpenAI, which gateways log whatever the provider: messages, choices, usage, parameters.

Not a codec. What the caller wrote (messages, parameters, tools) is read as far as it makes sense and never
refuses an event: whoever could make their own calls undecodable could hide them. A parameter of a wrong type
or out of its range is unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from detectors.types import Components, Message, ToolCall
from streams.codecs._json import FieldError, amount, count, flag, mapping

Value = TypeVar("Value")

_MAX_TOP_P = 1.0


def messages(value: object) -> tuple[Message, ...] | None:
    """Read a list of turns, of prompts, or one prompt; `None` where there is none."""
    if isinstance(value, dict):
        value = value.get("messages", [value])
    if isinstance(value, str):
        return (Message(role="user", content=value),) if value else None
    if not isinstance(value, list):
        return None
    return tuple(turn for turn in map(_turn, value) if turn is not None) or None


def message(fields: Mapping[str, object], role: str) -> Message:
    """Read one turn; `role` is that of a turn that names none."""
    given = fields.get("role")
    name = fields.get("name")
    content = text_of(fields.get("content"))
    if content is None:
        content = text_of(fields.get("refusal"))
    return Message(
        role=given if isinstance(given, str) and given else role,
        content=content,
        name=name if isinstance(name, str) and name else None,
        tool_calls=_tool_calls(fields),
    )


def text_of(value: object) -> str | None:
    """Join the texts of a content with newlines: a string, or parts, of which images and files have none."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    texts = [text for text in map(_part_text, value) if text is not None]
    return "\n".join(texts) if texts else None


def answer(response: Mapping[str, object]) -> tuple[tuple[Message, ...] | None, tuple[str, ...] | None]:
    """Read the messages and the finish reasons of a response: one each per choice, or the items of an output."""
    choices = response.get("choices")
    turns: list[Message] = []
    reasons: list[str] = []
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        reply = choice.get("message")
        if isinstance(reply, dict):
            turns.append(message(reply, "assistant"))
        elif isinstance(choice.get("text"), str):
            turns.append(Message(role="assistant", content=choice["text"]))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            reasons.append(reason)
    output = response.get("output")
    if isinstance(output, list):
        turns += [turn for turn in map(_output_item, output) if turn is not None]
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else response.get("status")
        reasons += [reason] if isinstance(reason, str) and reason else []
    return tuple(turns) or None, tuple(reasons) or None


def usage(response: Mapping[str, object], at: str) -> dict[str, Any]:
    """Read the token counts of a response under the names of `InferenceEvent`; both generations of field names."""
    counts = mapping(response, "usage", at) or {}
    at = f"{at}.usage"

    def either(*keys: str) -> int | None:
        return next((tokens for key in keys if (tokens := count(counts, key, at)) is not None), None)

    def detail(key: str, *groups: str) -> int | None:
        found = (count(mapping(counts, group, at) or {}, key, f"{at}.{group}") for group in groups)
        return next((tokens for tokens in found if tokens is not None), None)

    return {
        "input_tokens": either("prompt_tokens", "input_tokens"),
        "output_tokens": either("completion_tokens", "output_tokens"),
        "cached_tokens": detail("cached_tokens", "prompt_tokens_details", "input_tokens_details"),
        "reasoning_tokens": detail("reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
    }


def parameters(asked: Mapping[str, object]) -> dict[str, Any]:
    """Read what was asked for, under the names of `InferenceEvent`.

    The legacy ``logprobs: 5`` of text completions is `logprobs` with five `top_logprobs`.
    """
    top_p = lenient(amount, asked, "top_p")
    bias = asked.get("logit_bias")
    logprobs = lenient(flag, asked, "logprobs")
    top_logprobs = lenient(count, asked, "top_logprobs")
    if logprobs is None and (legacy := lenient(count, asked, "logprobs")) is not None:
        logprobs, top_logprobs = True, legacy
    max_tokens = (lenient(count, asked, key) for key in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    return {
        "temperature": lenient(amount, asked, "temperature"),
        "top_p": top_p if top_p is not None and top_p <= _MAX_TOP_P else None,
        "max_tokens": next((tokens for tokens in max_tokens if tokens is not None), None),
        "n": lenient(count, asked, "n"),
        "logprobs": logprobs,
        "top_logprobs": top_logprobs,
        "logit_bias": len(bias) if isinstance(bias, dict) and bias else None,
    }


def lenient(
    read: Callable[[Mapping[str, object], str], Value | None], fields: Mapping[str, object], key: str
) -> Value | None:
    """Read what a caller wrote: of a wrong type is unknown."""
    try:
        return read(fields, key)
    except FieldError:
        return None


def tool_components(tools: object, **digests: str | None) -> Components | None:
    """Digest the offered tools as canonical JSON, so that equal lists are equal whatever the order of keys."""
    if isinstance(tools, list) and tools:
        digests["tool_list"] = "sha256:" + hashlib.sha256(msgspec.json.encode(tools, order="sorted")).hexdigest()
    known = {name: digest for name, digest in digests.items() if digest}
    return Components(**known) if known else None


def arguments_of(value: object) -> str | None:
    """Return a tool call's arguments as the model wrote them; a structured value becomes JSON again."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _turn(value: object) -> Message | None:
    if isinstance(value, str):
        return Message(role="user", content=value)
    if not isinstance(value, dict):
        return None
    if "role" in value or "content" in value:
        return message(value, "user")
    return _output_item(value)


def _output_item(value: object) -> Message | None:
    """Read one item of the responses API: a message, a call of a function, or what that gave."""
    if not isinstance(value, dict):
        return None
    if value.get("type") == "function_call":
        return Message(role="assistant", tool_calls=(_tool_call(value, value.get("call_id")),))
    if value.get("type") == "function_call_output":
        return Message(role="tool", content=text_of(value.get("output")))
    return message(value, "assistant") if "content" in value else None


def _part_text(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else None


def _tool_calls(fields: Mapping[str, object]) -> tuple[ToolCall, ...] | None:
    calls = fields.get("tool_calls")
    if not isinstance(calls, list):
        calls = []
    legacy = fields.get("function_call")
    found = [
        _tool_call(call["function"], call.get("id"))
        for call in calls
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
    if isinstance(legacy, dict):
        found.append(_tool_call(legacy, None))
    return tuple(found) or None


def _tool_call(function: Mapping[str, object], call_id: object) -> ToolCall:
    name = function.get("name")
    return ToolCall(
        name=name if isinstance(name, str) and name else None,
        arguments=arguments_of(function.get("arguments")),
        call_id=call_id if isinstance(call_id, str) and call_id else None,
    )
