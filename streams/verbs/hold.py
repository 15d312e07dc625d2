"""`inferwatch hold`: what an incident needs is kept beyond its time to live, until somebody releases it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from streams.asking import span_s
from streams.dlq import printable
from streams.settings import SettingsError
from streams.show import ascii_json, clock
from streams.stores import By, person, store_at_hand
from streams.verbs.incidents import Id, beginning_of, one_case

if TYPE_CHECKING:
    from streams.clickhouse import Store
    from streams.custody.holds import Hold

_MOST_CHARS = 500

Reason = Annotated[str, typer.Option(help="Why, for who reads it later; kept in the log of access.")]


class _Group(TyperGroup):
    """`hold inc-1f0c` is `hold add inc-1f0c`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take what is no verb for an incident."""
        if args and args[0].startswith("inc-"):
            args = ["add", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Group, help="What incidents need, kept beyond its time to live.", no_args_is_help=True)


@app.command(
    "add",
    epilog="Example: inferwatch hold add inc-1f0c --reason LEGAL-7; or `inferwatch hold inc-1f0c --reason LEGAL-7`",
)
def add(
    incident_id: Id,
    reason: Reason,
    before: Annotated[str, typer.Option(help="From how long before the onset on: 1h, 7d.")] = "1h",
    by: By = "",
) -> None:
    """Keep calls with their texts, findings, revisions, verdicts, reports and changes of an incident.

    Held already: what has come since is held too.
    """
    from streams.custody.access import BEGUN, Access, ended, record  # noqa: PLC0415 - a verb starts faster
    from streams.custody.holds import hold  # noqa: PLC0415 - as above

    why, who = _given(reason), person(by)
    beginning, before_s = beginning_of(incident_id), span_s("--before", before)
    with store_at_hand() as store:
        incident = one_case(store, beginning).incident
        access = Access(who=who, verb="hold", why=why, what=incident.incident_id, outcome=BEGUN)
        access_id = record(store, access)
        held = hold(store, incident, why, who, before_s)
        ended(store, access_id, access, sum(held.rows.values()))
    typer.echo(f"{held.hold_id} holds {incident.incident_id}: {_rows(held)}")


@app.command("list", epilog="Example: inferwatch hold list --all")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Released ones too.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line for machines.")] = False,  # noqa: FBT002 - as above
) -> None:
    """List holds, the latest first: of what, why, since when, by whom, and how many rows."""
    from streams.custody.holds import holds  # noqa: PLC0415 - as above

    with store_at_hand() as store:
        found = [each for each in holds(store) if every or not each.released_s]
    console = Console()
    for each in found:
        if as_json:
            typer.echo(ascii_json(each))
        else:
            console.print(_line(each), soft_wrap=True)
    if not found and not as_json:
        console.print("nothing is held", style="dim")


@app.command("release", epilog="Example: inferwatch hold release hold-1f0c2a77 --reason 'LEGAL-7 is closed'")
def release(
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")], reason: Reason, by: By = ""
) -> None:
    """End a hold: its copies go, but for what another hold keeps."""
    from streams.custody import holds  # noqa: PLC0415 - as above
    from streams.custody.access import BEGUN, Access, ended, record  # noqa: PLC0415 - as above

    why, who = _given(reason), person(by)
    with store_at_hand() as store:
        held = _one(store, hold_id)
        access = Access(
            who=who, verb="hold release", why=why, what=f"{held.hold_id} of {held.incident_id}", outcome=BEGUN
        )
        access_id = record(store, access)
        holds.release(store, held, why, who)
        ended(store, access_id, access, sum(held.rows.values()))
    typer.echo(f"{held.hold_id} of {held.incident_id} is released")


def _given(reason: str) -> str:
    if not reason.strip():
        raise SettingsError("--reason: it is empty; say why, for who reads it later")
    return reason.strip()[:_MOST_CHARS]


def _one(store: Store, hold_id: str) -> Hold:
    from streams.custody.holds import HOLD_ID, holds  # noqa: PLC0415 - as above

    if HOLD_ID.fullmatch(hold_id) is None:
        raise SettingsError(f"'{printable(hold_id[:80])}' is no id of a hold; expected hold- and 8 hex digits")
    found = [each for each in holds(store) if each.hold_id == hold_id]
    if not found:
        raise SettingsError(f"no hold {hold_id}; `inferwatch hold list --all` prints their ids")
    if found[0].released_s:
        raise SettingsError(f"{hold_id} was released {clock(found[0].released_s)}")
    return found[0]


def _rows(held: Hold) -> str:
    named = {"inference_events": "calls", "incidents": "revisions", "incident_verdicts": "verdicts"}
    named["component_reports"] = "reports"
    return ", ".join(f"{count:,} {named.get(table, table)}" for table, count in held.rows.items() if count) or "nothing"


def _line(held: Hold) -> Text:
    state = f"{'held' if held.copied_s else 'begun'} since {clock(held.made_s)} by {printable(held.made_by)}"
    if held.released_s:
        state = f"released {clock(held.released_s)} by {printable(held.released_by)}: {printable(held.release_reason)}"
    return Text.assemble(
        (held.hold_id, "bold"),
        f" {held.incident_id} of {printable(held.deployment)}, {state}; {_rows(held)}; {printable(held.reason)}",
    )
