"""`inferwatch access`: who read texts of calls, held, exported or erased what, when and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from streams.asking import span_s
from streams.dlq import printable
from streams.show import ascii_json
from streams.stores import store_at_hand

if TYPE_CHECKING:
    from streams.custody.access import Entry

app = typer.Typer(help="The log of access to texts and persons.", no_args_is_help=True)


@app.callback()
def access() -> None:
    """Keep `list` a verb of a group although it is the only one."""


@app.command("list", epilog="Example: inferwatch access list --since 90d --subject p_0f3a...")
def list_(
    since: Annotated[str, typer.Option(help="How far to look back: 24h, 30d.")] = "30d",
    subject: Annotated[str, typer.Option(help="Only what concerned this pseudonym.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line for machines.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """List every use, the latest first: when, who, what, why, and how many rows."""
    from streams.custody.access import entries  # noqa: PLC0415 - verbs that need no store start faster
    from streams.custody.subjects import pseudonym_of  # noqa: PLC0415 - as above

    pseudonym = pseudonym_of(subject).pseudonyms[0] if subject else ""
    with store_at_hand() as store:
        found = entries(store, time.time() - span_s("--since", since), limit, pseudonym)
    console = Console()
    for each in found:
        if as_json:
            typer.echo(ascii_json(each))
        else:
            console.print(_line(each), soft_wrap=True)
    if not found and not as_json:
        console.print("nobody read a text, held, exported or erased anything in this time", style="dim")


def _line(entry: Entry) -> Text:
    given = " ".join(f"{printable(name)}={printable(value)}" for name, value in entry.parameters.items())
    rows = "" if entry.rows is None else f", {entry.rows:,} rows"
    return Text.assemble(
        (entry.time, "dim"),
        f" {printable(entry.who)} ",
        (printable(entry.verb), "bold"),
        f" {printable(entry.what)}{' ' if given else ''}{given}: {printable(entry.why)} ({entry.outcome}{rows})",
    )
