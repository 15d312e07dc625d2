from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.arrivals import Arrivals
from detectors.catalog.latency_shift import LatencyShift
from detectors.timing import fit
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 60.0
START_S = 1_763_000_000.0


def calls(  # noqa: PLR0913 - one knob for each thing that can shift
    count: int,
    *,
    seed: int,
    first: int = 0,
    slower: float = 1.0,
    longer: float = 1.0,
    gap_s: float = 0.5,
    queue: float = 0.0,
    model: str = "m",
    noise: float = 0.12,
) -> Iterator[Observation]:
    """Calls of additive cost with noise; `queue` is how much each arrival of the last 5 s slows a call."""
    draw = np.random.default_rng(seed)
    times = START_S + first * 0.5 + np.cumsum(draw.exponential(gap_s, count))
    inputs = np.clip(draw.lognormal(6.0, 0.8, count), 5, 8_000).astype(int)
    outputs = np.clip(draw.lognormal(4.8, 0.9, count) * longer, 1, 8_000).astype(int)
    ttft = (0.2 + 0.0003 * inputs) * draw.lognormal(0.0, 0.2, count)
    latency = ttft + 0.02 * outputs * draw.lognormal(0.0, noise, count)
    waiting = np.arange(1, count + 1) - np.searchsorted(times, times - 5.0) if queue else np.zeros(count)
    factor = slower * (1.0 + queue * waiting)
    for index in range(count):
        yield Observation(
            event_id=str(index),
            time_s=float(times[index]),
            deployment="d",
            model=model,
            input_tokens=int(inputs[index]),
            output_tokens=int(outputs[index]),
            latency_s=float(latency[index] * factor[index]),
            ttft_s=float(ttft[index] * factor[index]),
        )


def watched(warm_up: int = 1_000, seed: int = 1, **shape: Any) -> LatencyShift:
    """A detector with a baseline behind it that said nothing."""
    detector = LatencyShift(share=SHARE)
    assert said(detector, calls(warm_up, seed=seed, **shape)) == []
    return detector


