"""An answer as a table for people and as JSON for machines; text from outside is printed as inert text."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from streams.forensics.asking import Answer
from streams.forensics.questions import Parameter, Question
from streams.show import ascii_json, inert

_FILE_WIDTH: Final = 240
_WIDEST: Final = 10_000
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d*[1-9])?)(?:\.?0*)Z$")
_NUMBER = re.compile(r"(?:Nullable\()?(?:U?Int|Float)\d+\)?")
MOST_CELL_CHARS: Final = 300
"""Of a cell of a table; JSON, CSV and Parquet have the whole text."""


def listed(console: Console, catalog: Mapping[str, Question]) -> None:
    """All questions, a line each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("asks", overflow="fold")
    table.add_column("needs", overflow="fold")
    for name, each in catalog.items():
        needed = [one.name for one in each.parameters if one.default is None]
        table.add_row(name, Text(each.question + (" (texts: --why)" if each.texts else "")), Text(", ".join(needed)))
    console.print(table)


def shown(console: Console, question: Question) -> None:
    """One question as a page: what it takes, what it answers, what it costs, its SQL."""
    console.print(Text.assemble((question.name, "bold"), f"  {question.question}"))
    console.print("\nParameters", style="bold")
    for parameter in question.parameters:
        console.print(Text(f"  --param {parameter.name}=...  {_takes(parameter)}: {parameter.about}"), soft_wrap=True)
    console.print("\nColumns", style="bold")
    for column in question.columns:
        unit = f", {column.unit}" if column.unit else ""
        console.print(Text(f"  {column.name}  {column.kind}{unit}: {column.about}"), soft_wrap=True)
    texts = "yes: to ask it needs --why, and is recorded" if question.texts else "no"
    console.print(Text(f"\nRaw text of calls: {texts}\nCost: {question.cost}\n"), soft_wrap=True)
    console.print(question.sql, markup=False, highlight=False, soft_wrap=True)


def explained(question: Question, bound: Mapping[str, Any]) -> str:
    """The SQL that is sent, and above it the values that are bound to it."""
    values = [f"-- --param_{name}={_literal(value)}" for name, value in bound.items()]
    return "\n".join([f"-- {question.question}", *values, question.sql])


def told(console: Console, question: Question, answer: Answer) -> None:
    """Rows as a table, or one below the other where a table is wider than the screen."""
    rows = _table(question, answer)
    if Measurement.get(console, console.options.update(max_width=_WIDEST), rows).maximum <= console.width:
        console.print(rows)
        return
    heads = _heads(question, answer)
    width = max(map(len, heads))
    for number, row in enumerate(answer.rows):
        if number:
            console.print()
        for head, value in zip(heads, row, strict=True):
            console.print(Text.assemble((f"{head:<{width}}  ", "bold"), _cell(value)), soft_wrap=True)


def drawn(question: Question, answer: Answer) -> str:
    """The rows as text, for a file."""
    text = io.StringIO()
    told(Console(file=text, width=_FILE_WIDTH), question, answer)
    return text.getvalue()


def _table(question: Question, answer: Answer) -> Table:
    rows = Table(box=None, pad_edge=False)
    for head, column in zip(_heads(question, answer), answer.columns, strict=True):
        rows.add_column(
            Text(head),
            style=None if rows.columns else "bold",
            justify="right" if _NUMBER.fullmatch(column.kind) else "left",
            overflow="fold",
        )
    for row in answer.rows:
        rows.add_row(*(Text(_cell(value)) for value in row))
    return rows


def _heads(question: Question, answer: Answer) -> list[str]:
    """The names of the columns, with their unit where it says more than the name."""
    units = {each.name: each.unit for each in question.columns if each.unit != each.name}
    return [f"{each.name} ({units[each.name]})" if units.get(each.name) else each.name for each in answer.columns]


def document(question: Question, values: Mapping[str, str], answer: Answer) -> str:
    """The answer as one JSON document on one line, with what was asked and what it cost."""
    known = {each.name: each for each in question.columns}
    names = [each.name for each in answer.columns]
    return ascii_json(
        {
            "question": question.name,
            "parameters": dict(values),
            "columns": [
                {"name": each.name, "type": each.kind, "unit": known[each.name].unit if each.name in known else ""}
                for each in answer.columns
            ],
            "rows": [dict(zip(names, row, strict=True)) for row in answer.rows],
            "rows_read": answer.rows_read,
            "bytes_read": answer.bytes_read,
            "elapsed_s": round(answer.elapsed_s, 3),
        }
    )


def _takes(parameter: Parameter) -> str:
    if parameter.default is None:
        return f"{parameter.kind}, must be given"
    return f"{parameter.kind}, else {parameter.default or 'empty'}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.1f}"  # noqa: PLR2004 - four digits either way
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = _TIME.sub(r"\1 \2Z", value).replace("\n", " ") if isinstance(value, str) else json.dumps(value)
    return inert(text, MOST_CELL_CHARS)


def _literal(value: Any) -> str:
    return inert(json.dumps(value), 100_000)
