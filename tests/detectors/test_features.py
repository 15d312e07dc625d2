from __future__ import annotations

import itertools
import time
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.features import STYLE, observe, output_text, prompt_text, style
from detectors.lexicon import lexicon
from detectors.prompt_words import simhashes
from detectors.types import Components, InferenceEvent, Message, Observation

KEY = b"a key of 16 byte"
DOMAINS = {
    "log_chars": 17.0,
    "log_words": 17.0,
    "word_length": 40.0,
    "entropy": 8.0,
    "code_fences": 10.0,
}
HIGHEST = np.array([DOMAINS.get(name, 1.0) for name in STYLE])
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=400)
PLAIN_TEXT = st.text("aB1 \n-*`.,#{\u00e9\r", max_size=400)


def event(prompt: str | None = None, output: str | None = None, **fields: Any) -> InferenceEvent:
    return InferenceEvent(
        deployment="d",
        event_id="t:0:1:0",
        time_s=1.7e9,
        input_messages=None if prompt is None else (Message(role="user", content=prompt),),
        output_messages=None if output is None else (Message(role="assistant", content=output),),
        **fields,
    )


def one(event: InferenceEvent, key: bytes = KEY) -> Observation:
    (observation,) = observe([event], key)
    return observation


def of(text: str) -> dict[str, float]:
    return dict(zip(STYLE, style([text])[0].tolist(), strict=True))


@given(st.lists(ANY_TEXT | PLAIN_TEXT, min_size=1, max_size=6))
@example(["A" * n + "".join(chr(65 + at % 26) * (at * 5 % 9 + 1) for at in range(n % 27 + 1)) for n in range(1, 400)])
@example(
    [
        "",
        " ",
        "\n",
        "\r" * 50,
        "\r\n" * 50,
        "\x00",
        "```" * 30_000,
        "- \n" * 30_000,
        "\ud800",
        "1. A\r" * 99,
        "A\r" * 99,
    ]
)
def test_style_is_finite_and_within_its_domains_for_any_text(texts: list[str]) -> None:
    rows = style(texts)
    assert rows.shape == (len(texts), len(STYLE))
    assert np.isfinite(rows).all()
    assert (rows >= 0.0).all() and (rows <= HIGHEST).all(), STYLE[int(np.argmax((rows > HIGHEST).any(axis=0)))]


@given(st.lists(ANY_TEXT | PLAIN_TEXT, max_size=8))
def test_style_does_not_depend_on_the_batch(texts: list[str]) -> None:
    together = style(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(style([text])[0], row)


def test_a_text_with_one_known_style() -> None:
    found = of("Hello, World!\n- One one\n- Two")
    size = len("Hello, World!\n- One one\n- Two")
    assert found == pytest.approx(
        {
            "log_chars": np.log1p(size),
            "log_words": np.log1p(7),
            "word_length": (size - 6) / 7,
            "uppercase": 4 / size,
            "digits": 0.0,
            "punctuation": 4 / size,
            "markup": 0.0,
            "non_ascii": 0.0,
            "line_breaks": 2 / size,
            "commas": 1 / size,
            "sentence_ends": 1 / size,
            "entropy": found["entropy"],
            "repetition": 1 / 7,
            "list_items": 2 / 3,
            "code_fences": 0.0,
            "capital_lines": 1 / 3,
        }
    )


@pytest.mark.parametrize(("text", "bits"), [("aaaa", 0.0), ("abab", 1.0), ("abcdefgh", 3.0)])
def test_entropy_is_in_bits_a_byte(text: str, bits: float) -> None:
    assert of(text)["entropy"] == pytest.approx(bits)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("digits", "12345"),
        ("markup", "###"),
        ("non_ascii", "\u00e9\u4e2d"),
        ("uppercase", "ABC"),
        ("commas", ",,,"),
        ("sentence_ends", ".!?"),
        ("line_breaks", "\n\n"),
    ],
)
def test_a_text_of_one_class_is_all_of_it(name: str, text: str) -> None:
    assert of(text)[name] == 1.0


def test_code_and_lists_are_seen() -> None:
    assert of("```\nx\n```")["code_fences"] == pytest.approx(np.log1p(2))
    assert of("a\n1. x\n2) y\n* z")["list_items"] > of("a\nx\ny\nz")["list_items"] == 0.0


def test_an_empty_batch_is_nothing() -> None:
    assert style([]).shape == (0, len(STYLE))
    assert observe([], KEY) == []


def test_an_answer_of_10_mb_costs_little_time_and_memory() -> None:
    huge = event(prompt="word " * 2_000_000, output="\u00e9 Word\n" * 1_250_000)
    tracemalloc.start()
    started_s = time.process_time()
    observation = one(huge)
    cost_s = time.process_time() - started_s
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cost_s < 1.0
    assert peak_bytes < 24_000_000
    assert len(msgspec.msgpack.encode(observation)) < 600
    assert observation.prompt_chars == 10_000_000


def test_a_batch_of_long_answers_needs_no_more_than_twice_their_memory() -> None:
    texts = ["x" * 65_536] * 200
    tracemalloc.start()
    style(texts)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * 200 * 65_536


CASES = [
    event(),
    event(prompt="", output=""),
    event(prompt="What is \ud800 this?", output="lone \udfff surrogates"),
    event(prompt="What is the capital of France?", output="Paris.", principal="p", latency_s=0.5, n=2),
    event(output="I can\u2019t help with that."),
    event(prompt="tabular", prediction="cat", score=0.5, components=Components(image="sha256:1")),
    event(error_type="timeout", http_status=504),
]


