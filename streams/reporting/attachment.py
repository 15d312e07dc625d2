"""Facts as JSON that any parser takes: ASCII only, half surrogates as escapes, numbers that are none as null. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

MOST_CHARS = 4_000
"""Of one text: what triage and the queries of reports bound is shorter, and a table that others write to is not."""


def as_json(facts: msgspec.Struct) -> bytes:
    """The document for machines."""
    return json.dumps(_plain(msgspec.to_builtins(facts)), ensure_ascii=True, allow_nan=False, indent=1).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value if len(value) <= MOST_CHARS else f"{value[:MOST_CHARS]} (cut here: {len(value):,} characters in all)"
        )
    if isinstance(value, dict):
        return {name[:MOST_CHARS]: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
