"""`inferwatch baseline`: reference numbers of a deployment that a person freezes, approves and compares."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.types import BASELINE
from streams.asking import span_s
from streams.components.baselines import NAME_CHARS, Baseline, Comparison, Difference, compared
from streams.components.provenance import Change, NoticeError
from streams.dlq import printable
from streams.settings import Settings, SettingsError
from streams.show import ascii_json, clock
from streams.stores import store_at_hand, store_of
from streams.verbs.changes import plain_console, whoever

if TYPE_CHECKING:
    from streams.clickhouse import Store

app = typer.Typer(help="What a deployment is like, kept to compare with.", no_args_is_help=True)

LARGE, MEDIUM, SMALL = 0.8, 0.5, 0.2
"""Standardized differences that are called large, medium and small (Cohen, Statistical Power Analysis, 1988)."""

_NOW = "now"

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]
Since = Annotated[str, typer.Option(help="Event time to begin at, back from now: 24h, 7d.")]
Until = Annotated[str, typer.Option(help="Event time to end at, back from now.")]
Note = Annotated[str, typer.Option(help="What it stands for, for who reads it later.")]
Who = Annotated[str, typer.Option(help="Who says so; without it, the user you are logged in as.")]


@app.command("freeze", epilog="Example: inferwatch baseline freeze support-chat --since 7d --note 'before the move'")
def freeze(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT")],
    since: Since = "24h",
    until: Until = "0s",
    name: Annotated[str, typer.Option(help="What to call it; without it, the deployment and the time.")] = "",
    note: Note = "",
    who: Who = "",
    as_json: Json = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """Measure a deployment's calls of some time and keep the numbers."""
    with store_at_hand() as store:
        baseline = _frozen(store, deployment, (since, until), name, note, whoever(who))
    _say(baseline, as_json=as_json)


