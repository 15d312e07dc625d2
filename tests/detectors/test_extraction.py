from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detectors.alarms import Budget
from detectors.base import dump, load
from detectors.catalog.extraction import Extraction
from detectors.features import observe
from detectors.types import Detection, InferenceEvent, Message, Observation, Severity

SHARE = Budget().share("principal", 6)
START_S = 1_700_000_000.0
KEY = b"0123456789abcdef"


def call(time_s: float, prompt: int, chars: int = 200, simhash: int | None = None, **asked: object) -> Observation:
    """One call; `prompt` stands for its text, and unrelated texts have unrelated simhashes."""
    scrambled = (prompt * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64
    scrambled = ((scrambled ^ (scrambled >> 29)) * 0xBF58476D1CE4E5B9) % 2**64
    plain = Observation(
        event_id="e",
        time_s=float(time_s),
        deployment="d",
        prompt_hash=scrambled,
        prompt_simhash=scrambled if simhash is None else simhash,
        prompt_template=scrambled,
        prompt_chars=int(chars),
    )
    return msgspec.structs.replace(plain, **asked)


def detections(calls: Iterable[Observation]) -> list[tuple[int, Detection]]:
    """What is said of the calls, with how many calls it took."""
    detector = Extraction(share=SHARE)
    heard = ((number, detector.update(each)) for number, each in enumerate(calls, 1))
    return [(number, detection) for number, detection in heard if detection is not None]


def lengths(rng: np.random.Generator, spread: float, count: int) -> list[int]:
    return [int(chars) + 1 for chars in np.exp(rng.normal(5.0, spread, count))]


def sweep(rng: np.random.Generator, count: int, gap_s: float = 10.0, first: int = 0) -> list[Observation]:
    chars = lengths(rng, 0.35, count)
    times = START_S + np.cumsum(rng.exponential(gap_s, count))
    return [call(times[index], first + index, chars[index]) for index in range(count)]


def texts(shared_data: Path, name: str) -> list[str]:
    with gzip.open(shared_data / "queries" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [text for text in (json.loads(line)["text"] for line in lines) if text.strip()]


def asked(prompts: list[str], times: list[float]) -> list[Observation]:
    events = [
        InferenceEvent(
            deployment="d", event_id=str(index), time_s=time_s, input_messages=(Message(role="user", content=prompt),)
        )
        for index, (prompt, time_s) in enumerate(zip(prompts, times, strict=True))
    ]
    return observe(events, KEY)


@pytest.mark.parametrize("gap_s", [1.0, 10.0, 60.0, 1_800.0])
def test_a_sweep_of_new_questions_of_one_kind_is_found_within_150_calls_at_any_pace(gap_s: float) -> None:
    number, detection = detections(sweep(np.random.default_rng(1), 300, gap_s))[0]
    assert number <= 150
    assert detection.severity is Severity.LOW
    assert detection.score >= detection.threshold
    assert START_S <= detection.onset_s <= START_S + 100 * gap_s


def test_a_sweep_that_goes_on_is_graded_up_each_time_its_coverage_has_doubled() -> None:
    found = detections(sweep(np.random.default_rng(2), 3_000))
    grades = [detection.severity.rank for _, detection in found]
    assert grades == sorted(grades)
    assert set(grades) == {Severity.LOW.rank, Severity.MEDIUM.rank, Severity.HIGH.rank}
    numbers = [number for number, _ in found]
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(numbers))


def test_the_benign_past_of_a_stolen_key_does_not_hide_a_sweep() -> None:
    rng = np.random.default_rng(3)
    times = np.sort(rng.uniform(START_S - 1e6, START_S, 2_000))
    past = [call(times[n], 10**6 + n, chars) for n, chars in enumerate(lengths(rng, 0.9, 2_000))]
    (first, _), *_ = detections(past + sweep(rng, 300))
    assert 2_000 < first <= 2_150


def test_a_person_in_sessions_of_unlike_questions_is_quiet() -> None:
    rng = np.random.default_rng(4)
    time_s, calls = START_S, []
    for number, chars in enumerate(lengths(rng, 0.9, 3_000)):
        time_s += rng.lognormal(math.log(60), 1.1) if rng.random() < 0.93 else rng.uniform(3_600, 40_000)
        calls.append(call(time_s, number, chars))
    assert detections(calls) == []


def test_a_chat_backend_of_many_people_at_random_times_is_quiet() -> None:
    rng = np.random.default_rng(5)
    times = START_S + np.cumsum(rng.exponential(2.0, 5_000))
    assert detections([call(times[n], n, chars) for n, chars in enumerate(lengths(rng, 0.9, 5_000))]) == []


def test_an_application_that_fills_one_template_for_ever_is_quiet() -> None:
    rng = np.random.default_rng(6)
    base = int(rng.integers(2**63))
    calls = []
    for number, chars in enumerate(lengths(rng, 0.2, 5_000)):
        fill = base
        for bit in rng.choice(64, 12, replace=False):
            fill ^= 1 << int(bit)
        calls.append(call(START_S + 5.0 * number, number, chars, simhash=fill))
    assert detections(calls) == []


def test_an_evaluation_set_of_unlike_prompts_run_every_night_in_a_loop_is_quiet() -> None:
    rng = np.random.default_rng(7)
    chars = lengths(rng, 0.9, 500)
    nights = [
        call(START_S + 86_400 * night + 2.0 * at, int(number), chars[int(number)], temperature=0.0)
        for night in range(10)
        for at, number in enumerate(rng.permutation(500))
    ]
    assert detections(nights) == []


def test_a_benchmark_of_one_kind_is_said_when_new_and_quiet_when_it_is_run_again() -> None:
    calls = sweep(np.random.default_rng(8), 200)
    again = [
        msgspec.structs.replace(each, time_s=each.time_s + 86_400 * night) for night in range(1, 15) for each in calls
    ]
    assert {number <= 200 for number, _ in detections(calls + again)} == {True}


def test_a_steady_loop_of_unlike_prompts_is_found_only_after_a_thousand() -> None:
    chars = lengths(np.random.default_rng(9), 0.9, 1_500)
    number, detection = detections([call(START_S + 3.0 * n, n, chars[n]) for n in range(1_500)])[0]
    assert 1_000 <= number <= 1_300
    assert detection.severity is Severity.HIGH


def test_logit_bias_on_one_prompt_is_found_within_25_calls() -> None:
    probes = [
        call(START_S + n, 7, logit_bias=1 + n % 5, top_logprobs=5, logprobs=True, output_tokens=1) for n in range(60)
    ]
    number, detection = detections(probes)[0]
    assert number <= 25
    assert detection.severity is Severity.HIGH
    assert "logit bias" in detection.summary


def test_log_probabilities_of_one_token_of_one_prompt_are_found_within_60_calls() -> None:
    assert detections([call(START_S + n, 7, top_logprobs=5, output_tokens=1) for n in range(80)])[0][0] <= 60


def test_a_classifier_with_fixed_logit_bias_over_new_prompts_is_quiet() -> None:
    rng = np.random.default_rng(10)
    chars = lengths(rng, 0.9, 3_000)
    times = START_S + np.cumsum(rng.exponential(5.0, 3_000))
    calls = [
        call(times[n], n, chars[n], logit_bias=2, logprobs=True, top_logprobs=2, output_tokens=1) for n in range(3_000)
    ]
    assert detections(calls) == []


def test_failed_retries_with_logit_bias_are_no_probing() -> None:
    assert detections([call(START_S + n, 7, logit_bias=3, failed=True) for n in range(200)]) == []


def test_own_past_is_remembered_beyond_the_sample_and_state_stays_below_a_kibibyte() -> None:
    detector = Extraction(share=SHARE)
    for number in range(20_000):
        detector.update(call(START_S + number, number, 50 + number % 1_000))
    assert len(dump(detector)) <= 1_024
    for number in range(20_000):
        detector.update(call(START_S + 20_000 + number, number, 50 + number % 1_000))
    assert detector.growth == 0.0


def test_hostile_numbers_leave_the_state_finite_and_calls_without_a_prompt_leave_it_alone() -> None:
    detector = Extraction(share=SHARE)
    fresh = dump(detector)
    detector.update(call(math.nan, 1))
    detector.update(call(math.inf, 1))
    detector.update(msgspec.structs.replace(call(START_S, 1), prompt_hash=None))
    assert dump(detector) == fresh
    for number, time_s in enumerate([START_S, 0.0, 4e9, 5.0, START_S] * 20):
        detector.update(
            call(time_s, number, 10**400, simhash=-1, prompt_template=-5, logit_bias=10**30, n=-4, temperature=math.nan)
        )
    numbers = [getattr(detector, name) for name in detector.__struct_fields__]
    assert all(math.isfinite(number) for number in numbers if isinstance(number, float))


def test_a_restored_detector_goes_on_as_if_it_had_never_stopped() -> None:
    calls = sweep(np.random.default_rng(11), 200)
    whole = detections(calls)
    detector: Extraction | None = Extraction(share=SHARE)
    said = []
    for number, each in enumerate(calls, 1):
        assert detector is not None
        restored = load(Extraction, dump(detector))
        assert isinstance(restored, Extraction)
        detector = restored
        detection = detector.update(each)
        if detection is not None:
            said.append((number, detection))
    assert said == whole != []


@pytest.mark.parametrize("name", ["systematic_bold_probe", "systematic_gsm8k_train", "systematic_humaneval"])
def test_real_question_sets_are_found_within_300_queries(shared_data: Path, name: str) -> None:
    prompts = texts(shared_data, name)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picked = [prompts[int(index)] for index in rng.permutation(len(prompts))[:300]]
        times = (START_S + np.cumsum(rng.exponential(10.0, len(picked)))).tolist()
        assert detections(asked(picked, times)), f"seed {seed}"


def test_real_human_prompts_at_a_busy_pace_are_quiet(shared_data: Path) -> None:
    names = ("alpacaeval", "arenahard_v0.1", "selfinstruct_seed_tasks", "selfinstruct_user_oriented")
    prompts = [text for name in names for text in texts(shared_data, f"benign_{name}")]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picked = [prompts[int(index)] for index in rng.permutation(len(prompts))[:1_000]]
        times = (START_S + np.cumsum(rng.exponential(30.0, len(picked)))).tolist()
        assert detections(asked(picked, times)) == []
