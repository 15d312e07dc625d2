from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detectors.alarms import Budget
from detectors.base import dump, load
from detectors.catalog.extraction import Extraction
from detectors.features import observe
from detectors.prompt_space import DIMENSIONS, LOG_STEPS, STEPS, reference, usual
from detectors.types import Detection, InferenceEvent, Message, Observation, Severity

SHARE = Budget().share("principal", 30)
START_S = 1_700_000_000.0
KEY = b"0123456789abcdef"
PEOPLE = "alpacaeval", "arenahard_v0.1", "selfinstruct_seed_tasks", "selfinstruct_user_oriented"


def places(points: np.ndarray) -> list[bytes]:
    points = points.clip(-4.0, 4.0)
    density = usual(points, reference()).clip(-30.0, 30.0)
    steps = np.column_stack([points * STEPS, density * LOG_STEPS]).round().astype(np.int8)
    return [row.tobytes() for row in steps]


def person(rng: np.random.Generator, count: int) -> list[bytes]:
    """Places as people's are: drawn from the reference itself."""
    people = reference()
    kinds = rng.choice(len(people.weights), count, p=np.array(people.weights) / sum(people.weights))
    means, variances = np.array(people.means), np.array(people.variances)
    return places(means[kinds] + rng.normal(size=(count, DIMENSIONS)) * np.sqrt(variances[kinds]))


def one_kind(rng: np.random.Generator, count: int, width: float = 0.45) -> list[bytes]:
    """Places of one generator: compact, somewhere among people's."""
    return places(rng.normal(0.0, 1.0, DIMENSIONS) + rng.normal(0.0, width, (count, DIMENSIONS)))


