"""When a batch is full: by its records, or by their bytes, whichever comes first.

Faust bounds a batch by a number of events alone, and a record may be anything from one call to some megabytes: a
number that is small enough for those makes senders of single calls pay an insert and its messages for each few of
them, and one that is large enough for these would hold gigabytes.
"""

from __future__ import annotations

BATCH_BYTES = 8_000_000
"""Of values as they came, before anything is decoded; a batch holds at most this and one record more. Some five
thousand calls of the usual size, by when what a batch costs once is nothing to what each call does."""


class Filling:
    """What `noack_take` is given as its number of events, and asks whether it holds so many yet."""

    def __init__(self, records: int, size_bytes: int = BATCH_BYTES) -> None:
        """Full with `records`, or with values of `size_bytes` together."""
        self._records = records
        self._most_bytes = size_bytes
        self._bytes = 0

    def add(self, value: bytes | None) -> bytes | None:
        """Weigh a value on its way into the batch: a processor of the stream, to be added before the batch's own."""
        if value is not None:
            self._bytes += len(value)
        return value

    def __le__(self, events: int) -> bool:
        """Whether a batch of so many events is full: the right side of Faust's ``events >= most``."""
        return events >= self._records or self._bytes >= self._most_bytes

    def begin(self) -> None:
        """A batch was handed on; what is weighed from here on is of the next."""
        self._bytes = 0
