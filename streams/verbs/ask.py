"""`inferwatch ask`: named questions of an investigation, to the store that has the answer."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from streams.custody.access import Access, because, recorded
from streams.dlq import printable
from streams.settings import Settings, SettingsError
from streams.show import ascii_json, inert
from streams.stores import By, person, store_of
from streams.verbs.incidents import beginning_of, one_case
from streams.writing import check_place, write_whole

if TYPE_CHECKING:
    from streams.clickhouse import Store
    from streams.forensics.asking import Limits, Progress
    from streams.forensics.questions import Question

app = typer.Typer(help="Named questions, asked of the stored events.", no_args_is_help=True)

_SHOWN_AFTER_S = 1.0
_PIPE_WIDTH = 240
_MOST_FILE_BYTES = 100_000


class Format(StrEnum):
    """Forms of an answer."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


Json = Annotated[bool, typer.Option("--json", help="One JSON document for machines.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `list` prints it.")]


@app.command("list", epilog="Example: inferwatch ask list")
def list_(as_json: Json = False) -> None:  # noqa: FBT002 - Typer's flags are boolean defaults
    """List the questions: what each asks and what it needs to be told."""
    from streams.forensics.forms import listed  # noqa: PLC0415 - verbs that ask nothing start faster
    from streams.forensics.questions import questions  # noqa: PLC0415 - as above

    if as_json:
        print(ascii_json([msgspec.to_builtins(each) for each in questions().values()]))  # noqa: T201 - a verb prints
        return
    listed(Console(), questions())


@app.command("show", epilog="Example: inferwatch ask show blast_radius")
def show_(name: Name, as_json: Json = False) -> None:  # noqa: FBT002 - as above
    """Show a question: parameters with types, columns with units, cost, and its SQL."""
    from streams.forensics.forms import shown  # noqa: PLC0415 - as above

    question = _named(name)
    if as_json:
        print(ascii_json(question))  # noqa: T201 - as above
        return
    shown(Console(), question)


@app.command("run", epilog="Example: inferwatch ask run timeline --param deployment=chat --param since=24h -o chat.csv")
def run(  # noqa: PLR0913, PLR0917 - each is an option of the verb
    name: Name,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="A parameter; a list with commas, or JSON.")
    ] = None,
    param_file: Annotated[
        list[str] | None,
        typer.Option("--param-file", metavar="K=FILE", help="A parameter read from a file (- for standard input)."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, json, csv or parquet; without it, what FILE ends with, or a table.")
    ] = "",
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it (mode 0600).")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Print the SQL and its values; ask nothing.")] = False,  # noqa: FBT002 - as above
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Cut the question after this long.")] = 30.0,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Of questions that read raw text: why; it is recorded.")
    ] = "",
    by: By = "",
) -> None:
    """Ask a question; rows go to standard output, what it cost to standard error."""
    from streams.forensics.asking import Limits  # noqa: PLC0415 - as above
    from streams.forensics.forms import explained  # noqa: PLC0415 - as above
    from streams.forensics.preparing import prepared  # noqa: PLC0415 - as above
    from streams.forensics.values import resolved, typed  # noqa: PLC0415 - as above

    question = _named(name)
    values = resolved(question, _values(question, param or [], param_file or []), time.time())
    chosen = _format(form, file)
    reason = because(why) if question.texts and not explain else ""
    if file:
        check_place(Path(file))
    elif chosen is Format.PARQUET and sys.stdout.isatty():
        raise SettingsError("--format parquet: that is binary; name a file with -o")
    if explain:
        print(explained(question, typed(question, values, time.time())))  # noqa: T201 - as above
        return
    with store_of(Settings.from_env(os.environ)) as (settings, store):
        said = _whole_id(store, question, values)
        access = Access(who=person(by), verb="ask", why=reason, what=question.name, parameters=said)
        log = recorded(store, access) if question.texts else nullcontext(_nobody)
        with log as told:  # what is computed may be from texts too
            ready = prepared(store, settings, question.name, said)
            told(_answer(store, question, ready, Limits(seconds=seconds), chosen, file))


