"""Dead letters back to the topic they came from, once each, after what was wrong with the worker is put right.

1. Read the topic of dead letters to its present end: which letters match, and which have a mark already.
2. Read it again and send every match that has no mark, with the header `REQUEUED_FROM` and, where only some events of
   the record were bad, `ONLY_EVENTS`: the good ones were stored the first time.
3. Wait until what was sent is durable, then mark each letter in the topic of dead letters.
A crash between 3's halves sends up to `_TOGETHER` letters a second time; a crash before sends nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streams.dlq import CONTENT_TYPE, EVENTS, ONLY_EVENTS, ORIGIN, REASON, REQUEUED, REQUEUED_FROM, SHA256, WHOLE_RECORD
from streams.producer import RecordProducer
from streams.security import kafka_python_options
from streams.settings import Settings
from streams.topics import CHANGES, COMPONENT_REPORTS, DEAD_LETTERS, INFERENCE_LOGS, BrokerError, full_name

_TOGETHER = 200
_POLL_MS = 1_000
_STALLED_POLLS = 30


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message in the topic of dead letters: a record's bytes, as far as they were kept, and what was wrong."""

    origin: str
    events: str
    reason: str
    content_type: str
    sha256: str
    value: bytes
    marked: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """What a letter is known by; the hash, because offsets begin anew when a topic is made again."""
        return (self.origin, self.events, self.sha256)

    @property
    def topic(self) -> str:
        """The full name of the topic it came from."""
        return self.origin.rsplit(":", 2)[0]

    @property
    def is_whole(self) -> bool:
        """Whether all bytes of the record were kept."""
        return hashlib.sha256(self.value).hexdigest() == self.sha256


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters: by origins (``topic:partition:offset``; none: all) and by a part of the reason."""

    origins: frozenset[str] = frozenset()
    reason: str = ""
    again: bool = False

    def takes(self, letter: Letter) -> bool:
        """Whether it is one of them."""
        wanted = not self.origins or letter.origin in self.origins
        return wanted and self.reason.lower() in letter.reason.lower()


class Requeued(msgspec.Struct, kw_only=True):
    """How many letters matched, and what became of them."""

    matched: int = 0
    sent: int = 0
    already: int = 0
    truncated: int = 0
    of_our_own: int = 0


def requeue(settings: Settings, choice: Choice, progress: Callable[[], None], *, dry_run: bool) -> Requeued:
    """Send the chosen letters back and say how many; with `dry_run` only say. Raises `BrokerError`."""
    seen: set[tuple[str, str, str]] = set() if choice.again else {each.key for each in letters(settings) if each.marked}
    done = Requeued()
    logs, dead = full_name(settings, INFERENCE_LOGS), full_name(settings, DEAD_LETTERS)
    open_to_others = {full_name(settings, topic) for topic in (INFERENCE_LOGS, CHANGES, COMPONENT_REPORTS)}
    options = kafka_python_options(settings)
    with (
        RecordProducer(settings.kafka_brokers, logs, **options) as back,
        RecordProducer(settings.kafka_brokers, dead, **options) as marks,
    ):
        waiting: list[Letter] = []
        handled: set[tuple[str, str, str]] = set()
        for letter in letters(settings):
            if letter.marked or letter.key in handled or not choice.takes(letter):
                continue
            handled.add(letter.key)
            if not _accounted(done, letter, open_to_others, seen) or dry_run:
                continue
            back.send(letter.value, letter.content_type or None, _headers(letter), topic=letter.topic)
            waiting.append(letter)
            progress()
            if len(waiting) == _TOGETHER:
                _mark(back, marks, waiting)
        _mark(back, marks, waiting)
    return done


def _accounted(done: Requeued, letter: Letter, open_to_others: set[str], seen: set[tuple[str, str, str]]) -> bool:
    """Count a letter; whether it is one to send."""
    done.matched += 1
    if letter.topic not in open_to_others:
        done.of_our_own += 1
    elif letter.key in seen:
        done.already += 1
    elif not letter.is_whole:
        done.truncated += 1
    else:
        done.sent += 1
        return True
    return False


def _headers(letter: Letter) -> list[tuple[str, bytes]]:
    only = [] if letter.events == str(WHOLE_RECORD) else [(ONLY_EVENTS, letter.events.encode())]
    return [(REQUEUED_FROM, letter.origin.encode()), *only]


def _mark(back: RecordProducer, marks: RecordProducer, waiting: list[Letter]) -> None:
    back.flush()
    for letter in waiting:
        known_by = ((ORIGIN, letter.origin), (EVENTS, letter.events), (SHA256, letter.sha256), (REQUEUED, "1"))
        marks.send(b"", None, [(name, value.encode()) for name, value in known_by])
    marks.flush()
    waiting.clear()


def letters(settings: Settings) -> Iterator[Letter]:
    """Everything in the topic of dead letters up to its present end. Raises `BrokerError`."""
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka_brokers.split(","),
            bootstrap_timeout_ms=10_000,
            client_id="inferwatch",
            enable_auto_commit=False,
            **kafka_python_options(settings),
        )
    except (KafkaError, OSError) as error:
        raise BrokerError(f"Kafka at {settings.kafka_brokers}: {type(error).__name__}; check that it runs") from error
    try:
        yield from _until_end(consumer, full_name(settings, DEAD_LETTERS))
    except KafkaError as error:
        raise BrokerError(f"Kafka: {type(error).__name__} while reading the dead letters") from error
    finally:
        consumer.close()


def _until_end(consumer: Any, topic: str) -> Iterator[Letter]:
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    if not partitions:
        raise BrokerError(f"topic {topic} is missing; run `inferwatch topics create`")
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    stalled = 0
    while any(consumer.position(each) < ends[each] for each in partitions):
        polled = consumer.poll(timeout_ms=_POLL_MS)
        stalled = 0 if polled else stalled + 1
        if stalled == _STALLED_POLLS:
            raise BrokerError("Kafka: no answer while reading the dead letters")
        for messages in polled.values():
            for message in messages:
                letter = _letter(message)
                if letter is not None:
                    yield letter


def _letter(message: Any) -> Letter | None:
    """The letter in a message; `None` for one that somebody else wrote."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers}
    if ORIGIN not in headers or SHA256 not in headers:
        return None
    return Letter(
        origin=headers[ORIGIN],
        events=headers.get(EVENTS, str(WHOLE_RECORD)),
        reason=headers.get(REASON, ""),
        content_type=headers.get(CONTENT_TYPE, ""),
        sha256=headers[SHA256],
        value=message.value or b"",
        marked=REQUEUED in headers,
    )