def call(time_s: float, prompt: int, place: bytes, **asked: object) -> Observation:
    """One call; `prompt` stands for its text."""
    scrambled = (prompt * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64
    scrambled = ((scrambled ^ (scrambled >> 29)) * 0xBF58476D1CE4E5B9) % 2**64
    plain = Observation(
        event_id="e",
        time_s=float(time_s),
        deployment="d",
        prompt_hash=scrambled,
        prompt_template=scrambled >> 3,
        prompt_head=scrambled >> 11,
        prompt_tail=scrambled >> 19,
        prompt_chars=200,
        prompt_place=place,
    )
    return msgspec.structs.replace(plain, **asked)


def calls(spots: list[bytes], gap_s: float = 10.0, first: int = 0, **asked: object) -> list[Observation]:
    return [call(START_S + gap_s * (first + at), first + at, spot, **asked) for at, spot in enumerate(spots)]


def detections(observations: Iterable[Observation]) -> list[tuple[int, Detection]]:
    """What is said of the calls, with how many calls it took."""
    detector = Extraction(share=SHARE)
    heard = ((number, detector.update(each)) for number, each in enumerate(observations, 1))
    return [(number, detection) for number, detection in heard if detection is not None]


def quarter(rng: np.random.Generator, count: int) -> list[bytes]:
    own, sweep = iter(person(rng, count)), iter(one_kind(rng, count))
    return [next(sweep) if rng.random() < 0.25 else next(own) for _ in range(count)]


def texts(shared_data: Path, name: str) -> list[str]:
    with gzip.open(shared_data / "queries" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return list(dict.fromkeys(text for text in (json.loads(line)["text"] for line in lines) if text.strip()))


def asked_for(prompts: list[str], gap_s: float = 30.0) -> list[Observation]:
    events = [
        InferenceEvent(
            deployment="d",
            event_id=str(at),
            time_s=START_S + gap_s * at,
            input_messages=(Message(role="user", content=prompt),),
        )
        for at, prompt in enumerate(prompts)
    ]
    return observe(events, KEY)


@pytest.mark.parametrize("gap_s", [0.2, 10.0, 4_320.0])
def test_a_sweep_of_one_kind_is_found_within_150_calls_at_any_pace(gap_s: float) -> None:
    number, detection = detections(calls(one_kind(np.random.default_rng(1), 300), gap_s))[0]
    assert number <= 150
    assert detection.severity is Severity.LOW
    assert detection.score >= detection.threshold
    assert START_S <= detection.onset_s <= START_S + 80 * gap_s


def test_a_sweep_that_is_a_quarter_of_a_persons_calls_is_found() -> None:
    number, detection = detections(calls(quarter(np.random.default_rng(2), 1_000)))[0]
    assert number <= 600
    kind = next(each for each in detection.evidence if each.name == "width of the kind")
    assert isinstance(kind.observed, float) and kind.observed < -3.0


def test_twenty_calls_a_day_among_sixty_of_ones_own_do_not_age_out_over_months() -> None:
    spots = quarter(np.random.default_rng(3), 3_000)
    number, _ = detections(calls(spots, gap_s=86_400.0 / 80.0))[0]
    assert number <= 600


def test_the_benign_past_of_a_stolen_key_does_not_hide_a_sweep() -> None:
    rng = np.random.default_rng(4)
    past = calls(person(rng, 2_000))
    (first, _), *_ = detections(past + calls(one_kind(rng, 300), first=2_000))
    assert 2_000 < first <= 2_200


def test_coverage_that_goes_on_growing_is_graded_up_each_time_it_has_doubled() -> None:
    found = detections(calls(one_kind(np.random.default_rng(5), 3_000)))
    grades = [detection.severity.rank for _, detection in found]
    assert grades == sorted(grades)
    assert set(grades) == {Severity.LOW.rank, Severity.MEDIUM.rank, Severity.HIGH.rank}
    assert all(later >= 1.5 * earlier for (earlier, _), (later, _) in pairwise(found))


@pytest.mark.parametrize("seed", range(5))
def test_a_person_who_asks_thousands_of_unlike_questions_in_a_steady_loop_is_quiet(seed: int) -> None:
    assert detections(calls(person(np.random.default_rng(seed), 4_000), gap_s=3.0, temperature=0.0)) == []


def test_somebody_who_writes_unlike_all_others_but_as_widely_is_quiet() -> None:
    rng = np.random.default_rng(6)
    elsewhere = places(np.where(np.arange(DIMENSIONS) < 3, 2.5, 0.0) + rng.normal(0.0, 0.9, (2_000, DIMENSIONS)))
    assert detections(calls(elsewhere)) == []


@pytest.mark.parametrize("name", ["prompt_template", "prompt_head", "prompt_tail"])
def test_an_application_that_fills_one_template_for_ever_is_quiet(name: str) -> None:
    assert detections(calls(one_kind(np.random.default_rng(7), 3_000), **{name: 5})) == []


def test_an_application_of_three_templates_is_quiet() -> None:
    rng = np.random.default_rng(8)
    kinds = [calls(one_kind(rng, 1_000), first=1_000 * kind, prompt_head=kind) for kind in range(3)]
    assert detections(each for triple in zip(*kinds, strict=True) for each in triple) == []


def test_an_evaluation_of_unlike_prompts_run_every_night_is_quiet() -> None:
    spots = person(np.random.default_rng(9), 300)
    assert detections(each for _ in range(10) for each in calls(spots)) == []


def test_a_benchmark_of_one_kind_is_said_when_new_and_quiet_from_the_start_of_its_second_run() -> None:
    once = calls(one_kind(np.random.default_rng(10), 200))
    nights = [
        msgspec.structs.replace(each, time_s=each.time_s + 86_400 * night) for night in range(15) for each in once
    ]
    numbers = [number for number, _ in detections(nights)]
    assert numbers[0] <= 150
    assert max(numbers) <= 225


def test_asking_each_question_four_times_does_not_hide_a_sweep() -> None:
    once = calls(one_kind(np.random.default_rng(11), 200))
    number, _ = detections(each for each in once for _ in range(4))[0]
    assert number <= 4 * 150


def test_machine_like_parameters_are_told_as_evidence() -> None:
    _, detection = detections(calls(one_kind(np.random.default_rng(12), 300), n=8))[0]
    rows = {row.name: row.observed for row in detection.evidence}
    share = rows["temperature 0 or many choices"]
    assert isinstance(share, float) and share > 0.8
    assert "2023" not in detection.summary and detection.summary.startswith("about ")


def test_own_past_is_remembered_beyond_the_sample_and_state_stays_small() -> None:
    detector = Extraction(share=SHARE)
    spots = one_kind(np.random.default_rng(13), 5_000)
    for each in calls(spots):
        detector.update(each)
    assert detector.growth == 60.0
    assert len(dump(detector)) <= 3_072
    for each in calls(spots):
        detector.update(each)
    assert detector.growth == 0.0


def test_hostile_numbers_leave_the_state_finite_and_calls_without_a_place_leave_it_alone() -> None:
    detector = Extraction(share=SHARE)
    fresh = dump(detector)
    spot = bytes(DIMENSIONS + 1)
    detector.update(call(math.nan, 1, spot))
    detector.update(call(math.inf, 1, spot))
    detector.update(call(START_S, 1, b"short"))
    detector.update(msgspec.structs.replace(call(START_S, 1, spot), prompt_hash=None))
    detector.update(msgspec.structs.replace(call(START_S, 1, spot), prompt_place=None))
    assert dump(detector) == fresh
    rng = np.random.default_rng(14)
    for number in range(2_000):
        time_s = (START_S, 0.0, 4e9, 5.0, START_S)[number % 5]
        spot = (bytes([128]) * 13, bytes([127]) * 13, rng.bytes(13))[number % 3]
        detector.update(call(time_s, number, spot, prompt_chars=10**400, n=-4, temperature=math.nan, prompt_head=-1))
    numbers = [getattr(detector, name) for name in detector.__struct_fields__]
    assert all(math.isfinite(number) for number in numbers if isinstance(number, float))
    assert detector.mode is None or np.isfinite(detector.mode.moments).all()


@pytest.mark.parametrize("make", [one_kind, quarter])
def test_a_restored_detector_goes_on_as_if_it_had_never_stopped(
    make: Callable[[np.random.Generator, int], list[bytes]],
) -> None:
    observations = calls(make(np.random.default_rng(2), 500))
    whole = detections(observations)
    detector = Extraction(share=SHARE)
    said = []
    for number, each in enumerate(observations, 1):
        restored = load(Extraction, dump(detector))
        assert isinstance(restored, Extraction)
        detector = restored
        detection = detector.update(each)
        if detection is not None:
            said.append((number, detection))
    assert said == whole != []


@pytest.mark.parametrize("name", ["bold_probe", "gsm8k_train", "humaneval"])
def test_real_question_sets_are_found_within_300_queries(shared_data: Path, name: str) -> None:
    prompts = texts(shared_data, f"systematic_{name}")
    for seed in range(3):
        picked = np.random.default_rng(seed).permutation(len(prompts))[:300]
        assert detections(asked_for([prompts[int(at)] for at in picked])), f"seed {seed}"


def test_real_question_sets_are_found_when_they_are_a_quarter_of_a_persons_calls(shared_data: Path) -> None:
    own = [text for name in PEOPLE for text in texts(shared_data, f"benign_{name}")]
    sweep = texts(shared_data, "systematic_gsm8k_train")
    rng = np.random.default_rng(1)
    own = [own[int(at)] for at in rng.permutation(len(own))[:750]]
    sweep = [sweep[int(at)] for at in rng.permutation(len(sweep))[:250]]
    mixed = [(own + sweep)[int(at)] for at in rng.permutation(1_000)]
    assert detections(asked_for(mixed))[0][0] <= 600


def test_real_people_are_quiet_whatever_the_rhythm(shared_data: Path) -> None:
    prompts = [text for name in PEOPLE for text in texts(shared_data, f"benign_{name}")]
    for seed in range(5):
        picked = np.random.default_rng(seed).permutation(len(prompts))[:1_000]
        assert detections(asked_for([prompts[int(at)] for at in picked], gap_s=5.0)) == [], f"seed {seed}"
