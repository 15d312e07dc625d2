"""Records to events, observations and dead letters: pure and total, the same for a worker and for `replay`.

Every record becomes events, dead letters or a counted nothing; no input makes `Pipeline.process` raise.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from detectors import features
from detectors.types import MAX_TIME_S, InferenceEvent, Observation
from streams import codecs
from streams.codecs import MAX_EVENTS, Decoded, Reject, UndecodableError
from streams.codecs._checks import all_checked
from streams.dlq import WHOLE_RECORD, DeadLetter, Record, Unreadable, dead_letter, sibling
from streams.privacy import ContentMode, Privacy
from streams.redaction import Redactor, masked

MAX_AHEAD_S = 86_400.0
"""An event that claims to be more than a day after its record has a broken clock: the record's time is used."""

PART_EVENTS = 10_000
"""Events after which a batch is handed on and the next part begun. A batch of small records that hold as many events
as they may would otherwise take gigabytes at once."""

_TOGETHER = 512
"""Decoded events from which on they are looked at: what is made of them on the way stays in the processor's cache."""

_Found = tuple[Record, int, InferenceEvent | Reject]
"""What was decoded, with its place."""

_ANY_JSON = frozenset({"application/json", "text/plain", "application/octet-stream", "text/json"})
"""Content types that name no format of ours: as good as none."""


class Codec(Protocol):
    """One log format: a module of `streams.codecs`."""

    FORMAT: str
    CONTENT_TYPES: frozenset[str]

    def decode(self, value: bytes) -> Decoded:
        """Events in record order; raises `UndecodableError`."""

    def sniff(self, value: bytes) -> bool:
        """Whether the value is of this format and no other."""


def discover_codecs() -> dict[str, Codec]:
    """All codec modules by format name."""
    found: dict[str, Codec] = {}
    for module in sorted(pkgutil.iter_modules(codecs.__path__), key=lambda each: each.name):
        if not module.name.startswith("_"):
            codec: Codec = importlib.import_module(f"{codecs.__name__}.{module.name}")
            found[codec.FORMAT] = codec
    return found


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it goes to the store, with where it came from and what was observed of it."""

    event: InferenceEvent
    observation: Observation
    topic: str
    partition: int
    offset: int
    index: int
    record_time_s: float


class Processed(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of records became. `ignored` counts parts of records that are no model calls.

    `places` are partition and offset of the records, in the order in which they were read.
    """

    stored: list[Stored]
    dead_letters: list[DeadLetter]
    ignored: int
    places: list[tuple[int, int]] = []

    def outcomes(self) -> Iterator[tuple[bool, str]]:
        """Of each record, whether it is dead (nothing of it is an event), and why: what the limit counts."""
        alive = {(row.partition, row.offset) for row in self.stored}
        reasons = {(letter.partition, letter.offset): letter.reason for letter in self.dead_letters}
        for place in self.places:
            yield place not in alive and place in reasons, reasons.get(place, "")


