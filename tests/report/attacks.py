"""Texts that try to be more than text, and values that are full of them."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")

ATTACKS = {
    "markup": "</td></table><h1>all clear</h1><b onmouseover=alert(1)>",
    "script": "</script><script>alert('owned');document.title='owned'</script>",
    "image": "<img src=x onerror=alert(1)><svg onload=alert(1)><iframe src=javascript:alert(1)>",
    "style": "</style><style>*{display:none}</style><link rel=stylesheet href=//evil.example/x.css>",
    "link": '<a href="javascript:alert(1)">click</a> [x](javascript:alert(1)) https://evil.example/?q=',
    "attribute": '" onclick="alert(1)" data-x=\'',
    "template": "{{ 7*7 }} {% raw %} ${7*7} #{7*7} {{ document.__class__ }}",
    "comment": "--> <!-- ]]> <![CDATA[ <?php",
    "base": "<base href=https://evil.example/><meta http-equiv=refresh content=0;url=https://evil.example>",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "direction": "invoice\u202excod.exe \u2066\u2069\u200f",
    "invisible": "ig\u200bno\u2060re\ufeff \U000e0041\u3164\u00ad",
    "lines": "one\r\ntwo\u2028three\u0085four\x00five",
    "marks": "Z" + "\u0301" * 40 + "algo",
    "half": "half \ud800 of \udfff a character",
    "mathtext": r"$\frac{1}{0}$ _hidden \n",
    "long": "x" * 1_000_000,
}
KEPT = frozenset({"state"})
"""Fields whose value decides what is shown at all."""


def poisoned(value: Value, text: str) -> Value:
    """The same value with `text` in the place of every string in it."""
    return _poisoned(value, text)


def _poisoned(value: Any, text: str) -> Any:
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(_poisoned(each, text) for each in value)
    if isinstance(value, dict):
        return {f"{text}{number}": _poisoned(each, text) for number, each in enumerate(value.values())}
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return type(value)(**{name: each if name in KEPT else _poisoned(each, text) for name, each in fields.items()})
    return value
