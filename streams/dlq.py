"""Dead letters: records and events that will never decode, kept with their origin and the reason.

And the limit of them: a few are a sender's mistake, nothing else is ours.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

import msgspec

WHOLE_RECORD = -1
"""The `event_index` of a dead letter that is a whole record."""

ORIGIN, EVENTS, REASON, CONTENT_TYPE, SHA256 = "origin", "events", "reason", "content-type", "sha256"
"""Headers of a message in the topic of dead letters: ``topic:partition:offset`` of the record, the indexes of its bad
events (-1: all of it), why, what it claimed to be, and the hash of its whole value."""

REQUEUED_FROM, REQUEUED = "requeued-from", "requeued"
"""The header of a requeued record, with the origin of its letter; and that of the mark which the letter gets."""

_HEAD_CHARS = 256
_READ_BYTES = 4_096
"""Redaction looks at more than is kept, so that a secret cut in two is still recognized."""


ONLY_EVENTS = "only-events"
"""The header of a requeued record that names the events to read (``3,7``): its others were read the first time."""


class Unreadable(bytes):
    """What there is of a value that cannot be read as it was sent, and why.

    A class of its own and no header: nothing that comes over Kafka can look like it. `size_bytes` and `sha256` are
    of the whole value; where it was never seen whole, of what was kept and "".
    """

    reason: str
    size_bytes: int
    sha256: str

    def __new__(cls, kept: bytes, reason: str, whole: bytes | None = None) -> Self:
        """`kept` are the first bytes of `whole`, or all there is."""
        made = super().__new__(cls, kept)
        made.reason = reason
        made.size_bytes = len(kept if whole is None else whole)
        made.sha256 = "" if whole is None else hashlib.sha256(whole).hexdigest()
        return made


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes with key, headers and origin: Kafka's word. `time_s` is the broker's or producer's timestamp."""

    topic: str
    partition: int
    offset: int
    time_s: float
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return (self.topic, self.partition, self.offset)

    @property
    def content_type(self) -> str:
        """The ``content-type`` header without parameters, lowercase; "" when there is none."""
        for name, value in self.headers:
            if name.lower() == CONTENT_TYPE:
                return value[:200].decode("utf-8", "replace").partition(";")[0].strip().lower()
        return ""

    @property
    def only_events(self) -> frozenset[int] | None:
        """The indexes in the `ONLY_EVENTS` header; `None` for all events, which is what an odd header means too."""
        for name, value in self.headers:
            if name == ONLY_EVENTS:
                indexes = value[:1_000_000].split(b",")
                if all(index.isdigit() and len(index) < 10 for index in indexes):  # noqa: PLR2004 - a record has fewer
                    return frozenset(map(int, indexes))
        return None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Why one record, or one event of it, will never be an event.

    `head` is the record's first bytes with everything but printable ASCII escaped, so that it can be
    printed anywhere; `sha256` is of the whole value.
    """

    topic_id: str
    topic: str
    partition: int
    offset: int
    event_index: int
    record_time_s: float
    reason: str
    content_type: str
    size_bytes: int
    sha256: str
    head: str


def dead_letter(
    record: Record, topic_id: str, reason: str, event_index: int, redact: Callable[[str], str]
) -> DeadLetter:
    """The dead letter of `record`; `reason` is shown to people and cut to 500 characters."""
    value = record.value
    head = redact(value[:_READ_BYTES].decode("utf-8", "backslashreplace"))
    return DeadLetter(
        topic_id=topic_id,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        event_index=event_index,
        record_time_s=record.time_s,
        reason=printable(reason)[:500],
        content_type=printable(record.content_type),
        size_bytes=value.size_bytes if isinstance(value, Unreadable) else len(value),
        sha256=value.sha256 if isinstance(value, Unreadable) else hashlib.sha256(value).hexdigest(),
        head=printable(head[:_HEAD_CHARS]),
    )


def sibling(letter: DeadLetter, reason: str, event_index: int) -> DeadLetter:
    """Another event of the same record, without reading the record again.

    A record of 4 MB may hold 10,000 bad events: hashing it for each would keep its partition waiting for minutes.
    """
    return msgspec.structs.replace(letter, reason=printable(reason)[:500], event_index=event_index)


class LimitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How many records may be dead letters before the worker stops.

    Without a limit a bad deploy (a codec set wrongly, a sender's new format on an old worker) reads the whole
    topic, calls every record a dead letter and commits: hours of traffic that nobody watched, gone from the group's
    sight. With it the worker stops and the records wait in Kafka.

    `ratio` is the share of the last `WINDOW` records that may be dead, `run` how many in a row may be; 1 and 0
    switch them off. A record counts once, however many events it holds, and is dead when nothing of it was
    an event: one sender with a bad field among good events stops nobody.

    It is counted over all partitions of a worker, on purpose. Nothing in an undecodable record can be
    trusted to say who sent it, so whoever may write to the topic can stop the worker; but every record of
    anybody else ends the run, and to pass the default ratio a hostile sender must send nine records for each
    of all the others. Counted by partition, a key of its own would be enough. The price: a bad deploy
    of one sender of several never stops the others, and is seen in the counts of `dead-letters list` instead.
    """

    ratio: float = 0.9
    run: int = 1_000


WINDOW = 1_000
"""Records that `LimitPolicy.ratio` is taken over; before that many were seen it says nothing."""


class DeadLetterLimitError(Exception):
    """Too many records are dead letters: stop, ack nothing. The message says how many and what to check."""


class Tally:
    """Counts records and raises when the policy's limit is passed. Starts anew with the process."""

    def __init__(self, policy: LimitPolicy) -> None:
        """Nothing was seen yet."""
        self._policy = policy
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._dead = 0
        self._run = 0

    def count(self, outcomes: Iterable[tuple[bool, str]]) -> None:
        """Each record in order: whether it is dead, and why. Raises `DeadLetterLimitError`."""
        for dead, reason in outcomes:
            if len(self._recent) == WINDOW:
                self._dead -= self._recent[0]
            self._recent.append(dead)
            self._dead += dead
            self._run = self._run + 1 if dead else 0
            if dead:
                self._check(reason)

    def _check(self, reason: str) -> None:
        policy = self._policy
        if 0 < policy.run <= self._run:
            said = f"{self._run} records in a row"
        elif policy.ratio < 1.0 and len(self._recent) == WINDOW and self._dead > policy.ratio * WINDOW:
            said = f"{self._dead} of the last {WINDOW} records"
        else:
            return
        raise DeadLetterLimitError(
            f"{said} are dead letters, the last because: {reason}; check INFERWATCH_INPUT_FORMAT and what was "
            "deployed last, here and at the senders; with INFERWATCH_DEAD_LETTER_RUN=0 and "
            "INFERWATCH_DEAD_LETTER_RATIO=1 all of them pass"
        )


def printable(text: str) -> str:
    r"""`text` with every character outside printable ASCII written as an escape (``\x1b``, ``\u202e``)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if " " <= each <= "~" else each.encode("unicode_escape").decode("ascii") for each in text)
