from __future__ import annotations

import numpy as np
import pytest

from detectors import lexicon as module
from detectors.lexicon import Lexicon
from detectors.tokens import tokens

KEY = b"k" * 32


def size_of(word: str, _key: bytes) -> int:
    return len(word)


def test_a_word_has_one_number_and_is_asked_about_once() -> None:
    asked: list[str] = []

    def ask(word: str, _key: bytes) -> int:
        asked.append(word)
        return len(word)

    with Lexicon(KEY) as words:
        numbers = words.numbers(["one", "three", "one"])
        assert numbers[0] == numbers[2] != numbers[1]
        assert words.known(ask, np.int64, numbers).tolist() == [3, 5, 3]
        assert words.known(ask, np.int64, words.numbers(["three", "eleven"])).tolist() == [5, 6]
    assert sorted(asked) == ["eleven", "one", "three"]


def test_nothing_is_known_of_no_words() -> None:
    with Lexicon(KEY) as words:
        assert words.known(size_of, np.int64, words.numbers([])).tolist() == []


def test_what_is_kept_at_hand_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 10)
    words = Lexicon(KEY)
    for first in range(0, 100, 5):
        with words as known:
            said = [*(f"word{number}" for number in range(first, first + 5)), "z" * 5_000]
            assert known.known(size_of, np.int64, known.numbers(said)).tolist() == list(map(len, said))
        assert len(words) <= 15
        assert max(map(len, words)) < 100


def test_a_lexicon_that_begins_anew_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = " ".join([*(f"word{number}" for number in range(20)), "z" * 5_000])
    first = tokens(prompt, KEY)
    monkeypatch.setattr(module, "MOST_WORDS", 1)
    assert [tokens(prompt, KEY) for _ in range(3)] == [first] * 3


def test_it_is_free_again_after_a_failure() -> None:
    words = Lexicon(KEY)
    with pytest.raises(KeyError), words:
        raise KeyError
    with words as known:
        assert known.numbers(["a"]).tolist() == [0]
