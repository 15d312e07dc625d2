from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.base import dump
from detectors.catalog.feature_drift import FeatureDrift
from detectors.types import Detection, Observation, Severity
from tests.quality.drift import sine_clusters, table_of, unchanged, waveform_drift

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0


def rows(
    table: np.ndarray, *, schema: int = 1, every_s: float = 60.0, principals: int = 0, first: int = 0
) -> Iterator[Observation]:
    for index, values in enumerate(table.tolist()):
        yield Observation(
            event_id=str(index),
            time_s=START_S + every_s * (first + index),
            deployment="d",
            principal=f"p{index % principals}" if principals else None,
            features=tuple(values),
            features_schema=schema,
        )


def said(detector: FeatureDrift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def normal(count: int, width: int = 10, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


def watched(**how: Any) -> FeatureDrift:
    detector = FeatureDrift(share=SHARE)
    assert said(detector, rows(normal(2_000), **how)) == []
    assert detector.tests is not None
    return detector


@pytest.mark.parametrize("seed", range(4))
def test_one_of_ten_columns_that_moves_by_a_deviation_is_found_within_150_rows_and_named(seed: int) -> None:
    table = normal(400, seed=seed + 10)
    table[:, 3] += 1.0
    index, detection = said(watched(), rows(table, first=2_000))[0]
    assert index < 150
    assert "column 4 by name" in detection.summary
    assert detection.severity is Severity.MEDIUM
    assert START_S + 60.0 * 1_950 <= detection.onset_s <= START_S + 60.0 * 2_150


def test_a_finding_less_than_a_day_after_the_baseline_began_is_low() -> None:
    detector = watched(every_s=1.0)
    found = said(detector, rows(normal(100, seed=2) + 3.0, every_s=1.0, first=2_000))
    assert found[0][1].severity is Severity.LOW


def test_a_relation_that_breaks_is_found_although_no_column_changes() -> None:
    draw = np.random.default_rng(3)
    table = normal(3_000, 6, seed=4)
    table[:2_000, 1] = table[:2_000, 0] + 0.3 * draw.standard_normal(2_000)
    table[2_000:, 1] *= np.sqrt(1.09)
    found = said(FeatureDrift(share=SHARE), rows(table))
    assert 2_000 <= found[0][0] < 2_060


def test_rows_that_are_replayed_from_the_middle_are_found() -> None:
    found = said(watched(), rows(0.3 * normal(300, seed=5), first=2_000))
    assert found[0][0] < 100


def test_a_new_category_and_missing_values_are_found() -> None:
    draw = np.random.default_rng(6)

    def mixed(count: int, names: list[int], missing: float, first: int = 0) -> Iterator[Observation]:
        for index in range(count):
            age = None if draw.random() < missing else float(draw.normal(40.0, 9.0))
            features = (age, int(draw.choice(np.array(names))), float(draw.random()))
            yield Observation(
                event_id="0",
                time_s=START_S + 60.0 * (first + index),
                deployment="d",
                features=features,
                features_schema=1,
            )

    for names, missing in (([2**60 + 1, 2**60 + 2, 2**60 + 9], 0.02), ([2**60 + 1, 2**60 + 2], 0.4)):
        detector = FeatureDrift(share=SHARE)
        assert said(detector, mixed(3_000, [2**60 + 1, 2**60 + 2], 0.02)) == []
        found = said(detector, mixed(400, names, missing, first=3_000))
        assert found
        assert found[0][0] < 150


def test_other_columns_are_a_finding_and_a_new_baseline() -> None:
    detector = watched()
    found = said(detector, rows(normal(100, 12), schema=2, first=2_000))
    assert len(found) == 1
    assert "other columns" in found[0][1].summary
    assert (detector.schema, detector.width) == (2, 12)


def test_rows_of_optional_columns_now_and_then_are_not_looked_at() -> None:
    detector = FeatureDrift(share=SHARE)
    usual, others = rows(normal(4_000)), rows(normal(4_000, 11), schema=2)
    mixed = [other if index % 5 == 0 else row for index, (row, other) in enumerate(zip(usual, others, strict=True))]
    assert said(detector, iter(mixed)) == []
    assert detector.tests is not None


def test_after_a_finding_a_new_baseline_is_learned_and_a_second_drift_found() -> None:
    detector = watched()
    assert len(said(detector, rows(normal(2_000, seed=7) + 2.0, first=2_000))) == 1
    assert len(said(detector, rows(normal(2_000, seed=8), first=4_000))) == 1


def test_one_principal_of_many_that_sweeps_the_input_space_is_not_the_population() -> None:
    detector = watched(principals=40)
    sweep = rows(10.0 * normal(100, seed=9), principals=1, first=2_000)
    assert said(detector, sweep) == []
    assert said(watched(principals=40), rows(10.0 * normal(100, seed=9), principals=40, first=2_000)) != []


@pytest.mark.parametrize("seed", [1, 2])
def test_heavy_tails_counts_and_rows_that_follow_closely_are_quiet(seed: int) -> None:
    table = unchanged(seed)
    assert said(FeatureDrift(share=SHARE), rows(table[:20_000])) == []
    assert said(FeatureDrift(share=SHARE), rows(table[20_000:])) == []


def test_a_season_longer_than_a_plain_baseline_is_quiet() -> None:
    phase = 2.0 * np.pi * np.arange(20_000)[:, None] / 1_500.0
    table = np.sin(phase + np.arange(6)) + 0.5 * normal(20_000, 6)
    assert said(FeatureDrift(share=SHARE), rows(table)) == []


@pytest.mark.parametrize(
    ("made", "within"), [pytest.param(sine_clusters, 120, id="sine"), pytest.param(waveform_drift, 24, id="waveform")]
)
def test_every_drift_of_the_published_streams_is_found_once(made: Any, within: int) -> None:
    found = [index for index, _ in said(FeatureDrift(share=SHARE), rows(made(5, 25_000)))]
    assert [index // 5_000 for index in found] == [1, 2, 3, 4]
    assert all(index % 5_000 < within for index in found)


def test_sea_whose_inputs_do_not_change_is_quiet(shared_data: Path) -> None:
    assert said(FeatureDrift(share=SHARE), rows(table_of(shared_data / "drift" / "sea_stream.csv.gz", 3))) == []


def test_a_state_of_32_columns_of_categories_is_bounded() -> None:
    detector = FeatureDrift(share=SHARE)
    draw = np.random.default_rng(11)
    sizes = []
    for index in range(900):
        features = tuple(int(each) for each in draw.integers(2**62, 2**63, 32))
        detector.update(
            Observation(event_id="0", time_s=START_S + index, deployment="d", features=features, features_schema=1)
        )
        sizes.append(len(dump(detector)))
    assert max(sizes) < 64 * 1_024
