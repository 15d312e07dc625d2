"""The ClickHouse engine inside this process, over one directory: statement in, bytes in the asked format out."""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import re
import sys
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import lz4.frame  # type: ignore[import-untyped]  # ships no types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DECOMPRESS_CHUNK_BYTES = 1024 * 1024

RESULT_STATEMENTS = frozenset(
    {b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK", b"FROM", b"("}
)

TOKEN = re.compile(
    rb"--[^\n]*|/\*.*?\*/|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\w+|[^\s\w]", re.DOTALL
)


class EngineError(Exception):
    """The engine cannot start; one line that says what to do."""


class QueryError(Exception):
    """A refused or failed statement, worded as ClickHouse does: ``Code: N. DB::Exception: ...``."""

    @property
    def code(self) -> int:
        """ClickHouse's error number, 0 where it gave none."""
        found = re.search(r"Code: (\d+)", str(self))
        return int(found[1]) if found else 0


class Result(Protocol):
    """What chDB returns for a statement."""

    def bytes(self) -> bytes:
        """The answer in the asked format."""

    def rows_read(self) -> int:
        """Rows of the answer; for an insert from a file, rows written."""

    def bytes_read(self) -> int:
        """Bytes of the same."""

    def storage_rows_read(self) -> int:
        """Rows that the statement read."""

    def elapsed(self) -> float:
        """Seconds."""

    def has_error(self) -> bool:
        """Whether `error_message()` says something."""

    def error_message(self) -> str:
        """The engine's message."""


class Handle(Protocol):
    """A chDB connection: `SET`, `USE` and temporary tables stick to it."""

    def query(self, sql: str | bytes, output_format: str, *, params: Mapping[str, str]) -> Result:
        """Run a statement; RuntimeError is what the engine said."""

    def close(self) -> None:
        """Let go of the engine, which ends with its last handle."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One request, decoded. `settings` apply to it alone; `params` fill ``{name:Type}`` places in `sql`."""

    sql: bytes
    output_format: str = "TabSeparated"
    database: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and statistics of a statement that ran. `format_name` is None where it has no result set."""

    body: bytes
    format_name: str | None
    summary: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """What must be known of a statement before it runs.

    `data_at` is where an ``INSERT ... FORMAT x`` ends and its rows begin, `options_at` where that head's
    ``[SETTINGS ...] FORMAT x`` begins; None for every other statement.
    """

    first: bytes
    format_name: str | None = None
    data_at: int | None = None
    options_at: int = 0


def shape_of(sql: bytes) -> Shape:
    """Read a statement's shape; raise QueryError for what would harm the directory."""
    words: list[bytes] = [b"", b""]
    first, format_name, options_at, depth, selects = b"", None, 0, 0, False
    for found in TOKEN.finditer(sql):
        token = found[0]
        if token.startswith((b"--", b"/*")):
            continue
        word = token.upper()
        first = first or word
        depth += (token in b"([{") - (token in b")]}")
        if word.strip(b'`"') == b"KAFKA" and b"ENGINE" in words[-1 - (words[-1] == b"=") :]:
            raise QueryError(
                "Code: 48. DB::Exception: ENGINE = Kafka is refused: the embedded engine cannot open a directory again"
                " that holds such a table; consume with a worker instead. (NOT_IMPLEMENTED)"
            )
        inserts = first == b"INSERT" and not selects and depth == 0
        if depth == 0 and words[-1] == b"FORMAT":
            format_name = token.decode(errors="replace")
            if inserts:
                return Shape(first, format_name, rows_begin(sql, found.end()), options_at)
        if inserts and word == b"VALUES":
            return Shape(first)
        if inserts and word in {b"FORMAT", b"SETTINGS"}:
            options_at = options_at or found.start()
        selects = selects or word in {b"SELECT", b"INFILE"}
        words = [words[-1], word]
    return Shape(first, format_name)


def rows_begin(sql: bytes, format_end: int) -> int:
    """Where the rows begin after ``FORMAT x``: past blanks and one line end, as ClickHouse's parser has it."""
    blank = re.compile(rb"[ \t\f]*\r?\n?").match(sql, format_end)
    return blank.end() if blank else format_end


def load_chdb() -> Any:
    """Load chDB's extension without its package, which imports pyarrow: 165 MB that the engine never uses."""
    package = importlib.util.find_spec("chdb")
    folders = package.submodule_search_locations if package else None
    files = sorted(Path(folders[0]).glob("_chdb*.so")) if folders else []
    if not files:
        raise EngineError("the embedded ClickHouse engine is not installed: pip install 'inferwatch[local]'")
    # chDB's own loader does this first: its allocator must win over one that is already loaded.
    ctypes.CDLL(str(files[0]), mode=sys.getdlopenflags() | os.RTLD_DEEPBIND)
    spec = importlib.util.spec_from_file_location("_chdb", files[0])
    if spec is None or spec.loader is None:
        raise EngineError(f"{files[0]} is no Python extension: reinstall with pip install 'inferwatch[local]'")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def own_directory(path: Path) -> int:
    """Lock the directory for this process; the descriptor holds the lock until the process ends."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise EngineError(
            f"{path} is owned by another engine process (pid {owner}): stop that one, or choose another directory"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


class Engine:
    """The engine over one directory. A statement gets a handle of its own, so that nothing of it sticks.

    A handle costs 0.2 ms. One more is kept open: the engine shuts down with its last handle. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Own and open the directory; EngineError when it cannot."""
        self._lock = own_directory(path)
        self._path = str(path)
        self._connect: Callable[[str], Handle] = load_chdb().connect
        self._keeper = self._connect(self._path)
        self._running = 0
        self._counting = threading.Lock()
        self.timezone = self._keeper.query("SELECT timezone()", "TabSeparated", params={}).bytes().decode().strip()

    def run(self, statement: Statement) -> Answer:
        """Run one statement to its end; QueryError is what the engine said."""
        with self._counting:
            self._running += 1
        try:
            shape = shape_of(statement.sql)
            handle = self._connect(self._path)
            try:
                return self._run_on(handle, statement, shape)
            finally:
                handle.close()
        except RuntimeError as error:  # chDB's only exception
            raise QueryError(str(error)) from None
        finally:
            with self._counting:
                self._running -= 1

    def _run_on(self, handle: Handle, statement: Statement, shape: Shape) -> Answer:
        if statement.database:
            handle.query(f"USE {quoted(statement.database, '`')}", "Null", params={})
        # `readonly` last: behind it no other setting may change.
        for late in (False, True):
            pairs = [pair for pair in statement.settings.items() if (pair[0] == "readonly") is late]
            if pairs:
                clause = ", ".join(f"{quoted(name, '`')} = {quoted(value, chr(39))}" for name, value in pairs)
                handle.query(f"SET {clause}", "Null", params={})
        if shape.data_at is not None:
            return insert_rows(handle, statement, shape, shape.data_at)
        result = checked(handle.query(statement.sql, statement.output_format, params=statement.params))
        body = result.bytes()
        summary = {"read_rows": str(result.storage_rows_read()), "read_bytes": str(result.bytes_read())}
        if shape.first == b"INSERT":  # for VALUES and SELECT chDB counts the rows that came in
            summary["written_rows"] = str(result.storage_rows_read())
        names_format = shape.first in RESULT_STATEMENTS or body
        format_name = (shape.format_name or statement.output_format) if names_format else None
        return Answer(body, format_name, summary | {"elapsed_ns": str(int(result.elapsed() * 1e9))})

    def close(self) -> None:
        """Close the engine when nothing runs; else leave it to the end of the process, which loses no written row."""
        if not self._running:
            self._keeper.close()


def insert_rows(handle: Handle, statement: Statement, shape: Shape, data_at: int) -> Answer:
    """Run ``INSERT ... FORMAT x`` with its rows in an anonymous file: chDB cannot take binary rows inside the SQL."""
    rows = os.memfd_create("rows")
    try:
        left = memoryview(statement.sql)[data_at:]
        while left:
            left = left[os.write(rows, left) :]
        head, options = statement.sql[: shape.options_at], statement.sql[shape.options_at : data_at]
        sql = head + f" FROM INFILE '/proc/self/fd/{rows}' ".encode() + options
        result = checked(handle.query(sql, "Null", params=statement.params))
    finally:
        os.close(rows)
    written = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
    return Answer(b"", None, written | {"elapsed_ns": str(int(result.elapsed() * 1e9))})


def checked(result: Result) -> Result:
    """Return the result, or raise the error that chDB put inside it."""
    if result.has_error():
        raise QueryError(result.error_message())
    return result


def quoted(text: str, quote: str) -> str:
    """Quote an identifier or a string literal for ClickHouse."""
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def decompress(body: bytes, encoding: str) -> bytes:
    """Undo a Content-Encoding; every frame of it, since clickhouse-connect sends one for each block of rows."""
    makers: dict[str, Callable[[], Any]] = {
        "lz4": lz4.frame.LZ4FrameDecompressor,
        "zstd": zstd.ZstdDecompressor,
        "gzip": lambda: zlib.decompressobj(wbits=31),
        "deflate": zlib.decompressobj,
    }
    if encoding in {"", "identity"} or not body:
        return body
    if encoding not in makers:
        raise QueryError(
            f"Code: 36. DB::Exception: Content-Encoding {encoding}: one of {', '.join(makers)}. (BAD_ARGUMENTS)"
        )
    unit, parts = makers[encoding](), []
    try:
        for start in range(0, len(body), DECOMPRESS_CHUNK_BYTES):
            piece = body[start : start + DECOMPRESS_CHUNK_BYTES]
            while piece:
                unit = makers[encoding]() if unit.eof else unit
                parts.append(unit.decompress(piece))
                piece = (unit.unused_data or b"") if unit.eof else b""
    except (RuntimeError, zlib.error, zstd.ZstdError) as error:
        raise QueryError(f"Code: 271. DB::Exception: {encoding} body: {error}. (CANNOT_DECOMPRESS)") from None
    if not unit.eof:
        raise QueryError(f"Code: 271. DB::Exception: {encoding} body ends inside a frame. (CANNOT_DECOMPRESS)")
    return b"".join(parts)
