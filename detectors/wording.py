"""What phrases give away: refusals in answers, templates in prompts. English; others are a known gap."""

from __future__ import annotations

from collections.abc import Sequence

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
_HEAD_CHARS = 240
"""A refusal says so at once; later "I can't" is mostly part of an answer."""

FUNCTION_WORDS = frozenset(
    b"a about above after all also an and any are as at be been before below between both but by can could did do "
    b"does each following for from give given had has have he her here his how i if in into is it its list make me "
    b"more most much my name no not of on one only or other our out over please she should so some such tell than "
    b"that the their them then there these they this those through to under up us use using was we were what when "
    b"where which while who whom whose why will with would write you your answer complete explain function question "
    b"return summarize sentence text translate following".split()
)
_SKELETON_WORDS = 24


def reads_as_refusal(output: str) -> bool:
    """Whether an answer opens by declining, apologies and curly apostrophes included."""
    head = output[:_HEAD_CHARS].casefold().replace("\u2019", "'")
    return any(phrase in head for phrase in _REFUSALS)


def skeleton(words: Sequence[bytes]) -> bytes:
    """A prompt's template: its function words in order, everything else one gap.

    "What is the capital of France?" and "What is the capital of New Zealand?" have the same skeleton.
    """
    parts: list[bytes] = []
    for word in words[:_SKELETON_WORDS]:
        part = word if word.strip(b".,:;?!\"'()") in FUNCTION_WORDS else b"*"
        if part != b"*" or not parts or parts[-1] != b"*":
            parts.append(part)
    return b" ".join(parts)
