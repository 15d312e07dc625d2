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
_REFUSAL_PARTS = ("i can", "able to", "decline", "sorry, but i", "apologize", "guidelines", "not appropriate")
"""Each refusal has one of these: seven looks say of nearly every answer that it is none."""

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
_GAP = b"*"
_MARKS = b".,:;?!\"'()"
_MOST_KEPT, _MAX_KEPT_BYTES = 32_768, 64
"""Words kept at hand, about 5 MB whatever is sent: language repeats itself."""


def reads_as_refusal(output: str) -> bool:
    """Whether an answer opens by declining, apologies and curly apostrophes included."""
    head = output[:_HEAD_CHARS].casefold().replace("\u2019", "'")
    for part in _REFUSAL_PARTS:
        if part in head:
            return any(phrase in head for phrase in _REFUSALS)
    return False


def skeleton(words: Sequence[bytes]) -> bytes:
    """A prompt's template: its function words in order, everything else one gap.

    "What is the capital of France?" and "What is the capital of New Zealand?" have the same skeleton.
    """
    parts: list[bytes] = []
    last = None
    for part in map(_PARTS.__getitem__, words[:_SKELETON_WORDS]):
        if part is not _GAP or last is not _GAP:
            parts.append(part)
        last = part
    return b" ".join(parts)


class _Parts(dict[bytes, bytes]):
    """What a word is in a skeleton: a function word stays as it is written, with the marks around it."""

    def __missing__(self, word: bytes) -> bytes:
        part = word if word.strip(_MARKS) in FUNCTION_WORDS else _GAP
        if len(word) <= _MAX_KEPT_BYTES:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[word] = part
        return part


_PARTS = _Parts()
