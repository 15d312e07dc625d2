"""Which words of a prompt are kept, as keyed hashes, so that what a word does to the answers can be counted.

A hash of 32 bits names a word (case and punctuation around it folded), two words in a row, or a character that
does not belong into text. Without the key nobody can look a word up; with it and the text of a prompt `named`
gives the word back.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

from detectors import wording

_Value = TypeVar("_Value")

MAX_TOKENS = 48
"""Hashes an observation carries at most: 192 bytes."""

_MAX_CHARS = 8_192
_MAX_WORDS = 512
"""Of longer prompts the first and the last half of this are read."""

_MAX_WORD_CHARS = 64
_CACHED_WORDS = 65_536
_CACHED_SHAPES = 32_768
_CACHED_OPENINGS = 4_096
_MAX_CACHED_CHARS = 80
"""What is kept at hand, about 15 MB: language repeats itself, and a hash costs ten times a look-up."""

_FUNCTION_WORDS = frozenset(word.decode() for word in wording.FUNCTION_WORDS)
_HEAD = _TAIL = 9
_ODD = 8
_SPREAD = 8
"""Words of a long prompt that are kept: at its head and tail, of odd shape, and spread evenly over the rest."""

_LOOKED = 512
_SHORT = 4
"""Among how many words odd ones are looked for; plain lower-case words longer than this have no odd shape."""

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2018\u2019\u201c\u201d\u2026"
_ODD_SHAPE = re.compile(r"[a-z][A-Z]|[A-Za-z][0-9]|[0-9][A-Za-z]|[^\x00-\x7f]|^[^aeiouyAEIOUY\W\d_]{2,}$")
_ODD_CHARACTER = re.compile(
    "[\x00-\x08\x0e-\x1f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_MAX_ODD_CHARACTERS = 4
_MASK = 0xFFFF_FFFF
_TELLING = 1 << 32
"""Marks the hash of a word that is no function word."""

_ROWS = [struct.Struct(f"<{count}I") for count in range(MAX_TOKENS + 1)]


def tokens(prompt: str | None, key: bytes) -> bytes | None:
    """The distinct hashes of a prompt, four bytes each, little endian; `None` where there is no prompt.

    Cost: about 5 us for 25 words whose hashes are at hand.
    """
    if not prompt:
        return None
    odd, words, places = _read(prompt)
    marks = list(map(_hashes(key).__getitem__, words))
    values = [_digest(character, key) for character in odd]
    # Hashes of words are keyed and uniform, so any mix of two that knows their order will do.
    values += [mark & _MASK for mark in marks if mark >= _TELLING]
    following = marks[1:]
    if places is None:
        values += [
            (one * 3 + two) & _MASK for one, two in zip(marks, following, strict=False) if (one | two) >= _TELLING
        ]
    else:
        values += [
            (one * 3 + two) & _MASK
            for one, two, at, then in zip(marks, following, places, places[1:], strict=False)
            if then == at + 1 and (one | two) >= _TELLING
        ]
    values = list(dict.fromkeys(values))[:MAX_TOKENS]
    return _ROWS[len(values)].pack(*values)


def unpacked(packed: bytes) -> tuple[int, ...]:
    """The hashes of `tokens`; what is no whole hash, or beyond `MAX_TOKENS`, is left out."""
    return _ROWS[min(len(packed) // 4, MAX_TOKENS)].unpack_from(packed)


def named(wanted: Iterable[int], prompts: Iterable[str], key: bytes) -> dict[int, str]:
    """The words behind hashes, as found in the texts of prompts that had them."""
    missing = set(wanted)
    found: dict[int, str] = {}
    for prompt in prompts:
        odd, raw, _ = _read(prompt)
        words = [_folded(word) for word in raw]
        digests = [_digest(word, key) for word in words]
        names = [(_digest(character, key), f"U+{ord(character):04X}") for character in odd]
        names += zip(digests, words, strict=True)
        for at, digest in enumerate(digests[1:]):
            names.append(((digests[at] * 3 + digest) & _MASK, f"{words[at]} {words[at + 1]}"))
        for value, name in names:
            if value in missing:
                missing.remove(value)
                found[value] = name
    return found


def opening(output: str | None, key: bytes) -> int | None:
    """A hash of the first three words of an answer, 32 bits; `None` where there is no answer."""
    if not output:
        return None
    words = output[:256].casefold().split(None, 3)[:3]
    return _opening(" ".join(words)[: 3 * _MAX_WORD_CHARS], key) if words else None


def _read(prompt: str) -> tuple[list[str], list[str], Sequence[int] | None]:
    """Odd characters of a prompt, the words that are kept, and where those are, unless all of them are."""
    if len(prompt) > _MAX_CHARS:
        prompt = f"{prompt[: _MAX_CHARS // 2]} {prompt[-_MAX_CHARS // 2 :]}"
    odd: list[str] = []
    if not prompt.isascii():
        odd = list(dict.fromkeys(_ODD_CHARACTER.findall(prompt)))[:_MAX_ODD_CHARACTERS]
    raw = prompt.split()
    count = len(raw)
    if count <= MAX_TOKENS // 2:
        return odd, raw, None
    if count > _MAX_WORDS:
        raw, count = raw[: _MAX_WORDS // 2] + raw[-_MAX_WORDS // 2 :], _MAX_WORDS
    last = min(count - _TAIL, _LOOKED)
    shaped = map(_SHAPES.__getitem__, raw[_HEAD:last])
    looked = list(itertools.islice(itertools.compress(range(_HEAD, last), shaped), _ODD))
    places = sorted(_frame(count).union(looked))
    return odd, [raw[at] for at in places], places


@functools.lru_cache(maxsize=_MAX_WORDS)
def _frame(count: int) -> frozenset[int]:
    """Places of a long prompt that are kept whatever is there: its head, its tail, a few spread over the rest."""
    return frozenset((*range(_HEAD), *range(count - _TAIL, count), *range(_HEAD, count, max(count // _SPREAD, 1))))


def _folded(word: str) -> str:
    return (word.strip(_PUNCTUATION) or word)[:_MAX_WORD_CHARS].casefold()


def _digest(word: str, key: bytes) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=4, key=key, person=b"token").digest()
    return int.from_bytes(digest, "little")


_opening = functools.lru_cache(maxsize=_CACHED_OPENINGS)(_digest)


class _Hashes(dict[str, int]):
    """The hash of a word as written, with `_TELLING`; computed when it is first asked for."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, word: str) -> int:
        folded = _folded(word)
        mark = _digest(folded, self._key)
        if folded not in _FUNCTION_WORDS:
            mark |= _TELLING
        _keep(self, word, mark, _CACHED_WORDS)
        return mark


class _Shapes(dict[str, bool]):
    """Whether a word as written is of odd shape."""

    def __missing__(self, word: str) -> bool:
        plain = len(word) > _SHORT and word.isalpha() and word.islower()
        odd = not plain and _ODD_SHAPE.search(word.strip(_PUNCTUATION)) is not None
        _keep(self, word, odd, _CACHED_SHAPES)
        return odd


def _keep(cache: dict[str, _Value], word: str, value: _Value, most: int) -> None:
    """Bounded whatever is sent: long words are not kept, and a full cache begins anew."""
    if len(word) <= _MAX_CACHED_CHARS:
        if len(cache) >= most:
            cache.clear()
        cache[word] = value


@functools.lru_cache(maxsize=4)
def _hashes(key: bytes) -> _Hashes:
    return _Hashes(key)


_SHAPES = _Shapes()
