"""Conversations as GenAI instrumentations write them, read into `Message` and `Document`.

Shapes that occur in the field, all taken, also within one span:

- OpenTelemetry: ``{"role", "parts": [{"type": "text", "content"}, {"type": "tool_call", ...}], "finish_reason"}``;
- providers: ``{"role", "content": "..." or [{"type": "text", "text"}], "tool_calls": [{"function": {...}}]}``;
- flattened names, `nest`-ed first: ``0.role`` (OpenLLMetry), ``0.message.role`` (OpenInference).

A text that does not parse as one of these is content as it stands: senders cut long attributes, so that JSON
ends in the middle, and a prompt may well be JSON itself. What the model was told is then kept, only less tidily.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detectors.types import Document, Message, ToolCall
from streams.codecs import UndecodableError
from streams.codecs._json import number, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

Turn = dict[str, object]
"""One message as its sender shaped it."""

MAX_STEPS = 12
"""Dots of a flattened name that are followed; a name of a million dots must not become a million objects."""

_INDEX_CHARS = 6
_WRAPPERS = ("message", "prompt", "completion", "embedding")
_CONTENT = ("parts", "content", "contents", "text")
_WORDLESS = frozenset({"blob", "file", "uri", "image", "image_url", "input_image", "audio", "reasoning", "thinking"})
_TOOL_CALLS = frozenset({"tool_call", "tool_use", "function_call"})
_PART_TEXT = ("content", "text", "response", "result", "refusal")


def turns(value: object, role: str) -> list[Turn]:
    """Return the messages in an attribute's value; plain text is one message of `role`."""
    if isinstance(value, str):
        shaped = _shape(structured(value), role)
        return [{"role": role, "content": value}] if shaped is None else shaped
    return _shape(value, role) or []


def message(turn: Turn, role: str) -> Message:
    """Return one message; `role` is what it is where the sender does not say."""
    contents = [turn[key] for key in _CONTENT if turn.get(key) is not None]
    said, called, name = turn.get("role"), _tool_calls(turn, contents), turn.get("name")
    return Message(
        role=said if isinstance(said, str) and said else role,
        content=words(contents[0]) if contents else None,
        name=name if isinstance(name, str) and name else None,
        tool_calls=tuple(called) or None,
    )


def words(value: object) -> str | None:
    """Join the text parts of a message's content with newlines; None where there are none."""
    if isinstance(value, str):
        parts = structured(value)
        return _joined(parts) if _is_all_text(parts) else value
    return _joined(value)


def documents(value: object) -> tuple[Document, ...] | None:
    """Return retrieved documents, structured, as JSON text, or nested from flattened names."""
    entries = listed(structured(value) if isinstance(value, str) else value) or []
    return tuple(_document(entry) for entry in entries if isinstance(entry, dict)) or None


def nest(flat: Iterable[tuple[str, object]]) -> Turn:
    """Rebuild what dotted names flattened: ``0.role`` becomes ``{"0": {"role": ...}}``."""
    root: Turn = {}
    for dotted, value in flat:
        *path, leaf = dotted.split(".", MAX_STEPS)
        node = root
        for step in path:
            child = node.setdefault(step, {})
            if not isinstance(child, dict):
                break
            node = child
        else:
            node[leaf] = value
    return root


def listed(value: object) -> list[object] | None:
    """Return a list as it is, and an object whose keys are all indexes in the order of these."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(map(_is_index, value)):
        return [value[key] for key in sorted(value, key=int)]
    return None


def structured(value: str) -> object:
    """Return what a text holds as JSON, if that is an object or an array; else None."""
    if value.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return parse(value.encode())
    except UndecodableError:
        return None


def _is_index(key: str) -> bool:
    return len(key) <= _INDEX_CHARS and key.isascii() and key.isdigit()


def _shape(value: object, role: str) -> list[Turn] | None:
    if isinstance(value, dict):
        if isinstance(value.get("messages"), list):
            value = value["messages"]
        elif not all(map(_is_index, value)):
            turn = _unwrap(value)
            return [turn] if _is_turn(turn) else None
    entries = listed(value)
    if entries is None:
        return None
    shaped: list[Turn] = [
        {"role": role, "content": entry} if isinstance(entry, str) else _unwrap(entry) for entry in entries
    ]
    return shaped if all(map(_is_turn, shaped)) else None


def _unwrap(entry: object) -> Turn:
    if not isinstance(entry, dict):
        return {}
    turn: Turn = nest(entry.items()) if "message.role" in entry or "message.content" in entry else entry
    for wrapper in _WRAPPERS:
        inner = turn.get(wrapper)
        if isinstance(inner, dict):
            turn = {**turn, **inner}
        elif isinstance(inner, str) and wrapper == "message" and (parsed := structured(inner)):
            turn = {**turn, **parsed} if isinstance(parsed, dict) else turn
    return turn


def _is_turn(turn: Turn) -> bool:
    return "role" in turn or "tool_calls" in turn or any(key in turn for key in _CONTENT)


def _is_all_text(parts: object) -> bool:
    """Whether a text is a list of text parts, and not a prompt that happens to be JSON."""
    return (
        isinstance(parts, list)
        and bool(parts)
        and all(
            isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            for part in parts
        )
    )


def _joined(value: object) -> str | None:
    entries = listed(value)
    texts = [text for part in ([value] if entries is None else entries) if (text := _part_text(part)) is not None]
    return "\n".join(texts) if texts else None


def _part_text(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    inner = part.get("message_content")
    if isinstance(inner, dict):
        part = inner
    if _is_kind(part, _WORDLESS) or _is_kind(part, _TOOL_CALLS):
        return None
    for key in _PART_TEXT:
        value = part.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            return _as_json(value)
    return None


def _is_kind(part: Turn, kinds: frozenset[str]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in kinds


def _tool_calls(turn: Turn, contents: list[object]) -> list[ToolCall]:
    asked = listed(turn.get("tool_calls")) or []
    for content in contents:
        parts = listed(content) or []
        asked = asked + [part for part in parts if isinstance(part, dict) and _is_kind(part, _TOOL_CALLS)]
    return [_tool_call(call) for call in asked if isinstance(call, dict)]


def _tool_call(call: Turn) -> ToolCall:
    for wrapper in ("tool_call", "function"):
        inner = call.get(wrapper)
        if isinstance(inner, dict):
            call = {**call, **inner}
    arguments = call.get("arguments", call.get("input"))
    return ToolCall(
        name=_text(call.get("name", call.get("tool_call.function.name"))),
        arguments=_text(arguments if arguments is not None else call.get("tool_call.function.arguments")),
        call_id=_text(call.get("id", call.get("tool_call.id"))),
    )


def _document(entry: Turn) -> Document:
    inner = entry.get("document")
    fields = inner if isinstance(inner, dict) else entry
    about = fields.get("metadata")
    about = structured(about) if isinstance(about, str) else about
    source = fields.get("source") or (about.get("source") if isinstance(about, dict) else None)
    return Document(
        document_id=_text(fields.get("id")),
        source=_text(source),
        content=words(fields.get("content")) if fields.get("content") is not None else None,
        score=number(fields, "score", "retrieval.documents"),
    )


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
