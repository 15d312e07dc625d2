"""Somebody in front of a dashboard: a time range, a choice for every variable, and what the queries then return."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.dashboards.extraction import Found, dashboards
from tests.dashboards.frames import Frame, problems
from tests.dashboards.macros import MacroError, Screen, expand
from tests.dashboards.scenario import CHOICES

AS_GRAFANA = {
    "max_threads": 2,
    "max_memory_usage": 1_000_000_000,
    "use_query_condition_cache": 0,
    "wait_end_of_query": 1,
}
"""Limits of the data source's user in compose; then: what is asked twice is not answered faster the second time, as the
time range of a dashboard moves, and the server's time is that of the whole answer."""


class Viewer:
    """Looks at the hours before `now_s` with a graph's point every `interval_s`."""

    def __init__(self, client: Client, now_s: int, hours: int = 1, interval_s: int = 60) -> None:
        self.client = client
        self.screen = Screen(now_s - 3_600 * hours, now_s + 60, interval_s)
        self.chosen = functools.cache(self._chosen)

    def frames(self, query: Found, **chosen: str) -> list[Frame]:
        """What the queries of a place return. Raises `MacroError` and `DatabaseError`."""
        return [frame for frame, _ in self.timed(query, **chosen)]

    def timed(self, query: Found, **chosen: str) -> list[tuple[Frame, float]]:
        """With how long the server took for each, in milliseconds."""
        variables = self.chosen(query.board, tuple(chosen.items())) if query.board else {}
        screen = dataclasses.replace(self.screen.at_least(query.least_s), variables=variables)
        return [self._asked(expand(sql, screen, query.where)) for sql in query.sqls]

    def rows(self, query: Found, **chosen: str) -> list[dict[str, Any]]:
        """The rows of all frames, by column."""
        return [
            dict(zip(frame.names, row, strict=True)) for frame in self.frames(query, **chosen) for row in frame.rows
        ]

    def complaints(self, query: Found, **chosen: str) -> list[str]:
        """What is wrong with a place, errors of its queries included."""
        try:
            return problems(query, self.frames(query, **chosen))
        except (DatabaseError, MacroError) as error:
            return [str(error)]

    def _asked(self, sql: str) -> tuple[Frame, float]:
        result = self.client.query(sql, settings=AS_GRAFANA)
        frame = Frame(result.column_names, [kind.name for kind in result.column_types], result.result_rows)
        return frame, int(result.summary["elapsed_ns"]) / 1e6

    def _chosen(self, board: str, given: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """A value for each variable of a dashboard: as given, else a known one, else the first choice there is."""
        known = {**CHOICES, **dict(given)}
        values: dict[str, str] = {}
        for variable in dashboards()[board]["templating"]["list"]:
            name = variable["name"]
            if name in known:
                values[name] = known[name]
            elif variable["type"] == "query":
                screen = dataclasses.replace(self.screen, variables=values)
                frame, _ = self._asked(expand(variable["query"]["rawSql"], screen))
                values[name] = str(frame.rows[0][0]) if frame.rows else ""
            elif variable["type"] == "custom":
                values[name] = variable["query"].split(",")[0].strip()
            else:
                values[name] = variable["query"]
        return values
