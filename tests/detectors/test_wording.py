from __future__ import annotations

import pytest

from detectors import wording
from detectors.wording import reads_as_refusal, skeleton


@pytest.mark.parametrize(
    "output",
    [
        "I can't help with that.",
        "I can\u2019t help with that.",
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        "I'm sorry, but I cannot provide instructions for that.",
        "I CANNOT COMPLY.",
        "Thank you for asking. Unfortunately I am not able to share this.",
        "As an AI language model, I cannot have opinions.",
        "\n\n  Sorry, I can't do that.",
    ],
)
def test_an_answer_that_declines_reads_as_a_refusal(output: str) -> None:
    assert reads_as_refusal(output)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Here is how to reset your password.",
        "The server can't help itself: it retries.",
        "Sorry for the delay. The answer is 42.",
        "I can help with that.",
        "Cannot allocate memory means that the process ran out.",
        "\u2019" * 500,
        "Sure. " + "A long explanation follows. " * 20 + "I can't help with the last part.",
    ],
)
def test_an_answer_that_answers_does_not(output: str) -> None:
    assert not reads_as_refusal(output)


def test_every_refusal_has_one_of_the_parts_that_are_looked_for_first() -> None:
    missed = [phrase for phrase in wording._REFUSALS if not any(part in phrase for part in wording._REFUSAL_PARTS)]
    assert missed == []


def template(prompt: str) -> str:
    return skeleton(prompt.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What is the capital of New Zealand?"),
        ("Translate the following sentence: good morning", "Translate the following sentence: thanks, dear friend"),
        ("Summarize document 17 for me", "Summarize document 99182 for me"),
        ("Give me 3 names of rivers", "Give me 12 names of extinct mountains"),
    ],
)
def test_fills_of_one_template_have_one_skeleton(one: str, other: str) -> None:
    assert template(one) == template(other)


@pytest.mark.parametrize(
    "other",
    ["Who is the capital of France?", "Is the capital of France what?", "Tell me about France", "France"],
)
def test_other_questions_have_other_skeletons(other: str) -> None:
    assert template("What is the capital of France?") != template(other)


def test_a_skeleton_holds_only_function_words() -> None:
    assert template("What is the password of account 8231, Alice?") == "what is the * of *"


def test_a_skeleton_is_of_the_first_words_however_long_the_prompt() -> None:
    assert skeleton(["is", "x"] * 12) == skeleton(["is", "x"] * 10_000)
    assert skeleton([]) == ""
