"""Where in the database somebody can be: every column that can hold a text, of every table that stores rows.

Tables and columns are those that the database has, so one that a later release adds is looked through as well.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streams.clickhouse import Store, StoreError
from streams.custody.subjects import Subject

_MOST_NEEDLES = 250
"""`multiSearchAny` takes 255."""

_TEXTUAL = re.compile(r"String|JSON|Dynamic|Variant|Object")

LOGS: Final = ("query_log", "query_thread_log", "query_views_log", "text_log", "part_log", "processors_profile_log")
"""Tables that the server writes itself: a question that was typed with its values in it stays there."""


class Column(msgspec.Struct, frozen=True):
    """A column as the database has it; `computed` ones follow from others and are never written."""

    name: str
    type: str
    computed: bool = False

    @property
    def quoted(self) -> str:
        """Its name in a statement."""
        return "`" + self.name.replace("\\", "\\\\").replace("`", "\\`") + "`"

    @property
    def text(self) -> str:
        """An expression: its value as one text."""
        return f"ifNull(toString({self.quoted}), '')"

    @property
    def textual(self) -> bool:
        """Whether it can hold a text."""
        return _TEXTUAL.search(self.type) is not None


class Place(msgspec.Struct, frozen=True):
    """One table looked through: how many columns, how many rows there are, and in how many each column has it."""

    table: str
    columns: int
    rows: int
    found: dict[str, int]
    unread: str = ""


def tables(store: Store) -> dict[str, list[Column]]:
    """All tables of this database that store rows, with their columns. Raises `StoreError`."""
    rows = store.query("""
        SELECT table, name, type, default_kind FROM system.columns
        WHERE database = currentDatabase() AND table IN (
            SELECT name FROM system.tables WHERE database = currentDatabase()
            AND (endsWith(engine, 'MergeTree') OR endsWith(engine, 'Log') OR engine = 'Memory'))
        ORDER BY table, position
    """)
    found: dict[str, list[Column]] = {}
    for row in rows:
        column = Column(row["name"], row["type"], row["default_kind"] in {"MATERIALIZED", "ALIAS", "EPHEMERAL"})
        if row["default_kind"] not in {"ALIAS", "EPHEMERAL"}:
            found.setdefault(row["table"], []).append(column)
    return found


def needles(subject: Subject) -> dict[str, object]:
    """The values that conditions of `has` bind."""
    return {"pseudonyms": list(subject.pseudonyms), "forms": subject.forms}


def has(column: Column, subject: Subject) -> str:
    """A condition: the column names the subject. Texts are found in any case of letters."""
    parts = []
    if subject.pseudonyms:
        if len(subject.pseudonyms) <= _MOST_NEEDLES:
            parts.append(f"multiSearchAny({column.text}, {{pseudonyms:Array(String)}})")
        else:
            parts.append(f"arrayExists(each -> position({column.text}, each) > 0, {{pseudonyms:Array(String)}})")
    if subject.forms:
        if len(subject.forms) <= _MOST_NEEDLES:
            parts.append(f"multiSearchAnyCaseInsensitiveUTF8({column.text}, {{forms:Array(String)}})")
        else:
            at = f"positionCaseInsensitiveUTF8({column.text}, each)"
            parts.append(f"arrayExists(each -> {at} > 0, {{forms:Array(String)}})")
    return f"({' OR '.join(parts)})"


def searched(store: Store, subject: Subject, table: str, columns: list[Column]) -> Place:
    """Look through one table. Raises `StoreError`."""
    textual = [column for column in columns if column.textual]
    counts = "".join(f", countIf({has(column, subject)}) AS c{at}" for at, column in enumerate(textual))
    sql = f"SELECT count() AS n{counts} FROM {table}"  # noqa: S608 - names of the database's own
    (row,) = store.query(sql, needles(subject))
    found = {column.name: row[f"c{at}"] for at, column in enumerate(textual) if row[f"c{at}"]}
    return Place(table, len(textual), row["n"], found)


def everywhere(store: Store, subject: Subject) -> list[Place]:
    """Look through everything: our tables, then what the server wrote down of what was asked."""
    places = [searched(store, subject, f"`{table}`", columns) for table, columns in tables(store).items()]
    return [*(msgspec.structs.replace(each, table=each.table.strip("`")) for each in places), *_logs(store, subject)]


def _logs(store: Store, subject: Subject) -> list[Place]:
    places = []
    rows = store.query(
        "SELECT table, name, type FROM system.columns WHERE database = 'system' AND table IN {names:Array(String)} "
        "AND default_kind != 'ALIAS' ORDER BY table, position",
        {"names": [*LOGS, "mutations"]},
    )
    found: dict[str, list[Column]] = {}
    for row in rows:
        found.setdefault(row["table"], []).append(Column(row["name"], row["type"]))
    for table, columns in found.items():
        try:
            places.append(searched(store, subject, f"system.{table}", columns))
        except StoreError as error:
            places.append(Place(f"system.{table}", len(columns), 0, {}, unread=str(error)))
    return places
