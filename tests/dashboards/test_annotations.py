"""Marks in Grafana: each thing once, as it is now, and nothing that a sender wrote does more than stand there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dashboards.annotations import inert, marks, put_all
from dashboards.grafana import Grafana, GrafanaError
from dashboards.sql.marks import BASELINES, CHANGES, INCIDENTS, TABLES
from streams.settings import Settings
from tests.dashboards.extraction import dashboards
from tests.dashboards.fake_grafana import TOKEN, FakeGrafana
from tests.dashboards.scenario import HOSTILE

Row = dict[str, Any]


@pytest.fixture
def server() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()
    yield fake
    fake.stop()
    assert fake.mistakes == []


def client(server: FakeGrafana) -> Grafana:
    return Grafana(Settings(grafana_url=server.url, grafana_token=TOKEN), pause=lambda _: None)


def row(kind: str = "incident", name: str = "inc-1", **fields: Any) -> Row:
    return {
        "kind": kind,
        "id": name,
        "deployment": "chat",
        "from_ms": 1_700_000_000_000,
        "until_ms": 1_700_000_060_000,
        "severity": "high" if kind == "incident" else "",
        "what": "answers changed",
        **fields,
    }


def store(*rows: Row) -> Callable[[str], list[Row]]:
    """Answers the queries of marks, whatever time they look back."""

    def ask(sql: str) -> list[Row]:
        if sql == TABLES:
            return [{"name": name} for name in ("incidents_latest", "changes_latest", "baselines_latest")]
        kinds = {"incident": INCIDENTS, "change": CHANGES, "baseline": BASELINES}
        return [row for row in rows if sql == kinds[row["kind"]].format(since_s="5.000")]

    return ask


def annotate(server: FakeGrafana, *rows: Row) -> dict[str, int]:
    counted = put_all(client(server), marks(store(*rows), 5.0))
    return {word: number for word, number in counted.items() if number}


def test_an_incident_a_change_and_a_baseline_are_marked_once_however_often_they_are_told(server: FakeGrafana) -> None:
    rows = [row(), row("change", "c-1"), row("baseline", "b-1")]
    assert annotate(server, *rows) == {"added": 3}
    writes = len(server.writes)
    assert annotate(server, *rows) == {"kept": 3}
    assert len(server.writes) == writes
    assert [
        set(each["tags"]) & {"inferwatch", "incident", "change", "baseline", "chat"}
        for each in server.annotations.values()
    ] == [
        {"inferwatch", "incident", "chat"},
        {"inferwatch", "change", "chat"},
        {"inferwatch", "baseline", "chat"},
    ]


def test_our_own_screens_ask_for_the_tags_that_marks_have(server: FakeGrafana) -> None:
    annotate(server, row("change", "c-1"), row("baseline", "b-1"))
    asked = [
        set(mark["target"]["tags"]) - {"$deployment"} | {"chat"}
        for board in dashboards().values()
        for mark in board["annotations"]["list"]
        if mark["datasource"]["type"] == "grafana"
    ]
    assert len(asked) == len(server.annotations)
    for tags in asked:
        assert len([mark for mark in server.annotations.values() if tags <= set(mark["tags"])]) == 1


def test_a_mark_says_what_and_where_and_lasts_as_long_as_the_incident(server: FakeGrafana) -> None:
    annotate(server, row())
    (mark,) = server.annotations.values()
    assert (mark["time"], mark["timeEnd"]) == (1_700_000_000_000, 1_700_000_060_000)
    assert mark["text"] == "high incident: chat<br>answers changed<br>inferwatch incidents show inc-1"


def test_an_incident_that_goes_on_moves_the_end_of_its_mark(server: FakeGrafana) -> None:
    annotate(server, row())
    assert annotate(server, row(until_ms=1_700_000_120_000, severity="critical")) == {"changed": 1}
    (mark,) = server.annotations.values()
    assert mark["timeEnd"] == 1_700_000_120_000
    assert mark["text"].startswith("critical incident")


def test_an_incident_that_went_into_another_loses_its_mark(server: FakeGrafana) -> None:
    annotate(server, row())
    assert annotate(server, row(until_ms=0)) == {"removed": 1}
    assert server.annotations == {}
    assert annotate(server, row(until_ms=0)) == {"kept": 1}


def test_a_mark_that_two_made_at_once_is_one_again(server: FakeGrafana) -> None:
    annotate(server, row())
    (mark,) = server.annotations.values()
    server.annotations[9_999] = dict(mark)
    assert annotate(server, row()) == {"removed": 1}
    assert len(server.annotations) == 1


def test_an_answer_that_is_lost_leaves_no_second_mark(server: FakeGrafana) -> None:
    """Adding is not tried again by itself: the next round looks for the mark first."""
    server.failures = [0, 500]
    with pytest.raises(GrafanaError, match="status 500"):
        annotate(server, row())
    assert annotate(server, row()) == {"added": 1}
    assert len(server.annotations) == 1


def test_a_grafana_that_is_not_able_is_asked_again(server: FakeGrafana) -> None:
    server.failures = [503, 500, 0, 0]
    assert annotate(server, row()) == {"added": 1}


def test_a_database_that_is_not_migrated_yet_has_fewer_marks() -> None:
    assert list(marks(lambda sql: [], 5.0)) == []


def test_hostile_names_and_texts_are_text(server: FakeGrafana) -> None:
    annotate(server, row(deployment=HOSTILE, what=HOSTILE * 100), row("change", HOSTILE, deployment=HOSTILE))
    for mark in server.annotations.values():
        without_ours = mark["text"].replace("<br>", "")
        assert not re.search(r"[<>\"']", without_ours)
        for text in (without_ours, *mark["tags"]):
            assert text.isprintable()
            assert "<" not in text
        assert len(mark["text"]) < 8_000
        assert all(len(tag) <= 300 for tag in mark["tags"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert('x')</script>", "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"),
        ("\x1b[31mred\u202egnp\u200b.\n", "·[31mred·gnp·.·"),
        ("a" * 601, "a" * 599 + "…"),
        ("日本語 ü", "日本語 ü"),
    ],
)
def test_text_is_made_inert(text: str, shown: str) -> None:
    assert inert(text) == shown
