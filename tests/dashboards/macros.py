"""What Grafana and its ClickHouse data source make of a query before ClickHouse sees it.

Read in the sources of the data source (its macros), of the SDK it is built with (how a macro's arguments are found)
and of Grafana (formats of variables). Two places differ: a browser fills variables and the macros of the plugin's
front end first, the ruler of alerts knows only the plugin's back end. Stricter than they are where they are silent:
an unknown macro, an argument too many and a dollar that is left over are errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

NAME = re.compile(r"\$__(\w+)")
VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)")
DEPRECATED = re.compile(r"\[\[\w+(?::\w+)?\]\]")

Value = str | Sequence[str]
Place = Literal["browser", "ruler"]


class MacroError(Exception):
    """A query that the data source would refuse or send to ClickHouse half expanded."""


@dataclass(frozen=True, slots=True)
class Screen:
    """The time range (unix seconds), the bucket a graph asks for (seconds) and the chosen variables."""

    from_s: int
    to_s: int
    interval_s: int = 60
    variables: Mapping[str, Value] = field(default_factory=dict)

    def at_least(self, least_s: int) -> Screen:
        """The same for a panel that asks for no smaller buckets."""
        return replace(self, interval_s=max(self.interval_s, least_s))


def expand(sql: str, screen: Screen, place: Place = "browser") -> str:
    """The text that reaches ClickHouse."""
    if DEPRECATED.search(sql):
        raise MacroError("[[variable]] is deprecated")
    if place == "browser":
        sql = _without_filters(_conditional(sql, screen))
        sql = VARIABLE.sub(lambda found: _variable(found, screen), sql)
    expanded = _macros(sql, screen)
    if "$" in expanded:
        raise MacroError(f"not expanded: {expanded[expanded.index('$') :][:40]}")
    return expanded


def _macros(sql: str, screen: Screen) -> str:
    parts = []
    end = 0
    for name in NAME.finditer(sql):
        if name.start() < end:
            raise MacroError(f"a macro inside the arguments of another: {name.group()}")
        arguments, after = _arguments(sql, name.end())
        parts += [sql[end : name.start()], _call(name.group(1), arguments, screen)]
        end = after
    return "".join(parts) + sql[end:]


def _call(name: str, arguments: list[str], screen: Screen) -> str:
    if name in FRONT_END:
        raise MacroError(f"$__{name} exists in a browser only")
    if name not in MACROS:
        raise MacroError(f"unknown macro $__{name}")
    arity, body = MACROS[name]
    if len(arguments) != arity or not all(arguments):
        raise MacroError(f"$__{name} takes {arity} arguments, not {len([each for each in arguments if each])}")
    return body(screen, *arguments)


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Arguments of the call whose bracket opens at `start` and nowhere later, and the place behind it.

    As in the SDK: split at commas of the first depth, and quotes mean nothing to it.
    """
    if sql[start : start + 1] != "(":
        return [], start
    depth, current, found = 0, "", []
    for place in range(start, len(sql)):
        letter = sql[place]
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return [*found, current.strip()], place + 1
        if letter == "(" and depth == 1:
            continue
        if letter == "," and depth == 1:
            found.append(current.strip())
            current = ""
            continue
        current += letter
    raise MacroError(f"brackets do not close: {sql[start:][:40]}")


def _conditional(sql: str, screen: Screen) -> str:
    """``$__conditionalAll(condition, $variable)``: the condition, or ``1=1`` while the variable is empty or All."""
    while (place := sql.rfind("$__conditionalAll")) >= 0:
        arguments, after = _arguments(sql, place + len("$__conditionalAll"))
        if len(arguments) != 2:
            raise MacroError(f"$__conditionalAll takes 2 arguments, not {len(arguments)}")
        condition, variable = arguments
        name = variable.strip("${}")
        if name not in screen.variables:
            raise MacroError(f"unknown variable {name}")
        sql = sql[:place] + ("1=1" if screen.variables[name] in ("", "$__all") else condition) + sql[after:]
    return sql


