"""JSON that a stranger wrote: one safe parser and the typed readers that every codec but `native` uses.

Not a codec (the leading underscore says so). `parse` bounds what a value can cost; the readers turn one
field of a parsed object into what `InferenceEvent` holds. Their rule: absent, ``null`` and ``""`` are
unknown, which is ``None``; a wrong type or a value out of range raises `FieldError`, whose text names the
field's path, and the codec makes it the `Reject` of that one event. No message repeats a value: a value
may be a secret, or a megabyte.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from streams.codecs import UndecodableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH = 100
"""Brackets within brackets. Without a limit 10,000 of them end the worker in a RecursionError, and where
that happens would depend on the caller's stack. 100 is what protobuf allows by default."""

MAX_INT = 2**63 - 1
"""Columns are 64-bit: a larger count would fail a whole batch at the sink instead of one event here."""

BOM = b"\xef\xbb\xbf"
_DECIMAL = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_REAL = re.compile(
    r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?",
    re.ASCII,
)
# Every escape is consumed whole, so that `\\ud800` (a backslash, then letters) is never taken for `\ud800`.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

Parsed = TypeVar("Parsed")

_untyped: msgspec.json.Decoder[object] = msgspec.json.Decoder()


class FieldError(Exception):
    """A field of one event will never decode; the text names its path and what was expected."""


def parse(value: bytes) -> object:
    """One JSON value; of duplicate keys the last wins, a byte order mark is skipped.

    Lone surrogates become U+FFFD (JavaScript cuts emoji in half; nothing downstream can store half of one).
    Raises `UndecodableError` on anything else that is not JSON as RFC 8259 has it: bad UTF-8, NaN and
    Infinity, numbers beyond a double, integers of thousands of digits, nesting beyond `MAX_DEPTH`.
    """
    parsed = guarded(_untyped.decode, value)
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and _is_deep(parsed):
        raise UndecodableError(f"nested more than {MAX_DEPTH} levels deep")
    return parsed


def guarded(decode: Callable[[bytes], Parsed], value: bytes) -> Parsed:
    """`decode(value)` with lone surrogates mended; `UndecodableError` is all that it raises.

    All of `value` must be UTF-8: a typed decoder does not look into the texts that it skips.
    """
    value = value.removeprefix(BOM)
    try:
        str(value, "utf-8")
        try:
            return decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            mended = _mend_surrogates(value)
            if mended == value:
                raise
            return decode(mended)
    except RecursionError:
        raise UndecodableError(f"nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeDecodeError as error:
        raise UndecodableError(f"invalid UTF-8: {error.reason}") from None
    except msgspec.ValidationError as error:
        raise UndecodableError(str(error)) from None
    except msgspec.DecodeError as error:
        raise UndecodableError(f"not JSON: {error}") from None


def text(fields: Mapping[str, object], key: str, at: str = "") -> str | None:
    """Read the text at `key`; `at` is the path of `fields` itself, for the error's sake."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    raise _refusal(at, key, "text")


def identity(fields: Mapping[str, object], key: str, at: str = "") -> str | None:
    """Read a text that some senders write as a whole number: a user's or an account's id."""
    value = fields.get(key)
    if type(value) is int and -MAX_INT <= value <= MAX_INT:
        return str(value)
    return text(fields, key, at)


def count(fields: Mapping[str, object], key: str, at: str = "") -> int | None:
    """Read a whole number from 0 to `MAX_INT`, also written as ``12.0`` or as text."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if (isinstance(value, str) and _DECIMAL.fullmatch(value)) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if type(value) is int and 0 <= value <= MAX_INT:
        return value
    raise _refusal(at, key, "a whole number from 0 to 2^63-1")


def number(fields: Mapping[str, object], key: str, at: str = "") -> float | None:
    """Read a finite number of either sign, also written as text."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str) and _REAL.fullmatch(value):
        value = float(value)
    if (type(value) is int and -MAX_INT <= value <= MAX_INT) or (isinstance(value, float) and math.isfinite(value)):
        return float(value)
    raise _refusal(at, key, "a finite number")


def amount(fields: Mapping[str, object], key: str, at: str = "") -> float | None:
    """Read a finite number that is not negative: a duration, a price, a temperature."""
    value = number(fields, key, at)
    if value is not None and value < 0.0:
        raise _refusal(at, key, "a number >= 0")
    return value


def flag(fields: Mapping[str, object], key: str, at: str = "") -> bool | None:
    """Read true or false, also written as text in any case."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise _refusal(at, key, "true or false")


def mapping(fields: Mapping[str, object], key: str, at: str = "") -> dict[str, object] | None:
    """Read the object at `key`."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        return value
    raise _refusal(at, key, "an object")


def sequence(fields: Mapping[str, object], key: str, at: str = "") -> list[object] | None:
    """Read the array at `key`."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return value
    raise _refusal(at, key, "an array")


def embedded(fields: Mapping[str, object], key: str, at: str = "") -> object:
    """Read the value at `key`, which is structured or is JSON within a text."""
    value = fields.get(key)
    if value == "":
        return None
    if isinstance(value, str):
        try:
            return parse(value.encode())
        except UndecodableError as error:
            raise _refusal(at, key, f"JSON in a text ({error})") from None
    return value


def _refusal(at: str, key: str, expected: str) -> FieldError:
    return FieldError(f"{at}.{key}: expected {expected}" if at else f"{key}: expected {expected}")


def _mend_surrogates(value: bytes) -> bytes:
    if b"\\ud" not in value and b"\\uD" not in value:
        return value
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], value)


def _is_deep(parsed: object) -> bool:
    """Whether `parsed` nests beyond `MAX_DEPTH`; level by level, because recursion is what is guarded against."""
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node if type(node) is list else ())
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True
