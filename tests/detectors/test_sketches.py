from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.layouts import LAYOUT, layouts
from detectors.sketches import BYTES, PLACES, similarity, sketches

KEY = b"a key of 16 byte"
TEXTS = [
    "",
    "   ",
    "\n",
    "word",
    "The quick brown fox jumps over the lazy dog, and then it sleeps.",
    "日本語の文章には空白がありません。それでも似ているかどうかは分かります。",
    "Быстрая лиса прыгает через ленивую собаку, затем спит.",
    "x" * 100_000,
    "many words " * 10_000,
    "\ud800 lone",
]


def alike(one: str, other: str, key: bytes = KEY) -> float:
    first, second = sketches([one, other], key)
    return similarity(int.from_bytes(first, "little"), int.from_bytes(second, "little"))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_sketch_of_any_text_has_its_size_few_bits_and_is_like_itself(text: str) -> None:
    (sketch,) = sketches([text], KEY)
    assert len(sketch) == BYTES
    assert int.from_bytes(sketch, "little").bit_count() <= PLACES
    assert alike(text, text) == 1.0


def test_a_sketch_does_not_depend_on_the_batch_it_is_made_in() -> None:
    alone = [sketches([text], KEY)[0] for text in TEXTS]
    assert sketches(TEXTS, KEY) == alone
    assert sketches(TEXTS[::-1], KEY) == alone[::-1]
    assert sketches([], KEY) == []


def test_the_more_of_their_beginnings_two_answers_share_the_more_alike_they_are() -> None:
    words = [f"word{number}" for number in np.random.default_rng(1).integers(0, 10_000, 80)]
    other = [f"word{number}" for number in np.random.default_rng(2).integers(0, 10_000, 80)]
    shared = [alike(" ".join(words), " ".join([*words[:kept], *other[kept:]])) for kept in (0, 20, 40, 60, 80)]
    assert shared == sorted(shared)
    assert shared[0] < 0.2
    assert shared[-1] == 1.0


@pytest.mark.parametrize("text", [TEXTS[5], TEXTS[6]])
def test_languages_without_spaces_or_without_ascii_are_compared_too(text: str) -> None:
    assert 0.5 < alike(text, text[:-4]) < 1.0
    assert alike(text, text[::-1]) < 0.3


def test_case_and_white_space_do_not_count_and_the_end_of_a_long_answer_neither() -> None:
    assert alike("The Quick fox", "the quick fox") == 1.0
    beginning = " ".join(f"w{number}" for number in range(PLACES + 5))
    assert alike(beginning + " this", beginning + " that") == 1.0


def test_without_the_key_a_sketch_cannot_be_looked_up() -> None:
    one, other = sketches([TEXTS[4]], KEY)[0], sketches([TEXTS[4]], b"another of 16 by")[0]
    assert similarity(int.from_bytes(one, "little"), int.from_bytes(other, "little")) < 0.3


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_layout_of_any_text_is_finite_and_within_its_domain(text: str) -> None:
    (row,) = layouts([text])
    assert len(row) == len(LAYOUT)
    assert all(math.isfinite(value) for value in row)
    assert all(0.0 <= value <= highest for value, highest in zip(row, (12.0, 1.0, 1.0, 12.0), strict=True))


def test_a_layout_counts_paragraphs_bold_parentheses_and_the_first_line() -> None:
    text = "First line.\n\n**Bold** (aside)\n\nEnd"
    (row,) = layouts([text])
    size = len(text)
    assert row == pytest.approx((math.log(3), 2 / size, 1 / size, math.log(12)))
