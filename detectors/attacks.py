"""Prompts that read like attacks: told to drop its instructions, asked for them, put into a role without rules.

Wording only, and English only: a clue for `catalog/probing.py`, which looks at rates, and never a verdict on one
prompt. Cost: 2 us for a prompt of 400 characters without any of the words that every pattern needs, 5-10 us for
others, several times that for those outside ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import re2

from detectors import joined

_HEAD_CHARS, _TAIL_CHARS = 2_048, 512
_MOST_CHARS = _HEAD_CHARS + _TAIL_CHARS
"""Attacks stand at the beginning or are appended; a long document between is not searched."""

_GIVEN = r"(?:instructions?|directives?|rules|commands|prompts?|guidelines|orders|conditions|programming|logic)"
_GIVEN_PARTS = (
    "instruct",
    "directive",
    "rules",
    "command",
    "prompt",
    "guidelin",
    "orders",
    "condition",
    "logic",
    "programming",
)
_EARLIER = r"(?:previous|prior|above|preceding|earlier|initial|original|hidden|secret|system|so far)"
_ASCII_SPACE = r"[\t-\r\x1c-\x20]"
_BROKEN_RULES = ("restrict", "filter", "censor", "ethic", "moral", "content polic", "safety", "openai")


class _Wording(NamedTuple):
    """A pattern, and parts of words: a text with none of them cannot match, and looking for them is far cheaper."""

    needs: frozenset[str]
    pattern: re.Pattern[str]
    plain: Any  # the same for the bytes of ASCII, where both mean the same; RE2 takes a quarter of the time or less


def _wording(pattern: str, needs: tuple[str, ...]) -> _Wording:
    plain = re2.compile(f"(?s){pattern}".replace(r"\s", _ASCII_SPACE).encode())
    return _Wording(frozenset(needs), re.compile(pattern, re.DOTALL), plain)


_WORDINGS = (
    # Told to drop what it was told.
    _wording(
        r"\b(?:ignor|disregard|forget|overrid|bypass|discard|neglect)\w*\b.{0,30}"
        r"\b(?:all|any|every\w*|previous|prior|above|preceding|earlier|other|your|below|following)\b.{0,30}"
        rf"\b(?:{_GIVEN}|text|messages?|tasks?|said|told|you (?:know|learned|were))\b",
        ("ignor", "disregard", "forget", "overrid", "bypass", "discard", "neglect"),
    ),
    _wording(
        rf"\b(?:ignor|disregard|forget|overrid|bypass|discard)\w*\b.{{0,20}}\b{_GIVEN}\b.{{0,12}}"
        r"\b(?:above|before|below|you were given|you got|so far)\b",
        ("ignor", "disregard", "forget", "overrid", "bypass", "discard"),
    ),
    _wording(
        rf"\b(?:end|new|out of date|updated|real|admin|extra|additional|pre)\b.{{0,12}}\b{_GIVEN}\s*[:%#=>]",
        _GIVEN_PARTS,
    ),
    # Asked for what it was told.
    _wording(
        r"\b(?:repeat|print|outputs?|list|show|reveal|display|return|convert|translate|format|summari[sz]e|explain"
        r"|describe|disclose|recite|write|rap|tell me|give me|what (?:are|is|were|was)|leak|dump|copy|spell out)\b"
        r".{0,40}"
        rf"(?:\b(?:your|you were given|{_EARLIER})\b.{{0,20}}\b{_GIVEN}\b|\b{_GIVEN}\b.{{0,12}}"
        r"\b(?:above|so far|given to you|prior to this|before this|in the prompt)\b)",
        _GIVEN_PARTS,
    ),
    _wording(
        r"\b(?:repeat|print|output|translate|convert|return|explain)\b.{0,20}"
        r"\b(?:(?:words?|everything|lines?)\b.{0,12}\babove\b|above\b.{0,12}\bwords?\b)",
        ("above",),
    ),
    # Asked for what it guards, or told that it is open now.
    _wording(r"\baccess[ _-]?(?:granted|denied|code)\b|\bgrants? access\b", ("access",)),
    _wording(
        r"\b(?:what|tell|reveal|say|print|give|show|share|guess|repeat)\b.{0,30}\b(?:the|your|a)\b.{0,12}"
        r"\b(?:secret|hidden|confidential)\b.{0,10}\b(?:password|passphrase|passcode|code|key|word|phrase)\b",
        ("secret", "hidden", "confidential"),
    ),
    _wording(r"\bcorrect (?:password|passphrase)\b|\b(?:repeat|reveal|tell me) your passw", ("passw", "passphrase")),
    # Put into a role without rules.
    _wording(
        r"\bdo anything now\b|\bjailbreak|\bjailbroken\b|\bdeveloper mode\b|\b(?:dan|god|sudo|evil|opposite) mode\b",
        ("anything now", "jailbr", " mode"),
    ),
    _wording(
        r"\b(?:test(?:ing)?|debug|maintenance|admin|override|diagnostic) mode\b.{0,40}"
        r"\b(?:active|activated|enabled?|engaged)\b"
        r"|\b(?:you are|you're|entered|entering) .{0,20}\b(?:test(?:ing)?|debug|maintenance|admin|override) mode\b",
        (" mode",),
    ),
    _wording(
        r"\b(?:no|without|free (?:of|from)|not bound by|any|bypass\w*|ignor\w*)\b.{0,30}\b(?:restrictions?|filters?"
        r"|censorship|ethic\w*|moral\w*|content polic\w+|safety (?:guidelines|filters?)|openai\W{0,3}s? polic\w+)\b"
        r".{0,60}"
        r"\b(?:you|ai|chatbot|respon\w+|character)\b",
        _BROKEN_RULES,
    ),
    _wording(
        r"\b(?:unfiltered|uncensored|amoral|unethical|unrestricted)\b.{0,40}"
        r"\b(?:ai|chatbot|assistant|bot|persona|responses?)\b",
        ("unfilter", "uncensor", "amoral", "unethical", "unrestricted"),
    ),
    _wording(
        r"\bfrom now on\b.{0,30}\byou\b.{0,120}\b(?:never refuse|refus\w+|any\w* request|two (?:separate|different))",
        ("from now on",),
    ),
    # Pretended ends of what a user may say, and tokens of the chat format.
    _wording(
        r"\bend\b.{0,12}\b(?:user|untrusted|login)\b.{0,12}\b(?:input|ambiguity|attempt)\b",
        (" input", "ambiguity", "attempt"),
    ),
    _wording(r"<\|(?:im_start|im_end|endoftext|system|end|eot_id|start_header_id)", ("<|",)),
)  # fmt: skip

_PARTS = tuple(sorted(frozenset().union(*(wording.needs for wording in _WORDINGS))))


_any_part = re2.compile("|".join(map(re2.escape, _PARTS)).encode())


def _finder() -> Any:
    """Finds places in `_PARTS` of what is in a text, in one pass; of bytes, since a lone surrogate is no text to it."""
    finder = re2.Set.SearchSet()
    for part in _PARTS:
        finder.Add(re2.escape(part).encode())
    finder.Compile()
    return finder


_parts_of = _finder().Match
_NEEDED = [frozenset(map(_PARTS.index, wording.needs)) for wording in _WORDINGS]

_MANY_WORDS, _FEW_DISTINCT, _MORE = 40, 0.1, 5
"""One thing over and over floods what stands around it."""


def reads_like_attack(prompt: str) -> bool:
    """Whether the wording of a prompt is that of an injection, a jailbreak or a request for hidden instructions."""
    return read_like_attacks([prompt], [prompt.split()])[0]


def read_like_attacks(prompts: Sequence[str], words: Sequence[Sequence[str]]) -> list[bool]:
    """Which prompts do; `words` are those of each, as `str.split` splits all that is searched of it."""
    texts = [_searched(prompt).casefold() for prompt in prompts]
    suspects = set(joined.places(_any_part, texts))
    return [
        (index in suspects and _is_worded_so(text)) or _floods(said if len(prompt) <= _MOST_CHARS else text.split())
        for index, (prompt, text, said) in enumerate(zip(prompts, texts, words, strict=True))
    ]


def _searched(prompt: str) -> str:
    return prompt if len(prompt) <= _MOST_CHARS else prompt[:_HEAD_CHARS] + "\n" + prompt[-_TAIL_CHARS:]


def _is_worded_so(text: str) -> bool:
    """Whether a case-folded text is worded as one of `_WORDINGS`."""
    data = text.encode("utf-8", "replace")
    present = _parts_of(data)
    is_plain = text.isascii()
    return any(
        not needed.isdisjoint(present) and (wording.plain.search(data) if is_plain else wording.pattern.search(text))
        for needed, wording in zip(_NEEDED, _WORDINGS, strict=True)
    )


def _floods(words: Sequence[str]) -> bool:
    """Whether there are many words and few distinct ones; the first of them mostly tell that there are more."""
    count = len(words)
    few = _FEW_DISTINCT * count
    if count < _MANY_WORDS or len(set(map(str.casefold, words[: int(few) + _MORE]))) >= few:
        return False
    return len(set(map(str.casefold, words))) < few