@given(st.permutations(CASES), st.integers(0, len(CASES)))
def test_observations_do_not_depend_on_the_batch(events: list[InferenceEvent], size: int) -> None:
    assert observe(events[:size], KEY) == [one(each) for each in events[:size]]


@pytest.mark.parametrize("case", CASES)
def test_every_observation_travels_and_comes_back(case: InferenceEvent) -> None:
    observation = one(case)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation) == observation


def test_what_is_unknown_stays_unknown() -> None:
    observation = one(event())
    known = {name for name in Observation.__struct_fields__ if getattr(observation, name) is not None}
    assert known == {"event_id", "time_s", "deployment"}


def test_a_zero_is_known() -> None:
    observation = one(event(input_tokens=0, latency_s=0.0, temperature=0.0, logprobs=False, cost_usd=0.0, score=0.0))
    for name in ("input_tokens", "latency_s", "temperature", "cost_usd", "score"):
        assert getattr(observation, name) == 0
    assert observation.logprobs is False


def test_an_empty_answer_has_no_style_and_is_no_refusal() -> None:
    observation = one(event(prompt="", output=""))
    assert (observation.style, observation.refused) == (None, None)
    assert (observation.prompt_chars, observation.prompt_hash) == (0, None)


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({}, None),
        ({"http_status": 200}, False),
        ({"http_status": 399}, False),
        ({"http_status": 400}, True),
        ({"error_type": "timeout", "http_status": 200}, True),
        ({"output": "text"}, False),
        ({"finish_reasons": ("stop",)}, False),
        ({"prediction": "cat"}, False),
    ],
)
def test_a_call_failed_when_its_source_says_so(fields: dict[str, Any], *, failed: bool | None) -> None:
    assert one(event(**fields)).failed is failed


LONG_WORDS = ("supercalifragilistic", "antidisestablishmentarianism", "donaudampfschifffahrt")


def test_no_word_of_a_text_is_in_what_detectors_see() -> None:
    said = " ".join(LONG_WORDS)
    told = event(
        prompt=said,
        output=said,
        system=said,
        features={"column": said},
        documents=(),
        error_type="x" * 64 + said,
        prediction="y" * 64 + said,
        finish_reasons=("z" * 64 + said,),
    )
    wire = msgspec.msgpack.encode(one(told)).decode("latin-1").casefold()
    for word in LONG_WORDS:
        for start in range(len(word) - 5):
            assert word[start : start + 6] not in wire


HASHES = ("prompt_hash", "prompt_template", "prompt_simhash")


@pytest.mark.parametrize("name", HASHES)
@pytest.mark.parametrize("prompt", ["yes", "What is the capital of France?"])
def test_hashes_are_of_the_key_and_the_text(name: str, prompt: str) -> None:
    value = getattr(one(event(prompt)), name)
    assert 0 <= value < 2**64
    assert getattr(one(event(prompt)), name) == value
    assert getattr(one(event(prompt), b"another 16 bytes"), name) != value
    assert getattr(one(event("How so, then, if I may ask?")), name) != value


def test_case_and_spaces_do_not_make_another_prompt() -> None:
    assert one(event("What  is\nTHIS?")).prompt_hash == one(event("what is this?")).prompt_hash


def test_prompts_of_one_template_share_it_and_nothing_else() -> None:
    france, chile = one(event("What is the capital of France?")), one(event("What is the capital of Chile?"))
    assert france.prompt_template == chile.prompt_template
    assert france.prompt_hash != chile.prompt_hash


def words(seed: int, count: int = 40) -> list[str]:
    return [f"word{number}" for number in np.random.default_rng(seed).integers(0, 10**6, count)]


def simhash(lists: list[list[str]]) -> list[int]:
    with lexicon(KEY) as known:
        numbers = known.numbers(itertools.chain.from_iterable(lists))
        hashes: list[int] = simhashes(numbers, np.array([len(each) for each in lists]), known).tolist()
    return hashes


def distances(pairs: list[tuple[list[str], list[str]]]) -> list[int]:
    hashes = simhash([side for pair in pairs for side in pair])
    return [(one ^ other).bit_count() for one, other in zip(hashes[::2], hashes[1::2], strict=True)]


def test_near_duplicates_differ_in_few_bits_and_strangers_in_many() -> None:
    near = distances([(words(seed), [*words(seed)[:-1], "changed"]) for seed in range(200)])
    strange = distances([(words(seed), words(seed + 1_000)) for seed in range(200)])
    assert np.mean(near) < 8 and max(near) < 20
    assert 28 < np.mean(strange) < 34 and min(strange) > 14


def test_no_words_have_simhash_zero_wherever_they_are_in_the_batch() -> None:
    lists = [[], words(1), [], [], words(2), []]
    hashes = simhash(lists)
    assert [value == 0 for value in hashes] == [True, False, True, True, False, True]
    assert hashes == [simhash([each])[0] for each in lists]


def test_the_prompt_is_the_last_thing_a_person_said() -> None:
    turns = (("system", "be kind"), ("user", "first"), ("assistant", "answer"), ("user", "second"), ("tool", "42"))
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    assert prompt_text(InferenceEvent(deployment="d", input_messages=messages)) == "second"
    assert prompt_text(InferenceEvent(deployment="d", input_messages=messages[2:3])) == "answer"
    assert prompt_text(InferenceEvent(deployment="d")) is None


def test_the_output_is_all_text_and_tool_calls_are_none_of_it() -> None:
    parts = (Message(role="assistant", content="a"), Message(role="assistant"), Message(role="assistant", content="b"))
    assert output_text(InferenceEvent(deployment="d", output_messages=parts)) == "a\nb"
    assert output_text(InferenceEvent(deployment="d")) is None
