from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from detectors.catalog.served_model_change import ServedModelChange
from detectors.catalog.served_model_mismatch import ServedModelMismatch
from detectors.types import Observation, Severity
from tests.detectors.notices import SHARE, START_S, approval, call, calls, rejection, rows, said
from tests.detectors.soundness import assert_well_formed

ASKED, GOOD = "gpt-4o", "gpt-4o-2024-08-06"


def answered(count: int, first: int, served: str, model: str = ASKED) -> list[Observation]:
    return calls(count, first, model=model, served_model=served)


def watched(*served: str) -> ServedModelMismatch:
    detector = ServedModelMismatch(share=SHARE)
    names = served or (GOOD,)
    turns = [call(number, model=ASKED, served_model=names[number % len(names)]) for number in range(300)]
    assert said(detector, turns) == []
    return detector


def test_another_family_than_was_asked_for_is_said_once() -> None:
    (found,) = said(watched(), answered(300, 300, "gpt-3.5-turbo"))
    assert found.severity is Severity.HIGH and found.onset_s == START_S + 300
    assert rows(found) == {"served_model": ("gpt-3.5-turbo", GOOD), "asked for": (ASKED, None)}


@pytest.mark.parametrize("served", ["gpt-4o", "openai/gpt-4o", "gpt-4o-2024-11-20", "GPT-4o"])
def test_an_alias_a_prefix_and_a_date_are_no_mismatch(served: str) -> None:
    assert said(watched(), answered(300, 300, served)) == []


def test_a_router_that_always_answers_with_others_is_learned() -> None:
    detector = watched("claude-3-haiku", "gpt-4o-mini", GOOD)
    assert said(detector, answered(99, 300, "claude-3-haiku") + answered(99, 400, "mistral-small")) == []


def test_an_alias_is_not_judged_by_its_name() -> None:
    detector = ServedModelMismatch(share=SHARE)
    assert said(detector, answered(300, 0, "gpt-4", "our-chat") + answered(99, 300, "gpt-3.5-turbo", "our-chat")) == []


def test_after_50_calls_that_agreed_another_family_is_news_before_the_warm_up_is_over() -> None:
    detector = ServedModelMismatch(share=SHARE)
    assert len(said(detector, answered(60, 0, GOOD) + answered(60, 60, "gpt-3.5-turbo"))) == 1


def test_an_approved_model_of_another_family_is_no_finding_within_its_window() -> None:
    detector = watched()
    detector.update(approval(300, "served_model", "claude-3-5-sonnet", until_s=START_S + 400.0))
    assert said(detector, answered(300, 301, "claude-3-5-sonnet")) == []


def test_an_approval_pins_the_model_of_an_alias_from_the_first_call() -> None:
    detector = ServedModelMismatch(share=SHARE)
    detector.update(approval(0, "served_model", "gpt-4o-2024-08-06", before="gpt-4"))
    assert said(detector, answered(9, 1, "gpt-4o", "our-chat") + answered(9, 10, "gpt-4", "our-chat")) == []
    (found,) = said(detector, answered(9, 20, "gpt-4o-mini", "our-chat"))
    assert rows(found)["approved"] == ("gpt-4o-2024-08-06", None)


def test_an_approval_for_one_requested_model_does_not_pin_another() -> None:
    detector = watched()
    said(detector, answered(300, 300, "text-embedding-3-small", "embeddings"))
    detector.update(approval(600, "served_model", GOOD))
    assert said(detector, answered(9, 601, "text-embedding-3-large", "embeddings")) == []


STREAMS = {
    "a new date": answered(9, 300, "gpt-4o-2024-11-20"),
    "another family": answered(9, 300, "gpt-3.5-turbo"),
    "both": answered(9, 300, "gpt-4o-2024-11-20") + answered(9, 309, "gpt-4o-mini"),
    "a new alias": answered(300, 300, "x-1", "alias") + answered(9, 600, "y-2", "alias"),
    "an approved one": [approval(300, "served_model", "claude-3-opus"), *answered(9, 301, "claude-3-opus")],
}
FACTS = {"a new date": 1, "another family": 1, "both": 2, "a new alias": 1, "an approved one": 0}


@pytest.mark.parametrize("name", STREAMS)
def test_one_fact_is_said_by_one_of_the_two_detectors_of_served_models(name: str) -> None:
    def found(detector: ServedModelMismatch | ServedModelChange, stream: Iterable[Observation]) -> int:
        return len(said(detector, [*answered(300, 0, GOOD), *stream]))

    both = found(ServedModelMismatch(share=SHARE), STREAMS[name]), found(ServedModelChange(share=SHARE), STREAMS[name])
    assert sum(both) == FACTS[name]


def test_a_rejected_served_model_is_left_to_unapproved_change() -> None:
    detector = watched()
    detector.update(rejection(300, "served_model", "gpt-3.5-turbo"))
    assert said(detector, answered(9, 301, "gpt-3.5-turbo")) == []


def test_hostile_names_neither_flood_nor_grow_and_are_printed_harmlessly() -> None:
    detector = watched()
    found = said(
        detector, (call(300 + number, model=ASKED, served_model=f"\x1b{number}" * 99) for number in range(20_000))
    )
    assert 1 <= len(found) <= 10
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024
    for detection in found:
        assert_well_formed(detection)
