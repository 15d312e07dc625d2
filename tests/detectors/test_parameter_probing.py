from __future__ import annotations

from collections.abc import Iterable
from random import Random

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.catalog.parameter_probing import ParameterProbing
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share("principal", 30)
START_S = 1_760_000_000.0


def call(time_s: float, prompt: int, **asked: object) -> Observation:
    plain = Observation(event_id="e", time_s=START_S + time_s, deployment="d", prompt_simhash=prompt, output_tokens=1)
    return msgspec.structs.replace(plain, **asked)


def heard(calls: Iterable[Observation]) -> list[tuple[int, Detection]]:
    detector = ParameterProbing(share=SHARE)
    said = ((number, detector.update(each)) for number, each in enumerate(calls, 1))
    return [(number, detection) for number, detection in said if detection is not None]


@pytest.mark.parametrize(
    ("asked", "within"),
    [
        ({"logit_bias": 5, "logprobs": True, "top_logprobs": 5}, 10),
        ({"logit_bias": 300, "logprobs": True, "top_logprobs": 5}, 10),
        ({"logit_bias": 1, "logprobs": True, "top_logprobs": 1}, 10),
        ({"logit_bias": 1}, 20),
        ({"logit_bias": 1, "output_tokens": None}, 30),
    ],
)
@pytest.mark.parametrize("gap_s", [0.05, 1.0, 600.0])
def test_the_published_attack_is_found_within_some_dozen_calls(
    asked: dict[str, object], within: int, gap_s: float
) -> None:
    (number, detection), *_ = heard(call(gap_s * place, 7, **asked) for place in range(60))
    assert number <= within
    assert detection.severity is Severity.HIGH
    assert START_S <= detection.onset_s <= START_S + gap_s
    assert "logit bias" in detection.summary


def test_several_prompts_in_turn_are_one_sweep() -> None:
    calls = [call(place, place // 5 % 8, logit_bias=5, top_logprobs=5) for place in range(120)]
    assert heard(calls)[0][0] <= 60


def test_a_sweep_after_months_of_ordinary_calls_is_found_as_fast() -> None:
    past = [call(600.0 * place, 1_000 + place, output_tokens=200) for place in range(5_000)]
    after = [call(3e6 + place, 7, logit_bias=5, top_logprobs=5) for place in range(40)]
    assert heard(past + after)[0][0] <= 5_012


def test_a_classifier_that_biases_the_same_labels_under_new_texts_is_quiet() -> None:
    rng = Random(1)
    texts = [rng.getrandbits(63) for _ in range(4_000)]
    calls = [
        call(place, text, logit_bias=4, top_logprobs=4)
        for place, text in enumerate(each for text in texts for each in [text] * (2 if rng.random() < 0.05 else 1))
    ]
    assert heard(calls) == []


@pytest.mark.parametrize("times", [1, 4])
def test_an_evaluation_that_reads_log_probabilities_is_quiet(times: int) -> None:
    calls = [call(place, place // times, logprobs=True, top_logprobs=5) for place in range(4_000)]
    assert heard(calls) == []


def test_a_developer_who_tries_a_bias_on_one_prompt_for_eight_calls_is_quiet() -> None:
    calls = []
    for day in range(60):
        calls += [call(86_400.0 * day + place, day, logit_bias=1 + place, top_logprobs=5) for place in range(8)]
        calls += [call(86_400.0 * day + 100 + place, 9_000 + place, output_tokens=50) for place in range(40)]
    assert heard(calls) == []


def test_long_answers_under_a_bias_on_repeated_prompts_are_quiet() -> None:
    calls = [call(place, place // 3, logit_bias=40, output_tokens=150) for place in range(3_000)]
    assert heard(calls) == []


def test_failed_calls_are_no_probes() -> None:
    assert heard(call(place, 7, logit_bias=5, top_logprobs=5, failed=True) for place in range(500)) == []


def test_a_sweep_that_goes_on_is_said_again_and_not_at_each_call() -> None:
    found = heard(call(place, 7, logit_bias=5, top_logprobs=5) for place in range(300))
    assert 10 <= len(found) <= 34
