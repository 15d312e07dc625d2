"""The verb ``inferwatch attest``: what a deployment is made of, hashed and looked at without loading any of it."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from streams.attesting import differences, locks, tool_lists
from streams.attesting.abilities import DECODING, DYNAMIC, NATIVE, OUTBOUND, PROCESS
from streams.attesting.models import attest_code, attest_model, surveyed_code
from streams.attesting.packages import attest_packages, surveyed_packages
from streams.attesting.report import Attestation, AttestError, Level
from streams.attesting.walking import Entry, survey
from streams.dlq import printable
from streams.settings import Settings, SettingsError
from streams.show import ascii_json

EXIT_ALARMING = 1
_MAX_ROWS = 50
_PLAIN_WIDTH = 200
"""Columns of a table in a file or a pipe, where nobody can widen the window."""

_RANKS = (DYNAMIC, PROCESS, NATIVE, DECODING, OUTBOUND)
_STYLES = {Level.ALARM: "bold red", Level.WARN: "yellow", Level.NOTE: "dim"}


def attest(  # noqa: PLR0913, PLR0917 - each is an option that a person may type
    directory: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="The directory of a model.")] = None,
    packages: Annotated[
        Path | None, typer.Option(metavar="LOCK", help="Check installed packages against this lock file with hashes.")
    ] = None,
    site_packages: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where they are installed; without it, this command's own.")
    ] = None,
    mcp: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Hash the answer of an MCP server to tools/list (JSON).")
    ] = None,
    code: Annotated[
        Path | None, typer.Option(metavar="DIR", help="List what the Python of an MCP server or plugin can do.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say what changed since this report, printed by --json.")
    ] = None,
    send: Annotated[  # noqa: FBT002 - Typer's flags are boolean defaults
        bool, typer.Option("--send", help="Tell the detectors of --deployment too, through Kafka.")
    ] = False,
    deployment: Annotated[str, typer.Option(help="With --send: what is served by it, as calls name it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """Hash a model, packages, a tool list or code, and say what about them a person must look at.

    Nothing is loaded, imported or run, and no link is followed out of a directory. Ends with status 1 where something
    is alarming, which with --against is any change.
    """
    if directory is None and packages is None and mcp is None and code is None:
        raise SettingsError("attest: what? Give a DIR, --packages LOCK, --mcp FILE or --code DIR")
    if send != bool(deployment):
        raise SettingsError("attest: --send and --deployment D go together")
    if site_packages is not None and packages is None:
        raise SettingsError("--site-packages goes with --packages LOCK")
    site = site_packages or Path(sysconfig.get_paths()["purelib"])
    try:
        found = done = list(_attested(directory, (packages, site), mcp, code))
        if against is not None:
            before = differences.read_reports(str(against), _read(against, differences.MAX_BYTES))
            done = [differences.compared(before, each) for each in done]
    except AttestError as error:
        raise SettingsError(f"attest: {printable(str(error))}") from None
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    for each in done:
        if as_json:
            typer.echo(ascii_json(each))
        else:
            _show(console, each)
    if send:
        _send(found, deployment)
    raise typer.Exit(EXIT_ALARMING if any(each.alarming for each in done) else 0)


def _attested(
    directory: Path | None, packages: tuple[Path | None, Path], mcp: Path | None, code: Path | None
) -> Iterator[Attestation]:
    """Each subject that was asked for; `packages` are the lock, and where they are installed."""
    lock, site = packages
    if directory is not None:
        yield _with_progress(directory, survey(directory), attest_model)
    if lock is not None:
        locked = locks.parse_lock(str(lock), _read(lock, locks.MAX_BYTES))
        yield _with_progress(site, surveyed_packages(site), lambda *rest: attest_packages(rest[0], locked, *rest[1:]))
    if mcp is not None:
        yield tool_lists.attest_tools(str(mcp), _read(mcp, tool_lists.MAX_BYTES))
    if code is not None:
        yield _with_progress(code, surveyed_code(code), attest_code)


def _send(found: list[Attestation], deployment: str) -> None:
    """Send what was found, not what changed since: the detectors know what was there before."""
    from streams.addressing import at_hand  # noqa: PLC0415 - attesting needs no servers
    from streams.attesting.risks import report_of  # noqa: PLC0415 - as above
    from streams.components.provenance import NoticeError  # noqa: PLC0415 - as above
    from streams.sending import send_notice  # noqa: PLC0415 - as above

    with at_hand(Settings.from_env(os.environ), os.environ) as settings:
        for each in found:
            try:
                send_notice(settings, report_of(each, deployment, time.time()))
            except NoticeError as error:
                raise SettingsError(f"attest: {printable(str(error))}") from None
    typer.echo(f"sent {len(found)} reports of {printable(deployment)}", err=True)


def _read(path: Path, most_bytes: int) -> bytes:
    """A file given by a person, and one byte more than it may have."""
    try:
        with path.open("rb") as source:
            return source.read(most_bytes + 1)
    except OSError as error:
        raise AttestError(f"{path}: {error.strerror}") from None


def _with_progress(
    root: Path, entries: list[Entry], work: Callable[[Path, list[Entry], Callable[[int], None]], Attestation]
) -> Attestation:
    """Show how many bytes of a surveyed directory are hashed, on standard error, while it takes."""
    columns = (TextColumn("hashing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("hashing", total=sum(entry.size_bytes for entry in entries))
        return work(root, entries, lambda size_bytes: progress.advance(task, size_bytes))


def _show(console: Console, attestation: Attestation) -> None:
    said = attestation.digest or "no digest: not all of it could be read"
    console.print(Text.assemble((attestation.subject, "bold"), f" {printable(attestation.source)}"), soft_wrap=True)
    console.print(f"  {said}", highlight=False, soft_wrap=True)
    for name, each in attestation.components.items():
        if each != attestation.digest:
            console.print(f"  {name:<15} {each}", highlight=False, soft_wrap=True)
    counts = Counter(each.ability for each in attestation.abilities)
    if counts:
        console.print(
            "  can: " + ", ".join(f"{each} ({counts[each]})" for each in _RANKS if counts[each]), soft_wrap=True
        )
    if rows := _rows(attestation):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in rows[0]:
            table.add_column(column, overflow="fold")
        for row in rows[1 : _MAX_ROWS + 1]:
            table.add_row(*(Text(printable(cell)) for cell in row))
        console.print(table)
        if len(rows) > _MAX_ROWS + 1:
            console.print(f"... and {len(rows) - _MAX_ROWS - 1} more; all are in --json", style="dim")
    _concerns(console, attestation)
    console.print()


def _concerns(console: Console, attestation: Attestation) -> None:
    ranked = sorted(attestation.concerns, key=lambda concern: -list(Level).index(concern.level))
    for concern in ranked[:_MAX_ROWS]:
        mark = (f"{concern.level:<5}", _STYLES[concern.level])
        console.print(
            Text.assemble(mark, " ", (printable(concern.where), "bold"), f": {printable(concern.text)}"), soft_wrap=True
        )
    if len(ranked) > _MAX_ROWS:
        console.print(f"... and {len(ranked) - _MAX_ROWS} more; all are in --json", style="dim")
    if not ranked:
        console.print("nothing to look at", style="green")


def _rows(attestation: Attestation) -> list[tuple[str, ...]]:
    """The table of an attestation, with its heading; nothing where it would be empty."""
    if attestation.files:
        heading: tuple[str, ...] = ("file", "bytes", "format", "loading", "sha256")
        rows: list[tuple[str, ...]] = [
            (each.path, str(each.size_bytes), each.format, each.kind, (each.sha256 or "")[:16])
            if each.link is None
            else (each.path, "", "link", "", f"to {each.link}")
            for each in attestation.files
        ]
    elif attestation.packages:
        heading = ("package", "version", "files", "digest")
        rows = [(each.name, each.version, str(each.files), each.digest[:23]) for each in attestation.packages]
    elif attestation.tools:
        heading = ("tool", "all of it", "description", "schemas")
        rows = [(each.name, each.digest[:23], each.description[:23], each.schemas[:23]) for each in attestation.tools]
    else:
        heading = ("can", "calls", "at", "in")
        rows = [
            (each.ability, each.call, f"{each.path}:{each.line}", "on import" if each.on_import else each.within)
            for each in sorted(attestation.abilities, key=lambda each: (_RANKS.index(each.ability), not each.on_import))
        ]
    return [heading, *rows] if rows else []
