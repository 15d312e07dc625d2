from __future__ import annotations

from typing import Any

import msgspec
import pytest

from detectors.base import dump, load
from detectors.catalog.unapproved_change import UnapprovedChange
from detectors.types import Severity
from tests.detectors.notices import NAMES, SHARE, START_S, approval, call, calls, rejection, report, rows, said
from tests.detectors.soundness import assert_well_formed

JUDGED = [name for name in NAMES if name != "tool_list"]


def fresh() -> UnapprovedChange:
    return UnapprovedChange(share=SHARE)


def watched(**digests: Any) -> UnapprovedChange:
    """A detector that has learned what serves."""
    detector = fresh()
    assert said(detector, calls(300, **(digests or {"weights": "sha256:old"}))) == []
    return detector


@pytest.mark.parametrize("name", JUDGED)
def test_a_new_digest_that_nobody_approved_is_said_once_under_the_name_of_its_component(name: str) -> None:
    detector = watched(**{name: "sha256:old"})
    (found,) = said(detector, calls(300, 300, **{name: "sha256:new"}))
    assert rows(found) == {name: ("sha256:new", "sha256:old")}
    assert found.severity is (Severity.MEDIUM if name in {"package_set", "retrieval_index"} else Severity.HIGH)
    assert found.onset_s == START_S + 300
    assert not found.rebaselines


def test_what_is_learned_first_is_legitimate_and_may_take_turns() -> None:
    detector = fresh()
    turns = [call(number, weights=f"sha256:{number * 7 % 3}") for number in range(3_000)]
    assert said(detector, turns) == []


def test_several_components_in_one_call_are_one_detection() -> None:
    detector = watched(weights="1", image="1", retrieval_index="1")
    (found,) = said(detector, calls(9, 300, weights="2", image="2", retrieval_index="2"))
    assert found.score == 3.0 and list(rows(found)) == ["weights", "image", "retrieval_index"]
    assert found.severity is Severity.HIGH


def test_a_component_that_changes_by_nature_is_not_judged() -> None:
    builds = [call(number, retrieval_index=f"build-{number // 10}") for number in range(3_000)]
    assert said(fresh(), builds) == []


def test_a_component_that_begins_to_be_stated_is_learned() -> None:
    assert said(watched(), calls(300, 300, weights="sha256:old", adapter="sha256:1")) == []


def test_a_slow_deployment_has_learned_after_a_day() -> None:
    detector = fresh()
    assert said(detector, [call(number, gap_s=3_600.0, weights="1") for number in range(30)]) == []
    assert len(said(detector, [call(30, gap_s=3_600.0, weights="2")])) == 1


def test_unknown_is_no_change_and_a_tool_list_and_a_guardrail_that_is_off_are_said_by_others() -> None:
    detector = watched(weights="1", tool_list="1", guardrail="1")
    assert said(detector, calls(9, 300)) == []
    assert said(detector, calls(9, 309, weights="1", tool_list="2", guardrail="off")) == []


def test_the_version_before_is_that_of_the_same_requested_model() -> None:
    detector = fresh()
    both = [call(number, model=f"m{number % 2}", weights=f"sha256:{number % 2}") for number in range(600)]
    assert said(detector, both) == []
    (found,) = said(detector, [call(601, model="m0", weights="sha256:9")])
    assert rows(found)["weights"] == ("sha256:9", "sha256:0")


# Decisions


def test_a_digest_within_the_window_of_its_approval_is_no_finding() -> None:
    detector = watched()
    window = {"from_s": START_S + 400.0, "until_s": START_S + 500.0}
    assert said(detector, [approval(310, "weights", "sha256:new", **window)]) == []
    assert said(detector, calls(90, 310, weights="sha256:old")) == []
    assert said(detector, calls(1_000, 450, weights="sha256:new")) == []


@pytest.mark.parametrize("at", [5_000, 320])
def test_an_approved_digest_first_served_outside_its_window_is_unapproved(at: int) -> None:
    detector = watched()
    window = {"from_s": START_S + 1_000.0, "until_s": START_S + 2_000.0}
    detector.update(approval(310, "weights", "sha256:new", **window))
    (found,) = said(detector, calls(9, at, weights="sha256:new"))
    assert found.severity is Severity.HIGH and "not for now" in found.summary


def test_an_approval_of_one_component_does_not_cover_another() -> None:
    detector = watched(weights="1", image="1")
    detector.update(approval(300, "weights", "2"))
    (found,) = said(detector, calls(9, 301, weights="2", image="2"))
    assert list(rows(found)) == ["image"]


