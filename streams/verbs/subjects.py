"""`inferwatch erase` and `inferwatch export`: a person taken out of all that is stored, or given all of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.custody.access import BEGUN, DONE, FAILED, Access, Why, because, ended, record
from streams.dlq import printable
from streams.settings import Settings, SettingsError
from streams.show import clock
from streams.stores import By, person, store_of

if TYPE_CHECKING:
    from streams.clickhouse import Store
    from streams.custody.erasure import Left
    from streams.custody.exports import Export
    from streams.custody.holds import Hold
    from streams.custody.places import Place
    from streams.custody.subjects import Subject

EXIT_REMAINS = 1
ASKED = "-"

_UNREACHABLE = "not known: Kafka cannot be reached from here"

SubjectName = Annotated[
    str,
    typer.Argument(metavar="[SUBJECT]", help="A pseudonym, or - to type or pipe the identity; never an identity here."),
]
Kind = Annotated[str, typer.Option(help="What an identity is: principal, session, network or user_agent.")]
IdentityFile = Annotated[
    str, typer.Option("--identity-file", metavar="FILE", help="Read the identity from the first line of a file.")
]


def erase(  # noqa: PLR0913, PLR0917 - each is an option that a person may type
    subject: SubjectName = "",
    why: Why = "",
    identity_file: IdentityFile = "",
    kind: Kind = "principal",
    texts_file: Annotated[
        str, typer.Option("--texts-file", metavar="FILE", help="More words that name them, one a line, taken out too.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where they are.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    override_hold: Annotated[
        str, typer.Option("--override-hold", metavar="REASON", help="Take out what is held too, and why; recorded.")
    ] = "",
    patience: Annotated[int, typer.Option(help="Seconds to wait for old parts to leave the disk.", min=0)] = 90,
    by: By = "",
) -> None:
    """Take a person's texts and pseudonyms out of all that is stored, and prove it by looking for them everywhere.

    Stop all workers first. Run it again after a crash. Ends with status 1 where something remains.
    """
    from streams.custody.erasure import UnfinishedError, linked, traces  # noqa: PLC0415 - verbs that erase nothing start faster
    from streams.custody.exports import of_subject  # noqa: PLC0415 - as above
    from streams.custody.removal import holding  # noqa: PLC0415 - as above

    settings = Settings.from_env(os.environ)
    reason, console = because(why), Console()
    if settings.clickhouse_cluster is not None:
        raise SettingsError("erase: it cannot rewrite the tables of a cluster; each server has to be done by hand")
    with store_of(settings) as (here, store):
        wanted = _subject(here, subject, identity_file, kind, texts_file)
        try:
            wanted = linked(store, wanted)
            places = traces(store, wanted)
        except UnfinishedError as error:
            raise SettingsError(f"erase: {error}") from None
        files = of_subject(store, wanted)
        _show(console, places, "rows with a trace")
        for file in files:
            console.print(f"export {file.export_id}: {printable(file.path)} on {printable(file.machine)}", markup=False)
        held = [place for place in places if place.table.startswith("held_")]
        broken = holding(store, wanted, [place.table for place in held], {file.incident_id for file in files} - {""})
        if (held or broken) and not override_hold.strip():
            _say_holds(console, broken, files)
            raise typer.Exit(EXIT_REMAINS)
        if dry_run:
            _say_kafka(console, here)
            return
        _refuse_running(store)
        access = Access(
            who=person(by),
            verb="erase",
            why=wanted.taken_out(reason),
            what=f"{sum(sum(place.found.values()) for place in places)} traces",
            subjects=wanted.pseudonyms,
            outcome=BEGUN,
        )
        access_id = record(store, access)
        for each in broken:
            _record_override(store, access, each, files, wanted.taken_out(override_hold.strip()))
        remaining = _carry_out(console, store, here, wanted, places, files, patience, (access_id, access))
        _say_kafka(console, here)
    if remaining:
        console.print("something remains: see above, and run it again", style="bold red")
        raise typer.Exit(EXIT_REMAINS)
    console.print("nothing remains of them in the database")


def export(
    subject: SubjectName = "",
    why: Why = "",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="A file that does not exist.")] = "",
    identity_file: IdentityFile = "",
    kind: Kind = "principal",
    by: By = "",
) -> None:
    """Write everything that is stored about a person, texts too, as one JSON file that only you can read."""
    from streams.custody import exports  # noqa: PLC0415 - as above

    settings, reason, who = Settings.from_env(os.environ), because(why), person(by)
    if not output:
        raise SettingsError("-o: say which file to write")
    path = Path(output)
    if path.exists():
        raise SettingsError(f"-o: {printable(output)} is there already")
    with store_of(settings) as (here, store):
        wanted = _subject(here, subject, identity_file, kind, "")
        about = {"subject": wanted.pseudonyms, "made": clock(time.time()), "of": "all that is stored about them"}
        access = Access(
            who=who,
            verb="export",
            why=wanted.taken_out(reason),
            what=wanted.taken_out(path.name),
            subjects=wanted.pseudonyms,
            outcome=BEGUN,
        )
        access_id = record(store, access)
        try:
            counts = exports.write(store, wanted, path, about)
        except OSError as error:
            ended(store, access_id, access, 0, FAILED)
            raise SettingsError(f"-o: cannot write {printable(output)}: {error.strerror}") from None
        exports.register(store, exports.SUBJECT, path, who, subjects=wanted.pseudonyms)
        ended(store, access_id, access, sum(counts.values()), DONE)
    for table, count in counts.items():
        typer.echo(f"{count:>9,}  {table}")
    typer.echo(f"wrote {printable(output)}" if counts else f"nothing is stored about them; wrote {printable(output)}")


def _carry_out(
    console: Console,
    store: Store,
    settings: Settings,
    wanted: Subject,
    places: list[Place],
    files: list[Export],
    patience_s: int,
    recorded: tuple[str, Access],
) -> bool:
    """Steps 1 to 4 of `erasure`; whether something remains."""
    from streams.custody import erasure, exports, removal  # noqa: PLC0415 - as above
    from streams.keys import present_keys, snapshot_keys  # noqa: PLC0415 - as above

    access_id, access = recorded
    kept = [file for file in files if not exports.remove(store, file, access_id)]
    for file in kept:
        console.print(f"a person has to erase {printable(file.path)} on {printable(file.machine)}", markup=False)
    keys = present_keys(settings)
    own, renamed, dropped = removal.states(store, wanted, () if keys is None else snapshot_keys(settings, keys))
    console.print(f"saved states: {own} removed, {renamed} of others without the name now")
    if dropped:
        console.print(f"{dropped} states of others were removed: no key here signs them; their detectors begin anew")
    for table in erasure.erase(store, wanted, places):
        console.print(f"rewrote {table}", markup=False)
    left = erasure.purge(store, erasure.rewritten(store), patience_s)
    remaining = erasure.remains(store, wanted)
    _show(console, remaining, "looked through", every=True)
    _show_parts(console, left)
    clean = not (kept or left or any(place.found for place in remaining))
    ended(store, access_id, access, sum(sum(place.found.values()) for place in places), DONE if clean else FAILED)
    return not clean


def _subject(settings: Settings, named: str, identity_file: str, kind: str, texts_file: str) -> Subject:
    from streams.custody.subjects import also_named, identified, pseudonym_of  # noqa: PLC0415 - as above

    if bool(named) == bool(identity_file):
        raise SettingsError("SUBJECT: give a pseudonym, or - to be asked, or --identity-file")
    if identity_file:
        found = identified(settings, kind, (_lines("--identity-file", identity_file) or [""])[0])
    elif named == ASKED:
        typed = typer.prompt("identity", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
        found = identified(settings, kind, typed)
    else:
        found = pseudonym_of(named)
    return also_named(found, _lines("--texts-file", texts_file)) if texts_file else found


def _lines(option: str, path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{option}: cannot read {printable(path)}: {type(error).__name__}") from None


def _refuse_running(store: Store) -> None:
    from streams.custody.removal import running  # noqa: PLC0415 - as above

    workers = running(store)
    if workers:
        spoke = ", ".join(f"{printable(name)} {ago:.0f} s ago" for name, ago in workers.items())
        raise SettingsError(
            f"erase: a worker runs and would write back what it remembers ({spoke}); stop all workers, wait until "
            "nothing was heard of them for a minute, erase, and start them again"
        )


def _say_holds(console: Console, broken: list[Hold], files: list[Export]) -> None:
    for each in broken:
        console.print(f"{each.hold_id} holds {each.incident_id}: {printable(each.reason)}", markup=False)
        for export_id in _exports(each, files):
            console.print(f"{each.hold_id} holds the export {export_id} too", markup=False)
    console.print("nothing was erased: what is held stays; release the holds, or say --override-hold REASON")


def _record_override(store: Store, erasure: Access, broken: Hold, files: list[Export], reason: str) -> None:
    """Each hold that is broken, and what it kept beside rows, before it is."""
    what = ", ".join([f"{broken.hold_id} of {broken.incident_id}", *_exports(broken, files)])
    record(
        store,
        Access(who=erasure.who, verb="hold override", why=reason, what=what, subjects=erasure.subjects, outcome=DONE),
    )


def _exports(held: Hold, files: list[Export]) -> list[str]:
    return [file.export_id for file in files if file.incident_id == held.incident_id and not held.released_s]


def _say_kafka(console: Console, settings: Settings) -> None:
    from streams import topics  # noqa: PLC0415 - as above

    try:
        kept = topics.retentions(settings)
    except topics.BrokerError:
        kept = dict.fromkeys((topics.full_name(settings, topic) for topic in topics.ALL), _UNREACHABLE)
    console.print("Kafka still has what was sent, until its own retention; read again, it is new data:")
    for name, long in kept.items():
        console.print(f"  {printable(name)}: {long}", markup=False)


def _show(console: Console, places: list[Place], title: str, *, every: bool = False) -> None:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in ("table", "columns", "rows", "found"):
        table.add_column(column, overflow="fold", justify="right" if column in {"columns", "rows"} else "left")
    for place in places:
        found = ", ".join(f"{printable(name)}: {count:,}" for name, count in place.found.items()) or "nothing"
        if place.unread:
            found = f"not read: {printable(place.unread)}"
        table.add_row(printable(place.table), str(place.columns), f"{place.rows:,}", Text(found))
    if places or every:
        console.print(table)
    else:
        console.print("no trace of them in the database")


def _show_parts(console: Console, left: list[Left]) -> None:
    for each in left:
        console.print(f"{printable(each.table)}: {each.parts} old parts are still on the disk", markup=False)
    if not left:
        console.print("no old part is left on the disk")
