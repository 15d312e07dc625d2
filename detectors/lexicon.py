"""Words by number, and what is known of each in arrays: a word is looked up once, however many look at it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MOST_WORDS, LONGEST_CHARS = 65_536, 80
"""Words kept between two batches, about 12 MB: language repeats itself, and a hash costs ten times a look-up."""

Numbers = npt.NDArray[np.int32]
FindOut = Callable[[str, bytes], Any]
"""What is known of a word, which may be keyed."""


class Lexicon(dict[str, int]):
    """The numbers of words as they are written. Bounded whatever is sent: a full one begins anew.

    Numbers are good within a ``with`` statement, in which one thread has it for itself.
    """

    def __init__(self, key: bytes) -> None:
        """`key` (16-64 bytes) keys hashes of words."""
        self._key = key
        self._words: list[str] = []
        self._columns: dict[FindOut, _Column] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Begin a batch, anew if there are too many words."""
        self._lock.acquire()
        if len(self._words) > MOST_WORDS:
            self.clear()
            self._words.clear()
            self._columns.clear()
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the next one have it."""
        self._lock.release()

    def __missing__(self, word: str) -> int:
        number = len(self._words)
        self._words.append(word)
        if len(word) <= LONGEST_CHARS:
            self[word] = number
        return number

    def numbers(self, words: Iterable[str]) -> Numbers:
        """The number of each word."""
        return np.array(list(map(self.__getitem__, words)), dtype=np.int32)

    def known(self, find_out: FindOut, kind: type, numbers: Numbers) -> npt.NDArray[Any]:
        """What `find_out` says of each word, an array of `kind`; it is asked once a word."""
        column = self._columns.get(find_out)
        if column is None:
            column = self._columns[find_out] = _Column(kind)
        new = column.new(numbers, len(self._words))
        if new:
            column.put(new, [find_out(self._words[number], self._key) for number in new])
        return column.values.take(numbers)


class _Column:
    """A value a word, of those that were asked for."""

    def __init__(self, kind: type) -> None:
        self.values: npt.NDArray[Any] = np.zeros(0, dtype=kind)
        self._is_new = np.ones(0, dtype=bool)

    def new(self, numbers: Numbers, words: int) -> list[int]:
        """The numbers that have no value yet, of all the `words` there are."""
        if words > len(self.values):
            more = 2 * words - len(self.values)
            self.values = np.concatenate([self.values, np.zeros(more, dtype=self.values.dtype)])
            self._is_new = np.concatenate([self._is_new, np.ones(more, dtype=bool)])
        return list(set(numbers[self._is_new.take(numbers)].tolist()))

    def put(self, numbers: list[int], values: list[Any]) -> None:
        self.values[numbers] = values
        self._is_new[numbers] = False


@functools.lru_cache(maxsize=4)
def lexicon(key: bytes) -> Lexicon:
    """The one of a key."""
    return Lexicon(key)
