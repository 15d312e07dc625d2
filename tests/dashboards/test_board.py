"""A dashboard gets its identities in one place, and they last."""

from __future__ import annotations

import copy

import pytest

from dashboards.board import STALE_KEYS, dashboard, finalize, panel_id
from dashboards.build import screens
from dashboards.panels import row

BOARD = dashboard("uid", "Title", "Description", [row("First"), row("Second")])


def test_every_panel_and_row_has_an_id_of_its_own() -> None:
    for board in screens().values():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert all(0 < number <= 2_000_000_000 for number in numbers)


def test_a_panel_that_is_added_before_others_changes_none_of_their_ids() -> None:
    more = dashboard("uid", "Title", "Description", [row("New"), row("First"), row("Second")])
    assert [panel["id"] for panel in more["panels"]][1:] == [panel["id"] for panel in BOARD["panels"]]
    assert BOARD["panels"][0]["id"] == panel_id("First")


def test_what_grafana_or_an_older_version_left_behind_is_removed() -> None:
    saved = {**copy.deepcopy(BOARD), **dict.fromkeys(STALE_KEYS, "left behind")}
    saved["panels"][0]["id"] = 77
    assert finalize(saved) == BOARD
    assert finalize(BOARD) == BOARD


def test_two_panels_of_one_title_are_refused() -> None:
    with pytest.raises(ValueError, match="two panels cannot be told apart"):
        dashboard("uid", "Title", "Description", [row("Same"), row("Same")])
