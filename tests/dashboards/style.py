"""The house style of a dashboard as a list of what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.dashboards.extraction import Board, every_panel
from tests.dashboards.macros import VARIABLE

KNOWN_UNITS = {"short", "none", "s", "eps", "reqps", "percentunit", "decbytes", "currencyUSD"} | {
    "dateTimeAsIso",
    "dateTimeFromNow",
}
"""Ids as Grafana spells them: it shows an unknown one as text behind the number and says nothing."""

KNOWN_PANELS = {"stat", "timeseries", "table", "row", "heatmap", "state-timeline", "barchart", "nodeGraph"}
COLOR = re.compile(r"#[0-9A-F]{6}")
GRID_COLUMNS = 24
DOLLAR = re.compile(r"\$")
LINK = re.compile(r"/d/([\w-]+)(?:\?(.*))?")
SAFE = "percentencode"
"""The only way of a variable into SQL or an address: every other leaves a letter that can end what it stands in."""

Links = Mapping[str, set[str]]
"""Variables by the uid of their dashboard."""


def problems(board: Board, links: Links) -> list[str]:
    """Empty for a dashboard in house style that leads to `links` only."""
    panels = list(every_panel(board))
    return [
        *_of_board(board),
        *_of_variables(board),
        *_of_grid(panels),
        *(problem for panel in panels for problem in _of_panel(panel)),
        *(problem for panel in panels for problem in _of_links(panel, links)),
    ]


def _of_board(board: Board) -> Iterator[str]:
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
    if any(key in board for key in ("id", "version", "iteration", "gnetId")):
        yield "a key that a server keeps"


def _of_variables(board: Board) -> Iterator[str]:
    variables = board["templating"]["list"]
    names = {variable["name"] for variable in variables}
    targets = [target for panel in every_panel(board) for target in panel.get("targets", [])]
    targets += [variable["query"] for variable in variables if variable["type"] == "query"]
    targets += [annotation.get("target", {}) for annotation in board["annotations"]["list"]]
    for target in targets:
        for found in VARIABLE.finditer(target.get("rawSql", "")):
            name, form = found.group(1) or found.group(3), found.group(2)
            if name not in names:
                yield f"unknown variable {name}"
            if form != SAFE:
                yield f"variable {name} as {form} can leave its string"


def _of_grid(panels: list[dict[str, Any]]) -> Iterator[str]:
    if len({panel.get("id") for panel in panels}) != len(panels):
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
    yield from _of_values(title, panel["fieldConfig"])
    if not panel.get("description"):
        yield f"{title}: no description"
    for target in panel["targets"]:
        if target["format"] != {"timeseries": 0, "table": 1}[target["queryType"]]:
            yield f"{title}: format and query type disagree"
    if any(word in json.dumps(panel) for word in ('"markdown"', '"html"', '"json-view"', '"image"')):
        yield f"{title}: cells are not plain text"
    for text in (title, panel["description"], panel["fieldConfig"]["defaults"].get("noValue", "")):
        if DOLLAR.search(text):
            yield f"{title}: a dollar in a text is a variable to Grafana"


def _of_values(title: str, config: dict[str, Any]) -> Iterator[str]:
    defaults = config["defaults"]
    if not defaults.get("noValue"):
        yield f"{title}: emptiness says nothing"
    given = [entry for override in config["overrides"] for entry in override["properties"]]
    for unit in (defaults.get("unit"), *(entry["value"] for entry in given if entry["id"] == "unit")):
        if unit not in KNOWN_UNITS:
            yield f"{title}: unknown unit {unit}"
    for thresholds in (defaults["thresholds"], *(entry["value"] for entry in given if entry["id"] == "thresholds")):
        steps = thresholds["steps"]
        if not steps or steps[0]["value"] is not None or not all(COLOR.fullmatch(step["color"]) for step in steps):
            yield f"{title}: thresholds without a base or a color"


def _of_links(panel: dict[str, Any], links: Links) -> Iterator[str]:
    for url in re.findall(r'"url": "([^"]*)"', json.dumps(panel.get("fieldConfig", {}))):
        found = LINK.fullmatch(url)
        if found is None or found.group(1) not in links:
            yield f"{panel['title']}: a link to nowhere: {url}"
            continue
        for name in re.findall(r"var-(\w+)=", url):
            if name not in links[found.group(1)]:
                yield f"{panel['title']}: a link with a variable that is not there: {name}"
        if any(form != SAFE for form in re.findall(r"\$\{__data\.fields\.\w+:?(\w*)\}", url)):
            yield f"{panel['title']}: a link that a name can leave"
        if "${__url_time_range}" not in url and "from=" not in url:
            yield f"{panel['title']}: a link that forgets the time"
