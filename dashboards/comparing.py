"""What a server holds against what the build makes: equal where only the server's own bookkeeping differs."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Set as AbstractSet
from typing import Any

NOTHING: tuple[Any, ...] = (None, False, "", [], {})
"""What a server writes for a key that was left out."""

DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def as_ours(theirs: Any, ours: Any, kept_by_server: AbstractSet[str] = frozenset()) -> Any:
    """`theirs` without what a server adds on its own.

    That is: keys that only it has and that say nothing, those of `kept_by_server`, a duration in other words, and a
    newer version of the schema.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {
            key: as_ours(value, ours[key], kept_by_server) if key in ours else value
            for key, value in theirs.items()
            if key in ours or (value not in NOTHING and key not in kept_by_server)
        } | _newer_schema(theirs, ours)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [as_ours(one, other, kept_by_server) for one, other in zip(theirs, ours, strict=True)]
    return ours if _same_duration(theirs, ours) else theirs


def difference(theirs: Any, ours: Any, name: str) -> str:
    """From what the server holds to what the build makes, as a unified diff of plain ASCII; empty for no difference."""
    return "\n".join(
        difflib.unified_diff(_lines(theirs), _lines(ours), f"server/{name}", f"build/{name}", n=3, lineterm="")
    )


def _lines(value: Any) -> list[str]:
    return [] if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True).splitlines()


def _newer_schema(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    key = "schemaVersion"
    newer = key in ours and isinstance(theirs.get(key), int) and theirs[key] > ours[key]
    return {key: ours[key]} if newer else {}


def _same_duration(theirs: Any, ours: Any) -> bool:
    both = isinstance(theirs, str) and isinstance(ours, str)
    return both and all(map(DURATION.fullmatch, (theirs, ours))) and _milliseconds(theirs) == _milliseconds(ours)


def _milliseconds(text: str) -> int:
    return sum(int(count) * _UNITS_MS[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdw])", text))
