from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.catalog.label_shift import LabelShift
from detectors.types import Detection, Observation

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0
USUAL = {"cat": 0.6, "dog": 0.3, "cow": 0.1}


def predictions(
    count: int, mix: dict[str, float], *, seed: int, principals: int = 40, first: int = 0
) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    for index, label in enumerate(draw.choice(list(mix), size=count, p=list(mix.values()))):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"p{draw.integers(principals)}",
            prediction=str(label),
        )


def said(detector: LabelShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1) -> LabelShift:
    detector = LabelShift(share=SHARE)
    assert said(detector, predictions(1_000, USUAL, seed=seed)) == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_a_label_that_grows_from_10_to_30_percent_is_found_and_named(seed: int) -> None:
    mix = {"cat": 0.45, "dog": 0.25, "cow": 0.3}
    index, detection = said(watched(seed), predictions(600, mix, seed=seed + 10, first=1_000))[0]
    assert index < 400
    assert "label 'cow'" in detection.summary
    assert "rose" in detection.summary


def test_a_label_that_vanishes_is_found() -> None:
    found = said(watched(), predictions(600, {"cat": 0.65, "dog": 0.35}, seed=3, first=1_000))
    assert "label 'cow' among predictions fell" in found[0][1].summary


def test_a_label_never_seen_before_is_found_within_40_predictions() -> None:
    index, detection = said(watched(), predictions(200, {**USUAL, "cat": 0.35, "yak": 0.25}, seed=4, first=1_000))[0]
    assert index < 48
    assert "any other label" in detection.summary


def test_predictions_that_are_numbers_have_no_mix() -> None:
    detector = LabelShift(share=SHARE)
    draw = np.random.default_rng(5)
    for index in range(3_000):
        number = Observation(
            event_id="0", time_s=START_S + index, deployment="d", prediction=f"{draw.normal(index / 100.0):.3f}"
        )
        assert detector.update(number) is None
    assert detector.labels == {}


def test_one_principal_of_many_does_not_change_the_mix() -> None:
    assert said(watched(), predictions(60, {"cow": 1.0}, seed=6, principals=1, first=1_000)) == []
    assert said(watched(), predictions(60, {"cow": 1.0}, seed=6, first=1_000)) != []


def test_a_hostile_label_is_printed_without_control_characters() -> None:
    detector = LabelShift(share=SHARE)
    said(detector, predictions(600, {"cat": 0.95, "\x1b[2J\n": 0.05}, seed=7))
    found = said(detector, predictions(300, {"\x1b[2J\n": 1.0}, seed=8, first=600))
    assert found
    assert all(detection.summary.isprintable() for _, detection in found)


def test_30_000_quiet_predictions_are_quiet() -> None:
    assert said(LabelShift(share=SHARE), predictions(30_000, USUAL, seed=9)) == []
