"""Every dashboard is in house style, and a dashboard that is not is told so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from detectors.types import Severity
from tests.dashboards.extraction import Board, alert_labels, dashboards, every_panel
from tests.dashboards.style import Links, problems

BOARDS = dashboards()
LINKS: Links = {
    board["uid"]: {variable["name"] for variable in board["templating"]["list"]} for board in BOARDS.values()
}


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_in_house_style(name: str) -> None:
    assert problems(BOARDS[name], LINKS) == []


def test_identities_are_stable_because_links_and_bookmarks_hold_them() -> None:
    assert set(LINKS) == {f"inferwatch-{name}" for name in BOARDS}


def test_every_severity_has_one_color_on_all_panels() -> None:
    names = {severity.value for severity in Severity}
    colors: dict[str, set[str]] = {name: set() for name in names}
    for board in BOARDS.values():
        for panel in every_panel(board):
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                for entry in override["properties"]:
                    if entry["id"] == "color" and override["matcher"]["options"] in names:
                        colors[override["matcher"]["options"]].add(entry["value"]["fixedColor"])
                    for mapping in entry["value"] if entry["id"] == "mappings" else []:
                        for shown in mapping["options"].values() if mapping["type"] == "value" else []:
                            if shown["text"] in names:
                                colors[shown["text"]].add(shown["color"])
    assert all(len(found) == 1 for found in colors.values()), colors
    assert len({color for found in colors.values() for color in found}) == len(names)


def test_labels_that_alert_texts_use_are_found_as_grafana_reads_the_texts() -> None:
    rule = {
        "title": "A title",
        "labels": {"severity": "{{ $$labels.level }}"},
        "annotations": {"summary": "{{ $labels.deployment }} {{ .Labels.cause }}"},
    }
    assert alert_labels(rule) == ("cause", "deployment", "level")


def stat_of(board: Board) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == "stat")


def link_of(board: Board, old: str, new: str) -> None:
    """Change every link of the dashboard's columns."""
    for panel in every_panel(board):
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            for entry in override["properties"]:
                for link in entry["value"] if entry["id"] == "links" else []:
                    link["url"] = link["url"].replace(old, new)


def table_of(board: Board) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == "table")


MUTATIONS: dict[str, tuple[Callable[[Board], object], str]] = {
    "a unit that Grafana does not know": (
        lambda board: stat_of(board)["fieldConfig"]["defaults"].update(unit="seconds"),
        "unknown unit seconds",
    ),
    "no unit": (lambda board: stat_of(board)["fieldConfig"]["defaults"].pop("unit"), "unknown unit None"),
    "no description": (lambda board: stat_of(board).update(description=""), "no description"),
    "an emptiness that looks like quiet": (
        lambda board: stat_of(board)["fieldConfig"]["defaults"].pop("noValue"),
        "emptiness says nothing",
    ),
    "thresholds without a base": (
        lambda board: stat_of(board)["fieldConfig"]["defaults"]["thresholds"]["steps"].pop(0),
        "thresholds without a base",
    ),
    "a unit of one column that Grafana does not know": (
        lambda board: table_of(board)["fieldConfig"]["overrides"][0]["properties"].append(
            {"id": "unit", "value": "parsecs"}
        ),
        "unknown unit parsecs",
    ),
    "two panels with one id": (
        lambda board: board["panels"][1].update(id=board["panels"][0]["id"]),
        "two panels have one id",
    ),
    "a panel without an id beside another": (
        lambda board: [panel.pop("id") for panel in board["panels"][:2]],
        "two panels have one id",
    ),
    "panels over each other": (lambda board: board["panels"][1]["gridPos"].update(x=0), ": over "),
    "a panel beyond the grid": (lambda board: board["panels"][0]["gridPos"].update(x=23), "beyond the grid"),
    "local times": (lambda board: board.update(timezone="browser"), "not UTC"),
    "no shared crosshair": (lambda board: board.update(graphTooltip=0), "no shared crosshair"),
    "links that forget the time": (lambda board: board["links"][0].update(keepTime=False), "links lose time"),
    "an unknown variable": (
        lambda board: stat_of(board)["targets"][0].update(rawSql="SELECT '${tenant:percentencode}'"),
        "unknown variable tenant",
    ),
    "a variable that can end its string": (
        lambda board: stat_of(board)["targets"][0].update(rawSql="SELECT '${deployment:sqlstring}'"),
        "as sqlstring can leave its string",
    ),
    "a variable as it was typed": (
        lambda board: stat_of(board)["targets"][0].update(rawSql="SELECT '$deployment'"),
        "as None can leave its string",
    ),
    "a dollar in a title": (lambda board: stat_of(board).update(title="$deployment"), "is a variable to Grafana"),
    "a link to a dashboard that is not there": (
        lambda board: link_of(board, "/d/inferwatch-", "/d/nowhere-"),
        "to nowhere",
    ),
    "a link to another site": (lambda board: link_of(board, "/d/inferwatch", "https://x/d/inferwatch"), "to nowhere"),
    "a link with a variable that is not there": (lambda board: link_of(board, "var-", "var-a_"), "that is not there"),
    "a link that a name can leave": (lambda board: link_of(board, ":percentencode", ""), "a name can leave"),
    "a link that forgets the time": (lambda board: link_of(board, "${__url_time_range}", ""), "forgets the time"),
    "a table sent as a time series": (
        lambda board: stat_of(board)["targets"][0].update(format=0),
        "format and query type disagree",
    ),
    "cells rendered as markup": (
        lambda board: table_of(board)["fieldConfig"]["defaults"]["custom"].update(cellOptions={"type": "markdown"}),
        "cells are not plain text",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_house_style_sees(mutation: str) -> None:
    change, complaint = MUTATIONS[mutation]
    board = copy.deepcopy(BOARDS["overview"])
    change(board)
    found = problems(board, LINKS)
    assert any(complaint in problem for problem in found), found
