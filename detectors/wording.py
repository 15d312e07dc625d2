"""What phrases give away: refusals in answers, templates in prompts. English; others are a known gap."""

from __future__ import annotations

from collections.abc import Sequence

import re2

from detectors import joined

_REFUSALS = (
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i can't provide",
    "i cannot provide",
    "i can't comply",
    "i cannot comply",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i won't be able to",
    "i must decline",
    "i have to decline",
    "i'm sorry, but i",
    "i am sorry, but i",
    "i apologize, but i",
    "sorry, i can't",
    "sorry, but i can't",
    "sorry, i cannot",
    "as an ai language model, i cannot",
    "as an ai language model, i can't",
    "against my guidelines",
    "not appropriate for me to",
)
_REFUSAL_PARTS = ("i can", "able to", "decline", "sorry, but i", "apologize", "guidelines", "not appropriate")
"""Each refusal has one of these: a look for them says of nearly every answer that it is none."""

_HEAD_CHARS = 240
"""A refusal says so at once; later "I can't" is mostly part of an answer."""

_FUNCTION_WORDS = (
    "a about above after all also an and any are as at be been before below between both but by can could did do "
    "does each following for from give given had has have he her here his how i if in into is it its list make me "
    "more most much my name no not of on one only or other our out over please she should so some such tell than "
    "that the their them then there these they this those through to under up us use using was we were what when "
    "where which while who whom whose why will with would write you your answer complete explain function question "
    "return summarize sentence text translate following"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
SKELETON_WORDS = 24
GAP = "*"
_MARKS = ".,:;?!\"'()"


_any_part = re2.compile("|".join(map(re2.escape, _REFUSAL_PARTS)).encode())


def reads_as_refusal(output: str) -> bool:
    """Whether an answer opens by declining, apologies and curly apostrophes included."""
    return read_as_refusals([output])[0]


def read_as_refusals(outputs: Sequence[str]) -> list[bool]:
    """Which answers do: all are looked at for parts of refusals together."""
    heads = [output[:_HEAD_CHARS].casefold() for output in outputs]
    refused = [False] * len(heads)
    for index in joined.places(_any_part, heads):
        head = heads[index].replace("\u2019", "'")
        refused[index] = any(phrase in head for phrase in _REFUSALS)
    return refused


def skeleton(words: Sequence[str]) -> str:
    """A prompt's template: its function words in order, case-folded, everything else one gap.

    "What is the capital of France?" and "What is the capital of New Zealand?" have the same skeleton.
    """
    parts = [part(word) for word in words[:SKELETON_WORDS]]
    return " ".join(each for each, before in zip(parts, ["", *parts], strict=False) if (each, before) != (GAP, GAP))


def part(word: str) -> str:
    """What a word is in a skeleton: a function word stays, with the marks around it, all others are a gap."""
    folded = word.casefold()
    return folded if folded.strip(_MARKS) in FUNCTION_WORDS else GAP