def said(detector: LatencyShift, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


@pytest.mark.parametrize("seed", range(5))
def test_a_step_of_15_percent_is_found_within_300_calls_and_its_size_told(seed: int) -> None:
    found = said(watched(seed=seed), calls(300, seed=seed + 100, first=1_000, slower=1.15))
    assert found
    index, detection = found[0]
    assert index < 300
    assert "rose by" in detection.summary
    assert detection.severity is Severity.MEDIUM
    steps = {row.name: row.observed for row in detection.evidence}
    assert 5.0 < float(steps["step"]) < 30.0
    assert abs(detection.onset_s - (START_S + 500.0)) < 100.0


def test_a_doubling_is_high() -> None:
    found = said(watched(), calls(100, seed=3, first=1_000, slower=2.5))
    assert found[-1][1].severity is Severity.HIGH


def test_faster_is_found_too_in_its_own_words_and_low() -> None:
    found = said(watched(), calls(300, seed=4, first=1_000, slower=0.8))
    assert found
    assert "fell by" in found[0][1].summary
    assert "smaller model" in found[0][1].summary
    assert found[0][1].severity is Severity.LOW


def test_30_000_quiet_calls_are_quiet() -> None:
    assert said(LatencyShift(share=SHARE), calls(30_000, seed=5)) == []


def test_longer_answers_are_not_slower() -> None:
    assert said(watched(), calls(2_000, seed=6, first=1_000, longer=2.5)) == []


def test_a_burst_of_arrivals_without_a_step_is_quiet() -> None:
    detector = watched()
    assert said(detector, calls(1_500, seed=7, first=1_000, gap_s=0.02)) == []


def test_a_burst_that_slows_calls_through_a_queue_is_quiet() -> None:
    detector = watched(queue=0.01)
    assert said(detector, calls(1_500, seed=8, first=1_000, gap_s=0.1, queue=0.01)) == []


def bursts(hours: float, *, seed: int, first_s: float = 0.0, slower: float = 1.0) -> list[Observation]:
    """One call in 4 s, and every 8 minutes some 30 calls within half a minute; each in flight slows by 3 %."""
    draw = np.random.default_rng(seed)
    span_s = 3_600.0 * hours
    quiet = draw.uniform(0.0, span_s, int(span_s / 4.0))
    starts = draw.uniform(0.0, span_s, int(span_s / 480.0))
    times = np.sort(np.concatenate((quiet, *(start + draw.uniform(0.0, 25.0, 30) for start in starts))))
    inputs = draw.lognormal(7.0, 0.4, len(times)).astype(int)
    outputs = np.clip(draw.lognormal(4.8, 0.6, len(times)), 1, 8_000).astype(int)
    noise = draw.lognormal(0.0, (0.18, 0.1), (len(times), 2))
    ends: list[float] = []
    observations = []
    for place, time_s in enumerate(times.tolist()):
        ends = [end_s for end_s in ends if end_s > time_s]
        factor = slower * (1.0 + 0.03 * len(ends))
        ttft_s = factor * (0.4 + 0.00004 * inputs[place]) * noise[place, 0]
        latency_s = ttft_s + factor * 0.015 * outputs[place] * noise[place, 1]
        ends.append(time_s + latency_s)
        observations.append(
            Observation(
                event_id=str(place),
                time_s=START_S + first_s + time_s,
                deployment="d",
                model="m",
                input_tokens=int(inputs[place]),
                output_tokens=int(outputs[place]),
                latency_s=float(latency_s),
                ttft_s=float(ttft_s),
            )
        )
    return observations


def out_of_order(observations: list[Observation], seed: int) -> list[Observation]:
    """Records of 17 calls, shuffled within eight: what a worker sees that reads several partitions."""
    draw = np.random.default_rng(seed)
    records = [observations[place : place + 17] for place in range(0, len(observations), 17)]
    mixed: list[Observation] = []
    for place in range(0, len(records), 8):
        window = records[place : place + 8]
        mixed.extend(observation for index in draw.permutation(len(window)) for observation in window[index])
    return mixed


@pytest.mark.parametrize("seed", range(3))
def test_bursts_that_slow_calls_are_quiet_and_a_step_between_them_is_not(seed: int) -> None:
    detector = LatencyShift(share=SHARE)
    assert said(detector, iter(bursts(8.0, seed=seed))) == []
    found = said(detector, iter(bursts(1.0, seed=seed + 10, first_s=28_800.0, slower=1.18)))
    assert found
    assert found[0][0] < 300


@pytest.mark.parametrize("seed", range(3))
def test_bursts_and_a_step_are_told_apart_out_of_order_too(seed: int) -> None:
    detector = LatencyShift(share=SHARE)
    assert said(detector, iter(out_of_order(bursts(8.0, seed=seed), seed))) == []
    found = said(detector, iter(out_of_order(bursts(1.0, seed=seed + 10, first_s=28_800.0, slower=1.18), seed)))
    assert found
    assert found[0][0] < 300


def test_lasting_load_that_may_explain_a_step_hides_it_for_a_busy_day_and_not_for_ever() -> None:
    def paced(observations: Iterator[Observation], first_s: float, gap_s: float) -> Iterator[Observation]:
        for place, one in enumerate(observations):
            yield msgspec.structs.replace(one, time_s=START_S + first_s + gap_s * place)

    detector = LatencyShift(share=SHARE)
    assert said(detector, paced(calls(1_000, seed=1, slower=4.0), 0.0, 100.0)) == []
    found = said(detector, paced(calls(50_000, seed=2, slower=5.2), 100_000.0, 2.5))
    assert found
    assert 12.0 < found[0][0] * 2.5 / 3_600.0 < 48.0
    assert "under load unlike the baseline's" in found[0][1].summary


def test_load_is_counted_by_event_time_in_any_order() -> None:
    draw = np.random.default_rng(0)
    times = (START_S + np.sort(draw.uniform(0.0, 120.0, 240))).tolist()
    mixed = Arrivals()
    for place in draw.permutation(len(times)):
        mixed.see(times[place], 4.0)
    ordered = Arrivals()
    for time_s in times:
        in_flight, rate = ordered.see(time_s, 4.0), ordered.rate(time_s)
    assert mixed.see(times[-1], 4.0) == in_flight + 1.0
    assert mixed.rate(times[-1]) == pytest.approx(rate + 0.1)
    assert rate == pytest.approx(2.0, rel=0.6)
    assert in_flight == pytest.approx(8.0, rel=0.5)


def test_calls_that_are_still_in_flight_are_counted_though_many_short_ones_came_since() -> None:
    arrivals = Arrivals()
    for start_s in range(10):
        arrivals.see(START_S + start_s, 500.0)
    in_flight = [arrivals.see(START_S + 10.0 + 0.1 * place, 0.05) for place in range(1_000)]
    assert in_flight[-1] == 11.0


def test_made_up_times_do_not_grow_the_counts_and_do_not_stay_in_flight() -> None:
    arrivals = Arrivals()
    for minute in range(1_000):
        arrivals.see(minute * 86_400.0, 10.0)
    assert len(arrivals.minutes) <= 128
    assert len(arrivals.flights.starts) == len(arrivals.flights.ends) == len(arrivals.flights.calls) <= 384
    for place in range(1_000):
        in_flight = arrivals.see(START_S + place, 0.5)
    assert in_flight == 1.0


def test_a_step_is_found_during_a_busy_hour_like_those_of_the_baseline() -> None:
    detector = LatencyShift(share=SHARE)
    for hour in range(10):
        gap_s = 0.5 if hour % 2 else 0.2
        assert said(detector, calls(100, seed=20 + hour, first=1_000 * hour, gap_s=gap_s, queue=0.01)) == []
    assert said(detector, calls(300, seed=40, first=20_000, gap_s=0.2, queue=0.01, slower=1.3))


def test_each_requested_model_has_its_own_baseline() -> None:
    detector = LatencyShift(share=SHARE)
    slow, fast = calls(3_000, seed=9, slower=3.0, model="slow"), calls(3_000, seed=10, model="fast")
    mixed = (observation for pair in zip(slow, fast, strict=True) for observation in pair)
    assert said(detector, mixed) == []


def test_one_absurd_latency_does_not_alarm() -> None:
    detector = watched()
    spikes = [next(calls(1, seed=seed, first=1_000, slower=200.0)) for seed in range(2)]
    assert said(detector, iter(spikes)) == []


def test_failed_calls_and_unknown_tokens_are_not_judged() -> None:
    detector = watched()
    for observation in calls(500, seed=11, first=1_000):
        timed_out = msgspec.structs.replace(observation, failed=True, latency_s=60.0)
        blind = msgspec.structs.replace(observation, input_tokens=None, output_tokens=None, latency_s=60.0)
        assert detector.update(timed_out) is None
        assert detector.update(blind) is None


def test_a_steady_machine_does_not_make_it_nervous() -> None:
    detector = LatencyShift(share=SHARE)
    for index in range(3_000):
        wobble = 1.0 + 0.02 * (index > 1_500)
        observation = Observation(
            event_id=str(index),
            time_s=START_S + index,
            deployment="d",
            model="m",
            input_tokens=100,
            output_tokens=50,
            latency_s=1.5 * wobble,
            ttft_s=0.2 * wobble,
        )
        assert detector.update(observation) is None


def test_made_up_models_neither_grow_the_state_nor_evict_a_frozen_baseline() -> None:
    detector = watched()
    for index in range(11):
        assert said(detector, calls(500, seed=index, first=1_000 * index, model=f"other-{index}")) == []
    for index in range(3_000):
        detector.update(next(calls(1, seed=index, first=20_000, model=f"made-up-{index}")))
    assert detector.profiles["m"].latency is not None
    assert len(detector.profiles) == 12


def test_costs_per_token_and_per_arrival_are_learned() -> None:
    draw = np.random.default_rng(0)
    inputs, outputs = draw.lognormal(6.0, 0.8, 500), draw.lognormal(4.8, 0.9, 500)
    loads = np.repeat(draw.uniform(1.0, 20.0, (500, 1)), 2, axis=1)
    seconds = (0.3 + 0.0004 * inputs + 0.02 * outputs) * (1.0 + 0.05 * loads[:, 1]) * draw.lognormal(0.0, 0.1, 500)
    seconds[::50] *= 30.0
    baseline = fit(seconds, inputs, outputs, loads)
    assert baseline is not None
    expected = [math.exp(baseline.slowness(load)[0]) * (baseline.idle_s(400.0, 120.0) or 0) for load in (2.0, 18.0)]
    assert expected[0] == pytest.approx(2.86 * 1.1, rel=0.06)
    assert expected[1] == pytest.approx(2.86 * 1.9, rel=0.06)


def test_without_token_counts_there_is_still_a_baseline() -> None:
    draw = np.random.default_rng(0)
    unknown = np.full(500, np.nan)
    baseline = fit(draw.lognormal(0.0, 0.1, 500), unknown, unknown, np.ones((500, 2)))
    assert baseline is not None
    assert baseline.idle_s(None, None) == pytest.approx(1.0, rel=0.05)
    assert fit(unknown, unknown, unknown, np.ones((500, 2))) is None


def _provider_calls(shared_data: Path, provider: str, model: str) -> np.ndarray:
    with gzip.open(shared_data / "traces" / "llmperf_2023_requests.csv.gz", "rt") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["provider"], row["model"]) == (provider, model)]
    names = ("ttft_s", "end_to_end_latency_s", "number_output_tokens")
    return np.array([[float(row[name]) for name in names] for row in rows if not row["error_code"]])


