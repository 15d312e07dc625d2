"""Asks a named question: values bound by the server, limits that cut what runs away, progress while it runs.

`ask` gives rows, `ask_as` the bytes of a form that the server writes (Parquet, JSON). Both send the question's SQL as
it stands in its file; all that is added behind it are settings and a form, which are constants of this module.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from streams.clickhouse import LimitError, Store, StoreError
from streams.forensics.questions import Question
from streams.forensics.values import typed
from streams.replies import Reply

Form = Literal["JSON", "CSV", "Parquet"]

_FORMATS: Final[Mapping[Form, str]] = {"JSON": "JSON", "CSV": "CSVWithNames", "Parquet": "Parquet"}
_STREAMED = "JSONEachRowWithProgress"

_SHAPE: Final[Mapping[str, str]] = {
    "date_time_output_format": "'iso'",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_denormals": "0",
    "output_format_json_named_tuples_as_objects": "1",
    "output_format_json_validate_utf8": "1",
    "output_format_write_statistics": "0",
    "do_not_merge_across_partitions_select_final": "1",
}
"""The same bytes for the same answer: times in UTC with a Z, whole numbers as they are, no seconds that it took."""

_ADVICE: Final[Mapping[str, str]] = {
    "TIMEOUT_EXCEEDED": "it ran longer than {limits.seconds:g} s",
    "TOO_SLOW": "it would run longer than {limits.seconds:g} s",
    "TOO_MANY_ROWS": "it would read more than {limits.rows:,} rows",
    "TOO_MANY_BYTES": "it would read more than {limits.size_bytes:,} bytes",
    "TOO_MANY_ROWS_OR_BYTES": "its answer has more than {limits.answer_rows:,} rows or {limits.answer_bytes:,} bytes",
    "MEMORY_LIMIT_EXCEEDED": "it needs more memory than {limits.memory_bytes:,} bytes, or than this user may have",
    "QUOTA_EXCEEDED": "this user has used up what it may read for now",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one question may cost; a server may allow its user less.

    They prevent the outage in which an investigation starves the inserts of the workers: one wide question over a
    year of events would take all cores, the page cache and the memory for minutes.
    """

    seconds: float = 30.0
    rows: int = 1_000_000_000
    size_bytes: int = 200_000_000_000
    memory_bytes: int = 1_000_000_000
    answer_rows: int = 100_000
    answer_bytes: int = 200_000_000


class Progress(NamedTuple):
    """How far a question is; `rows_to_read` is the server's guess, 0 where it has none."""

    rows_read: int
    bytes_read: int
    rows_to_read: int
    elapsed_s: float


class Named(NamedTuple):
    """A column of an answer: its type is the server's word for it."""

    name: str
    kind: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as values of JSON: times are texts such as ``2026-11-22T14:05:00.000000Z``, maps are dicts."""

    columns: tuple[Named, ...]
    rows: tuple[tuple[Any, ...], ...]
    rows_read: int
    bytes_read: int
    elapsed_s: float

    @property
    def cost(self) -> Progress:
        """What it took to answer."""
        return Progress(self.rows_read, self.bytes_read, 0, self.elapsed_s)


class CutError(StoreError):
    """A question that ran into a limit; one line that says which, and what to do."""


def statement(question: Question, form: str, limits: Limits, *, reads_only: bool = False) -> str:
    """What is sent: the question's own SQL, settings, a form. `reads_only`: the server insists on reading by itself."""
    settings = {
        **_SHAPE,
        "max_execution_time": f"{limits.seconds:g}",
        "max_rows_to_read": str(limits.rows),
        "max_bytes_to_read": str(limits.size_bytes),
        "max_memory_usage": str(limits.memory_bytes),
        "max_result_rows": str(limits.answer_rows),
        "max_result_bytes": str(limits.answer_bytes),
        **({} if reads_only else {"readonly": "1"}),
    }
    clause = ", ".join(f"{name} = {value}" for name, value in settings.items())
    return f"{question.sql}\nSETTINGS {clause}\nFORMAT {form}"


