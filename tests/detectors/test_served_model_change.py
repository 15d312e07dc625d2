from __future__ import annotations

from typing import Any

import msgspec

from detectors.catalog.served_model_change import ServedModelChange
from detectors.types import Detection, Observation, Severity
from tests.detectors.notices import NAMES, START_S, approval


def call(
    index: int,
    served: str | None = "model-1",
    model: str | None = "model",
    gap_s: float = 1.0,
    **digests: str,
) -> Observation:
    return Observation(
        event_id=str(index),
        time_s=START_S + gap_s * index,
        deployment="d",
        model=model,
        served_model=served,
        components=tuple(digests.get(name) for name in NAMES) if digests else None,
    )


def said(detector: ServedModelChange, observations: list[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


def watched(*served: str, **digests: Any) -> ServedModelChange:
    """A detector that has learned which models answer, in turn."""
    detector = ServedModelChange(share=0.03)
    names = served or ("model-1",)
    assert said(detector, [call(i, names[i % len(names)], **digests) for i in range(300)]) == []
    return detector


def test_a_new_served_model_is_said_once_at_first_sight_with_both_names() -> None:
    detector = watched()
    (found,) = said(detector, [call(300 + i, "model-2") for i in range(500)])
    assert "'model-2'" in found.summary
    assert "'model-1'" in found.summary
    assert found.severity is Severity.HIGH
    assert found.onset_s == START_S + 300
    assert found.evidence[0].observed == "model-2"
    assert found.evidence[0].expected == "model-1"


def test_a_digest_of_a_component_is_none_of_its_business() -> None:
    assert said(watched(weights="sha256:1"), [call(300 + i, weights="sha256:2") for i in range(300)]) == []


def test_another_family_than_was_asked_for_is_said_by_another_detector() -> None:
    assert said(watched(), [call(300 + i, "other-model-mini") for i in range(300)]) == []


def test_a_new_name_of_an_alias_is_said_though_the_two_never_agreed() -> None:
    detector = watched("gpt-4o")
    (found,) = said(detector, [call(300, "claude-3-haiku")])
    assert found.evidence[0].expected == "gpt-4o"


def test_two_changes_within_an_hour_are_two_facts() -> None:
    detector = watched()
    first, second = said(detector, [call(300, "model-2"), call(400, "model-3")])
    assert first.fact != second.fact


def test_a_served_model_within_the_window_of_its_approval_is_no_finding() -> None:
    detector = watched()
    assert said(detector, [approval(300, "served_model", "model-2", until_s=START_S + 400.0)]) == []
    assert said(detector, [call(301 + i, "model-2") for i in range(500)]) == []


def test_an_approved_served_model_that_comes_after_its_window_is_said() -> None:
    detector = watched()
    said(detector, [approval(300, "served_model", "model-2", until_s=START_S + 400.0)])
    assert len(said(detector, [call(1_000 + i, "model-2") for i in range(500)])) == 1


def test_an_unchanged_deployment_is_quiet() -> None:
    assert said(watched(weights="a"), [call(300 + i, weights="a") for i in range(20_000)]) == []


def test_models_seen_in_the_warm_up_may_take_turns() -> None:
    detector = watched("model-1", "model-1-canary", "model-1-b")
    turns = [call(300 + i, ("model-1", "model-1-canary", "model-1-b")[i * 7 % 3]) for i in range(3_000)]
    assert said(detector, turns) == []


def test_flapping_between_the_old_and_the_new_is_said_once() -> None:
    detector = watched()
    assert len(said(detector, [call(300 + i, f"model-{1 + i % 2}") for i in range(1_000)])) == 1


def test_another_requested_model_is_another_key() -> None:
    detector = watched()
    assert said(detector, [call(300 + i, "small-1", model="small") for i in range(300)]) == []
    (found,) = said(detector, [call(600, "small-2", model="small")])
    assert "'small'" in found.summary


def test_unknown_is_not_a_change() -> None:
    detector = watched()
    assert said(detector, [call(300 + i, None) for i in range(10)]) == []
    assert said(detector, [call(310 + i) for i in range(10)]) == []


def test_a_slow_deployment_has_learned_after_a_day() -> None:
    detector = ServedModelChange(share=0.03)
    assert said(detector, [call(i, gap_s=3_600.0) for i in range(30)]) == []
    assert len(said(detector, [call(30, "model-2", gap_s=3_600.0)])) == 1


def test_a_route_whose_names_change_by_nature_is_not_judged() -> None:
    detector = ServedModelChange(share=0.03)
    assert said(detector, [call(i, f"build-{i // 10}") for i in range(3_000)]) == []


def test_100_000_distinct_served_models_neither_flood_nor_grow() -> None:
    detector = watched()
    found = said(detector, [call(300 + i, f"model-{i}-{'x' * 200}") for i in range(100_000)])
    assert 1 <= len(found) <= 20
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024


def test_made_up_requested_models_do_not_push_a_real_one_out() -> None:
    detector = watched()
    said(detector, [call(300 + i, "echo", model=f"made-up-{i}") for i in range(5_000)])
    assert len(said(detector, [call(6_000, "model-2")])) == 1


def test_long_names_that_differ_at_the_end_are_told_apart() -> None:
    detector = watched("m" * 500 + "1")
    assert len(said(detector, [call(300, "m" * 500 + "2")])) == 1


def test_a_name_with_control_characters_is_printed_harmlessly() -> None:
    (found,) = said(watched("alias"), [call(300, "evil\x1b[2J\nname")])
    assert found.summary.isprintable()
