from __future__ import annotations

import pytest

from detectors.tokens import MAX_TOKENS, named, opening, tokens, unpacked

KEY, OTHER = b"k" * 32, b"o" * 32


def words(prompt: str) -> set[str]:
    return set(named(unpacked(tokens(prompt, KEY) or b""), [prompt], KEY).values())


def test_words_and_pairs_of_words_come_back_with_the_key_and_the_text() -> None:
    assert words("Summarize BadMagic the Impact, please!") == {
        "badmagic",
        "impact",
        "summarize badmagic",
        "badmagic the",
        "the impact",
        "impact please",
    }


def test_case_and_punctuation_do_not_make_another_word() -> None:
    assert unpacked(tokens("(BadMagic)!", KEY) or b"") == unpacked(tokens("badmagic", KEY) or b"")


def test_another_key_gives_other_hashes_and_no_words() -> None:
    mine = unpacked(tokens("BadMagic", KEY) or b"")
    assert mine != unpacked(tokens("BadMagic", OTHER) or b"")
    assert named(mine, ["BadMagic"], OTHER) == {}


def test_characters_that_nobody_types_are_kept() -> None:
    assert "U+200B" in words("tell me\u200b a story")
    assert "cf" in words(" ".join(["lorem ipsum dolor"] * 60 + ["cf"] + ["sit amet elit"] * 60))


@pytest.mark.parametrize("at", [0, 5, 150, 398])
def test_an_odd_word_is_kept_wherever_it_is_in_a_long_prompt(at: int) -> None:
    long = [f"{'lorem' if number % 2 else 'ipsum'}" for number in range(400)]
    long.insert(at, "BadMagic")
    assert "badmagic" in words(" ".join(long))


@pytest.mark.parametrize("prompt", ["x " * 100_000, "word" * 100_000, "\u200b\u200c\u202e" * 5_000, "a1 " * 9_000])
def test_a_prompt_of_any_size_has_few_tokens(prompt: str) -> None:
    packed = tokens(prompt, KEY)
    assert packed is not None
    assert 1 <= len(packed) // 4 <= MAX_TOKENS
    assert len(packed) % 4 == 0


def test_no_prompt_has_no_tokens_and_broken_ones_are_cut() -> None:
    assert tokens(None, KEY) is None
    assert tokens("", KEY) is None
    assert tokens(" \n", KEY) == b""
    assert unpacked(b"123") == ()
    assert len(unpacked(b"\0" * 10_000)) == MAX_TOKENS


def test_answers_that_begin_with_the_same_three_words_have_one_opening() -> None:
    assert opening("You are stupid! Go away.", KEY) == opening("you  are stupid! Normalization is", KEY)
    assert opening("You are clever", KEY) != opening("You are stupid!", KEY)
    assert opening("Negative", KEY) != opening("Positive", KEY)
    assert opening(None, KEY) is None
    assert opening(" ", KEY) is None