def ask(
    store: Store,
    question: Question,
    values: Mapping[str, str],
    *,
    limits: Limits | None = None,
    told: Callable[[Progress], None] | None = None,
) -> Answer:
    """The answer to a question. Raises `StoreError`, of which `CutError`, and `ValueRefusedError`.

    `told` hears of progress as the server reads; an engine that answers at once tells of it at the end.
    """
    limits = limits or Limits()
    bound = typed(question, values, time.time())
    columns: tuple[Named, ...] = ()
    rows: list[tuple[Any, ...]] = []
    progress = Progress(0, 0, 0, 0.0)
    started_s = time.monotonic()
    try:
        sql = statement(question, _STREAMED, limits, reads_only=store.reads_only)
        for said in _documents(store.read(sql, bound, whole=False)):
            if "row" in said:
                rows.append(tuple(said["row"][each.name] for each in columns))
            elif "meta" in said:
                columns = tuple(Named(each["name"], each["type"]) for each in said["meta"])
            elif "progress" in said:
                progress = _progress(said["progress"])
                if told is not None:
                    told(progress)
    except StoreError as error:
        raise _failed(store, question, error, limits) from error
    return Answer(
        columns=columns,
        rows=tuple(rows),
        rows_read=progress.rows_read,
        bytes_read=progress.bytes_read,
        elapsed_s=time.monotonic() - started_s,
    )


def ask_as(
    store: Store,
    question: Question,
    values: Mapping[str, str],
    form: Form,
    *,
    limits: Limits | None = None,
    told: Callable[[Progress], None] | None = None,
) -> Iterator[bytes]:
    """The answer in a form of the server's: the same bytes for the same rows. Raises as `ask` does.

    Its CSV is not for a spreadsheet: cells that a spreadsheet would run stay as they are (`cells.csv_of` escapes).
    """
    limits = limits or Limits()
    bound = typed(question, values, time.time())
    started_s = time.monotonic()
    try:
        reply = store.read(statement(question, _FORMATS[form], limits, reads_only=store.reads_only), bound, whole=True)
        yield from reply
    except StoreError as error:
        raise _failed(store, question, error, limits) from error
    if told is not None:
        told(_progress(reply.summary)._replace(elapsed_s=time.monotonic() - started_s))


def _documents(reply: Reply) -> Iterator[dict[str, Any]]:
    """The lines of a streamed answer. One that is no JSON of its own is the beginning of what went wrong."""
    left = b""
    pieces = iter(reply)
    for piece in pieces:
        *lines, left = (left + piece).split(b"\n")
        for number, line in enumerate(lines):
            said = _document(line)
            if said is None:
                reply.fail(b"\n".join([*lines[number:], left, *pieces]))
            yield said
    if left:
        said = _document(left)
        if said is None:
            reply.fail(left)
        yield said


def _document(line: bytes) -> dict[str, Any] | None:
    """What a line says; `None` for what went wrong, which some servers spread over lines and some wrap."""
    if not line.strip():
        return {}
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "exception" not in said else None


def _progress(said: Mapping[str, str]) -> Progress:
    elapsed_s = int(said.get("elapsed_ns", 0)) / 1e9
    rows, size_bytes, of = (int(said.get(name, 0)) for name in ("read_rows", "read_bytes", "total_rows_to_read"))
    return Progress(rows, size_bytes, of, elapsed_s)


def _failed(store: Store, question: Question, error: StoreError, limits: Limits) -> StoreError:
    """What to say of it; whoever asks next is not given the rest of this answer."""
    store.renew()
    if not isinstance(error, LimitError):
        return error
    why = _ADVICE.get(error.code, error.code).format(limits=limits)
    times = "a shorter time (since, until)" if any(each.name == "since" for each in question.parameters) else "less"
    return CutError(f"{question.name} was cut: {why}; ask for {times}, or one deployment where it takes one")
