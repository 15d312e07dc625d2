"""What a person types for a parameter, as the value that the server binds. Pure: the clock is an argument."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from detectors.types import MAX_TIME_S
from streams.forensics.questions import Parameter, Question
from streams.settings import SettingsError

MOST_CHARS: Final = 20_000
"""Of a text. A server refuses a parameter of more than 128 KiB with a message that helps nobody."""

MOST_LISTED: Final = 1_000
"""Of a list, and its texts together `MOST_CHARS` long."""

_SPANS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(?:now\s*-\s*)?(\d{1,9})\s*([smhdw])(?:\s+ago)?")
_SECONDS = re.compile(r"\d{9,11}(?:\.\d{1,6})?")
_WHOLE = {
    "UInt8": (0, 2**8),
    "UInt16": (0, 2**16),
    "UInt32": (0, 2**32),
    "UInt64": (0, 2**64),
    "Int64": (-(2**63), 2**63),
}
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})
_TIME_HELP = "a time such as 2026-11-22T14:05:00Z (UTC without an offset), 90d, `24h ago` or now"


class ValueRefusedError(SettingsError):
    """A value that a parameter does not take; one line that names the parameter and says what it takes."""


def typed(question: Question, values: Mapping[str, str], now_s: float) -> dict[str, Any]:
    """The values of all parameters of a question, defaults filled in. Raises `ValueRefusedError`."""
    known = {each.name: each for each in question.parameters}
    for name in values:
        if name not in known:
            takes = ", ".join(known) if known else "nothing"
            raise ValueRefusedError(f"--param {_shown(name)}: {question.name} takes {takes}")
    bound: dict[str, Any] = {}
    for name, parameter in known.items():
        text = values.get(name, parameter.default)
        if text is None:
            raise ValueRefusedError(f"{question.name} needs --param {name}=...: {parameter.about}")
        bound[name] = value_of(parameter, text, now_s)
    since, until = (bound.get(each) for each in ("since", "until"))
    if isinstance(since, str) and isinstance(until, str) and since >= until:
        raise ValueRefusedError(f"since is {since} and until {until} (UTC): nothing lies between them")
    return bound


def resolved(question: Question, values: Mapping[str, str], now_s: float) -> dict[str, str]:
    """`values` with times that do not move: what was asked can be asked again. Raises `ValueRefusedError`."""
    bound = typed(question, values, now_s)
    times = {each.name for each in question.parameters if each.kind.startswith("DateTime64")}
    return {**values, **{name: value for name, value in bound.items() if name in times}}


def value_of(parameter: Parameter, text: str, now_s: float) -> Any:
    """One value. Raises `ValueRefusedError`."""
    try:
        return _value(parameter.kind, text, now_s)
    except ValueError as error:
        raise ValueRefusedError(f"--param {parameter.name}: {_shown(text)} is not accepted; {error}") from None


def _value(kind: str, text: str, now_s: float) -> Any:
    if kind == "String":
        return _text(text)
    if kind == "Array(String)":
        return _list(text)
    if kind.startswith("DateTime64"):
        return _time(text.strip(), 3 if "(3" in kind else 6, now_s)
    if kind == "Bool":
        return _switch(text.strip().lower())
    if kind == "Float64":
        return _number(text.strip())
    return _whole(kind, text.strip())


def _text(text: str) -> str:
    if len(text) > MOST_CHARS:
        raise ValueError(f"a text of at most {MOST_CHARS:,} characters, this one has {len(text):,}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text in UTF-8") from None
    return text


def _list(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError):
            parts = None
        if not isinstance(parts, list) or not all(isinstance(each, str) for each in parts):
            raise ValueError('a list: a,b,c or, where a comma is part of a value, JSON such as ["a,b", "c"]')
    else:
        parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MOST_LISTED:
        raise ValueError(f"a list of at most {MOST_LISTED:,}, this one has {len(parts):,}")
    _text("".join(parts))
    return parts


def _time(text: str, digits: int, now_s: float) -> str:
    moment_s = _moment_s(text, now_s)
    if not 0 <= moment_s <= MAX_TIME_S:
        raise ValueError(f"{_TIME_HELP}; from 1970 to {datetime.fromtimestamp(MAX_TIME_S, UTC).year}")
    unit = 10**digits
    whole, rest = divmod(round(moment_s * unit), unit)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{rest:0{digits}d}"


def _moment_s(text: str, now_s: float) -> float:
    if text == "now":
        return now_s
    span = _AGO.fullmatch(text)
    if span is not None:
        return now_s - float(span[1]) * _SPANS_S[span[2]]
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_TIME_HELP) from None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        raise ValueError(_TIME_HELP) from None


def _switch(text: str) -> bool:
    if text not in _YES | _NO:
        raise ValueError("yes or no")
    return text in _YES


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("a number such as 0.5")
    return number


def _whole(kind: str, text: str) -> int:
    low, above = _WHOLE[kind]
    number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else above
    if not low <= number < above:
        raise ValueError(f"a whole number from {low} to {above - 1}")
    return number


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else f"{text[:80]}...")  # noqa: PLR2004 - of a message
