"""`inferwatch incidents`: the cases that were made of findings, as lists and as pages, and what people say of them."""

from __future__ import annotations

import importlib.metadata
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from streams.asking import Filter
from streams.dlq import printable
from streams.settings import SettingsError
from streams.show import ascii_json
from streams.stores import By, person, store_at_hand

if TYPE_CHECKING:
    from streams.cases.case_files import Asked, Case
    from streams.cases.incident_page import Record
    from streams.cases.incidents import Incident
    from streams.clickhouse import Store

T = TypeVar("T")

app = typer.Typer(help="What the findings come to: cases with causes and next steps.", no_args_is_help=True)

_POLL_S = 1.0
_MOST_NOTE_CHARS, _MOST_NAME_CHARS = 2_000, 96
_BEGINNING = re.compile(r"inc-[0-9a-f]{1,16}")

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]
Severities = Annotated[str, typer.Option(help="At least this: info, low, medium, high, critical.")]
Deployment = Annotated[str, typer.Option(help="Only of this deployment.")]
Note = Annotated[str, typer.Option(help="Why, for who reads it later.")]
Ocsf = Annotated[bool, typer.Option("--ocsf", help="OCSF 1.8 Incident Findings, one JSON document a line, for a SIEM.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it; its beginning is enough.")]


