"""Named questions on screens are those that `inferwatch ask` asks, with values of the screen in their places."""

from __future__ import annotations

import pytest

from dashboards.queries import value
from dashboards.sql.named import QUESTIONS, named
from streams.forensics.questions import questions
from tests.dashboards.extraction import dashboards, every_panel
from tests.dashboards.macros import Screen, expand

PSEUDONYM = "p_' OR '1'='1"


def test_the_files_of_questions_are_beside_the_dashboards() -> None:
    assert {path.stem for path in QUESTIONS.glob("*.sql")} == set(questions())


def test_a_question_is_asked_as_it_stands_with_what_was_chosen_on_the_screen() -> None:
    text = questions()["subject"].sql
    assert text.replace("{pseudonym:String}", value("pseudonym")) in named("subject", {"pseudonym": "pseudonym"}).sql


def test_a_span_is_the_screens_and_what_nobody_chose_is_the_default() -> None:
    sql = named("first_sender_of_template", {"event": "event"}).sql
    assert "calls_kept.time >= $__fromTime_ms AND calls_kept.time <= $__toTime_ms" in sql
    assert "prompt_template = if(0 != 0, 0," in sql
    assert "{" not in sql.replace("${event:percentencode}", "").replace(r"\\x{", "")


def test_nothing_that_is_typed_can_leave_its_place() -> None:
    sql = expand(named("subject", {"pseudonym": "pseudonym"}).sql, Screen(0, 1, 60, {"pseudonym": PSEUDONYM}))
    assert PSEUDONYM not in sql
    assert "p_%27%20OR%20%271%27%3D%271" in sql


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("subject", {}, "pseudonym needs a value"),
        ("subject", {"pseudonym": "p", "tenant": "t"}, "takes no tenant"),
        ("would_have_seen", {"incident": "incident"}, "played needs a value"),
    ],
)
def test_a_question_that_cannot_be_asked_of_a_screen_is_refused(name: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        named(name, given)


def test_no_named_question_on_a_screen_shows_texts() -> None:
    shown = {
        name
        for board in dashboards().values()
        for panel in every_panel(board)
        for name in questions()
        if f"ask run {name}`" in panel.get("description", "")
    }
    assert shown
    assert not any(questions()[name].texts for name in shown)
