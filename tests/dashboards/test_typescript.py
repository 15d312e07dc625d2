"""Dashboards are what Grafana's own types say a dashboard is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import LeaveOut
from tests.dashboards.extraction import Board, dashboards
from tests.dashboards.typescript import complaints
from tests.integration.pinned import UnavailableError

pytestmark = pytest.mark.integration

BOARDS = dashboards()


def _small() -> Board:
    """The overview with one panel of each kind: a compiler that reads it many times is a slow test."""
    kinds = {panel["type"]: panel for panel in reversed(BOARDS["overview"]["panels"])}
    return BOARDS["overview"] | {"panels": list(kinds.values())}


SMALL = _small()


def of_type(board: Board, kind: str) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == kind)


Change = Callable[[Board], Any]

MUTATIONS: dict[str, tuple[Change, str]] = {
    "a field that a panel does not have": (lambda board: of_type(board, "stat").update(colour="red"), "'\"colour\"'"),
    "a field that a dashboard does not have": (lambda board: board.update(timeZone="utc"), "'\"timeZone\"'"),
    "a panel that does not exist": (lambda board: of_type(board, "table").update(type="grid"), '"grid"'),
    "a number as text": (
        lambda board: of_type(board, "stat")["gridPos"].update(w="4"),
        "not assignable to type 'number",
    ),
    "a crosshair as text": (lambda board: board.update(graphTooltip="1"), "not assignable to type"),
    "a color mode that does not exist": (
        lambda board: of_type(board, "stat")["options"].update(colorMode="fond"),
        '"fond"',
    ),
    "an option of another panel": (
        lambda board: of_type(board, "table")["options"].update(colorMode="none"),
        "'\"color",
    ),
    "a way to draw that does not exist": (
        lambda board: of_type(board, "timeseries")["fieldConfig"]["defaults"]["custom"].update(drawStyle="pencil"),
        '"pencil"',
    ),
    "a threshold without its color": (
        lambda board: of_type(board, "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"][0].pop("color"),
        "'color' is missing",
    ),
    "a panel without a unit": (lambda board: of_type(board, "stat")["fieldConfig"]["defaults"].pop("unit"), "unit"),
    "an emptiness that says nothing": (
        lambda board: of_type(board, "stat")["fieldConfig"]["defaults"].pop("noValue"),
        "noValue",
    ),
    "a panel without an id": (lambda board: of_type(board, "stat").pop("id"), "id"),
    "a table sent as a time series": (lambda board: of_type(board, "stat")["targets"][0].update(format=0), "format"),
    "another data source": (
        lambda board: of_type(board, "stat")["datasource"].update(uid="postgres"),
        "'\"postgres\"' is not assignable to type 'Uid'",
    ),
    "an override by nothing": (
        lambda board: of_type(board, "table")["fieldConfig"]["overrides"][0].pop("matcher"),
        "'matcher' is missing",
    ),
    "a link that has no such field": (lambda board: board["links"][0].update(keepTimes=True), "keepTimes"),
}


def mutated(mutation: str) -> Board:
    board = copy.deepcopy(SMALL)
    MUTATIONS[mutation][0](board)
    return board


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> dict[str, list[str]]:
    """What the compiler says of every dashboard and of every mutation, in one run of it."""
    mutants = {f"mutation_{number}": mutated(name) for number, name in enumerate(MUTATIONS)}
    try:
        return complaints({**BOARDS, **mutants}, tmp_path_factory.mktemp("typescript"))
    except UnavailableError as error:
        leave_out_integration(f"TypeScript: {error}")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_has_the_types_of_grafanas_schema(name: str, said: dict[str, list[str]]) -> None:
    assert said[name] == []


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_compiler_sees(mutation: str, said: dict[str, list[str]]) -> None:
    found = said[f"mutation_{list(MUTATIONS).index(mutation)}"]
    assert any(MUTATIONS[mutation][1] in complaint for complaint in found), found