def test_an_approval_before_any_traffic_says_what_is_meant_from_the_first_call() -> None:
    detector = fresh()
    detector.update(approval(0, "weights", "sha256:good", before="sha256:older"))
    assert detector.lacks == 0
    assert said(detector, calls(9, 1, weights="sha256:good")) == []
    assert said(detector, calls(9, 10, weights="sha256:older")) == []
    (found,) = said(detector, calls(9, 20, weights="sha256:evil"))
    assert rows(found)["weights"] == ("sha256:evil", "sha256:older")


def test_an_approval_for_later_does_not_judge_what_serves_until_then() -> None:
    detector = fresh()
    detector.update(approval(0, "weights", "sha256:good", from_s=START_S + 5_000.0))
    assert said(detector, calls(9, 1, weights="sha256:now")) == []


def test_a_rejected_digest_that_serves_is_critical_and_said_once() -> None:
    detector = watched()
    assert said(detector, [rejection(300, "weights", "sha256:bad")]) == []
    (found,) = said(detector, calls(500, 301, weights="sha256:bad"))
    assert found.severity is Severity.CRITICAL and "rejected" in found.summary


def test_a_digest_that_is_rejected_while_it_serves_is_critical() -> None:
    detector = watched()
    detector.update(rejection(300, "weights", "sha256:old"))
    (found,) = said(detector, calls(9, 301, weights="sha256:old"))
    assert found.severity is Severity.CRITICAL


def test_a_rejected_served_model_is_critical_without_any_digest() -> None:
    detector = fresh()
    detector.update(rejection(0, "served_model", "gpt-3"))
    assert said(detector, calls(9, 1, served_model="gpt-4")) == []
    (found,) = said(detector, calls(9, 10, served_model="gpt-3"))
    assert found.severity is Severity.CRITICAL and rows(found)["served_model"][0] == "gpt-3"


def test_the_last_word_counts() -> None:
    detector = watched()
    detector.update(rejection(300, "weights", "sha256:new"))
    detector.update(approval(301, "weights", "sha256:new"))
    assert said(detector, calls(9, 302, weights="sha256:new")) == []


# Reports


def test_the_second_report_of_a_place_is_held_against_the_first() -> None:
    detector = fresh()
    assert said(detector, [report(0, image="1"), report(1, image="1"), report(2, "packages /p", package_set="1")]) == []
    (found,) = said(detector, [report(3, image="2")])
    assert rows(found) == {"image": ("2", "1")} and "report" in found.summary


def test_an_approved_digest_in_a_report_is_quiet_and_a_rejected_one_is_not() -> None:
    detector = fresh()
    detector.update(report(0, image="1"))
    detector.update(approval(1, "image", "2"))
    detector.update(rejection(1, "image", "3"))
    assert said(detector, [report(2, image="2")]) == []
    (found,) = said(detector, [report(3, image="3")])
    assert found.severity is Severity.CRITICAL


# What is sent to do harm


def test_100_000_digests_neither_flood_nor_grow() -> None:
    detector = watched()
    found = said(detector, (call(300 + number, weights=f"{number}-{'x' * 200}") for number in range(100_000)))
    assert 1 <= len(found) <= 20
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024


def test_junk_in_notices_neither_breaks_nor_grows() -> None:
    detector = watched()
    for number in range(2_000):
        junk = f"\x1b[2J{number}" + "j" * 5_000
        detector.update(approval(number, NAMES[number % 9], junk, before=junk, from_s=float("nan")))
        detector.update(report(number, junk, weights=junk, image=junk))
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024
    (found,) = said(detector, [call(300, adapter="a", weights="evil\x1b[2J\nname" + "e" * 400)])
    assert_well_formed(found)


def test_new_digests_every_night_are_said_six_times_and_then_once_a_week() -> None:
    detector = fresh()
    nights = [call(number, gap_s=60.0, retrieval_index=f"night-{number // 1_440}") for number in range(1_440 * 60)]
    assert 6 <= len(said(detector, nights)) <= 6 + 60 // 7


def test_its_state_outlives_a_restart() -> None:
    detector = watched(weights="1", image="1")
    detector.update(approval(300, "weights", "2"))
    restored = load(UnapprovedChange, dump(detector))
    later = [*calls(3, 301, weights="2", image="1"), *calls(3, 304, weights="3", image="2")]
    assert said(restored, later) == said(detector, later) != []
