"""A file of logs as records, whatever the format: what `send` puts on Kafka and `replay` feeds to the pipeline.

Lines may be notices of changes and of components too (`provenance`): each of those is a record of its own, at its
place.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from streams.codecs import Decoded, UndecodableError
from streams.components.provenance import CHANGE, COMPONENT_REPORT, NoticeError, Said, checked, decode, kind_of
from streams.pipeline import Codec, discover_codecs
from streams.producer import RecordProducer
from streams.security import kafka_python_options
from streams.settings import Settings, SettingsError
from streams.topics import CHANGES, COMPONENT_REPORTS, INFERENCE_LOGS, LARGEST_RECORD_BYTES, full_name

LINES_PER_RECORD = 50

NOTICE_TOPICS = {CHANGE: CHANGES, COMPONENT_REPORT: COMPONENT_REPORTS}
"""Where each kind of notice goes."""

RECORD_BYTES = 1_000_000
"""Lines are packed up to here: fifty long conversations in one record would be more than a worker reads."""


_TOO_LARGE = f"a line, or a document, of more than {LARGEST_RECORD_BYTES} bytes is no record that Kafka takes"


class FileError(Exception):
    """A file that cannot be read; the message is one line."""


def records(path: str, stdin: BinaryIO) -> Iterator[bytes]:
    """The records in `path` (``-``: standard input; ``.gz`` is unpacked), in order.

    Lines of JSON objects are packed, up to `LINES_PER_RECORD` or `RECORD_BYTES` to a record; any other content, a
    JSON document or a protobuf export, is one record. Raises `FileError`.
    """
    try:
        if path == "-":
            yield from _split(stdin)
        elif path.endswith(".gz"):
            with gzip.open(path, "rb") as unpacked:
                yield from _split(unpacked)
        else:
            with Path(path).open("rb") as file:
                yield from _split(file)
    except FileError as error:
        raise FileError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(
            f"{path}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
        ) from None


def _split(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    lines = _lines(file)
    first = next(lines, b"")
    second = next(lines, b"")
    head = [line for line in (first, second) if line]
    if not head:
        return
    if _is_object(first) and (not second.strip() or _is_object(second)):
        yield from packed(line for line in itertools.chain(head, lines) if line.strip())
    else:
        yield b"".join(_bounded(itertools.chain(head, lines)))


def _lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """Lines as far as a record may be long: a few kilobytes of ``.gz`` may unpack to one line that fills the memory."""
    while line := file.readline(LARGEST_RECORD_BYTES + 1):
        if len(line) > LARGEST_RECORD_BYTES:
            raise FileError(_TOO_LARGE)
        yield line


def _bounded(lines: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for line in lines:
        size += len(line)
        if size > LARGEST_RECORD_BYTES:
            raise FileError(_TOO_LARGE)
        yield line


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends as records: events packed, each notice on its own, all of it in order."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        is_notice = kind_of(line) is not None
        if batch and (is_notice or len(batch) == LINES_PER_RECORD or size + len(line) > RECORD_BYTES):
            yield b"".join(batch)
            batch, size = [], 0
        if is_notice:
            yield line
            continue
        batch.append(line)
        size += len(line)
    if batch:
        yield b"".join(batch)


def _is_object(line: bytes) -> bool:
    """Whether a line is an object on its own, rather than the first line of a longer document."""
    stripped = line.strip()
    return stripped.startswith(b"{") and stripped.endswith(b"}")


class Sent(msgspec.Struct, kw_only=True):
    """How much was sent; `notices` of the records are changes and reports of components."""

    records: int = 0
    size_bytes: int = 0
    notices: int = 0


def send_file(settings: Settings, path: str, stdin: BinaryIO, input_format: str, pace: Pace) -> Sent:
    """Send a file's records and return when all are durable; progress goes to standard error.

    What stands in one file stays in order: its records share a key and so a partition, since hours that are sent in
    seconds would otherwise reach the detectors shuffled. Notices go to topics of their own, and a worker may see one
    some calls sooner or later than it is in the file: `replay` keeps the order. Raises `FileError`, `BrokerError`,
    `SettingsError`.
    """
    codecs = discover_codecs()
    if input_format and input_format not in codecs:
        raise SettingsError(f"--format: {input_format!r} is not accepted; one of {', '.join(codecs)}")
    content_type = min(codecs[input_format].CONTENT_TYPES) if input_format else None
    sent = Sent()
    columns = (*Progress.get_default_columns()[:1], TextColumn("{task.completed} records"), TimeElapsedColumn())
    topic = full_name(settings, INFERENCE_LOGS)
    with (
        RecordProducer(settings.kafka_brokers, topic, **kafka_python_options(settings)) as producer,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task(path, total=None)
        for value in records(path, stdin):
            pace.wait(functools.partial(first_time_s, codecs, input_format, value))
            sent.notices += send_record(settings, producer, value, content_type, path.encode("utf-8", "replace"))
            sent.records += 1
            sent.size_bytes += len(value)
            progress.advance(task)
    return sent


def send_record(
    settings: Settings, producer: RecordProducer, value: bytes, content_type: str | None, source: bytes
) -> bool:
    """Send one record where it belongs, and say whether it is a notice; logs of one `source` stay in order.

    Raises `BrokerError`.
    """
    kind = kind_of(value)
    if kind is None:
        producer.send(value, content_type, key=source)
        return False
    try:
        key = decode(kind, value).deployment.encode()
    except NoticeError:
        key = None  # a dead letter soon, which says why
    producer.send(value, topic=full_name(settings, NOTICE_TOPICS[kind]), key=key)
    return True


def send_notice(settings: Settings, said: Said) -> None:
    """Send one notice and return when it is durable. Raises `BrokerError`; `NoticeError` for what no worker takes."""
    value = checked(said)
    with RecordProducer(settings.kafka_brokers, **kafka_python_options(settings)) as producer:
        send_record(settings, producer, value, None, b"")


class Pace:
    """When the next record is due: at a rate, at the events' own pace, or at once."""

    def __init__(self, rate: float, speed: float) -> None:
        """`rate` in records per second, `speed` as a multiple of the events' own pace; 0 switches either off."""
        self._gap_s = 1.0 / rate if rate > 0 else 0.0
        self._speed = speed
        self._began_s = time.monotonic()
        self._sent = 0
        self._first_s: float | None = None

    def wait(self, event_time_s: Callable[[], float | None]) -> None:
        """Sleep until the next record is due; `event_time_s` is only asked where the pace is the events' own."""
        due_s = self._began_s + self._sent * self._gap_s
        self._sent += 1
        happened_s = event_time_s() if self._speed > 0 else None
        if happened_s is not None:
            if self._first_s is None:
                self._first_s = happened_s
            due_s = max(due_s, self._began_s + (happened_s - self._first_s) / self._speed)
        time.sleep(max(due_s - time.monotonic(), 0.0))


def first_time_s(codecs: Mapping[str, Codec], input_format: str, value: bytes) -> float | None:
    """When the first event of a record happened, or a notice was said; `None` when it does not say."""
    kind = kind_of(value)
    if kind is not None:
        try:
            return decode(kind, value).said_s
        except NoticeError:
            return None
    claims = [codecs[input_format]] if input_format else [each for each in codecs.values() if each.sniff(value)]
    try:
        decoded: Decoded = claims[0].decode(value)
    except (IndexError, UndecodableError):
        return None
    times = (getattr(item, "time_s", None) for item in decoded.items)
    return next((time_s for time_s in times if time_s is not None), None)