@app.command("approve", epilog="Example: inferwatch baseline approve support-chat --note 'as agreed in CHG-1042'")
def approve(
    what: Annotated[str, typer.Argument(metavar="NAME|DEPLOYMENT", help="A frozen baseline, or what is served now.")],
    note: Note = "",
    who: Who = "",
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """Say that what a deployment does now is right: its detectors that compare answers begin afresh.

    The name of a deployment freezes its last 24 hours first.
    """
    from streams.components.baseline_files import kept  # noqa: PLC0415 - verbs that need no store start faster
    from streams.sending import send_notice  # noqa: PLC0415 - as above

    person, now_s = whoever(who), time.time()
    with store_of(Settings.from_env(os.environ)) as (settings, store):
        found = kept(store, name=what)
        baseline = found[0] if found else _frozen(store, what, ("24h", "0s"), "", note, person)
        # Told before it is marked: a mark without the notice would be a promise that nobody kept.
        try:
            said = Change(
                deployment=baseline.deployment,
                state="baseline",
                who=person,
                ticket=baseline.name,
                reason=note,
                decided_s=now_s,
            )
            send_notice(settings, said)
        except NoticeError as error:
            raise SettingsError(f"baseline: {printable(str(error))}") from None
        approved = msgspec.structs.replace(baseline, approved_s=now_s, approved_by=person, note=note or baseline.note)
        store.insert_baseline(approved)
    _say(approved, as_json=as_json)


@app.command("list", epilog="Example: inferwatch baseline list --deployment support-chat")
def list_(
    deployment: Annotated[str, typer.Option(help="Only of this deployment.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """List baselines, the latest last."""
    from streams.components.baseline_files import kept  # noqa: PLC0415 - as above

    with store_at_hand() as store:
        found = kept(store, deployment=deployment, limit=limit)
    if as_json:
        for each in found:
            typer.echo(ascii_json(each))
        return
    if not found:
        Console().print("no baseline was frozen; `inferwatch baseline freeze DEPLOYMENT` does", style="dim")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "deployment", "from", "to", "events", "frozen by", "approved", "note"):
        table.add_column(column, overflow="fold")
    for each in found:
        approved = f"{clock(each.approved_s)} by {printable(each.approved_by)}" if each.approved_s is not None else "no"
        table.add_row(
            Text(printable(each.name), "bold"),
            Text(printable(each.deployment)),
            clock(each.since_s),
            clock(each.until_s),
            str(each.events),
            Text(printable(each.who)),
            Text(approved, "dim" if each.approved_s is None else "green"),
            Text(printable(each.note)),
        )
    plain_console().print(table)


@app.command("diff", epilog="Example: inferwatch baseline diff support-chat-20261122-160000 --now")
def diff(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    other: Annotated[str, typer.Argument(metavar="[NAME2]", help="Another baseline; without it, now.")] = "",
    now: Annotated[bool, typer.Option("--now", help="Compare with the calls of --since until now.")] = False,  # noqa: FBT002 - as above
    since: Since = "24h",
    limit: Annotated[int, typer.Option(min=1, help="How many numbers to show; --json has all.")] = 40,
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """Compare two baselines, or one with now: every number by the size of its difference, and the components."""
    from streams.components.baseline_files import measured  # noqa: PLC0415 - as above

    if other and now:
        raise SettingsError("baseline diff: either NAME2 or --now")
    with store_at_hand() as store:
        before = _named(store, name)
        if other:
            after = _named(store, other)
        else:
            now_s = time.time()
            after = measured(store, before.deployment, now_s - span_s("--since", since), now_s, _NOW)
            if not after.events:
                raise SettingsError(f"no call of {printable(before.deployment)} in the last {since}; see --since")
    comparison = compared(before, after)
    if as_json:
        typer.echo(ascii_json(comparison))
        return
    _show(before, after, comparison, limit)


def _frozen(store: Store, deployment: str, span: tuple[str, str], name: str, note: str, who: str) -> Baseline:
    """Measured and kept. Raises `SettingsError` where there is nothing to measure or the name is taken."""
    from streams.components.baseline_files import kept, measured  # noqa: PLC0415 - as above

    now_s = time.time()
    since_s, until_s = now_s - span_s("--since", span[0]), now_s - span_s("--until", span[1])
    if since_s >= until_s:
        raise SettingsError(f"--since: {span[0]!r} begins no earlier than --until {span[1]!r} ends")
    name = name or f"{deployment[:100]}-{datetime.fromtimestamp(now_s, UTC):%Y%m%d-%H%M%S}"
    if len(name) > NAME_CHARS or not name.isprintable():
        raise SettingsError(f"--name: at most {NAME_CHARS} printable characters")
    if kept(store, name=name):
        raise SettingsError(f"--name: there is a baseline {printable(name)} already; choose another name")
    measure = measured(store, deployment, since_s, until_s, name)
    if not measure.events:
        raise SettingsError(
            f"no call of {printable(deployment[:80])} from {clock(since_s)} to {clock(until_s)}; "
            "`inferwatch doctor` names the deployments that are seen"
        )
    baseline = msgspec.structs.replace(measure, who=who, note=note, frozen_s=now_s)
    store.insert_baseline(baseline)
    return baseline


def _named(store: Store, name: str) -> Baseline:
    from streams.components.baseline_files import kept  # noqa: PLC0415 - as above

    found = kept(store, name=name)
    if not found:
        raise SettingsError(f"no baseline {printable(name[:80])}; `inferwatch baseline list` prints their names")
    return found[0]


def _say(baseline: Baseline, *, as_json: bool) -> None:
    if as_json:
        typer.echo(ascii_json(baseline))
        return
    done = BASELINE if baseline.approved_s is None else f"approved {BASELINE}"
    typer.echo(
        f"{done} {printable(baseline.name)}: {baseline.events} calls of {printable(baseline.deployment)} by "
        f"{baseline.principals} callers, {clock(baseline.since_s)} to {clock(baseline.until_s)}, "
        f"{len(baseline.numbers)} numbers"
    )


def _show(before: Baseline, after: Baseline, comparison: Comparison, limit: int) -> None:
    console = plain_console()
    for each in (before, after):
        console.print(
            Text.assemble(
                (printable(each.name), "bold"),
                f"  {each.events} calls, {clock(each.since_s)} to {clock(each.until_s)}",
            ),
            soft_wrap=True,
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("number", "before", "now", "difference in sd"):
        table.add_column(column, justify="left" if column == "number" else "right", overflow="fold")
    for number in comparison.numbers[:limit]:
        style = _style(number)
        size = "" if number.size is None else f"{number.size:+.2f}"
        table.add_row(
            Text(printable(number.name), style), _figure(number.before), _figure(number.now), Text(size, style)
        )
    console.print(table)
    if len(comparison.numbers) > limit:
        console.print(f"... and {len(comparison.numbers) - limit} that differ less; all are in --json", style="dim")
    for part in comparison.components:
        for digest in part.gone:
            console.print(Text.assemble((part.component, "bold"), " no longer ", printable(digest)), soft_wrap=True)
        for digest in part.new:
            console.print(Text.assemble((part.component, "bold"), (" new ", "red"), printable(digest)), soft_wrap=True)
    if not comparison.components:
        console.print("the components are the same", style="dim")


def _style(difference: Difference) -> str:
    if difference.size is None:
        return "yellow"
    size = abs(difference.size)
    return "bold red" if size >= LARGE else "yellow" if size >= MEDIUM else "" if size >= SMALL else "dim"


def _figure(value: float | None) -> str:
    return "not seen" if value is None else f"{value:.4g}"