def _replayed(shared_data: Path, provider: str, model: str, step: float) -> Iterator[Observation]:
    """Azure's arrivals and token counts with one provider's first-token and per-token times; a step in the middle."""
    series = _provider_calls(shared_data, provider, model)
    draw = np.random.default_rng(0)
    with gzip.open(shared_data / "traces" / "azure_llm_2023_conv.csv.gz", "rt") as lines:
        for index, row in enumerate(csv.DictReader(lines)):
            ttft_s, latency_s, tokens = series[draw.integers(len(series))]
            outputs = int(row["GeneratedTokens"])
            factor = step if index >= 10_000 else 1.0
            yield Observation(
                event_id=str(index),
                time_s=datetime.fromisoformat(row["TIMESTAMP"][:26] + "+00:00").timestamp(),
                deployment="d",
                model=model,
                input_tokens=int(row["ContextTokens"]),
                output_tokens=outputs,
                latency_s=factor * (ttft_s + outputs * (latency_s - ttft_s) / tokens),
                ttft_s=factor * ttft_s,
            )


@pytest.mark.parametrize(
    ("provider", "model"),
    [("anyscale", "llama2-70b"), ("bedrock", "llama2-13b"), ("fireworks", "llama2-70b"), ("together", "llama2-13b")],
)
def test_on_a_real_providers_times_only_the_planted_step_fires(shared_data: Path, provider: str, model: str) -> None:
    found = said(LatencyShift(share=SHARE), _replayed(shared_data, provider, model, 1.15))
    assert found
    assert 10_000 <= found[0][0] < 10_300
    assert said(LatencyShift(share=SHARE), _replayed(shared_data, provider, model, 1.0)) == []


def test_it_says_whether_the_first_or_the_further_tokens_moved() -> None:
    slower_stream = (
        msgspec.structs.replace(
            each, latency_s=(each.ttft_s or 0.0) + 1.3 * ((each.latency_s or 0.0) - (each.ttft_s or 0.0))
        )
        for each in calls(300, seed=50, first=1_000)
    )
    found = said(watched(), slower_stream)
    assert found
    moved = {row.name: float(row.observed) for row in found[0][1].evidence if "moved by" in row.name}
    assert moved["time per output token moved by"] > 5.0
    assert abs(moved["time to first token moved by"]) < 0.5 * moved["time per output token moved by"]
