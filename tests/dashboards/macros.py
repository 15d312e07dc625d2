"""What Grafana and its ClickHouse data source make of a query before ClickHouse sees it.

Written from the plugin's documentation of its macros. Stricter than the plugin where the plugin is kind:
an unknown macro, a wrong number of arguments and a dollar that is left over are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

NAME = re.compile(r"\$__(\w+)")
VARIABLE = re.compile(r"\$\{(\w+):percentencode\}")


class MacroError(Exception):
    """A query that the data source would refuse or send to ClickHouse half expanded."""


@dataclass(frozen=True, slots=True)
class Screen:
    """The time range (unix seconds), the bucket a graph asks for (seconds) and the chosen variables."""

    from_s: int
    to_s: int
    interval_s: int = 60
    variables: Mapping[str, str] = field(default_factory=dict)


def expand(sql: str, screen: Screen) -> str:
    """The text that reaches ClickHouse."""
    parts = []
    end = 0
    for name in NAME.finditer(sql):
        if name.start() < end:
            raise MacroError(f"a macro inside the arguments of another: {name.group()}")
        arguments, after = _arguments(sql, name.end())
        parts += [sql[end : name.start()], _call(name.group(1), arguments, screen)]
        end = after
    expanded = VARIABLE.sub(lambda found: _variable(found.group(1), screen), "".join(parts) + sql[end:])
    if "$" in expanded:
        raise MacroError(f"not expanded: {expanded[expanded.index('$') :][:40]}")
    return expanded


def _variable(name: str, screen: Screen) -> str:
    if name not in screen.variables:
        raise MacroError(f"unknown variable {name}")
    return quote(screen.variables[name], safe="-_.~")


def _call(name: str, arguments: list[str], screen: Screen) -> str:
    if name not in MACROS:
        raise MacroError(f"unknown macro $__{name}")
    arity, body = MACROS[name]
    if len(arguments) != arity:
        raise MacroError(f"$__{name} takes {arity} arguments, not {len(arguments)}")
    return body(screen, *arguments)


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Arguments of the call whose bracket opens at `start`, and the place behind it."""
    if sql[start : start + 1] != "(":
        return [], start
    depth, quoted, current, found = 0, "", "", []
    for place in range(start, len(sql)):
        letter = sql[place]
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"`":
            quoted = letter
        elif letter == "(":
            depth += 1
            if depth == 1:
                continue
        elif letter == ")":
            depth -= 1
            if depth == 0:
                last = current.strip()
                return ([*found, last] if found or last else []), place + 1
        elif letter == "," and depth == 1:
            found.append(current.strip())
            current = ""
            continue
        current += letter
    raise MacroError(f"brackets do not close: {sql[start:][:40]}")


def _seconds(value: int) -> str:
    return f"toDateTime({value})"


def _millis(value: int) -> str:
    return f"fromUnixTimestamp64Milli({value * 1000})"


def _between(column: str, screen: Screen, render: Callable[[int], str]) -> str:
    return f"{column} >= {render(screen.from_s)} AND {column} <= {render(screen.to_s)}"


MACROS: dict[str, tuple[int, Callable[..., str]]] = {
    "fromTime": (0, lambda screen: _seconds(screen.from_s)),
    "toTime": (0, lambda screen: _seconds(screen.to_s)),
    "fromTime_ms": (0, lambda screen: _millis(screen.from_s)),
    "toTime_ms": (0, lambda screen: _millis(screen.to_s)),
    "interval_s": (0, lambda screen: str(max(screen.interval_s, 1))),
    "timeFilter": (1, lambda screen, column: _between(column, screen, _seconds)),
    "timeFilter_ms": (1, lambda screen, column: _between(column, screen, _millis)),
    "timeInterval": (
        1,
        lambda screen, column: f"toStartOfInterval(toDateTime({column}), INTERVAL {max(screen.interval_s, 1)} second)",
    ),
    "timeInterval_ms": (
        1,
        lambda screen, column: (
            f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(screen.interval_s, 1) * 1000} millisecond)"
        ),
    ),
}
