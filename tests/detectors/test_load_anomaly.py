from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detectors.catalog.load_anomaly import LoadAnomaly
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 300.0
START_S = 1_762_732_800.0
DAY_S = 86_400.0


def traffic(
    days: float, *, seed: int, first_day: float = 0.0, more: float = 1.0, longer: float = 1.0, a_day: float = 3_000.0
) -> Iterator[Observation]:
    """Calls of a deployment with a busy day and a quiet night, in order; `more` calls with `longer` answers."""
    draw = np.random.default_rng(seed)
    times = np.sort(draw.uniform(first_day, first_day + days, draw.poisson(more * a_day * 1.8 * days)))
    kept = draw.random(len(times)) < (0.55 + 0.45 * np.sin(2.0 * np.pi * times))
    for place, time in enumerate(times[kept].tolist()):
        yield Observation(
            event_id=str(place),
            time_s=START_S + DAY_S * time,
            deployment="d",
            principal=f"person-{draw.integers(50)}",
            input_tokens=int(draw.lognormal(6.0, 0.7)),
            output_tokens=int(longer * draw.lognormal(5.0, 0.7)),
            cost_usd=1e-3,
        )


def said(detector: LoadAnomaly, observations: Iterator[Observation]) -> list[Detection]:
    return [found for each in observations if (found := detector.update(each)) is not None]


def watched(days: float = 5.0, seed: int = 1) -> LoadAnomaly:
    detector = LoadAnomaly(share=SHARE)
    assert said(detector, traffic(days, seed=seed)) == []
    return detector


@pytest.mark.parametrize("seed", range(3))
def test_ten_times_the_requests_are_found_within_an_hour(seed: int) -> None:
    found = said(watched(seed=seed), traffic(1.0 / 24.0, seed=seed + 50, first_day=5.25, more=10.0))
    assert found
    assert "rose to" in found[0].summary
    assert found[0].severity is Severity.MEDIUM
    assert START_S + 5.25 * DAY_S - 300.0 - 600.0 <= found[0].onset_s <= START_S + 5.3 * DAY_S


def test_answers_thirty_times_as_long_are_found_by_their_tokens() -> None:
    found = said(watched(), traffic(2.0 / 24.0, seed=60, first_day=5.25, longer=30.0))
    assert found
    assert "Tokens" in found[0].summary


def test_thirty_days_of_the_same_season_are_quiet() -> None:
    assert said(LoadAnomaly(share=SHARE), traffic(30.0, seed=2)) == []


def test_what_lasts_is_not_said_again_and_not_learned_at_once() -> None:
    detector = watched()
    level = detector.scorers[0].slow
    found = said(detector, traffic(0.5, seed=70, first_day=5.2, more=10.0))
    assert len(found) == 1
    assert detector.scorers[0].slow < level + 0.5


def test_a_caller_that_makes_up_times_neither_moves_the_clock_nor_fires() -> None:
    draw = np.random.default_rng(3)
    detector = LoadAnomaly(share=SHARE)
    found = []
    for each in traffic(8.0, seed=3):
        found.append(detector.update(each))
        if draw.random() < 0.2:
            made_up = each.time_s + float(draw.uniform(-3.0, 3.0)) * DAY_S
            found.append(detector.update(msgspec.structs.replace(each, principal="liar", time_s=made_up)))
    assert not any(found)
    assert len(detector.open_bins) <= 4
    assert detector.scored > 7.9 * 288


def test_an_hour_without_a_source_is_not_learned_as_silence_when_it_is_long() -> None:
    detector = watched()
    scored = detector.scored
    assert said(detector, traffic(0.5, seed=4, first_day=9.0)) == []
    assert detector.scored < scored + 0.6 * 288


def test_azures_own_bursts_are_quiet(shared_data: Path) -> None:
    with gzip.open(shared_data / "traces" / "azure_llm_2023_code.csv.gz", "rt") as lines:
        next(lines)
        times = [datetime.fromisoformat(line[:26] + "+00:00").timestamp() for line in lines]
    draw = np.random.default_rng(0)
    detector = LoadAnomaly(share=SHARE)
    span_s = times[-1] - times[0]
    for hour in range(24 * 10):
        kept = draw.random(len(times)) < 0.1
        for time_s, keep in zip(times, kept, strict=True):
            if keep:
                at_s = START_S + hour * span_s + (time_s - times[0])
                assert detector.update(Observation(event_id="", time_s=at_s, deployment="d", output_tokens=50)) is None
    assert detector.scored > 4 * 288
