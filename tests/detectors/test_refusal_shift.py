from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from detectors.catalog.refusal_shift import RefusalShift
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0


def outputs(
    count: int, *, seed: int, refused: float = 0.05, principals: int = 40, first: int = 0, name: str = "p"
) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    for index in range(count):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"{name}{draw.integers(principals)}",
            refused=bool(draw.random() < refused),
        )


def said(detector: RefusalShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1, refused: float = 0.05) -> RefusalShift:
    detector = RefusalShift(share=SHARE)
    assert said(detector, outputs(1_000, seed=seed, refused=refused)) == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_refusals_that_rise_to_25_percent_are_found_within_150_outputs(seed: int) -> None:
    index, detection = said(watched(seed), outputs(400, seed=seed + 50, refused=0.25, first=1_000))[0]
    assert index < 150
    assert "refusals rose" in detection.summary
    assert detection.severity is Severity.MEDIUM
    assert START_S + 9_800.0 <= detection.onset_s <= START_S + 11_500.0


@pytest.mark.parametrize("seed", range(5))
def test_refusals_that_vanish_are_found_and_high(seed: int) -> None:
    found = said(watched(seed, refused=0.15), outputs(1_000, seed=seed + 9, refused=0.0, first=1_000))
    assert "refusals fell" in found[0][1].summary
    assert found[0][1].severity is Severity.HIGH
    assert found[0][0] < 400


def test_the_recent_past_is_told_beside_the_frozen_baseline() -> None:
    last = said(watched(), outputs(1_500, seed=14, refused=0.4, first=1_000))[-1][1]
    (recent,) = [row for row in last.evidence if "recent past" in row.name]
    assert 35.0 < float(recent.observed) < 45.0
    assert float(recent.expected or 0.0) < 10.0


def test_a_flood_of_refusals_of_one_principal_of_many_is_not_the_deployments_rate() -> None:
    loud: dict[str, Any] = {"refused": 1.0, "principals": 1, "name": "loud", "first": 1_000}
    assert said(watched(2), outputs(60, seed=5, **loud)) == []
    half = [call for pair in zip(outputs(100, seed=5, **loud), outputs(100, seed=6), strict=True) for call in pair]
    assert said(watched(2), iter(half)) == []
    assert said(watched(2), outputs(60, seed=5, refused=1.0, first=1_000)) != []


def test_during_the_warm_up_one_principal_of_many_is_a_small_part_of_the_baseline() -> None:
    detector = RefusalShift(share=SHARE)
    others = outputs(3_000, seed=6, refused=0.0)
    for call in others:
        for flood in outputs(4, seed=7, refused=1.0, principals=1, name="loud"):
            detector.update(flood)
        detector.update(call)
        if not detector.rates.warming:
            break
    assert 0.05 < detector.rates.rates[0].before < 0.25


def test_a_deployment_with_one_principal_warms_up_as_fast_as_any() -> None:
    detector = RefusalShift(share=SHARE)
    said(detector, outputs(400, seed=8, principals=1))
    assert not detector.rates.warming


def test_failed_calls_and_unknown_refusals_are_not_learned() -> None:
    detector = RefusalShift(share=SHARE)
    for failed, refused in ((True, True), (False, None)):
        detector.update(Observation(event_id="0", time_s=START_S, deployment="d", failed=failed, refused=refused))
    assert detector.rates.seen == 0


def test_30_000_quiet_outputs_are_quiet() -> None:
    assert said(RefusalShift(share=SHARE), outputs(30_000, seed=11)) == []
