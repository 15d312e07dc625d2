"""The tabular input of a classic model as numbers: bounded, in one order, without its texts.

Values are in the order of the sorted names of the first `MAX_COLUMNS` columns. A number or truth value is a
float within +-`MAX_NUMBER`; a text is a category and becomes a keyed 64-bit hash, an `int`; what is missing or
not finite is `None`. The names themselves are hashed into one number, so that rows can be compared only with
rows of the same columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from detectors.keyed import keyed_hash

MAX_COLUMNS = 32
"""Values kept of one input: an observation stays a few hundred bytes, whatever is sent."""

MAX_NUMBER = 1e12
_MAX_TEXT_BYTES = 256

Value = float | int | None
Columns = tuple[tuple[str, ...], int]


class Tables:
    """Turns the inputs of one batch into rows; names and categories are hashed once."""

    def __init__(self, key: bytes) -> None:
        """`key` (16-64 bytes) keys the hashes."""
        self._key = key
        self._columns: dict[tuple[str, ...], Columns] = {}
        self._hashes: dict[str, int] = {}

    def row(self, features: Mapping[str, float | str | bool | None] | None) -> tuple[tuple[Value, ...], int] | None:
        """The values of one input and the hash of its names; `None` where there is no input."""
        if not features:
            return None
        names, schema = self._named(tuple(features))
        return tuple([self._value(features[name]) for name in names]), schema

    def _named(self, names: tuple[str, ...]) -> Columns:
        found = self._columns.get(names)
        if found is None:
            ordered = sorted(names)
            schema = keyed_hash("\0".join(ordered).encode("utf-8", "replace"), self._key)
            found = self._columns[names] = (tuple(ordered[:MAX_COLUMNS]), schema)
        return found

    def _value(self, value: float | str | bool | None) -> Value:  # noqa: FBT001 - one of the types that come
        if value is None:
            return None
        if isinstance(value, str):
            known = self._hashes.get(value)
            if known is None:
                known = self._hashes[value] = keyed_hash(value.encode("utf-8", "replace")[:_MAX_TEXT_BYTES], self._key)
            return known
        try:
            number = float(value)
        except OverflowError:
            return MAX_NUMBER if value > 0 else -MAX_NUMBER
        return min(max(number, -MAX_NUMBER), MAX_NUMBER) if math.isfinite(number) else None
