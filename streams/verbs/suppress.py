"""`inferwatch suppress`: what nobody is to be told of for a while, why and until when. Nothing is dropped for it."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from detectors.types import Severity
from streams.asking import span_s
from streams.cases.suppressions import UNLESS_ASKED, Suppression
from streams.dlq import printable
from streams.settings import SettingsError
from streams.show import clock
from streams.stores import By, person, store_at_hand

if TYPE_CHECKING:
    from streams.clickhouse import Store

app = typer.Typer(help="Incidents that nobody is told of for a while: stored with why, never dropped.")

LONGEST_S = 90 * 86_400.0
"""What is suppressed for longer is forgotten: whoever still wants it says so again."""

_MOST_CHARS = 500
_BEGINNING = re.compile(r"sup-[0-9a-f]{1,8}")
_DAYS_OF = "7d"

Json = Annotated[bool, typer.Option("--json", help="One JSON document a line for machines.")]


@app.command(
    "add",
    epilog="Example: inferwatch suppress add --deployment chat --detector output_drift --for 7d --reason 'A/B test'",
)
def add(
    reason: Annotated[str, typer.Option(help="Why, for who reads it later.")],
    deployment: Annotated[str, typer.Option(help="Only incidents of this deployment.")] = "",
    detector: Annotated[str, typer.Option(help="Only findings of this detector.")] = "",
    subject: Annotated[str, typer.Option(help="Only findings or incidents about this caller or subject.")] = "",
    cause: Annotated[str, typer.Option(help="Only incidents of this likeliest cause, such as load.")] = "",
    severity: Annotated[str, typer.Option(help="The highest severity covered; critical only where you say so.")] = (
        UNLESS_ASKED.value
    ),
    for_: Annotated[str, typer.Option("--for", help="How long: 90s, 15m, 24h, 7d; at most 90d.")] = _DAYS_OF,
    by: By = "",
) -> None:
    """Keep quiet about incidents whose findings all fit, until they do no more; they are stored as ever."""
    made = _made(reason, deployment, detector, subject, cause, severity, for_, by)
    with store_at_hand() as store:
        store.insert_suppression(made)
    typer.echo(f"{made.suppression_id} until {clock(made.until_s)}: {printable(_covered(made))}")


@app.command("list", epilog="Example: inferwatch suppress list --all")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """List suppressions, the latest first: until when, what, why, and who made them."""
    from streams.cases import suppression_files  # noqa: PLC0415 - verbs that need no store start faster

    now_s = time.time()
    with store_at_hand() as store:
        found = suppression_files.all_made(store, 1_000) if every else suppression_files.active(store, now_s)
    console = Console()
    for each in found:
        if as_json:
            typer.echo(msgspec.json.encode(each))
        else:
            console.print(_line(each, now_s), soft_wrap=True)
    if not found and not as_json:
        console.print("nothing is suppressed", style="dim")


@app.command("end", epilog="Example: inferwatch suppress end sup-1f0c2a77")
def end(
    suppression_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it; its beginning is enough.")],
    by: By = "",
) -> None:
    """End a suppression now; the next finding of what it kept quiet is told."""
    if _BEGINNING.fullmatch(suppression_id) is None:
        raise SettingsError(
            f"'{printable(suppression_id[:80])}' is no id of a suppression; expected sup- and hex digits"
        )
    with store_at_hand() as store:
        found = _one(store, suppression_id)
        if found.ended_s == 0.0:
            store.insert_suppression(msgspec.structs.replace(found, ended_s=time.time(), ended_by=person(by)))
    typer.echo(f"{found.suppression_id} has ended")


def _made(
    reason: str, deployment: str, detector: str, subject: str, cause: str, severity: str, for_: str, by: str
) -> Suppression:
    from streams.cases.causes import TITLES  # noqa: PLC0415 - as above

    if not reason.strip():
        raise SettingsError("--reason: it is empty; say why, for who reads it later")
    if not (deployment or detector or subject or cause):
        raise SettingsError("give at least one of --deployment, --detector, --subject and --cause")
    levels = [level.value for level in Severity]
    for option, value, choices in (("--severity", severity, levels), ("--cause", cause or "load", list(TITLES))):
        if value not in choices:
            raise SettingsError(f"{option}: {value[:80]!r} is not accepted; one of {', '.join(choices)}")
    length_s = span_s("--for", for_)
    if not 0.0 < length_s <= LONGEST_S:
        raise SettingsError(f"--for: {for_!r} is not accepted; at most 90d, then say it again")
    now_s = time.time()
    return Suppression(
        suppression_id=f"sup-{secrets.token_hex(4)}",
        reason=reason.strip()[:_MOST_CHARS],
        until_s=now_s + length_s,
        deployment=deployment[:_MOST_CHARS],
        detector=detector[:_MOST_CHARS],
        subject=subject[:_MOST_CHARS],
        cause=cause,
        severity=Severity(severity),
        by=person(by),
        made_s=now_s,
    )


def _one(store: Store, beginning: str) -> Suppression:
    from streams.cases import suppression_files  # noqa: PLC0415 - as above

    found = suppression_files.beginning_with(store, beginning)
    if not found:
        raise SettingsError(f"no suppression {beginning}; `inferwatch suppress list --all` prints their ids")
    if len(found) > 1:
        raise SettingsError(f"{beginning} is the beginning of several suppressions; give more of the id")
    return found[0]


def _covered(each: Suppression) -> str:
    named = (
        ("deployment", each.deployment),
        ("detector", each.detector),
        ("subject", each.subject),
        ("cause", each.cause),
    )
    return f"{' and '.join(f'{name} {value}' for name, value in named if value)}, up to {each.severity.value}"


def _line(each: Suppression, now_s: float) -> Text:
    if each.ended_s:
        until = f"ended {clock(each.ended_s)} by {printable(each.ended_by)}"
    else:
        until = f"{'until' if each.until_s > now_s else 'ran out'} {clock(each.until_s)}"
    return Text.assemble(
        (each.suppression_id, "bold"),
        f" {until}: {printable(_covered(each))}; {printable(each.reason)}",
        (f"  (made {clock(each.made_s)} by {printable(each.by)})", "dim"),
    )
