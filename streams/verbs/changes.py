"""`inferwatch changes`: who decided what of a component of a deployment, told to its detectors and kept."""

from __future__ import annotations

import getpass
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.types import APPROVED, REJECTED
from streams.asking import span_s
from streams.components.provenance import CHANGEABLE, Change, NoticeError
from streams.dlq import printable
from streams.settings import Settings, SettingsError
from streams.show import ascii_json, clock
from streams.stores import store_at_hand

if TYPE_CHECKING:
    from streams.components.change_files import Decided

app = typer.Typer(help="Approved and rejected changes of what serves a deployment.", no_args_is_help=True)

NEVER = "never"
_PLAIN_WIDTH = 200
"""Columns of a table in a file or a pipe, where nobody can widen the window."""

_SHOWN_DIGEST = 23
"""Characters of a digest that tell it from any other; --json has all of them."""

_STYLES = {APPROVED: "green", REJECTED: "bold red"}

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]
Deployment = Annotated[str, typer.Option(help="The deployment, as its calls name it.")]
Component = Annotated[str, typer.Option(help=f"One of {', '.join(CHANGEABLE)}.")]
New = Annotated[str, typer.Option(help="The new digest as calls carry it, or the name of a served model.")]
Old = Annotated[str, typer.Option(help="The one it takes the place of, if you know.")]
Who = Annotated[str, typer.Option(help="Who decides; without it, the user you are logged in as.")]
Reason = Annotated[str, typer.Option(help="Why, for who reads it later.")]


@app.command(
    "approve",
    epilog="Example: inferwatch changes approve --deployment support-chat --component weights --new sha256:9f2c... "
    "--ticket CHG-1042",
)
def approve(  # noqa: PLR0913, PLR0917 - each is an option that a person may type
    deployment: Deployment,
    component: Component,
    new: New,
    ticket: Annotated[str, typer.Option(help="Where it was agreed on.")],
    old: Old = "",
    who: Who = "",
    from_: Annotated[
        str, typer.Option("--from", help="When it may begin: 2h (from now), 2026-11-30T08:00Z; without it, now.")
    ] = "",
    until: Annotated[
        str, typer.Option(help="When it must have begun: 24h (after --from), 2026-11-30T20:00Z, or never.")
    ] = "24h",
    reason: Reason = "",
    as_json: Json = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """Approve a change: when the new version is first served within the window, nobody is alerted.

    Send it before the new version serves; the detectors that compare answers begin afresh when it does.
    """
    now_s = time.time()
    from_s = _moment_s("--from", from_, now_s) if from_ else now_s
    until_s = None if until == NEVER else _moment_s("--until", until, from_s)
    if until_s is not None and until_s <= now_s:
        raise SettingsError(f"--until: {until!r} is over; a time to come, a span such as 24h, or {NEVER}")
    change = _change(
        deployment=deployment,
        component=component,
        new=new,
        old=old or None,
        who=whoever(who),
        ticket=ticket,
        reason=reason,
        from_s=from_s,
        until_s=until_s,
        decided_s=now_s,
    )
    _send(change, as_json=as_json)


@app.command(
    "reject",
    epilog="Example: inferwatch changes reject --deployment support-chat --component weights --new sha256:9f2c... "
    "--reason 'not reviewed'",
)
def reject(
    deployment: Deployment,
    component: Component,
    new: New,
    ticket: Annotated[str, typer.Option(help="With that of an approval, the approval is taken back.")] = "",
    old: Old = "",
    who: Who = "",
    reason: Reason = "",
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """Reject a change, or take back its approval: serving the version from now on is a finding."""
    change = _change(
        deployment=deployment,
        component=component,
        new=new,
        old=old or None,
        who=whoever(who),
        ticket=ticket,
        reason=reason,
        state="rejected",
        decided_s=time.time(),
    )
    _send(change, as_json=as_json)


@app.command("list", epilog="Example: inferwatch changes list --deployment support-chat")
def list_(
    deployment: Annotated[str, typer.Option(help="Only of this deployment.")] = "",
    since: Annotated[str, typer.Option(help="How far to look back: 24h, 30d.")] = "365d",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """List decided changes, the latest last: what holds, in which window, and whether it was served."""
    from streams.components.change_files import decided  # noqa: PLC0415 - verbs that read no store start faster

    now_s = time.time()
    since_s = now_s - span_s("--since", since)
    with store_at_hand() as store:
        found = decided(store, deployment, since_s, limit)
    if as_json:
        for each in found:
            typer.echo(ascii_json(each))
    elif found:
        plain_console().print(_table(found, now_s))
    else:
        Console().print("no change was decided; `inferwatch changes approve --help` shows how", style="dim")


def whoever(who: str) -> str:
    """Who decides: as given, or as logged in. Raises `SettingsError`."""
    try:
        return who or getpass.getuser()
    except (KeyError, OSError):
        raise SettingsError("--who: this user has no name; say who decides") from None


def plain_console() -> Console:
    """A console that is wide where nobody can widen it."""
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)


def _change(**fields: str | float | None) -> Change:
    try:
        return Change(**fields)  # type: ignore[arg-type]  # each verb names the fields it fills
    except NoticeError as error:
        raise SettingsError(f"changes: {printable(str(error))}") from None


def _send(change: Change, *, as_json: bool) -> None:
    from streams.addressing import at_hand  # noqa: PLC0415 - as above
    from streams.sending import send_notice  # noqa: PLC0415 - as above

    with at_hand(Settings.from_env(os.environ), os.environ) as settings:
        try:
            send_notice(settings, change)
        except NoticeError as error:
            raise SettingsError(f"changes: {printable(str(error))}") from None
    if as_json:
        typer.echo(ascii_json({"change_id": change.change_id, **msgspec.to_builtins(change)}))
        return
    window = ""
    if change.state == APPROVED and change.from_s is not None:
        window = f", from {clock(change.from_s)}"
        window += " without an end" if change.until_s is None else f" until {clock(change.until_s)}"
    typer.echo(
        f"{change.change_id} {change.state} by {printable(change.who)}: {change.component} of "
        f"{printable(change.deployment)} as {printable(change.new)}{window}"
    )


def _moment_s(option: str, text: str, base_s: float) -> float:
    """A time as a person types it: a span after `base_s`, or a date and time, UTC where it does not say."""
    try:
        return base_s + span_s(option, text)
    except SettingsError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option}: {text!r} is not accepted; a span such as 24h, or a time such as 2026-11-30T08:00Z"
        ) from None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def _table(found: list[Decided], now_s: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("decided", "state", "deployment", "component", "new", "window", "served", "who", "ticket", "id"):
        table.add_column(column, overflow="fold")
    for each in found:
        begins = "" if each.from_s is None else clock(each.from_s)
        ends = " on" if each.until_s is None else f" to {clock(each.until_s)}"
        served = "not yet" if each.component else ""
        if each.first_served_s is not None and each.last_served_s is not None:
            served = f"{clock(each.first_served_s)} to {clock(each.last_served_s)}"
        table.add_row(
            Text(clock(each.decided_s), "dim"),
            Text(each.standing(now_s), _STYLES.get(each.standing(now_s), "yellow")),
            Text(printable(each.deployment), "bold"),
            each.component,
            Text(printable(each.new)[:_SHOWN_DIGEST]),
            Text(f"{begins}{ends}" if each.from_s is not None else ""),
            Text(served),
            Text(printable(each.who)),
            Text(printable(each.ticket)),
            Text(each.change_id, "dim"),
        )
    return table