def _without_filters(sql: str) -> str:
    """``$__adHocFilters('table')`` while nobody has set a filter."""
    return re.sub(r"\$__adHocFilters\('\w+'\)", "additional_table_filters={}", sql)


def _variable(found: re.Match[str], screen: Screen) -> str:
    name, form = found.group(1) or found.group(3), found.group(2)
    if name.startswith("__"):
        return _global(name, form, screen)
    if name not in screen.variables:
        raise MacroError(f"unknown variable {name}")
    if form not in FORMATS:
        raise MacroError(f"unknown format {form} of variable {name}")
    return FORMATS[form](screen.variables[name])


def _global(name: str, form: str | None, screen: Screen) -> str:
    moments = {"__from": screen.from_s, "__to": screen.to_s}
    if name not in moments or form is not None:
        raise MacroError(f"unknown variable {name}")
    return str(moments[name] * 1_000)


def _several(value: Value) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _encoded(value: Value) -> str:
    """Strict percent-encoding; several values are one text in braces."""
    return quote(value if isinstance(value, str) else "{" + ",".join(value) + "}", safe="-_.~")


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else "'" + "','".join(value) + "'"


FORMATS: dict[str | None, Callable[[Value], str]] = {
    None: _plain,
    "raw": lambda value: ",".join(_several(value)),
    "csv": lambda value: ",".join(_several(value)),
    "pipe": lambda value: "|".join(_several(value)),
    "text": lambda value: " + ".join(_several(value)),
    "json": lambda value: json.dumps(value if isinstance(value, str) else list(value)),
    "percentencode": _encoded,
    "singlequote": lambda value: ",".join("'" + each.replace("'", "\\'") + "'" for each in _several(value)),
    "doublequote": lambda value: ",".join('"' + each.replace('"', '\\"') + '"' for each in _several(value)),
    "sqlstring": lambda value: ",".join("'" + each.replace("'", "''") + "'" for each in _several(value)),
}
"""What Grafana writes for a variable; `style` says which of them are safe in SQL."""

FRONT_END = frozenset({"conditionalAll", "adHocFilters"})


def _date(moment_s: int) -> str:
    return f"toDate('{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d}')"


def _seconds(moment_s: int) -> str:
    return f"toDateTime({moment_s})"


def _millis(moment_s: int) -> str:
    return f"fromUnixTimestamp64Milli({moment_s * 1000})"


def _between(column: str, screen: Screen, render: Callable[[int], str]) -> str:
    return f"{column} >= {render(screen.from_s)} AND {column} <= {render(screen.to_s)}"


def _date_and_time(screen: Screen, date: str, time: str) -> str:
    return f"({_between(date, screen, _date)}) AND ({_between(time, screen, _seconds)})"


def _bucket(screen: Screen, column: str) -> str:
    return f"toStartOfInterval(toDateTime({column}), INTERVAL {max(screen.interval_s, 1)} second)"


def _bucket_ms(screen: Screen, column: str) -> str:
    return f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(screen.interval_s * 1000, 1)} millisecond)"


MACROS: dict[str, tuple[int, Callable[..., str]]] = {
    "fromTime": (0, lambda screen: _seconds(screen.from_s)),
    "toTime": (0, lambda screen: _seconds(screen.to_s)),
    "fromTime_ms": (0, lambda screen: _millis(screen.from_s)),
    "toTime_ms": (0, lambda screen: _millis(screen.to_s)),
    "interval_s": (0, lambda screen: str(max(screen.interval_s, 1))),
    "timeFilter": (1, lambda screen, column: _between(column, screen, _seconds)),
    "timeFilter_ms": (1, lambda screen, column: _between(column, screen, _millis)),
    "dateFilter": (1, lambda screen, column: _between(column, screen, _date)),
    "dateTimeFilter": (2, _date_and_time),
    "dt": (2, _date_and_time),
    "timeInterval": (1, _bucket),
    "timeInterval_ms": (1, _bucket_ms),
}
"""The macros of the plugin's back end: number of arguments, and what they become."""
