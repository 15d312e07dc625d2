"""The catalog of named questions: files of SQL whose header says what they ask, take, answer and cost.

A file is ``streams/forensics/<name>.sql``: lines of ``-- key: value`` first (two blanks behind the dashes go on with
the line before), then one SELECT in which every value is a bound parameter. The parser is strict, because what it lets
pass runs against evidence: a header that does not fit its SQL is a `QuestionError` and fails a test.

    -- question: Who first sent this token?
    -- parameter: token String -- a word, as it stands in prompts
    -- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when
    -- column: first DateTime64(6, 'UTC') -- when it was first seen
    -- column: latency_p95_s Float64 s -- 95th percentile of the latency
    -- text: no
    -- cost: reads the index and one granule a hit
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from types import MappingProxyType
from typing import Final, Literal, cast, get_args

import msgspec

from streams import forensics

Kind = Literal[
    "String",
    "Array(String)",
    "DateTime64(3, 'UTC')",
    "DateTime64(6, 'UTC')",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Int64",
    "Float64",
    "Bool",
]
"""Types of ClickHouse that a parameter may have: each has one way to be typed by a person."""

KINDS: Final = frozenset(get_args(Kind))

_KEYS = ("question", "parameter", "column", "text", "cost")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PLACE = re.compile(r"\{([^{}:]*):([^{}]*)\}")
_TYPE = r"[A-Z][A-Za-z0-9]*(?:\([^\n]*?\))?"
_PARAMETER = re.compile(rf"(\w+) ({_TYPE})(?: = (.*?))? -- (.+)")
_COLUMN = re.compile(rf"(\w+) ({_TYPE})(?: ([\w%/.]+))? -- (.+)")
_SECOND_CLAUSE = re.compile(r"\b(?:SETTINGS\s+\w|FORMAT\s+\w|INTO\s+OUTFILE)", re.IGNORECASE)
_OUTSIDE = re.compile(
    r"\b(?:url|file|s3|remote|remoteSecure|executable|mysql|postgresql|jdbc|odbc|hdfs|input|cluster)\s*\(",
    re.IGNORECASE,
)


class QuestionError(Exception):
    """A file that is no question, or a name that none has; one line."""


class Parameter(msgspec.Struct, frozen=True):
    """What a question takes. `default` is text as a person would type it; None: it must be given."""

    name: str
    kind: Kind
    default: str | None
    about: str


class Column(msgspec.Struct, frozen=True):
    """What a question answers with; `unit` is empty where there is none."""

    name: str
    kind: str
    unit: str
    about: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A named question. `texts` says that it reads raw texts of calls, shown or not: who asks it must say why."""

    name: str
    question: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    texts: bool
    cost: str
    sql: str


@functools.cache
def questions() -> MappingProxyType[str, Question]:
    """All questions by name. Raises `QuestionError`."""
    files = [each for each in importlib.resources.files(forensics).iterdir() if each.name.endswith(".sql")]
    found = (parse(each.name.removesuffix(".sql"), each.read_text("utf-8")) for each in files)
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda one: one.name)})


def named(name: str) -> Question:
    """The question of that name. Raises `QuestionError`, which lists the others."""
    found = questions().get(name)
    if found is None:
        raise QuestionError(f"there is no question of that name; one of {', '.join(questions())}")
    return found


def parse(name: str, text: str) -> Question:
    """A question from its file. Raises `QuestionError`."""
    try:
        asked = _read(name, text)
        _check(asked)
    except QuestionError as error:
        raise QuestionError(f"{name}.sql: {error}") from None
    return asked


def _read(name: str, text: str) -> Question:
    if not _NAME.fullmatch(name):
        raise QuestionError("a name is lower-case letters, digits and underscores")
    header, sql = _split(text)
    for key in ("question", "text", "cost"):
        if len(header[key]) != 1:
            raise QuestionError(f"one line of `-- {key}:` is needed, there are {len(header[key])}")
    if header["text"][0] not in {"yes", "no"}:
        raise QuestionError("text: yes or no")
    return Question(
        name=name,
        question=header["question"][0],
        parameters=tuple(_parameter(each) for each in header["parameter"]),
        columns=tuple(_column(each) for each in header["column"]),
        texts=header["text"][0] == "yes",
        cost=header["cost"][0],
        sql=sql,
    )


def _split(text: str) -> tuple[dict[str, list[str]], str]:
    header: dict[str, list[str]] = {key: [] for key in _KEYS}
    lines = text.splitlines()
    last: list[str] | None = None
    for number, line in enumerate(lines):
        if not line.startswith("--"):
            return header, "\n".join(lines[number:]).strip()
        if last is not None and line.startswith("--  "):
            last[-1] += f" {line[2:].strip()}"
            continue
        key, colon, value = line[2:].strip().partition(": ")
        if not colon or key not in header or not value.strip():
            raise QuestionError(f"line {number + 1}: one of {', '.join(_KEYS)}, a colon and a value")
        last = header[key]
        last.append(value.strip())
    raise QuestionError("there is no SELECT behind the header")


def _parameter(line: str) -> Parameter:
    found = _PARAMETER.fullmatch(line)
    if found is None or not _NAME.fullmatch(found[1]):
        raise QuestionError(f"parameter: {line!r} is not `name Type [= default] -- what it is`")
    if found[2] not in KINDS:
        raise QuestionError(f"parameter {found[1]}: {found[2]} is none of {', '.join(sorted(KINDS))}")
    default = None if found[3] is None else found[3].strip()
    return Parameter(found[1], cast("Kind", found[2]), "" if default == "''" else default, found[4])


def _column(line: str) -> Column:
    found = _COLUMN.fullmatch(line)
    if found is None or not _NAME.fullmatch(found[1]):
        raise QuestionError(f"column: {line!r} is not `name Type [unit] -- what it is`")
    return Column(found[1], found[2], found[3] or "", found[4])


def _check(asked: Question) -> None:
    """The SQL is one SELECT that takes what the header says, brings no settings and reads nothing from elsewhere."""
    code = re.sub(r"--[^\n]*|/\*.*?\*/", " ", asked.sql, flags=re.DOTALL)
    bare = re.sub(r"'(?:[^'\\]|\\.|'')*'", "''", code)
    if not re.match(r"(?:SELECT|WITH)\b", code.strip()):
        raise QuestionError("the SQL begins with SELECT or WITH")
    if ";" in bare or _SECOND_CLAUSE.search(bare):
        raise QuestionError("one statement, without a semicolon, SETTINGS, FORMAT or INTO OUTFILE")
    if _OUTSIDE.search(bare):
        raise QuestionError("a question reads our tables, no files, addresses or other servers")
    places = {(name, kind) for name, kind in _PLACE.findall(code)}
    said = {(each.name, str(each.kind)) for each in asked.parameters}
    if places != said:
        odd = sorted(f"{name}:{kind}" for name, kind in places ^ said)
        raise QuestionError(f"header and SQL differ in parameters: {', '.join(odd)}")
    for named_things in (asked.parameters, asked.columns):
        names = [each.name for each in named_things]
        if len(names) != len(set(names)):
            raise QuestionError(f"a name twice: {', '.join(sorted(names))}")
    if not asked.columns:
        raise QuestionError("an answer has columns")
