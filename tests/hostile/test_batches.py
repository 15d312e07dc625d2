"""Record batches are read as aiokafka reads them, and where it would raise or swell, they are read on."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from aiokafka.record.memory_records import MemoryRecords

from streams.batches import PlainRecord, SafeRecords
from streams.dlq import Unreadable
from streams.inflating import GZIP, SNAPPY, ZSTD, InflateError, inflate
from tests.hostile.kafka_batches import COMPRESS, NAMES, batch, bomb, compressed, record

LIMIT = 1_000_000
KINDS = sorted(NAMES)


def named(compression: int) -> str:
    return NAMES[compression]


def read(data: bytes, batch_bytes: int = LIMIT, record_bytes: int = LIMIT) -> list[PlainRecord]:
    """Everything in one answer, as aiokafka's fetcher goes through it."""
    records = SafeRecords(data, batch_bytes=batch_bytes, record_bytes=record_bytes)
    found: list[PlainRecord] = []
    while records.has_next():
        found += records.next_batch()
    return found


def some(compression: int, count: int = 5, base_offset: int = 0) -> bytes:
    records = [record(number, b"value %d" % number, [(b"content-type", b"a/b")]) for number in range(count)]
    return compressed(records, compression, base_offset)


@pytest.mark.parametrize("compression", KINDS, ids=named)
def test_good_batches_are_read_as_aiokafka_reads_them(compression: int) -> None:
    data = some(compression) + some(compression, 3, 5) + some(0)[:40]
    theirs = MemoryRecords(data)
    expected = []
    while theirs.has_next():
        expected += [(each.offset, each.value, each.timestamp, each.key, each.headers) for each in theirs.next_batch()]
    assert [(each.offset, each.value, each.timestamp, each.key, each.headers) for each in read(data)] == expected
    assert len(expected) == 8


@pytest.mark.parametrize("compression", KINDS, ids=named)
def test_a_header_name_that_is_no_utf_8_costs_nobody_anything(compression: int) -> None:
    records = [record(0, b"a"), record(1, b"b", [(b"\xff\xfe", b"x"), (b"content-type", b"y")]), record(2, b"c")]
    data = compressed(records, compression)
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(data).next_batch())
    found = read(data)
    assert [(each.offset, each.value) for each in found] == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert found[1].headers == [("\ufffd\ufffd", b"x"), ("content-type", b"y")]


@pytest.mark.parametrize("compression", [GZIP, ZSTD], ids=named)
def test_a_bomb_is_one_unreadable_record_and_never_inflated(compression: int) -> None:
    data = bomb(500_000_000, compression)
    assert len(data) < 1_000_000
    tracemalloc.start()
    (found,) = read(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found.value, Unreadable)
    assert "inflates to more than 1000000 bytes" in found.value.reason
    assert most < 10 * LIMIT


@pytest.mark.parametrize("compression", sorted(COMPRESS), ids=named)
def test_what_is_before_the_limit_in_a_batch_is_read(compression: int) -> None:
    records = [record(0, b"first"), record(1, bytes(3 * LIMIT)), record(2, b"last")]
    found = read(compressed(records, compression), batch_bytes=LIMIT)
    assert [each.offset for each in found] == [0, 1, 2]
    readable = [each.value for each in found if not isinstance(each.value, Unreadable)]
    assert readable == ([] if compression == SNAPPY else [b"first"])


@pytest.mark.parametrize("compression", sorted(COMPRESS), ids=named)
def test_damage_in_a_compressed_batch_makes_its_records_unreadable(compression: int) -> None:
    packed = bytearray(COMPRESS[compression](b"".join(record(number, b"v" * 500) for number in range(3))))
    packed[5:25] = bytes(20)
    found = read(batch(bytes(packed), 3, compression))
    assert [each.offset for each in found] == [0, 1, 2]
    assert isinstance(found[-1].value, Unreadable)


def test_a_value_larger_than_a_record_may_be_is_cut_and_says_what_it_was() -> None:
    (found,) = read(compressed([record(0, b"x" * 3_000_000)], GZIP), batch_bytes=9_000_000, record_bytes=2_000_000)
    assert isinstance(found.value, Unreadable)
    assert found.value.size_bytes == 3_000_000
    assert found.value.reason == "it has 3000000 bytes; more than 2000000 are not read"
    assert len(found.value) == 1_000_000


def test_a_batch_that_claims_two_billion_records_is_a_thousand_dead_letters_and_says_so() -> None:
    found = read(batch(record(0, b"a"), 1, last=2_000_000_000))
    assert len(found) == 1_001
    assert found[0].value == b"a"
    assert isinstance(found[-1].value, Unreadable) and "1999999000 offsets behind it" in found[-1].value.reason


def test_an_answer_full_of_large_batches_is_not_inflated_at_once() -> None:
    answer = b"".join(compressed([record(0, bytes(900_000))], ZSTD, offset) for offset in range(50))
    records = SafeRecords(answer, batch_bytes=LIMIT, record_bytes=LIMIT)
    inflated = 0
    while records.has_next():
        inflated += len(list(records.next_batch()))
    assert inflated == 2


@pytest.mark.parametrize("compression", KINDS, ids=named)
def test_whatever_is_broken_in_a_batch_every_offset_comes_once(compression: int) -> None:
    draw = random.Random(compression)
    for _ in range(400):
        payload = bytearray(b"".join(record(number, draw.randbytes(20), [(b"k", b"v")]) for number in range(6)))
        for _ in range(draw.randint(1, 4)):
            payload[draw.randrange(len(payload))] = draw.randrange(256)
        packed = bytearray(COMPRESS[compression](bytes(payload)) if compression else payload)
        if draw.random() < 0.5:
            packed[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
        offsets = [each.offset for each in read(batch(bytes(packed), 6, compression, base_offset=40))]
        assert offsets == sorted(set(offsets))
        assert offsets[0] >= 40 and offsets[-1] == 45


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(InflateError, match="not known"):
        inflate(7, b"x", 10)
