from __future__ import annotations

import itertools
from typing import Any

import pytest

from detectors.base import dump, load
from detectors.catalog.approved_change import ApprovedChange
from detectors.types import Detection, Observation, Severity
from tests.detectors.notices import SHARE, START_S, approval, call, calls, rejection, rows, said
from tests.detectors.soundness import assert_well_formed

OLD, NEW = "sha256:old", "sha256:new"


def watched(**digests: Any) -> ApprovedChange:
    detector = ApprovedChange(share=SHARE)
    assert said(detector, calls(300, **(digests or {"weights": OLD}))) == []
    return detector


def is_quiet_note(found: Detection) -> bool:
    return found.severity is Severity.INFO and found.rebaselines


def test_an_approved_digest_is_noted_with_its_first_call_and_asks_for_a_new_baseline() -> None:
    detector = watched()
    assert said(detector, [approval(300, "weights", NEW), *calls(50, 301, weights=OLD)]) == []
    (found,) = said(detector, calls(500, 351, weights=NEW))
    assert is_quiet_note(found) and found.onset_s == START_S + 351
    assert rows(found) == {"weights": (NEW, OLD), "approved as": ("CHG-7", None)}
    assert "CHG-7" in found.summary


def test_a_served_model_is_a_component_too() -> None:
    detector = ApprovedChange(share=SHARE)
    said(detector, calls(300, served_model="m-1"))
    detector.update(approval(300, "served_model", "m-2"))
    (found,) = said(detector, calls(9, 301, served_model="m-2"))
    assert rows(found)["served_model"] == ("m-2", "m-1")


@pytest.mark.parametrize("at", [320, 5_000])
def test_outside_its_window_it_takes_no_effect(at: int) -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW, from_s=START_S + 1_000.0, until_s=START_S + 2_000.0))
    assert said(detector, calls(9, at, weights=NEW)) == []


def test_one_served_too_early_takes_effect_when_its_window_opens() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW, from_s=START_S + 1_000.0))
    (found,) = said(detector, calls(1_000, 301, weights=NEW))
    assert found.onset_s == START_S + 940.0, "clocks may differ by a minute"
    assert rows(found)["weights"] == (NEW, OLD)


def test_what_calls_do_not_say_takes_effect_with_the_first_call_of_the_window() -> None:
    detector = watched()
    detector.update(approval(300, "adapter", NEW, before=OLD, from_s=START_S + 500.0))
    assert said(detector, calls(100, 301, weights=OLD)) == []
    (found,) = said(detector, calls(100, 450, weights=OLD))
    assert is_quiet_note(found) and "do not say" in found.summary
    assert rows(found)["adapter"] == (NEW, OLD)


def test_an_approval_before_the_first_call_takes_effect_with_it() -> None:
    detector = ApprovedChange(share=SHARE)
    detector.update(approval(0, "weights", NEW))
    (found,) = said(detector, calls(9, 1, weights=NEW))
    assert rows(found)["weights"] == (NEW, None)


def test_an_approval_of_what_serves_all_along_changes_nothing() -> None:
    assert said(watched(), [approval(300, "weights", OLD), *calls(500, 301, weights=OLD)]) == []


def test_an_approval_after_the_fact_takes_effect_within_a_day() -> None:
    detector = watched()
    said(detector, calls(50, 300, weights=NEW))
    detector.update(approval(350, "weights", NEW))
    (found,) = said(detector, calls(9, 351, weights=NEW))
    assert is_quiet_note(found) and rows(found)["weights"] == (NEW, OLD)


def test_several_components_of_one_update_are_one_note() -> None:
    detector = watched(weights="1", image="1")
    said(detector, [approval(300, "weights", "2"), approval(300, "image", "2")])
    (found,) = said(detector, calls(9, 301, weights="2", image="2"))
    assert found.score == 2.0 and {"weights", "image"} < rows(found).keys()


def rolling(count: int, first: int = 301, gap_s: float = 1.0) -> list[Observation]:
    """Three of four calls by the new version, the last one too."""
    return [call(first + number, gap_s=gap_s, weights=NEW if number % 4 else OLD) for number in range(count)]


def test_a_rollout_asks_for_new_baselines_until_it_is_complete_and_once_more_then() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW))
    begun, *going, complete = said(detector, [*rolling(400), *calls(2_000, 701, weights=NEW)])
    assert begun.onset_s == START_S + 302 and complete.onset_s == START_S + 797
    assert all(map(is_quiet_note, (*going, complete)))
    assert "complete" in complete.summary and "goes on" in going[0].summary
    times = [each.onset_s for each in (begun, *going, complete)]
    assert all(later - earlier <= 100.0 for earlier, later in itertools.pairwise(times)), "others could speak between"
    assert len({each.fact for each in going}) == 1, "what goes on is said once an hour"


@pytest.mark.parametrize("until_s", [None, START_S + 25_000.0])
def test_a_version_that_serves_a_part_for_good_is_no_rollout_after_two_days_or_its_window(
    until_s: float | None,
) -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW, until_s=until_s))
    found = said(detector, rolling(9_000, gap_s=60.0))
    last_s = START_S + 25_000.0 if until_s else found[0].onset_s + 2 * 86_400.0
    assert found[-1].onset_s <= last_s
    assert not detector.rolling


def test_a_rollout_of_one_requested_model_is_not_held_up_by_another() -> None:
    detector = ApprovedChange(share=SHARE)
    said(detector, [call(number, model=f"m{number % 2}", weights=f"sha256:{number % 2}") for number in range(300)])
    detector.update(approval(300, "weights", NEW))
    both = [call(301 + number, model=f"m{number % 2}", weights=("sha256:0", NEW)[number % 2]) for number in range(900)]
    (found,) = said(detector, both)
    assert rows(found)["weights"] == (NEW, "sha256:1"), "the version before is that of the same requested model"


def test_a_clean_cut_is_one_note() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW))
    assert len(said(detector, calls(3_000, 301, weights=NEW))) == 1


def test_a_rejection_takes_an_approval_back() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW))
    detector.update(rejection(301, "weights", NEW))
    assert said(detector, calls(9, 302, weights=NEW)) == []


def test_an_absurd_time_does_not_lapse_an_approval_and_a_thousand_calls_after_its_window_do() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW, until_s=START_S + 400.0))
    said(detector, [call(0, weights=OLD, time_s=4e9)])
    assert detector.waiting
    said(detector, calls(1_100, 600, weights=OLD))
    assert not detector.waiting


def test_junk_approvals_are_bounded_and_printed_harmlessly() -> None:
    detector = watched()
    for number in range(500):
        detector.update(approval(300, "weights", f"\x1b{number}" + "j" * 9_000))
    assert len(dump(detector)) < 64 * 1024
    (found,) = said(detector, [call(301, weights="\x1b499" + "j" * 9_000)])
    assert_well_formed(found)


def test_its_state_outlives_a_restart() -> None:
    detector = watched()
    detector.update(approval(300, "weights", NEW))
    restored = load(ApprovedChange, dump(detector))
    later = [call(301 + number, weights=NEW if number % 3 else OLD) for number in range(50)]
    later += calls(200, 351, weights=NEW)
    assert said(restored, later) == said(detector, later) != []
