from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from detectors.alarms import DAY_S
from detectors.base import dump, load
from detectors.catalog.guardrail_off import GuardrailOff
from detectors.types import Observation, Severity
from tests.detectors.notices import NAMES, SHARE, START_S, approval, calls, rows, said
from tests.detectors.soundness import assert_well_formed

ON = "sha256:guard"
SAID_WITHIN = 20
"""Calls without a guardrail until it is said, where every call had one."""


def watched(count: int = 600, **digests: Any) -> GuardrailOff:
    detector = GuardrailOff(share=SHARE)
    assert said(detector, calls(count, **{"guardrail": ON, "weights": "w", **digests})) == []
    return detector


@pytest.mark.parametrize(
    ("now", "stated"),
    [
        ({"weights": "w"}, "not stated"),
        *(({"weights": "w", "guardrail": off}, off) for off in ("off", "NONE", "disabled")),
    ],
)
def test_calls_that_no_longer_state_it_or_state_that_it_is_off_are_said_once(now: dict[str, str], stated: str) -> None:
    detector = watched()
    (found,) = said(detector, calls(500, 600, **now))
    assert found.severity is Severity.HIGH and found.onset_s == START_S + 600
    assert rows(found)["guardrail"] == (stated, ON)
    assert rows(found)["calls with a guardrail"][1] == 100.0
    assert len(said(watched(), calls(SAID_WITHIN, 600, **now))) == 1


def test_a_few_calls_without_it_are_no_alarm() -> None:
    detector = watched()
    assert said(detector, calls(5, 600, weights="w") + calls(500, 605, weights="w", guardrail=ON)) == []


def test_another_guardrail_is_no_guardrail_that_is_off() -> None:
    assert said(watched(), calls(500, 600, weights="w", guardrail="sha256:other")) == []


def test_it_says_it_again_when_it_came_back_and_is_lost_again() -> None:
    gone, back = calls(100, 600, weights="w"), calls(100, 700, weights="w", guardrail=ON)
    assert len(said(watched(), gone + back + gone)) == 2


@pytest.mark.parametrize("others", [None, {"weights": None}])
def test_a_source_that_states_no_component_any_more_is_left_to_source_blind(others: dict[str, None] | None) -> None:
    assert said(watched(), calls(500, 600, **(others or {}))) == []


def test_where_the_guardrail_is_all_that_was_stated_nothing_stated_means_that_it_is_gone() -> None:
    detector = GuardrailOff(share=SHARE)
    assert said(detector, calls(600, guardrail=ON)) == []
    assert len(said(detector, calls(500, 600))) == 1


def test_failed_calls_and_canaries_are_not_judged() -> None:
    failed, canary = calls(500, 600, weights="w", failed=True), calls(500, 1_100, weights="w", canary=True)
    assert said(watched(), failed + canary) == []


def test_a_guardrail_that_few_calls_had_is_not_watched() -> None:
    draw, detector = random.Random(1), GuardrailOff(share=SHARE)
    few = [
        calls(1, number, weights="w", **({"guardrail": ON} if draw.random() < 0.3 else {}))[0] for number in range(900)
    ]
    assert said(detector, few + calls(900, 900, weights="w")) == []


def test_a_switch_off_is_quiet_within_the_window_of_its_approval_and_said_after_it() -> None:
    detector = watched()
    detector.update(approval(600, "guardrail", "off", until_s=START_S + 900.0))
    off = calls(500, 601, weights="w", guardrail="off")
    (found,) = said(detector, off)
    assert found.onset_s == START_S + 961.0, "clocks may differ by a minute"


def test_an_approval_of_another_guardrail_does_not_cover_a_switch_off() -> None:
    detector = watched()
    detector.update(approval(600, "guardrail", "sha256:other"))
    assert len(said(detector, calls(500, 601, weights="w"))) == 1


def test_it_keeps_to_its_alarms_where_a_part_of_the_calls_never_has_it() -> None:
    draw, share, found = random.Random(2), DAY_S / 2_000.0, 0
    for _ in range(10):
        detector = GuardrailOff(share=share)
        mixed = [
            calls(1, number, weights="w", **({"guardrail": ON} if draw.random() < 0.9 else {}))[0]
            for number in range(6_000)
        ]
        found += len(said(detector, mixed))
    assert found <= 3, f"{found} alarms in 60,000 calls, where one in 2,000 was allowed"


def test_hostile_digests_stay_bounded() -> None:
    detector = watched()
    shapes: list[tuple[str | None, ...]] = [(), ("x",), ("\x1b" * 100_000,) * len(NAMES), (None,) * len(NAMES)]
    odd = [
        Observation(event_id=str(number), time_s=START_S, deployment="d", components=shapes[number % 4])
        for number in range(4_000)
    ]
    for found in said(detector, odd):
        assert_well_formed(found)
    assert len(msgspec.msgpack.encode(detector)) < 16 * 1024


def test_its_state_outlives_a_restart() -> None:
    detector = watched()
    restored = load(GuardrailOff, dump(detector))
    later = calls(50, 600, weights="w")
    assert said(restored, later) == said(detector, later) != []
