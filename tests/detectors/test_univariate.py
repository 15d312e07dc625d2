from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from detectors.univariate import THRESHOLD, Scorer
from tests.quality import nab
from tests.quality.nab import PROFILES, Profile, Series, normalized, worth

STEP_S = 300.0


def flagged(values: npt.NDArray[np.float64]) -> list[int]:
    scorer = Scorer()
    return [row for row, value in enumerate(values.tolist()) if scorer.update(STEP_S * row, value) >= THRESHOLD]


def days(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Days of 288 values with a busy half and noise."""
    draw = np.random.default_rng(seed)
    rows = np.arange(288 * count)
    return 50.0 + 30.0 * ((rows % 288) > 144) + draw.normal(0.0, 1.0, len(rows))


def test_a_spike_a_step_and_rougher_values_are_found() -> None:
    draw = np.random.default_rng(0)
    spike, step, rough = draw.normal(10.0, 1.0, (3, 2_000))
    spike[1_500] += 15.0
    step[1_500:] += 4.0
    rough[1_500:] += draw.normal(0.0, 5.0, 500)
    for values in (spike, step, rough):
        assert any(1_500 <= row < 1_550 for row in flagged(values))


def test_a_day_that_is_missing_is_found_though_every_value_of_it_is_ordinary() -> None:
    values = days(12, 1)
    values[288 * 9 : 288 * 10] = values[288 * 9 : 288 * 9 + 144].repeat(2)
    assert any(288 * 9 + 144 <= row < 288 * 10 for row in flagged(values))
    assert sum(row < 288 * 9 for row in flagged(values)) <= 1


def test_spikes_that_come_again_and_again_are_learned() -> None:
    values = np.random.default_rng(2).normal(10.0, 1.0, 8_000)
    values[100::200] += 30.0
    assert len([row for row in flagged(values) if row > 1_000]) <= 3


def test_noise_and_constants_cost_few_detections() -> None:
    draw = np.random.default_rng(3)
    found = [len(flagged(values)) for values in (draw.normal(0.0, 1.0, 10_000), draw.lognormal(0.0, 1.0, 10_000))]
    assert max(found) <= 8
    assert flagged(np.full(2_000, 7.0)) == []


def test_the_unit_of_the_series_does_not_matter() -> None:
    values = np.random.default_rng(4).normal(10.0, 1.0, 2_000)
    values[1_500] += 15.0
    assert flagged(values) == flagged(values * 1024.0)


def test_values_that_are_no_numbers_are_not_learned() -> None:
    scorer = Scorer()
    for value in (math.nan, math.inf, -math.inf, 1e300):
        assert scorer.update(0.0, value) == 0.0
    assert scorer.count == 0


def test_it_goes_on_after_a_restart_as_if_there_had_been_none() -> None:
    values = days(8, 5).tolist()
    scorer = Scorer()
    for row, value in enumerate(values[:1_000]):
        scorer.update(STEP_S * row, value)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(scorer), type=Scorer)
    for row, value in enumerate(values[1_000:], start=1_000):
        assert scorer.update(STEP_S * row, value) == again.update(STEP_S * row, value)
    assert len(msgspec.msgpack.encode(scorer)) < 20_000


SERIES = Series("s", [float(row) for row in range(1_000)], [0.0] * 1_000, [(300, 399), (700, 799)])


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_silence_is_worth_0_and_perfection_100(profile: Profile) -> None:
    assert normalized([SERIES], [[]], profile) == pytest.approx(0.0)
    assert normalized([SERIES], [[300, 700]], profile) == pytest.approx(100.0)


def test_hits_and_false_positives_are_worth_what_the_benchmark_says() -> None:
    standard = PROFILES["standard"]
    assert worth(SERIES, [100], standard) == -2.0, "the first 15 % do not count"
    assert worth(SERIES, [200], standard) == pytest.approx(-2.11), "a false positive before any window"
    assert worth(SERIES, [650], standard) == pytest.approx(-2.0 + 0.11 * nab.scaled_sigmoid(251 / 99))
    assert worth(SERIES, [300, 350, 399], standard) == pytest.approx(0.0), "the first detection in a window counts"
    assert worth(SERIES, [399], standard) == pytest.approx(-1.0 + nab.scaled_sigmoid(-0.01) / nab.scaled_sigmoid(-1.0))


def test_the_shipped_scorer_passes_60_on_either_half_of_the_benchmark(shared_data: Path) -> None:
    corpus = nab.read(shared_data / "nab")
    rows = [nab.ours(series) for series in corpus]
    for half in (0, 1):
        assert normalized(corpus[half::2], rows[half::2], PROFILES["standard"]) >= 60.0
