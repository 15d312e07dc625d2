"""The tools a server of the Model Context Protocol offers, in a form in which any change of what a model reads shows.

Canonical is: names in order of their code points, no white space, whole numbers without a fraction, text exactly as it
came (two spellings that look alike are two texts). The order of tools means nothing, the order within a schema's lists
does.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

from streams import strict_json
from streams.attesting.report import Attestation, AttestError, Concern, Level, Tool, digest, shown

MAX_BYTES = 16_000_000
MAX_TOOLS = 10_000

_SCHEMAS = ("inputSchema", "outputSchema")
_READ = ("name", "title", "description")
_ORDINARY_CONTROLS = "\n\r\t"
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
"""Blank letters that Unicode does not count as formatting."""


def attest_tools(source: str, data: bytes) -> Attestation:
    """Hash the answer to ``tools/list`` (the JSON-RPC answer, its result, or only the list). Raises `AttestError`."""
    if len(data) > MAX_BYTES:
        raise AttestError(f"{source}: {len(data)} bytes; a tool list has at most {MAX_BYTES}")
    try:
        said = strict_json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise AttestError(f"{source}: no JSON that all readers read alike: {shown(str(error))}") from None
    result = said.get("result", said) if isinstance(said, dict) else {"tools": said}
    listed = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_TOOLS:
        raise AttestError(f"{source}: no list of tools; expected the answer to tools/list")
    concerns: list[Concern] = []
    whole = not result.get("nextCursor")
    if not whole:
        concerns.append(
            Concern(level=Level.WARN, where=source, text="this is one page of several: join all pages into one list")
        )
    tools: dict[str, Tool] = {}
    for place, each in enumerate(listed):
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise AttestError(f"{source}: tool {place + 1} has no name")
        tool = _tool(each)
        if tool.name in tools:
            concerns.append(
                Concern(level=Level.ALARM, where=tool.name, text="two tools have this name; which is called is open")
            )
            whole = False
        tools[tool.name] = tool
        concerns += _hidden(tool.name, each)
    lines = "".join(f"{tool.digest} {json.dumps(tool.name)}\n" for _, tool in sorted(tools.items()))
    total = digest(lines.encode("utf-8", "surrogatepass")) if whole else None
    return Attestation(
        subject="tools",
        source=source,
        digest=total,
        components={"tool_list": total} if total else {},
        concerns=tuple(concerns),
        tools=tuple(tool for _, tool in sorted(tools.items())),
    )


def canonical(value: Any) -> bytes:
    """JSON in the one form that is hashed."""
    text = json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def _tool(said: dict[str, Any]) -> Tool:
    return Tool(
        name=shown(said["name"]),
        digest=digest(canonical(said)),
        description=digest(canonical([said.get(name) for name in _READ])),
        schemas=digest(canonical([said.get(name) for name in _SCHEMAS])),
    )


def _hidden(name: str, said: Any) -> Iterator[Concern]:
    """Characters a person does not see and a model reads."""
    found = {each for text in _texts(said) for each in text if _unseen(each)}
    if found:
        named = ", ".join(f"U+{ord(each):04X}" for each in sorted(found)[:8])
        yield Concern(
            level=Level.ALARM, where=name, text=f"holds characters that nobody sees and a model reads: {named}"
        )


def _unseen(letter: str) -> bool:
    if letter.isascii():
        return letter < " " and letter not in _ORDINARY_CONTROLS
    joins_emoji = letter in "\u200d\ufe0f"
    return not joins_emoji and (unicodedata.category(letter) in {"Cf", "Cc", "Co", "Cs"} or letter in _INVISIBLE)


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            waiting += each


def _whole(value: Any) -> Any:
    """Numbers that JSON does not tell apart, made one: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value
