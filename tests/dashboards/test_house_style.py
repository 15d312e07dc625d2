"""Every dashboard is in house style, and a dashboard that is not is told so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from detectors.types import Severity
from tests.dashboards.extraction import alert_labels, as_grafana_provisions, dashboards, every_query
from tests.dashboards.style import problems

BOARDS = dashboards()
Board = dict[str, Any]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_in_house_style(name: str) -> None:
    assert problems(BOARDS[name]) == []


def test_identities_are_stable_because_links_and_bookmarks_hold_them() -> None:
    assert {board["uid"] for board in BOARDS.values()} == {"inferwatch-overview", "inferwatch-deployment"}


def test_every_severity_has_one_color_on_all_panels() -> None:
    names = {severity.value for severity in Severity}
    colors: dict[str, set[str]] = {name: set() for name in names}
    for board in BOARDS.values():
        for panel in board["panels"]:
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                for entry in override["properties"]:
                    if entry["id"] == "color" and override["matcher"]["options"] in names:
                        colors[override["matcher"]["options"]].add(entry["value"]["fixedColor"])
                    if entry["id"] == "mappings":
                        for name, shown in entry["value"][0]["options"].items():
                            colors[name].add(shown["color"])
    assert all(len(found) == 1 for found in colors.values()), colors
    assert len({color for found in colors.values() for color in found}) == len(names)


def test_alert_queries_need_neither_browser_nor_variable() -> None:
    alerts = [query for query in every_query() if query.place.startswith("alert:")]
    assert alerts
    assert [query.place for query in alerts if "$" in query.sql] == []


def test_a_single_dollar_in_an_alert_file_is_refused_because_grafana_expands_it() -> None:
    with pytest.raises(ValueError, match="from its environment"):
        as_grafana_provisions("{{ $labels.deployment }}")


def test_labels_that_alert_texts_use_are_found() -> None:
    rule = {"labels": {"severity": "{{ $$labels.level }}"}, "annotations": {"summary": "{{ $$labels.deployment }}"}}
    assert alert_labels(rule) == ("deployment", "level")


def stat_of(board: Board) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == "stat")


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
    "two panels with one id": (lambda board: board["panels"][1].update(id=1), "two panels have one id"),
    "panels over each other": (lambda board: board["panels"][1]["gridPos"].update(x=0), ": over "),
    "a panel beyond the grid": (lambda board: board["panels"][0]["gridPos"].update(x=23), "beyond the grid"),
    "local times": (lambda board: board.update(timezone="browser"), "not UTC"),
    "no shared crosshair": (lambda board: board.update(graphTooltip=0), "no shared crosshair"),
    "links that forget the time": (lambda board: board["links"][0].update(keepTime=False), "links lose time"),
    "an unknown variable": (
        lambda board: stat_of(board)["targets"][0].update(rawSql="SELECT '${tenant:percentencode}'"),
        "unknown variables {'tenant'}",
    ),
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
    assert any(complaint in problem for problem in problems(board)), problems(board)
