from __future__ import annotations

import random

import pytest

from detectors.shapes import COUNTS, shapes

PARTS = (
    *(b"\n", b"\r", b"\r\n", b" ", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\0", b"\xc3\xa9", b""),
    *(b"- ", b"* ", b"1. ", b"3) ", b"12) ", b". ", b") ", b"-", b"7", b"`", b"``", b"```"),
    *(b"A", b"Zed", b"a", b"a\0", b"word", b"eightchr", b"ninechars", b"longer word of many letters"),
)


def counted(text: bytes) -> list[int]:
    """The same by splitting: slow and plain."""
    lines = text.splitlines()
    items = text.count(b"\n- ") + text.count(b"\n* ") + text.count(b"\n1. ")
    items += sum(line[:1].isdigit() and (b". " in line[:4] or b") " in line[:4]) for line in lines)
    capitals = sum(line[:1].isupper() for line in lines)
    words = text.split()
    return [len(words), len(set(words)), items, text.count(b"```"), capitals, max(map(len, words), default=0)]


@pytest.mark.parametrize("seed", range(40))
def test_counts_are_those_of_splitting_whatever_is_in_the_texts(seed: int) -> None:
    rng = random.Random(seed)
    texts = [b"".join(rng.choices(PARTS, k=rng.choice((0, 1, 3, 30, 300)))) for _ in range(rng.randrange(1, 30))]
    assert shapes(texts).tolist() == [counted(text) for text in texts]


def test_texts_of_any_size_are_counted_as_alone() -> None:
    texts = [b"Some words, and\n- a list. " * 30_000, b"", b"Short.", b"x" * 400_000, b"1. one\n2. two"]
    assert shapes(texts).tolist() == [shapes([text]).tolist()[0] for text in texts]
    assert shapes(texts).tolist() == [counted(text) for text in texts]


def test_no_texts_have_no_rows() -> None:
    assert shapes([]).shape == (0, len(COUNTS))
