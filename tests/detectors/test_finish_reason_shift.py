from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.catalog.finish_reason_shift import FinishReasonShift
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0
USUAL = {"stop": 0.85, "length": 0.08, "content_filter": 0.07}


def answers(
    count: int, mix: dict[str, float], *, seed: int, principals: int = 40, first: int = 0
) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    for index, reason in enumerate(draw.choice(list(mix), size=count, p=list(mix.values()))):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"p{draw.integers(principals)}",
            finish_reason=str(reason),
        )


def said(detector: FinishReasonShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1) -> FinishReasonShift:
    detector = FinishReasonShift(share=SHARE)
    assert said(detector, answers(1_000, USUAL, seed=seed)) == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_a_new_finish_reason_is_found_within_60_answers(seed: int) -> None:
    mix = {"stop": 0.7, "tool_calls": 0.3}
    index, detection = said(watched(seed), answers(300, mix, seed=seed + 10, first=1_000))[0]
    assert index < 60
    assert "finished with" in detection.summary


def test_answers_cut_by_length_that_rise_are_found() -> None:
    found = said(watched(), answers(300, {"stop": 0.53, "length": 0.4, "content_filter": 0.07}, seed=3, first=1_000))
    assert "'length' rose" in found[0][1].summary


def test_a_content_filter_that_falls_silent_is_high() -> None:
    found = said(watched(), answers(1_500, {"stop": 0.92, "length": 0.08}, seed=4, first=1_000))
    assert "'content filter' fell" in found[0][1].summary
    assert found[0][1].severity is Severity.HIGH


def test_names_of_one_reason_by_several_providers_are_one_reason() -> None:
    mix = {"end_turn": 0.45, "STOP": 0.4, "max_tokens": 0.08, "guardrail_intervened": 0.07}
    assert said(watched(), answers(3_000, mix, seed=5, first=1_000)) == []


def test_one_principal_of_many_does_not_change_how_answers_end() -> None:
    loud = answers(60, {"length": 1.0}, seed=6, principals=1, first=1_000)
    assert said(watched(), loud) == []
    assert said(watched(), answers(60, {"length": 1.0}, seed=6, first=1_000)) != []


def test_30_000_quiet_answers_are_quiet() -> None:
    assert said(FinishReasonShift(share=SHARE), answers(30_000, USUAL, seed=7)) == []