class Pipeline:
    """Decode, check, pseudonymize, observe, redact.

    In that order, so that features see what was said and the store does not.
    """

    def __init__(
        self,
        *,
        topic_id: str,
        privacy: Privacy,
        mode: ContentMode,
        hash_key: bytes,
        input_format: str = "auto",
        max_record_bytes: int = 4_000_000,
        codecs: Mapping[str, Codec] | None = None,
    ) -> None:
        """`input_format` is what a record without a telling content type is taken for; ``auto`` sniffs."""
        self._topic_id = topic_id
        self._privacy = privacy
        self._hash_key = hash_key
        self._max_record_bytes = max_record_bytes
        self._codecs = discover_codecs() if codecs is None else codecs
        self._by_content_type = {name: codec for codec in self._codecs.values() for name in codec.CONTENT_TYPES}
        self._input_codec = self._codecs.get(input_format)
        self._head = _heads(mode)
        self._said = Redactor(ips=True).redact

    def process(self, records: Iterable[Record]) -> Processed:
        """Events, observations and dead letters of `records`, in record order."""
        return self._process(records, sys.maxsize)

    def parts(self, records: Iterable[Record]) -> Iterator[Processed]:
        """The same in parts: whole records, until there are `PART_EVENTS` events and dead letters or more."""
        waiting = iter(records)
        for first in waiting:
            yield self._process(itertools.chain((first,), waiting), PART_EVENTS)

    def _process(self, records: Iterable[Record], enough: int) -> Processed:
        processed = Processed(stored=[], dead_letters=[], ignored=0, places=[])
        found: list[_Found] = []
        ignored = count = 0
        for record in records:
            processed.places.append((record.partition, record.offset))
            try:
                decoded = self._decode(record)
            except UndecodableError as error:
                found.append((record, WHOLE_RECORD, Reject(str(error))))
                decoded = Decoded([])
            ignored += decoded.ignored
            only = record.only_events
            found += [
                (record, index, item) for index, item in enumerate(decoded.items) if only is None or index in only
            ]
            if len(found) >= _TOGETHER:
                self._finish(found, processed)
                count += len(found)
                found = []
            if count + len(found) >= enough:
                break
        self._finish(found, processed)
        return msgspec.structs.replace(processed, ignored=ignored)

    def _finish(self, found: Sequence[_Found], processed: Processed) -> None:
        """Add what becomes of some decoded events to what was processed."""
        origins: list[tuple[Record, int]] = []
        events: list[InferenceEvent] = []
        for (record, index, _), event in zip(found, self._admitted(found), strict=True):
            if isinstance(event, Reject):
                self._bury(processed.dead_letters, record, event.reason, index)
            else:
                origins.append((record, index))
                events.append(event)
        observations, texts = self._observe(events), self._storable(events)
        for (record, index), kept, observation in zip(origins, texts, observations, strict=True):
            if observation is None or kept is None:
                what = "features cannot be computed" if observation is None else "texts cannot be redacted"
                self._bury(processed.dead_letters, record, f"its {what}", index)
                continue
            processed.stored.append(
                Stored(
                    event=kept,
                    observation=observation,
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    index=index,
                    record_time_s=record.time_s,
                )
            )

    def unstorable(self, record: Record, index: int, reason: str) -> DeadLetter:
        """The dead letter of an event that the store will never take."""
        dead: list[DeadLetter] = []
        self._bury(dead, record, f"it cannot be stored: {reason}", index)
        return dead[0]

    def _observe(self, events: list[InferenceEvent]) -> Sequence[Observation | None]:
        """One observation an event; `None` for one whose content breaks the features, found by halving the batch."""
        try:
            return [self._privacy.observation(each) for each in features.observe(events, self._hash_key)]
        except Exception:  # noqa: BLE001 - a defect there costs the event that shows it, never the ones around it
            if len(events) == 1:
                return [None]
            half = len(events) // 2
            return [*self._observe(events[:half]), *self._observe(events[half:])]

    def _decode(self, record: Record) -> Decoded:
        if isinstance(record.value, Unreadable):
            raise UndecodableError(record.value.reason)
        size = len(record.value)
        if size > self._max_record_bytes:
            raise UndecodableError(f"it has {size} bytes; more than {self._max_record_bytes} are not read")
        if not record.value.strip():
            raise UndecodableError("it is empty")
        codec = self._codec(record)
        try:
            decoded = codec.decode(record.value)
        except UndecodableError as error:
            raise UndecodableError(f"{codec.FORMAT}: {error}") from None
        except Exception as error:  # noqa: BLE001 - a decoder's bug costs its record, never the ones behind it
            raise UndecodableError(f"{codec.FORMAT}: the decoder failed with {type(error).__name__}") from None
        if len(decoded.items) > MAX_EVENTS:
            held = len(decoded.items)
            raise UndecodableError(f"{codec.FORMAT}: it holds {held} events; more than {MAX_EVENTS} are not read")
        return decoded

    def _codec(self, record: Record) -> Codec:
        """By content type, else by setting, else by what the value unambiguously is."""
        content_type = record.content_type
        named = self._by_content_type.get(content_type)
        if named is not None:
            return named
        if self._input_codec is not None:
            return self._input_codec
        claims = [codec for codec in self._codecs.values() if _claims(codec, record.value)]
        if len(claims) == 1:
            return claims[0]
        tried = ", ".join(self._codecs)
        header = f"content type {content_type!r} names no format" if content_type not in _ANY_JSON else ""
        if not content_type:
            header = "no content-type header"
        found = f"it could be {' or '.join(codec.FORMAT for codec in claims)}" if claims else "it looks like none"
        raise UndecodableError(f"{header or 'no telling content-type header'}; {found} of {tried}")

    def _storable(self, events: Sequence[InferenceEvent]) -> Sequence[InferenceEvent | None]:
        """What the store may see of events; `None` for one whose texts break the redaction, found as for features."""
        try:
            return self._privacy.texts(events)
        except Exception:  # noqa: BLE001 - as for the features
            if len(events) == 1:
                return [None]
            half = len(events) // 2
            return [*self._storable(events[:half]), *self._storable(events[half:])]

    def _admitted(self, found: Sequence[_Found]) -> Sequence[InferenceEvent | Reject]:
        """Checked events with identity, time and pseudonyms; a reject stays one, and so becomes what cannot be read."""
        try:
            return self._identified(found)
        except Exception as error:  # noqa: BLE001 - a decoder's bug costs its event, never the ones behind it
            if len(found) == 1:
                return [Reject(f"its fields cannot be read: {type(error).__name__}")]
            half = len(found) // 2
            return [*self._admitted(found[:half]), *self._admitted(found[half:])]

    def _identified(self, found: Sequence[_Found]) -> Sequence[InferenceEvent | Reject]:
        checked = iter(all_checked([item for *_, item in found if not isinstance(item, Reject)]))
        items = [item if isinstance(item, Reject) else next(checked) for *_, item in found]
        events: list[InferenceEvent] = []
        given: list[dict[str, object]] = []
        for (record, index, _), item in zip(found, items, strict=True):
            if not isinstance(item, Reject):
                time_s = item.time_s
                if time_s is None or not 0.0 <= time_s <= min(MAX_TIME_S, record.time_s + MAX_AHEAD_S):
                    time_s = record.time_s
                event_id = f"{self._topic_id}:{record.partition}:{record.offset}:{index}"
                events.append(item)
                given.append({"event_id": event_id, "time_s": time_s})
        named = iter(self._privacy.all_identities(events, given))
        return [item if isinstance(item, Reject) else next(named) for item in items]

    def _bury(self, dead: list[DeadLetter], record: Record, reason: str, index: int) -> None:
        """Reason and content type may quote what a sender wrote."""
        said = self._said(reason)
        if dead and (dead[-1].topic, dead[-1].partition, dead[-1].offset) == record.place:
            dead.append(sibling(dead[-1], said, index))
            return
        letter = dead_letter(record, self._topic_id, said, index, self._head)
        dead.append(msgspec.structs.replace(letter, content_type=self._said(letter.content_type)))


def _claims(codec: Codec, value: bytes) -> bool:
    try:
        return codec.sniff(value)
    except Exception:  # noqa: BLE001 - a sniffer's bug means: not mine
        return False


def _heads(mode: ContentMode) -> Callable[[str], str]:
    """What of an undecodable record's first bytes may be shown under a content mode.

    Nobody knows which of them say who called, and that is stored in no mode: only the look of the record is kept.
    """
    if mode is ContentMode.FEATURES:
        return lambda _text: ""
    redact = Redactor(ips=True).redact
    return lambda text: masked(redact(text))


def by_partition(
    observations: Sequence[Observation], subject_of: Callable[[Observation], str | None], partitions: int
) -> dict[int, list[Observation]]:
    """Observations packed by the partition of their subject; those without a subject are left out."""
    packed: dict[int, list[Observation]] = {}
    for observation in observations:
        subject = subject_of(observation)
        if subject is not None:
            packed.setdefault(partition_of(subject, partitions), []).append(observation)
    return packed


def partition_of(subject: str, partitions: int) -> int:
    """The partition that holds all traffic of a subject; CRC-32, so that every worker agrees."""
    return zlib.crc32(subject.encode()) % partitions
