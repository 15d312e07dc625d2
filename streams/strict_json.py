"""JSON that all readers read alike: what two readers could take for two things is refused."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: str) -> Any:
    """The value of `text`. Raises `ValueError` with one line.

    Refused are a name that an object has twice, numbers that JSON or a float has not, and what is nested too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
