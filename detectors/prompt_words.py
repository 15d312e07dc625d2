"""The words of prompts: split once for all that looks at them, and numbered together."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detectors import wording
from detectors.keyed import keyed_hash
from detectors.lexicon import Lexicon, Numbers
from detectors.prompt_space import WORD_KINDS, histograms, kind_of

MAX_WORDS = 64
"""First words of a prompt that are counted."""

MAX_WRITTEN = 512
"""Of more words as written the first and the last half of this are numbered."""

_MAX_CHARS = 4_096
_MAX_WHOLE_CHARS = 65_536
"""A prompt's first words are looked for up to here, and all of its words up to there."""

_MAX_WRITTEN_CHARS = 8_192
"""Of a longer prompt the words as written are those of its first and its last half of this."""

_NOT_IN_BYTES = re.compile("[\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]")
"""What is white space to `str.split` and part of a word to `bytes.split`, and what no bytes can hold."""

_HASH_BITS = 64


class Words(NamedTuple):
    """A prompt split in the two ways in which it is looked at, and whole."""

    written: list[str]
    """As `str.split` splits it: all of it, or its head and its tail."""

    first: list[str] | None
    """At most `MAX_WORDS`, split at the white space of ASCII alone; `None` where they are the first of `written`."""

    whole: bytes
    """All words, case-folded, with one space between."""

    @property
    def head(self) -> list[str]:
        """The first words, at most `MAX_WORDS`."""
        return self.written[:MAX_WORDS] if self.first is None else self.first


class Numbered(NamedTuple):
    """The words of some prompts, one prompt after the other."""

    written: Numbers
    sizes: npt.NDArray[np.int64]
    """How many there are of each prompt, at most `MAX_WRITTEN`."""

    first: Numbers
    first_sizes: npt.NDArray[np.int64]
    """The same of `Words.head`."""


def split(prompt: str) -> Words:
    """The words of a prompt, without what differs between two ways of sending the same: white space."""
    if len(prompt) <= _MAX_CHARS and not _differs_in_bytes(prompt):
        words = prompt.split()
        return Words(words, None, " ".join(words).casefold().encode("utf-8", "replace"))
    whole = b" ".join(prompt[:_MAX_WHOLE_CHARS].casefold().encode("utf-8", "replace").split())
    return Words(head_and_tail(prompt).split(), _first_words(prompt), whole)


def head_and_tail(prompt: str) -> str:
    """What of a prompt is looked at as it is written."""
    if len(prompt) <= _MAX_WRITTEN_CHARS:
        return prompt
    return f"{prompt[: _MAX_WRITTEN_CHARS // 2]} {prompt[-_MAX_WRITTEN_CHARS // 2 :]}"


def _first_words(prompt: str) -> list[str]:
    """`Words.head` of a prompt."""
    words = prompt[:_MAX_CHARS].encode("utf-8", "replace").split(None, MAX_WORDS)[:MAX_WORDS]
    return [word.decode("utf-8", "replace") for word in words]


def _differs_in_bytes(text: str) -> bool:
    # Of what is printable only the space is white: one look for most texts.
    return not text.replace("\n", " ").isprintable() and _NOT_IN_BYTES.search(text) is not None


def numbered(prompts: Sequence[Words], lexicon: Lexicon) -> Numbered:
    """The numbers of all words; most first words are the beginning of those as written, and looked up with them."""
    lists = [looked_at(words.written) for words in prompts]
    apart = [index for index, words in enumerate(prompts) if words.first is not None]
    numbers = lexicon.numbers(itertools.chain(*lists, *(prompts[index].head for index in apart)))
    sizes = np.array([len(each) for each in lists], dtype=np.int64)
    first_sizes = np.array([len(words.head) for words in prompts], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    end = int(sizes.sum())
    starts[apart] = np.cumsum(first_sizes[apart]) - first_sizes[apart] + end
    return Numbered(numbers[:end], sizes, numbers[stretches(starts, first_sizes)], first_sizes)


def stretches(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The places of stretches, one after the other."""
    return np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)


def simhashes(numbers: Numbers, sizes: npt.NDArray[np.int64], lexicon: Lexicon) -> npt.NDArray[np.uint64]:
    """A 64-bit simhash of each list of at most 255 words: near duplicates differ in few bits. 0 for no words.

    Each word is hashed with a key: a simhash of few words would otherwise give them away.

    Source: Charikar, Similarity estimation techniques from rounding algorithms (2002).
    """
    ones = np.zeros((len(sizes), _HASH_BITS), dtype=np.uint8)
    present = sizes > 0
    if present.any():
        bits = np.unpackbits(lexicon.known(_digest, np.uint64, numbers).view(np.uint8))
        # Eight counters of a byte are added at once: none passes 255, so nothing is carried into the next.
        lanes = bits.view(np.uint64).reshape(len(numbers), -1)
        ones[present] = np.add.reduceat(lanes, (np.cumsum(sizes) - sizes)[present], axis=0).view(np.uint8)
    return np.packbits(ones > sizes[:, None] // 2, axis=1).view(np.uint64).ravel()


def kinds(numbers: Numbers, sizes: npt.NDArray[np.int64], lexicon: Lexicon) -> npt.NDArray[np.int64]:
    """Shape (prompts, `WORD_KINDS`): how many words there are of each kind."""
    return histograms(lexicon.known(_kind, np.uint8, numbers), sizes, WORD_KINDS)


def kinds_of(prompts: Sequence[str]) -> npt.NDArray[np.int64]:
    """`kinds` of the first words of some prompts."""
    with Lexicon(b"") as lexicon:
        said = numbered(list(map(split, prompts)), lexicon)
        return kinds(said.first, said.first_sizes, lexicon)


def skeletons(numbers: Numbers, sizes: npt.NDArray[np.int64], lexicon: Lexicon) -> Iterator[str]:
    """`wording.skeleton` of each list of words."""
    looked = np.minimum(sizes, wording.SKELETON_WORDS)
    numbers = numbers[stretches(np.cumsum(sizes) - sizes, looked)]
    ends = np.cumsum(looked)
    gaps = lexicon.known(_is_gap, np.bool_, numbers)
    kept = np.ones(len(numbers), dtype=bool)
    kept[1:] = ~(gaps[1:] & gaps[:-1])
    kept[(ends - looked)[looked > 0]] = True
    parts = lexicon.known(_part, np.object_, numbers[kept]).tolist()
    bounds = [0, *kept.nonzero()[0].searchsorted(ends).tolist()]
    return (" ".join(parts[start:end]) for start, end in itertools.pairwise(bounds))


def looked_at(words: list[str]) -> list[str]:
    """At most `MAX_WRITTEN` of the words of a prompt."""
    return words if len(words) <= MAX_WRITTEN else words[: MAX_WRITTEN // 2] + words[-MAX_WRITTEN // 2 :]


def _digest(word: str, key: bytes) -> int:
    return keyed_hash(word.casefold().encode("utf-8", "replace"), key)


def _kind(word: str, _key: bytes) -> int:
    return kind_of(word.casefold().encode("utf-8", "replace"))


def _part(word: str, _key: bytes) -> str:
    return wording.part(word)


def _is_gap(word: str, _key: bytes) -> bool:
    return wording.part(word) is wording.GAP
