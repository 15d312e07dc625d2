"""Record batches as Kafka delivers them, read so that none can fill the memory or stop its partition.

aiokafka inflates a compressed batch whole, whatever it inflates to, and raises in the consumer's thread when one
header's name is no UTF-8: the batch comes again, for ever, and nothing behind it is read. `install` puts
`SafeRecords` in the place of its reader. What cannot be read becomes an `Unreadable` value at its offset, which the
pipeline makes a dead letter, and the next record is read.

A batch inflates to at most what the topic would take of it uncompressed; what lies beyond is unreadable. One answer of
the broker inflates to at most that much for a partition, give or take a batch: the rest is fetched again.
Message formats 0 and 1, which brokers since Kafka 0.11 convert, are left to aiokafka.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from streams.dlq import Unreadable
from streams.inflating import InflateError, inflate
from streams.topics import MAX_MESSAGE_BYTES

_LENGTH_AT, _MAGIC_AT, _ATTRIBUTES_AT, _COUNT_AT = 8, 16, 21, 57
_OVERHEAD_BYTES = 12
_HEADER_BYTES = 61
_COMPRESSION = 0x07
_LOG_APPEND_TIME = 0x08
_KEPT_BYTES = 4_096
_MOST_LETTERS = 1_000
"""Offsets of an unreadable batch that get a dead letter each; a header may claim two billion."""


def install(batch_bytes: int, record_bytes: int) -> None:
    """Read batches of at most `batch_bytes` inflated, and values of at most `record_bytes`, from now on."""
    fetcher.MemoryRecords = functools.partial(SafeRecords, batch_bytes=batch_bytes, record_bytes=record_bytes)


class PlainRecord:
    """A record as aiokafka's consumer takes it."""

    __slots__ = ("checksum", "headers", "key", "offset", "timestamp", "timestamp_type", "value")

    def __init__(self, offset: int, timestamp: int, value: bytes | None) -> None:
        """Without key and headers; `timestamp` in milliseconds."""
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = 0
        self.key: bytes | None = None
        self.value = value
        self.headers: list[tuple[str, bytes | None]] = []
        self.checksum = None


class SafeRecords:
    """The batches of one partition in one answer of the broker, in the shape of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes, *, batch_bytes: int, record_bytes: int) -> None:
        """`data` may end within a batch: a broker cuts where the answer is full."""
        self._data = data
        self._at = 0
        self._batch_bytes = batch_bytes
        self._record_bytes = record_bytes
        self._spent = [0]

    def size_in_bytes(self) -> int:
        """Of all batches, as they came."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether a whole batch is left, and memory to inflate it."""
        return self._next_end() <= len(self._data) and self._spent[0] < self._batch_bytes

    def next_batch(self) -> Any:
        """The next batch, not inflated yet; `None` when there is none."""
        end = self._next_end()
        if end > len(self._data):
            return None
        raw = self._data[self._at : end]
        self._at = end
        if len(raw) > _MAGIC_AT and raw[_MAGIC_AT] < 2:  # noqa: PLR2004 - the format since Kafka 0.11
            return LegacyRecordBatch(raw, raw[_MAGIC_AT])
        return SafeBatch(raw, self._batch_bytes, self._record_bytes, self._spent)

    def _next_end(self) -> int:
        if self._at + _OVERHEAD_BYTES > len(self._data):
            return len(self._data) + 1
        (length,) = struct.unpack_from("!i", self._data, self._at + _LENGTH_AT)
        return self._at + _OVERHEAD_BYTES + int(length) if length > 0 else len(self._data) + 1


