from __future__ import annotations

import random

import pytest

from detectors.prompt_words import MAX_WORDS, split

ODD = ["a", "B\u00df", " ", "\n", "\t", "\x1c", "\x85", "\xa0", "\u3000", "\u200b", "\ud83d", "\x00", ".", "\u0130x"]


def folded(text: str) -> list[bytes]:
    return text.casefold().encode("utf-8", "replace").split()


@pytest.mark.parametrize("size", [0, 1, 5, 30, 300, 5_000, 9_000, 70_000])
def test_words_are_those_of_the_folded_bytes_whatever_the_white_space(size: int) -> None:
    draw = random.Random(size)
    for _ in range(20):
        text = "".join(draw.choices(ODD, k=size))
        words = split(text)
        assert [word.casefold().encode("utf-8", "replace") for word in words.head] == folded(text[:4_096])[:MAX_WORDS]
        assert words.whole == b" ".join(folded(text[:65_536]))
        assert size > 8_192 or words.written == text.split()