@app.command("list", epilog="Example: inferwatch incidents list --severity high --since 24h")
def list_(
    severity: Severities = "info",
    deployment: Deployment = "",
    since: Annotated[str, typer.Option(help="Event time to look back: 90s, 15m, 24h, 7d.")] = "30d",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    merged: Annotated[bool, typer.Option("--merged", help="Those too that went into another one.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    as_json: Json = False,  # noqa: FBT002 - as above
    ocsf: Ocsf = False,  # noqa: FBT002 - as above
) -> None:
    """List incidents, the latest last."""
    from streams.cases.case_files import listed  # noqa: PLC0415 - verbs that need no store start faster

    asked = _asked(severity, deployment, since, limit, merged=merged)
    with store_at_hand() as store:
        _print(listed(store, asked), as_json=as_json, ocsf=ocsf)


@app.command("follow", epilog="Example: inferwatch incidents follow --severity high")
def follow(
    severity: Severities = "info",
    deployment: Deployment = "",
    as_json: Json = False,  # noqa: FBT002 - as above
    ocsf: Ocsf = False,  # noqa: FBT002 - as above
) -> None:
    """Print incidents as they open and change, until Ctrl-C."""
    from streams.cases.case_files import listed  # noqa: PLC0415 - as above

    asked = _asked(severity, deployment, "36500d", 50)
    seen: dict[str, tuple[int, str | None]] = {}
    with store_at_hand() as store:
        while True:
            news = [case for case in listed(store, asked) if seen.get(case.incident.incident_id) != _look_of(case)]
            if news:
                _print(news, as_json=as_json, ocsf=ocsf)
            seen |= {case.incident.incident_id: _look_of(case) for case in news}
            time.sleep(_POLL_S)


@app.command("show", epilog="Example: inferwatch incidents show inc-1f0c")
def show(incident_id: Id, as_json: Json = False) -> None:  # noqa: FBT002 - as above
    """Print one incident as a page: what, since when, evidence, ranked causes, blast radius, next steps."""
    from streams.cases.incident_page import page  # noqa: PLC0415 - as above

    beginning = beginning_of(incident_id)
    with store_at_hand() as store:
        case = one_case(store, beginning)
        if as_json:
            typer.echo(ascii_json(case))
            return
        page(Console(), case, _record(store, case.incident))


def _record(store: Store, incident: Incident) -> Record:
    """What the store has beside the incident, as far as this user may read it."""
    from streams.cases import case_files, case_provenance  # noqa: PLC0415 - as above
    from streams.cases.incident_page import Record  # noqa: PLC0415 - as above
    from streams.clickhouse import StoreError  # noqa: PLC0415 - as above

    def read(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except StoreError:
            return None

    plan = incident.plan
    return Record(
        extent=None if plan is None else read(lambda: case_files.extent(store, plan.radius)),
        provenance=read(lambda: case_provenance.around(store, incident)),
        history=read(lambda: case_files.history(store, incident.incident_id)) or (),
    )


@app.command("verdict", epilog="Example: inferwatch incidents verdict inc-1f0c benign --note 'load test'")
def verdict(
    incident_id: Id,
    said: Annotated[str, typer.Argument(metavar="true|false|benign", help="Real; a false alarm; real and harmless.")],
    note: Note = "",
    by: By = "",
) -> None:
    """Say what an incident was; `precision` counts it."""
    from streams.cases.case_files import VERDICTS  # noqa: PLC0415 - as above

    if said not in VERDICTS:
        raise SettingsError(f"{said[:80]!r} is no verdict; one of {', '.join(VERDICTS)}")
    _say(incident_id, said, note, by)


@app.command("close", epilog="Example: inferwatch incidents close inc-1f0c --note 'rolled back'")
def close(incident_id: Id, note: Note = "", by: By = "") -> None:
    """Close an incident; another finding opens it again."""
    from streams.cases.case_files import SHUT  # noqa: PLC0415 - as above

    _say(incident_id, SHUT, note, by)


@app.command("assign", epilog="Example: inferwatch incidents assign inc-1f0c kim")
def assign(incident_id: Id, who: Annotated[str, typer.Argument(metavar="WHO")], note: Note = "", by: By = "") -> None:
    """Say who works on an incident."""
    from streams.cases.case_files import ASSIGNED  # noqa: PLC0415 - as above

    if not who.strip():
        raise SettingsError("WHO: it is empty; a name or a team")
    _say(incident_id, ASSIGNED, note, by, who.strip()[:_MOST_NAME_CHARS])


@app.command("precision", epilog="Example: inferwatch incidents precision --json")
def precision(as_json: Json = False) -> None:  # noqa: FBT002 - as above
    """Show how often each detector was right, of the incidents that got a verdict."""
    from streams.cases.case_files import precision as judged  # noqa: PLC0415 - as above
    from streams.cases.incident_lines import precisions  # noqa: PLC0415 - as above

    with store_at_hand() as store:
        precisions(Console(), judged(store), as_json=as_json)


def _say(incident_id: str, said: str, note: str, by: str, assignee: str = "") -> None:
    from streams.cases.incidents import Verdict  # noqa: PLC0415 - as above

    beginning, who = beginning_of(incident_id), person(by)
    with store_at_hand() as store:
        full_id = one_case(store, beginning).incident.incident_id
        store.insert_verdict(
            Verdict(incident_id=full_id, verdict=said, note=note[:_MOST_NOTE_CHARS], said_by=who, assignee=assignee)
        )
    typer.echo(f"{full_id}: {said}{f' to {printable(assignee)}' if assignee else ''}, says {printable(who)}")


def beginning_of(incident_id: str) -> str:
    """What was typed, as an id or its beginning. Raises `SettingsError`."""
    beginning = incident_id if incident_id.startswith("inc-") else f"inc-{incident_id}"
    if _BEGINNING.fullmatch(beginning) is None:
        raise SettingsError(f"'{printable(incident_id[:80])}' is no id of an incident; expected inc- and hex digits")
    return beginning


def one_case(store: Store, beginning: str, ask: Callable[[Store, Asked], list[Case]] | None = None) -> Case:
    """The one incident whose id begins so; `ask` may know of more than is listed. Raises `SettingsError`."""
    from streams.cases.case_files import Asked, listed  # noqa: PLC0415 - as above

    cases = (ask or listed)(store, Asked(incident_id=beginning, limit=2, merged=True))
    if not cases:
        raise SettingsError(f"no incident {beginning}; `inferwatch incidents list` prints their ids")
    if len(cases) > 1:
        raise SettingsError(f"{beginning} is the beginning of several incidents; give more of the id")
    return cases[0]


def _asked(severity: str, deployment: str, since: str, limit: int, *, merged: bool = False) -> Asked:
    from streams.cases.case_files import Asked  # noqa: PLC0415 - as above

    parsed = Filter.parse(severity=severity, detector="", deployment=deployment, since=since, limit=limit)
    return Asked(
        severity=parsed.severity,
        deployment=deployment,
        since_s=max(time.time() - parsed.since_s, 0.0),
        limit=limit,
        merged=merged,
    )


def _print(cases: list[Case], *, as_json: bool, ocsf: bool) -> None:
    from streams.cases.incident_lines import line  # noqa: PLC0415 - as above

    if ocsf:
        _print_ocsf(cases)
        return
    console = Console()
    for case in cases:
        if as_json:
            typer.echo(ascii_json(case))
        else:
            console.print(line(case), soft_wrap=True)
    if not cases and not as_json:
        console.print("no incidents match; `inferwatch findings` lists what was found", style="dim")


def _print_ocsf(cases: list[Case]) -> None:
    from detectors.bank import discover  # noqa: PLC0415 - as above
    from streams.alerting.ocsf_incidents import Said, incident_finding  # noqa: PLC0415 - as above

    product_version = importlib.metadata.version("inferwatch")
    catalog = {name: kind.metadata for name, kind in discover().items()}
    for case in cases:
        shut = case.state != case.incident.state
        said = Said(verdict=case.verdict, note=case.note, assignee=case.assignee, shut=shut)
        event = incident_finding(case.incident, product_version, catalog, said)
        typer.echo(ascii_json(event))


def _look_of(case: Case) -> tuple[int, str | None]:
    return case.incident.revision, f"{case.state} {case.verdict} {case.assignee}"