class SafeBatch:
    """One batch; iterating gives a record for every offset in it, readable or not, and never raises."""

    def __init__(self, raw: bytes, batch_bytes: int, record_bytes: int, spent: list[int]) -> None:
        """What is inflated is added to `spent`."""
        self._raw = raw
        self._batch = DefaultRecordBatch(raw)
        self._batch_bytes = batch_bytes
        self._record_bytes = record_bytes
        self._spent = spent

    def __getattr__(self, name: str) -> Any:
        """Base offset, producer and the like are aiokafka's to read."""
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        """The first record: what a control batch is asked for."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        ahead = self._batch.base_offset
        reason = "the record batch holds fewer records than it says"
        body, cut = self._inflated()
        # aiokafka's own reader first: it is compiled. It ends at what it cannot read, ours goes on from there.
        for read in (self._compiled, self._lenient):
            records = read(body)
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes raise, the partition goes on
                    reason = f"the record batch cannot be read: {type(error).__name__}"
                    break
                if ahead <= record.offset < self._batch.next_offset:
                    ahead = record.offset + 1
                    yield self._bounded(record)
            if ahead >= self._batch.next_offset:
                return
        yield from self._unreadable(ahead, cut or reason, body)

    def _inflated(self) -> tuple[bytes, str]:
        """The plain bytes, and why they are not all of them."""
        compression = self._raw[_ATTRIBUTES_AT + 1] & _COMPRESSION
        body = self._raw[_HEADER_BYTES:]
        if not compression:
            return body, ""
        try:
            inflated = inflate(compression, body, self._batch_bytes)
        except InflateError as error:
            return b"", f"the record batch cannot be inflated: {error}"
        self._spent[0] += len(inflated.data)
        if inflated.whole:
            return inflated.data, ""
        return inflated.data, f"its batch inflates to more than {self._batch_bytes} bytes; what is beyond is not read"

    def _compiled(self, body: bytes) -> Iterator[Any]:
        header = bytearray(self._raw[:_HEADER_BYTES])
        header[_ATTRIBUTES_AT + 1] &= ~_COMPRESSION & 0xFF
        return iter(DefaultRecordBatch(bytes(header) + body))

    def _lenient(self, body: bytes) -> Iterator[PlainRecord]:
        """Every whole record, with header names that are no UTF-8 mended. Raises `IndexError`, `ValueError`."""
        at = 0
        for _ in range(self._count()):
            length, at = _varint(body, at)
            if length < 0 or at + length > len(body):
                raise ValueError("a record beyond the end")
            yield self._record(body[at : at + length])
            at += length

    def _record(self, body: bytes) -> PlainRecord:
        time_delta, at = _varint(body, 1)
        offset_delta, at = _varint(body, at)
        key, at = _sized(body, at)
        value, at = _sized(body, at)
        count, at = _varint(body, at)
        record = PlainRecord(self._batch.base_offset + offset_delta, self._time(time_delta), value)
        record.key = key
        for _ in range(min(count, len(body))):
            name, at = _sized(body, at)
            held, at = _sized(body, at)
            record.headers.append(((name or b"").decode("utf-8", "replace"), held))
        return record

    def _time(self, delta: int) -> int:
        batch = self._batch
        stamped = self._raw[_ATTRIBUTES_AT + 1] & _LOG_APPEND_TIME
        return int(batch.max_timestamp if stamped else batch.first_timestamp + delta)

    def _bounded(self, record: Any) -> Any:
        """The record; of a value that is larger than any record may be, the first bytes: many of them wait at once."""
        value = record.value
        if value is None or len(value) <= self._record_bytes:
            return record
        reason = f"it has {len(value)} bytes; more than {self._record_bytes} are not read"
        kept = PlainRecord(record.offset, record.timestamp, Unreadable(value[:MAX_MESSAGE_BYTES], reason, value))
        kept.key, kept.headers = record.key, record.headers
        return kept

    def _unreadable(self, first: int, reason: str, body: bytes) -> Iterator[PlainRecord]:
        """One record for each offset from the first that was not read."""
        left = self._batch.next_offset - first
        for number in range(min(left, _MOST_LETTERS)):
            more = left - _MOST_LETTERS if number == _MOST_LETTERS - 1 else 0
            said = f"{reason} (and {more} offsets behind it)" if more > 0 else reason
            kept = Unreadable(body[:_KEPT_BYTES] or self._raw[:_KEPT_BYTES], said)
            yield PlainRecord(first + number, self._time(0), kept)

    def _count(self) -> int:
        (count,) = struct.unpack_from("!i", self._raw, _COUNT_AT)
        return int(count)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint and where it ends. Raises `IndexError` at the end of `data`, `ValueError` beyond 64 bits."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - no more bytes follow
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:  # noqa: PLR2004 - the bits of a long
            raise ValueError("a number of more than 64 bits")


def _sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them; a negative length means none. Raises `ValueError` where they are cut."""
    size, at = _varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise ValueError("bytes beyond the end")
    return data[at : at + size], at + size
