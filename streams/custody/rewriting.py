"""Rows as they are after an erasure: SQL expressions, made of names of the schema; all values are bound. Pure.

What names the subject gets a random name of the same shape, so that counts of callers stay true and what has such a
name in the middle of it stays readable; a given text becomes `ERASED`. Of a call of the subject nothing is kept but
what is listed here: a column that a later release adds goes, unless somebody decides otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from streams.custody.places import Column
from streams.custody.subjects import Subject

ERASED: Final = "[erased]"

IDENTITIES: Final = ("principal", "subject", "session", "network", "user_agent")
"""Columns that say whose row it is."""

KEPT_OF_A_CALL: Final = frozenset(
    {
        *("hold_id", "event_id", "topic", "partition", "offset", "event_index", "record_time", "time", "source"),
        *("operation", "deployment", "model", "served_model", "provider", "components", "principal"),
        *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "temperature", "top_p", "max_tokens"),
        *("n", "logprobs", "top_logprobs", "logit_bias", "stream", "latency_s", "ttft_s", "failed", "refused"),
        *("finish_reason", "http_status", "cost_usd"),
    }
)
"""When, where, by what and how it went: what figures of a deployment are made of."""

_OF_A_FINDING: Final = {"summary": f"'{ERASED}'", "evidence": "'[]'"}
"""What may quote the subject's calls."""

_PLAIN = re.compile(r"(LowCardinality\()?(Nullable\()?String\)*")
_WRAPPED = re.compile(r"(Array|Map|SimpleAggregateFunction)\((.*)\)")


def is_of_calls(columns: list[Column]) -> bool:
    """Whether a table holds calls."""
    return {"prompt", "principal"} <= {column.name for column in columns}


def written(columns: list[Column]) -> list[Column]:
    """Those that an insert names."""
    return [column for column in columns if not column.computed]


def selected(table: str, columns: list[Column], subject: Subject) -> list[str]:
    """An expression for each column that is `written`: what is in its place afterwards."""
    mine = _mine(columns)
    expressions = []
    for column in written(columns):
        value = _renamed(column, subject) if column.textual else column.quoted
        if is_of_calls(columns) and column.name not in KEPT_OF_A_CALL:
            value = f"if({mine}, defaultValueOfTypeName({_literal(column.type)}), {value})"
        elif table.removeprefix("held_") == "findings" and column.name in _OF_A_FINDING:
            value = f"if({mine}, {_OF_A_FINDING[column.name]}, {value})"
        expressions.append(value)
    return expressions


def values(subject: Subject, stand_ins: dict[str, str]) -> dict[str, object]:
    """What the expressions of `selected` bind."""
    names = {f"name{at}": each for at, each in enumerate(subject.pseudonyms)}
    others = {f"stand_in{at}": stand_ins[each] for at, each in enumerate(subject.pseudonyms)}
    return {**names, **others, **{f"form{at}": f"(?i){re.escape(form)}" for at, form in enumerate(subject.forms)}}


def fingerprint_of(column: Column) -> str:
    """An expression for what stands for a value in a statement that the server keeps."""
    return f"substring(lower(hex(SHA256({column.text}))), 1, 32)"


def _mine(columns: list[Column]) -> str:
    names = [column for column in columns if column.name in IDENTITIES]
    parts = [f"{column.text} IN {{pseudonyms:Array(String)}}" for column in names]
    return f"({' OR '.join(parts)})" if parts else "false"


def _renamed(column: Column, subject: Subject) -> str:
    return _value(column.quoted, column.type, subject, 0)


def _value(value: str, kind: str, subject: Subject, depth: int) -> str:
    """`value`, an expression of the type `kind`, with other names in it."""
    if _PLAIN.fullmatch(kind):
        return _text(value, subject)
    if found := _WRAPPED.fullmatch(kind):
        wrapper, inner = found[1], found[2]
        each = f"each{depth}"
        if wrapper == "Array":
            return f"arrayMap({each} -> {_value(each, inner, subject, depth + 1)}, {value})"
        if wrapper == "SimpleAggregateFunction":
            return _value(value, inner.partition(", ")[2], subject, depth)
        if wrapper == "Map":
            parts = []
            for side, part in zip(("mapKeys", "mapValues"), _pair(inner), strict=True):
                changed = _value(each, part, subject, depth + 1) if "String" in part else each
                parts.append(f"arrayMap({each} -> {changed}, {side}({value}))")
            return f"CAST(mapFromArrays({', '.join(parts)}), {_literal(kind)})"
    return f"CAST({_text(f'toString({value})', subject)}, {_literal(kind)})"


def _text(value: str, subject: Subject) -> str:
    """Functions of texts give nothing for nothing, so what is NULL stays so."""
    for at in range(len(subject.pseudonyms)):
        value = f"replaceAll({value}, {{name{at}:String}}, {{stand_in{at}:String}})"
    for at in range(len(subject.forms)):
        value = f"replaceRegexpAll({value}, {{form{at}:String}}, '{ERASED}')"
    return value


def _pair(inner: str) -> tuple[str, str]:
    """The types of keys and values, between which is the first comma that stands in no parentheses."""
    depth = 0
    for at, letter in enumerate(inner):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            return inner[:at], inner[at + 1 :].strip()
    raise ValueError(f"no types of a map: {inner}")


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
