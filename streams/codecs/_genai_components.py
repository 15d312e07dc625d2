"""What served a call, as far as a span or its resource tells: digests and versions of components."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from detectors.types import Components
from streams.codecs import UndecodableError
from streams.codecs._genai_found import Found, gather
from streams.codecs._genai_messages import listed, nest, structured
from streams.codecs._json import parse, text

if TYPE_CHECKING:
    from streams.codecs._otlp_parts import Attributes


def components(found: Found, resource: Attributes) -> Components | None:
    """Return what is said under ``inferwatch.component.<name>``, the span before the resource, then what is derived."""
    said = dict((*gather(resource).get("components", ()), *found.flat.get("components", ())))
    known: dict[str, str | None] = {
        name: text(said, name, "inferwatch.component") for name in Components.__struct_fields__ if name in said
    }
    tools = found.raw("tools") or _flat_tools(found)
    derived = {
        "tool_list": _digest(tools) if tools else None,
        "prompt_template": _digest(template) if (template := found(text, "template")) else None,
        "guardrail": found(text, "guardrail"),
        "retrieval_index": found(text, "retrieval_index"),
    }
    for name, digest in derived.items():
        if digest is not None and known.get(name) is None:
            known[name] = digest
    return Components(**known) if any(known.values()) else None


def _flat_tools(found: Found) -> list[object]:
    """Return tools from flattened names, each a schema as JSON text or as its own flattened fields."""
    tools = listed(nest(found.flat.get("tools", ()))) or []
    return [_json_within(tool) for tool in tools]


def _json_within(tool: object) -> object:
    inner = tool.get("tool", tool) if isinstance(tool, dict) else tool
    schema = inner.get("json_schema") if isinstance(inner, dict) else None
    return (structured(schema) or schema) if isinstance(schema, str) else inner


def _digest(value: object) -> str:
    """Return the SHA-256 of a value as JSON with sorted keys, so that its spelling does not matter."""
    if isinstance(value, str):
        try:
            canonical = msgspec.json.encode(parse(value.encode()), order="sorted")
        except UndecodableError:
            canonical = value.encode()
    else:
        canonical = msgspec.json.encode(value, order="sorted")
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"
