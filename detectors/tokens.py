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
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from detectors import prompt_words, wording
from detectors.lexicon import Lexicon, Numbers, lexicon

MAX_TOKENS = 48
"""Hashes an observation carries at most: 192 bytes."""

_MAX_WORD_CHARS = 64
_CACHED_OPENINGS = 4_096
_HEAD = _TAIL = 9
_ODD = 8
_SPREAD = 8
"""Words of a long prompt that are kept: at its head and tail, of odd shape, and spread evenly over the rest."""

_SHORT = 4
"""Plain lower-case words longer than this have no odd shape."""

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2018\u2019\u201c\u201d\u2026"
_ODD_SHAPE = re.compile(r"[a-z][A-Z]|[A-Za-z][0-9]|[0-9][A-Za-z]|[^\x00-\x7f]|^[^aeiouyAEIOUY\W\d_]{2,}$")
_ODD_CHARACTER = re.compile(
    "[\x00-\x08\x0e-\x1f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_MAX_ODD_CHARACTERS = 4
_MASK = 0xFFFF_FFFF
_ORDER = 3
_TELLING = 1 << 32
"""Marks the hash of a word that is no function word."""

_ROWS = [struct.Struct(f"<{count}I") for count in range(MAX_TOKENS + 1)]


def tokens(prompt: str | None, key: bytes) -> bytes | None:
    """The distinct hashes of a prompt, four bytes each, little endian; `None` where there is no prompt."""
    if not prompt:
        return None
    with lexicon(key) as words:
        numbered = prompt_words.numbered([prompt_words.split(prompt)], words)
        return all_tokens([prompt], numbered.written, numbered.sizes, words, key)[0]


def all_tokens(
    prompts: Sequence[str], numbers: Numbers, sizes: npt.NDArray[np.int64], words: Lexicon, key: bytes
) -> list[bytes]:
    """`tokens` of each prompt; `numbers` are those of its words as written, `sizes` how many there are of each.

    Cost: about 7 us for 70 words whose hashes are at hand, in a batch.
    """
    kept, followed, ends = _kept(numbers, sizes, words)
    marks = words.known(_mark, np.uint64, numbers[kept])
    # Hashes of words are keyed and uniform, so any mix of two that knows their order will do.
    pairs = marks[:-1] * _ORDER + marks[1:]
    telling = marks >= _TELLING
    singles = _values(marks, telling, ends)
    doubles = _values(pairs, followed & (telling[:-1] | telling[1:]), ends)
    rows = []
    for prompt, single, double in zip(prompts, singles, doubles, strict=True):
        odd = [_digest(character, key) for character in _odd_characters(prompt)]
        values = list(dict.fromkeys([*odd, *single, *double]))[:MAX_TOKENS]
        rows.append(_ROWS[len(values)].pack(*values))
    return rows


def _values(
    hashes: npt.NDArray[np.uint64], wanted: npt.NDArray[np.bool_], ends: npt.NDArray[np.int64]
) -> Iterator[list[int]]:
    """The wanted hashes of each prompt; `ends` are where its hashes end."""
    places = wanted.nonzero()[0]
    values = (hashes[places] & _MASK).tolist()
    bounds = [0, *places.searchsorted(ends).tolist()]
    return (values[start:end] for start, end in itertools.pairwise(bounds))


def unpacked(packed: bytes) -> tuple[int, ...]:
    """The hashes of `tokens`; what is no whole hash, or beyond `MAX_TOKENS`, is left out."""
    return _ROWS[min(len(packed) // 4, MAX_TOKENS)].unpack_from(packed)


def named(wanted: Iterable[int], prompts: Iterable[str], key: bytes) -> dict[int, str]:
    """The words behind hashes, as found in the texts of prompts that had them."""
    missing = set(wanted)
    found: dict[int, str] = {}
    for prompt in prompts:
        said = prompt_words.looked_at(prompt_words.split(prompt).written)
        with lexicon(key) as known:
            kept, _, _ = _kept(known.numbers(said), np.array([len(said)]), known)
        words = [_folded(said[at]) for at in kept.tolist()]
        digests = [_digest(word, key) for word in words]
        names = [(_digest(character, key), f"U+{ord(character):04X}") for character in _odd_characters(prompt)]
        names += zip(digests, words, strict=True)
        for at, digest in enumerate(digests[1:]):
            names.append(((digests[at] * _ORDER + digest) & _MASK, f"{words[at]} {words[at + 1]}"))
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


def _odd_characters(prompt: str) -> list[str]:
    """The first few distinct characters that do not belong into text."""
    looked = prompt_words.head_and_tail(prompt)
    return [] if looked.isascii() else list(dict.fromkeys(_ODD_CHARACTER.findall(looked)))[:_MAX_ODD_CHARACTERS]


def _kept(
    numbers: Numbers, sizes: npt.NDArray[np.int64], words: Lexicon
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Places of the words that are kept, whether each but the last is followed by the next, and where prompts end."""
    frames = list(map(_frame, sizes.tolist()))
    kept = np.frombuffer(b"".join([kept for kept, _ in frames]), dtype=bool)
    rest = np.frombuffer(b"".join([rest for _, rest in frames]), dtype=bool)
    ends = np.cumsum(sizes)
    odd = rest & words.known(_is_odd, np.bool_, numbers)
    if odd.any():
        so_far = np.concatenate([[0], np.cumsum(odd)])
        odd &= so_far[1:] - np.repeat(so_far[ends - sizes], sizes) <= _ODD
        kept = kept | odd
    places = kept.nonzero()[0]
    ends = places.searchsorted(ends)
    followed = np.diff(places) == 1
    followed[ends[(ends > 0) & (ends < len(places))] - 1] = False
    return places, followed, ends


@functools.lru_cache(maxsize=prompt_words.MAX_WRITTEN + 1)
def _frame(count: int) -> tuple[bytes, bytes]:
    """Of each word of a prompt whether it is kept whatever it is, and whether it is kept if it is odd.

    All of a short prompt are kept, of others the head, the tail, and a few spread over the rest.
    """
    if count <= MAX_TOKENS // 2:
        return b"\1" * count, b"\0" * count
    kept = {*range(_HEAD), *range(count - _TAIL, count), *range(_HEAD, count, max(count // _SPREAD, 1))}
    return bytes(at in kept for at in range(count)), bytes(_HEAD <= at < count - _TAIL for at in range(count))


def _folded(word: str) -> str:
    return (word.strip(_PUNCTUATION) or word)[:_MAX_WORD_CHARS].casefold()


def _digest(word: str, key: bytes) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=4, key=key, person=b"token").digest()
    return int.from_bytes(digest, "little")


_opening = functools.lru_cache(maxsize=_CACHED_OPENINGS)(_digest)


def _mark(word: str, key: bytes) -> int:
    """The hash of a word as written, with `_TELLING`."""
    folded = _folded(word)
    value = _digest(folded, key)
    return value if folded in wording.FUNCTION_WORDS else value | _TELLING


def _is_odd(word: str, _key: bytes) -> bool:
    """Whether a word as written is of odd shape."""
    plain = len(word) > _SHORT and word.isalpha() and word.islower()
    return not plain and _ODD_SHAPE.search(word.strip(_PUNCTUATION)) is not None
