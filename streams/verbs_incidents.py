"""`inferwatch incidents`: the cases that were made of findings, as lists and as pages, and what people say of them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from streams.asking import Filter
from streams.dlq import printable
from streams.settings import Settings, SettingsError

if TYPE_CHECKING:
    from streams.case_files import Asked, Case
    from streams.clickhouse import Store

app = typer.Typer(help="What the findings come to: cases with causes and next steps.", no_args_is_help=True)

_POLL_S = 1.0
_MOST_NOTE_CHARS = 2_000
_BEGINNING = re.compile(r"inc-[0-9a-f]{1,16}")

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]
Severities = Annotated[str, typer.Option(help="At least this: info, low, medium, high, critical.")]
Deployment = Annotated[str, typer.Option(help="Only of this deployment.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it; its beginning is enough.")]


@app.command("list", epilog="Example: inferwatch incidents list --severity high --since 24h")
def list_(
    severity: Severities = "info",
    deployment: Deployment = "",
    since: Annotated[str, typer.Option(help="Event time to look back: 90s, 15m, 24h, 7d.")] = "30d",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    merged: Annotated[bool, typer.Option("--merged", help="Those too that went into another one.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """List incidents, the latest last."""
    from streams.case_files import listed  # noqa: PLC0415 - verbs that need no store start faster

    asked = _asked(severity, deployment, since, limit, merged=merged)
    with _store() as store:
        _print(listed(store, asked), as_json=as_json)


@app.command("follow", epilog="Example: inferwatch incidents follow --severity high")
def follow(
    severity: Severities = "info",
    deployment: Deployment = "",
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """Print incidents as they open and change, until Ctrl-C."""
    from streams.case_files import listed  # noqa: PLC0415 - as above

    asked = _asked(severity, deployment, "36500d", 50)
    seen: dict[str, tuple[int, str | None]] = {}
    with _store() as store:
        while True:
            news = [case for case in listed(store, asked) if seen.get(case.incident.incident_id) != _look_of(case)]
            if news:
                _print(news, as_json=as_json)
            seen |= {case.incident.incident_id: _look_of(case) for case in news}
            time.sleep(_POLL_S)


@app.command("show", epilog="Example: inferwatch incidents show inc-1f0c")
def show(incident_id: Id, as_json: Json = False) -> None:  # noqa: FBT002 - as above
    """Print one incident as a page: what, since when, evidence, ranked causes, blast radius, next steps."""
    from streams.case_files import extent  # noqa: PLC0415 - as above
    from streams.clickhouse import StoreError  # noqa: PLC0415 - as above
    from streams.incident_page import page  # noqa: PLC0415 - as above

    beginning = _beginning(incident_id)
    with _store() as store:
        case = _one(store, beginning)
        if as_json:
            typer.echo(msgspec.json.encode(case))
            return
        try:
            counted = extent(store, case.incident.plan.radius) if case.incident.plan else None
        except StoreError:
            counted = None  # this user may not read events
        page(Console(), case, counted)


@app.command("verdict", epilog="Example: inferwatch incidents verdict inc-1f0c benign --note 'load test'")
def verdict(
    incident_id: Id,
    said: Annotated[str, typer.Argument(metavar="true|false|benign", help="Real; a false alarm; real and harmless.")],
    note: Annotated[str, typer.Option(help="Why, for who reads it later.")] = "",
) -> None:
    """Say what an incident was."""
    from streams.case_files import VERDICTS  # noqa: PLC0415 - as above

    if said not in VERDICTS:
        raise SettingsError(f"{said[:80]!r} is no verdict; one of {', '.join(VERDICTS)}")
    _say(incident_id, said, note)


@app.command("close", epilog="Example: inferwatch incidents close inc-1f0c --note 'rolled back'")
def close(incident_id: Id, note: Annotated[str, typer.Option(help="Why, for who reads it later.")] = "") -> None:
    """Close an incident; another finding opens it again."""
    from streams.case_files import SHUT  # noqa: PLC0415 - as above

    _say(incident_id, SHUT, note)


def _say(incident_id: str, said: str, note: str) -> None:
    from streams.incidents import Verdict  # noqa: PLC0415 - as above

    beginning = _beginning(incident_id)
    with _store() as store:
        full_id = _one(store, beginning).incident.incident_id
        store.insert_verdict(Verdict(incident_id=full_id, verdict=said, note=note[:_MOST_NOTE_CHARS]))
    typer.echo(f"{full_id}: {said}")


def _beginning(incident_id: str) -> str:
    """What was typed, as an id or its beginning. Raises `SettingsError`."""
    beginning = incident_id if incident_id.startswith("inc-") else f"inc-{incident_id}"
    if _BEGINNING.fullmatch(beginning) is None:
        raise SettingsError(f"'{printable(incident_id[:80])}' is no id of an incident; expected inc- and hex digits")
    return beginning


def _one(store: Store, beginning: str) -> Case:
    from streams.case_files import Asked, listed  # noqa: PLC0415 - as above

    cases = listed(store, Asked(incident_id=beginning, limit=2, merged=True))
    if not cases:
        raise SettingsError(f"no incident {beginning}; `inferwatch incidents list` prints their ids")
    if len(cases) > 1:
        raise SettingsError(f"{beginning} is the beginning of several incidents; give more of the id")
    return cases[0]


def _asked(severity: str, deployment: str, since: str, limit: int, *, merged: bool = False) -> Asked:
    from streams.case_files import Asked  # noqa: PLC0415 - as above

    parsed = Filter.parse(severity=severity, detector="", deployment=deployment, since=since, limit=limit)
    return Asked(
        severity=parsed.severity,
        deployment=deployment,
        since_s=max(time.time() - parsed.since_s, 0.0),
        limit=limit,
        merged=merged,
    )


def _print(cases: list[Case], *, as_json: bool) -> None:
    from streams.incident_page import line  # noqa: PLC0415 - as above

    console = Console()
    for case in cases:
        if as_json:
            typer.echo(msgspec.json.encode(case))
        else:
            console.print(line(case), soft_wrap=True)
    if not cases and not as_json:
        console.print("no incidents match; `inferwatch findings` lists what was found", style="dim")


def _look_of(case: Case) -> tuple[int, str | None]:
    return case.incident.revision, f"{case.state} {case.verdict}"


@contextmanager
def _store() -> Iterator[Store]:
    from streams.addressing import at_hand  # noqa: PLC0415 - as above
    from streams.clickhouse import Store  # noqa: PLC0415 - as above

    with at_hand(Settings.from_env(os.environ), os.environ) as settings:
        store = Store.connect(settings)
        try:
            yield store
        finally:
            store.close()
