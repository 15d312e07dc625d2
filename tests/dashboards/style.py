"""The house style of a dashboard as a list of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.dashboards.extraction import SINGLE_DOLLAR
from tests.dashboards.macros import VARIABLE

KNOWN_UNITS = {"short", "none", "s", "eps", "reqps", "percentunit", "decbytes"}
"""Ids as Grafana spells them: it shows an unknown one as text behind the number and says nothing."""

KNOWN_PANELS = {"stat", "timeseries", "table", "row"}
COLOR = re.compile(r"#[0-9A-F]{6}")
GRID_COLUMNS = 24


def problems(board: dict[str, Any]) -> list[str]:
    """Empty for a dashboard in house style."""
    return [*_of_board(board), *_of_grid(board["panels"]), *(f for p in board["panels"] for f in _of_panel(p))]


def _of_board(board: dict[str, Any]) -> Iterator[str]:
    if board["timezone"] != "utc":
        yield "times are not UTC"
    if board["graphTooltip"] != 1:
        yield "no shared crosshair"
    if not board["description"]:
        yield "no description"
    if board["tags"] != ["inferwatch"]:
        yield "no tag to find it by"
    if not any(link["keepTime"] and link["includeVars"] for link in board["links"]):
        yield "links lose time or variables"
    names = {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            used = set(VARIABLE.findall(target["rawSql"]))
            if used - names:
                yield f"{panel['title']}: unknown variables {used - names}"


def _of_grid(panels: list[dict[str, Any]]) -> Iterator[str]:
    if len({panel["id"] for panel in panels}) != len(panels):
        yield "two panels have one id"
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > GRID_COLUMNS:
            yield f"{panel['title']}: beyond the grid"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken:
                    yield f"{panel['title']}: over {taken[x, y]}"
                taken[x, y] = panel["title"]


def _of_panel(panel: dict[str, Any]) -> Iterator[str]:
    title = panel["title"]
    if panel["type"] not in KNOWN_PANELS:
        yield f"{title}: unknown panel {panel['type']}"
    if panel["type"] == "row":
        return
    yield from _of_values(title, panel["fieldConfig"]["defaults"])
    if not panel.get("description"):
        yield f"{title}: no description"
    for target in panel["targets"]:
        if target["format"] != {"timeseries": 0, "table": 1}[target["queryType"]]:
            yield f"{title}: format and query type disagree"
    if panel["type"] == "table" and any(word in str(panel) for word in ("markdown", "html", "json-view")):
        yield f"{title}: cells are not plain text"
    for text in (title, panel["description"], panel["fieldConfig"]["defaults"].get("noValue", "")):
        if SINGLE_DOLLAR.search(text):
            yield f"{title}: a dollar in a text is a variable to Grafana"


def _of_values(title: str, defaults: dict[str, Any]) -> Iterator[str]:
    if not defaults.get("noValue"):
        yield f"{title}: emptiness says nothing"
    if defaults.get("unit") not in KNOWN_UNITS:
        yield f"{title}: unknown unit {defaults.get('unit')}"
    steps = defaults["thresholds"]["steps"]
    if steps[0]["value"] is not None or not all(COLOR.fullmatch(step["color"]) for step in steps):
        yield f"{title}: thresholds without a base or a color"
