from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.base import dump
from detectors.catalog.confidence_shift import MAX_LABELS, ConfidenceShift
from detectors.types import Detection, Observation

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0
USUAL = {"cat": (8.0, 2.0), "dog": (5.0, 2.0)}


def scores(
    count: int, shapes: dict[str, tuple[float, float]], *, seed: int, principals: int = 40, first: int = 0
) -> Iterator[Observation]:
    """Scores by label, each of its own beta distribution."""
    draw = np.random.default_rng(seed)
    for index, label in enumerate(draw.choice(list(shapes), size=count)):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"p{draw.integers(principals)}",
            prediction=str(label),
            score=float(draw.beta(*shapes[str(label)])),
        )


def said(detector: ConfidenceShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1) -> ConfidenceShift:
    detector = ConfidenceShift(share=SHARE)
    assert said(detector, scores(1_500, USUAL, seed=seed)) == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_gets_unsure_is_found_within_120_predictions(seed: int) -> None:
    unsure = {"cat": (3.0, 3.0), "dog": (3.0, 3.0)}
    index, detection = said(watched(seed), scores(400, unsure, seed=seed + 10, first=1_500))[0]
    assert index < 120
    assert "scores below" in detection.summary
    assert "rose" in detection.summary


def test_a_model_that_gets_sure_of_everything_is_found() -> None:
    sure = {"cat": (60.0, 1.0), "dog": (60.0, 1.0)}
    found = said(watched(), scores(400, sure, seed=3, first=1_500))
    assert found
    assert "scores above" in found[0][1].summary or "fell" in found[0][1].summary


def test_one_label_of_five_that_changes_is_found_and_named() -> None:
    usual = dict.fromkeys(("a", "b", "c", "d", "e"), (8.0, 2.0))
    detector = ConfidenceShift(share=SHARE)
    assert said(detector, scores(3_000, usual, seed=4)) == []
    found = said(detector, scores(2_000, {**usual, "c": (5.0, 4.0)}, seed=5, first=3_000))
    assert any("of label 'c'" in detection.summary for _, detection in found)


def test_scores_that_are_always_one_are_no_shift_and_their_end_is() -> None:
    def ones(count: int, value: float) -> Iterator[Observation]:
        for index in range(count):
            yield Observation(event_id="0", time_s=START_S + index, deployment="d", score=value)

    detector = ConfidenceShift(share=SHARE)
    assert said(detector, ones(5_000, 1.0)) == []
    assert said(detector, ones(40, 0.9)) != []


def test_one_principal_of_many_does_not_change_the_scores() -> None:
    unsure = {"cat": (1.0, 9.0), "dog": (1.0, 9.0)}
    assert said(watched(), scores(60, unsure, seed=6, principals=1, first=1_500)) == []
    assert said(watched(), scores(60, unsure, seed=6, first=1_500)) != []


def test_scores_that_are_no_numbers_are_ignored() -> None:
    detector = ConfidenceShift(share=SHARE)
    for value in (float("nan"), float("inf"), -1e300):
        detector.update(Observation(event_id="0", time_s=START_S, deployment="d", score=value))
    assert detector.overall.warming == []


def test_labels_beyond_the_eighth_cost_no_memory() -> None:
    detector = ConfidenceShift(share=SHARE)
    said(detector, scores(8_000, {f"label-{index}": (8.0, 2.0) for index in range(40)}, seed=7))
    assert len(detector.labels) == MAX_LABELS
    assert len(dump(detector)) < 48 * 1_024


def test_30_000_quiet_scores_are_quiet() -> None:
    assert said(ConfidenceShift(share=SHARE), scores(30_000, USUAL, seed=8)) == []
