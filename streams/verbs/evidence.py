"""`inferwatch evidence`: an incident written down so that somebody who does not trust us can check it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from streams.privacy import ContentMode
from streams.settings import Settings, SettingsError
from streams.show import ascii_json, inert
from streams.stores import By, person, store_of
from streams.verbs.incidents import Id, beginning_of, one_case

if TYPE_CHECKING:
    from streams.evidence.checking import Checked
    from streams.evidence.manifest import Manifest

app = typer.Typer(help="Incidents as files that prove whether they were changed.", no_args_is_help=True)

EXIT_CHANGED = 1
_PLAIN_WIDTH = 200
_STYLES = {"ok": "green", "unknown": "yellow"}
_KEYS = {
    "named": "it is the key that you named",
    "inside": "it is merely the one in the directory: compare it with what the exporter tells you, or give --signer",
    "another": "it is NOT the key that you named",
    "none": "there is no key to check it with",
}


@app.command("export", epilog="Example: inferwatch evidence export inc-1f0c -o evidence --why TICKET-12")
def export_(
    incident_id: Id,
    place: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A directory that does not exist yet.")],
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Why texts of calls are needed, such as a ticket; recorded.")
    ] = "",
    without_text: Annotated[  # noqa: FBT002 - Typer's flags are boolean defaults
        bool, typer.Option("--without-text", help="Leave out what was said in calls; --why is optional then.")
    ] = False,
    by: By = "",
) -> None:
    """Write what is stored of an incident to a directory, with a signed manifest.

    The same incident exported again gives the same bytes. Everything is written or nothing.
    """
    from streams.cases.case_files import kept as kept_cases  # noqa: PLC0415 - verbs that export nothing start faster
    from streams.custody.access import Access, because, recorded  # noqa: PLC0415 - as above
    from streams.custody.exports import EVIDENCE, remember  # noqa: PLC0415 - as above
    from streams.evidence import signing  # noqa: PLC0415 - as above
    from streams.evidence.draft import left_over, refuse_taken  # noqa: PLC0415 - as above
    from streams.evidence.exporting import Asked, EvidenceError, export  # noqa: PLC0415 - as above

    settings = Settings.from_env(os.environ)
    if not without_text and settings.content_mode == ContentMode.FEATURES:
        raise SettingsError("--without-text is needed: INFERWATCH_CONTENT_MODE is features: no text is to leave")
    reason = why.strip() if without_text else because(why)
    beginning, place = beginning_of(incident_id), Path(os.path.abspath(place))  # noqa: PTH100 - no link is resolved
    refuse_taken(place)
    key = signing.load(signing.key_path(settings))
    for each in left_over(place):
        typer.echo(f"an export that was killed has left {each}; remove it when none is running", err=True)
    with store_of(settings) as (here, store):
        case = one_case(store, beginning, kept_cases)
        incident = case.incident
        access = Access(
            who=person(by),
            verb="evidence export",
            why=reason,
            what=f"{incident.incident_id}, {'without' if without_text else 'with'} texts",
            parameters={"incident": incident.incident_id, "deployment": incident.deployment},
            subjects=incident.plan.radius.principals if incident.plan else (),
        )

        def kept(manifest: Manifest, principals: list[str]) -> None:
            # An erasure names it to who has to delete it.
            case_id, made_by = incident.incident_id, access.who
            remember(store, EVIDENCE, place, manifest.digest, made_by, subjects=principals, incident_id=case_id)

        asked = Asked(case=case, with_texts=not without_text, product=version("inferwatch"))
        try:
            with recorded(store, access) as counted, _progress("calls") as told:
                manifest = export(store, here, asked, place, key, kept=kept, told=told)
                counted(manifest.texts.calls)
        except OSError as error:
            raise EvidenceError(f"nothing was exported: {error.strerror or error}") from error
    _exported(place, manifest)


@app.command("verify", epilog="Example: inferwatch evidence verify evidence --signer sha256:4f1d...")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="As `evidence export` wrote it; from anybody.")],
    signer: Annotated[
        str,
        typer.Option("--signer", metavar="PUBLIC", help="Whose key it must be: a public key file, or a fingerprint."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document for machines.")] = False,  # noqa: FBT002 - as above
) -> None:
    """Say of every file whether it is what was exported, and whose signature vouches for it; offline.

    Ends with status 1 where anything was changed, added, removed or truncated, or the key is not the one you named.
    """
    from streams.evidence import signing  # noqa: PLC0415 - as above
    from streams.evidence.checking import check  # noqa: PLC0415 - as above

    named = signing.named(signer) if signer else None
    try:
        with _progress("bytes") as told:
            total, done = _size(directory), 0

            def more(size_bytes: int) -> None:
                nonlocal done
                done += size_bytes
                told(done, total)

            checked = check(directory, named, more)
    except OSError as error:
        raise SettingsError(f"{inert(str(directory))}: it cannot be read: {error.strerror}") from None
    if as_json:
        typer.echo(ascii_json({"intact": checked.intact, **msgspec.to_builtins(checked)}))
    else:
        _show(Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH), checked)
    raise typer.Exit(0 if checked.intact else EXIT_CHANGED)


@app.command("keygen", epilog="Example: inferwatch evidence keygen")
def keygen() -> None:
    """Make the key that signs evidence, and its public half beside it; a key that exists is never replaced."""
    from streams.evidence import signing  # noqa: PLC0415 - as above

    path = signing.key_path(Settings.from_env(os.environ))
    public = signing.make(path)
    typer.echo(f"made {path} (only its owner may read it: keep a copy in a safe place)")
    typer.echo(f"and {signing.public_path(path)} (for whoever checks evidence)")
    typer.echo(f"fingerprint {signing.fingerprint(public)}")


def _exported(place: Path, manifest: Manifest) -> None:
    size_mb, case = sum(each.size_bytes for each in manifest.files) / 1_000_000, manifest.case
    typer.echo(
        f"wrote {len(manifest.files)} files ({size_mb:,.1f} MB) to {place}: {case.incident_id}, "
        f"revision {case.revision}, {manifest.texts.calls:,} calls"
    )
    typer.echo(f"manifest sha256 {manifest.digest}")
    typer.echo(f"signed by {manifest.signed_by}")
    if manifest.texts.gone or manifest.texts.bare or not manifest.texts.exported:
        typer.echo(manifest.texts.said, err=True)
    if manifest.case.state == "open":
        typer.echo("the incident is open: an export after its next finding or call has other content", err=True)


def _show(console: Console, checked: Checked) -> None:
    manifest = checked.manifest
    if manifest is not None:
        case = manifest.case
        said = f"{inert(case.incident_id)}, revision {case.revision}, of {inert(case.deployment)}"
        console.print(Text(f"{said}; {inert(manifest.product)}"), soft_wrap=True)
        console.print(Text(f"texts: {inert(manifest.texts.said)}"), soft_wrap=True)
    good = "good" if checked.signed else "NOT GOOD"
    console.print(Text(f"signature: {good}; {_KEYS[checked.key]}"), soft_wrap=True)
    if checked.fingerprint:
        console.print(Text(f"key: {checked.fingerprint}"), soft_wrap=True)
    for line in checked.lines:
        mark = (f"{line.status:<10}", _STYLES.get(line.status, "bold red"))
        behind = f"  ({inert(line.said)})" if line.said else ""
        console.print(Text.assemble(mark, inert(line.path), behind), soft_wrap=True)
    wrong = sum(line.status != "ok" for line in checked.lines)
    if checked.intact:
        console.print(Text(f"all {len(checked.lines)} files are as they were signed", "green"), soft_wrap=True)
    else:
        console.print(
            Text(f"NOT as it was exported: {wrong} of {len(checked.lines)} files", "bold red"), soft_wrap=True
        )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is, on standard error, while it takes."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _size(directory: Path) -> int:
    """Bytes of the regular files, for the progress only."""
    with os.scandir(directory) as entries:
        states = (each.stat(follow_symlinks=False) for each in entries)
        return sum(state.st_size for state in states if stat.S_ISREG(state.st_mode))