def _answer(
    store: Store, question: Question, values: Mapping[str, str], limits: Limits, chosen: Format, file: str
) -> int | None:
    """Ask and write; gives how many rows there were, as far as that is known."""
    from streams.forensics import cells, forms  # noqa: PLC0415 - as above
    from streams.forensics.asking import ask, ask_as  # noqa: PLC0415 - as above

    if chosen is Format.PARQUET:
        cost: list[Progress] = []
        _put(ask_as(store, question, values, "Parquet", limits=limits, told=cost.append), file)
        _say_cost(cost[-1], None, file)
        return None
    with _progress(question) as told:
        answer = ask(store, question, values, limits=limits, told=told)
    if chosen is Format.JSON:
        _put([f"{forms.document(question, values, answer)}\n".encode()], file)
    elif chosen is Format.CSV:
        lines = cells.csv_of([each.name for each in answer.columns], answer.rows)
        _put(map(_harmless, lines) if sys.stdout.isatty() and not file else lines, file)
    elif file:
        _put([forms.drawn(question, answer).encode()], file)
    else:
        forms.told(_console(), question, answer)
    _say_cost(answer.cost, len(answer.rows), file)
    if str(len(answer.rows)) == values.get("limit", _default(question, "limit")):
        _say("as many rows as --param limit allows: there may be more")
    return len(answer.rows)


def _console() -> Console:
    """As wide as the terminal; a file or a pipe has room."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if known else Console(width=_PIPE_WIDTH)


def _default(question: Question, name: str) -> str | None:
    return next((each.default for each in question.parameters if each.name == name), None)


def _put(pieces: Iterable[bytes], file: str) -> None:
    if file:
        write_whole(Path(file), pieces)
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _harmless(line: bytes) -> bytes:
    """A line of CSV as a terminal may be shown it."""
    return b"".join(
        each if each in b"\r\n" else printable(each.decode()).encode() for each in line.splitlines(keepends=True)
    )


def _say_cost(cost: Progress, rows: int | None, file: str) -> None:
    """What it cost, on standard error: standard output is the answer's."""
    told = "" if rows is None else f"{rows:,} rows; "
    wrote = f"; wrote {file}" if file else ""
    _say(f"{told}read {cost.rows_read:,} rows, {cost.bytes_read / 1e6:,.1f} MB in {cost.elapsed_s:.2f} s{wrote}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _progress(question: Question) -> Iterator[Callable[[Progress], None]]:
    """What is told of a long question on a terminal: how much it has read of how much."""
    console = Console(stderr=True)
    status = console.status(f"asking {question.name}")

    def told(progress: Progress) -> None:
        if not console.is_terminal or progress.elapsed_s < _SHOWN_AFTER_S:
            return
        of = f" of {progress.rows_to_read:,}" if progress.rows_to_read else ""
        status.update(f"asking {question.name}: read {progress.rows_read:,}{of} rows, {progress.elapsed_s:.0f} s")
        status.start()

    try:
        yield told
    finally:
        status.stop()


def _nobody(_: int | None) -> None:
    """Who is told of an answer without texts: that is not recorded."""


def _named(name: str) -> Question:
    from streams.forensics.questions import QuestionError, named  # noqa: PLC0415 - as above

    try:
        return named(name)
    except QuestionError as error:
        raise SettingsError(f"{inert(name, 80)!r}: {error}") from None


def _whole_id(store: Store, question: Question, values: Mapping[str, str]) -> dict[str, str]:
    """`values` with the whole id of the incident: an answer about one that does not exist would say "nobody"."""
    from streams.cases.case_files import kept  # noqa: PLC0415 - as above

    typed = values.get("incident", "")
    if not typed or all(each.name != "incident" for each in question.parameters):
        return dict(values)
    return {**values, "incident": one_case(store, beginning_of(typed), kept).incident.incident_id}


def _format(form: str, file: str) -> Format:
    said = form or {".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(Path(file).suffix.lower(), "table")
    if said not in set(Format):
        raise SettingsError(f"--format: {inert(said, 40)!r} is not accepted; one of {', '.join(Format)}")
    return Format(said)


def _values(question: Question, pairs: list[str], files: list[str]) -> dict[str, str]:
    """Parameters as they were typed; one of a list may be given several times. Raises `SettingsError`."""
    lists = {each.name for each in question.parameters if each.kind.startswith("Array")}
    given: dict[str, list[str]] = {}
    for option, pair in (*(("--param", each) for each in pairs), *(("--param-file", each) for each in files)):
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"{option}: {inert(pair, 80)!r} is not accepted; name=value")
        given.setdefault(name.strip(), []).append(value if option == "--param" else _read(option, value))
    for name, values in given.items():
        if len(values) > 1 and name not in lists:
            raise SettingsError(f"--param {inert(name, 80)}: given {len(values)} times")
    return {name: values[0] if len(values) == 1 else json.dumps(values) for name, values in given.items()}


def _read(option: str, path: str) -> str:
    """What should not be in the history of a shell, such as a secret that leaked; without the line end of an editor."""
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as opened:
            return opened.read(_MOST_FILE_BYTES).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{option}: cannot read {inert(path, 200)}: {type(error).__name__}") from None
