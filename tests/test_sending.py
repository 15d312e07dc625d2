"""A file becomes the records that an application would have sent, at the pace that was asked for."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streams import sending
from streams.pipeline import discover_codecs
from streams.sending import LINES_PER_RECORD, RECORD_BYTES, FileError, Pace, first_time_s, records, send_file
from streams.settings import Settings, SettingsError

FIXTURES = Path(__file__).parent / "fixtures"
NOTHING = io.BytesIO()


def read(content: bytes) -> list[bytes]:
    return list(records("-", io.BytesIO(content)))


def line(number: int) -> bytes:
    return b'{"deployment":"d","n":%d}' % number


def lines_of(values: list[bytes]) -> list[bytes]:
    return [each for value in values for each in value.splitlines() if each.strip()]


@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 100, 101, 1_000])
def test_lines_of_objects_are_packed_and_none_is_lost(count: int) -> None:
    lines = [line(number) for number in range(count)]
    packed = read(b"\n".join(lines))
    assert lines_of(packed) == lines
    assert len(packed) == -(-count // LINES_PER_RECORD)


def test_windows_line_ends_and_a_last_line_end_make_no_difference() -> None:
    assert lines_of(read(line(1) + b"\r\n" + line(2) + b"\r\n")) == [line(1), line(2)]


def test_blank_lines_are_skipped_however_many_there_are() -> None:
    content = line(1) + b"\n" + b"\n" * (3 * LINES_PER_RECORD) + line(2) + b"\n \n" + line(3)
    assert lines_of(read(content)) == [line(1), line(2), line(3)]


def test_long_lines_are_packed_up_to_a_size_that_every_worker_reads() -> None:
    lines = [b'{"deployment":"%s"}' % (b"d" * 200_000) for _ in range(12)]
    packed = read(b"\n".join(lines))
    assert lines_of(packed) == lines
    assert max(map(len, packed)) <= RECORD_BYTES < Settings().max_record_bytes
    assert len(packed) == 3


def test_a_line_that_is_larger_than_a_record_should_be_is_a_record_alone() -> None:
    large = b'{"deployment":"%s"}' % (b"d" * (RECORD_BYTES + 1))
    assert [len(lines_of([value])) for value in read(b"\n".join([line(1), large, line(2)]))] == [1, 1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "otlp/current_names.input.json",
        "otlp/current_names_as_protobuf.input.pb",
        "native/classic_model_array.input.json",
        "azure/event_hub_envelope.input.json",
    ],
)
def test_a_document_is_one_record_byte_for_byte(name: str) -> None:
    content = (FIXTURES / name).read_bytes()
    assert list(records(str(FIXTURES / name), NOTHING)) == [content]


def test_a_protobuf_export_with_line_feeds_inside_is_one_record() -> None:
    content = b"\n{\n{}\n}\n" * 300
    assert read(content) == [content]


def test_a_pretty_printed_object_is_one_record() -> None:
    content = b'{\n  "deployment": "d"\n}\n'
    assert read(content) == [content]


def test_a_packed_file_decodes_to_the_events_of_its_lines() -> None:
    codec = discover_codecs()["native"]
    content = b"\n".join(line(number) for number in range(120))
    decoded = [item for value in read(content) for item in codec.decode(value).items]
    assert [getattr(item, "n", None) for item in decoded] == list(range(120))


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_input_is_at_most_an_empty_record(content: bytes) -> None:
    assert b"".join(read(content)).strip() == b""


def test_a_packed_file_is_unpacked_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "log.ndjson.gz"
    file.write_bytes(gzip.compress(b"\n".join(map(line, range(3)))))
    assert lines_of(list(records(str(file), NOTHING))) == [line(0), line(1), line(2)]


def cut_short(packed: bytes) -> bytes:
    return packed[:-20]


def flipped(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes(256 - byte - 1 for byte in packed[middle : middle + 40]) + packed[middle + 40 :]


def no_gzip(_packed: bytes) -> bytes:
    return b"plain text"


@pytest.mark.parametrize("damage", [cut_short, flipped, no_gzip])
def test_a_damaged_archive_is_one_line_that_names_the_file(tmp_path: Path, damage: object) -> None:
    file = tmp_path / "log.gz"
    content = msgspec.json.encode([{"deployment": str(number * 7_919)} for number in range(2_000)])
    file.write_bytes(damage(gzip.compress(content)))  # type: ignore[operator] # one of the three above
    with pytest.raises(FileError) as caught:
        list(records(str(file), NOTHING))
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent: No such file or directory"):
        list(records(str(tmp_path / "absent"), NOTHING))
    with pytest.raises(FileError, match="Is a directory"):
        list(records(str(tmp_path), NOTHING))


def test_an_unknown_format_is_refused_before_anything_is_connected() -> None:
    with pytest.raises(SettingsError, match=r"--format: 'nativ' is not accepted; one of azure, bedrock"):
        send_file(Settings(), "-", NOTHING, "nativ", Pace(0, 0))


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    fake = Clock()
    monkeypatch.setattr(sending, "time", fake)
    return fake


def test_a_rate_spaces_records_evenly(clock: Clock) -> None:
    pace = Pace(rate=4.0, speed=0.0)
    for _ in range(5):
        pace.wait(lambda: pytest.fail("event times were asked for although nobody wants their pace"))
    assert clock.slept_s == pytest.approx([0.0, 0.25, 0.25, 0.25, 0.25])


def test_what_a_slow_broker_cost_is_caught_up_with(clock: Clock) -> None:
    pace = Pace(rate=1.0, speed=0.0)
    pace.wait(lambda: None)
    clock.now_s += 2.5
    for _ in range(3):
        pace.wait(lambda: None)
    assert clock.slept_s == pytest.approx([0.0, 0.0, 0.0, 0.5])


@pytest.mark.parametrize(("speed", "slept_s"), [(1.0, [0.0, 10.0, 20.0]), (10.0, [0.0, 1.0, 2.0])])
def test_a_speed_keeps_the_pace_of_the_events(clock: Clock, speed: float, slept_s: list[float]) -> None:
    pace = Pace(rate=0.0, speed=speed)
    for happened_s in (500.0, 510.0, 530.0):
        pace.wait(lambda now_s=happened_s: now_s)
    assert clock.slept_s == pytest.approx(slept_s)


def test_records_without_a_time_or_out_of_order_go_at_once(clock: Clock) -> None:
    pace = Pace(rate=0.0, speed=1.0)
    for happened_s in (None, 500.0, 400.0, None):
        pace.wait(lambda now_s=happened_s: now_s)
    assert clock.slept_s == [0.0, 0.0, 0.0, 0.0]


def test_without_rate_and_speed_nothing_waits(clock: Clock) -> None:
    pace = Pace(rate=0.0, speed=0.0)
    pace.wait(lambda: None)
    pace.wait(lambda: None)
    assert clock.slept_s == [0.0, 0.0]


@pytest.mark.parametrize(
    ("input_format", "value", "time_s"),
    [
        ("", b'[{"deployment":"d"},{"deployment":"d","time_s":5.5}]', 5.5),
        ("native", b'{"deployment":"d","time_s":7.0}', 7.0),
        ("", b'{"deployment":"d"}', None),
        ("", b"not a log", None),
        ("bedrock", b"]", None),
    ],
)
def test_the_time_of_a_record_is_that_of_its_first_event_with_one(
    input_format: str, value: bytes, time_s: float | None
) -> None:
    assert first_time_s(discover_codecs(), input_format, value) == time_s


@pytest.mark.parametrize("unit", [b"x", b"{\n"], ids=["one line", "one document"])
def test_a_few_kilobytes_that_unpack_to_what_no_record_may_be_are_refused_before_they_fill_the_memory(
    tmp_path: Path, unit: bytes
) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(unit * (1_000_000 // len(unit)))
    with pytest.raises(FileError, match=r"bomb.gz: .* more than 32000000 bytes"):
        list(records(str(path), io.BytesIO()))
