"""An incident as a page that a responder would print. Text from outside is printed as inert text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from streams.case_files import Case, Extent
from streams.causes import CONFIDENT, UNKNOWN, fact
from streams.dlq import printable
from streams.incidents import CLOSED, MERGED, Action, Cause, Cited, Incident, Plan
from streams.show import STYLES, clock

_MOST_QUOTED = 12
_MOST_CAUSES = 5
_LIKELY = 3
_INDENT = "  "
_NARROW = 40


def line(case: Case) -> Text:
    """One incident on one line."""
    incident = case.incident
    said = f" [{case.verdict}]" if case.verdict else ""
    return Text.assemble(
        (clock(incident.last_s), "dim"),
        " ",
        (f"{incident.severity:<8}", STYLES[incident.severity]),
        " ",
        (incident.incident_id, "bold"),
        f" {case.state:<6} {printable(incident.deployment)}: {printable(incident.summary)}{said}",
    )


def pages(console: Console, incidents: Sequence[Incident], *, as_json: bool) -> None:
    """The incidents of a replay, which are in no store, one after the other."""
    for incident in incidents:
        if as_json:
            typer.echo(msgspec.json.encode(incident))
        else:
            console.rule()
            page(console, Case(incident=incident, state=incident.state), None, stored=False)
    if incidents and not as_json:
        console.rule()


def page(console: Console, case: Case, extent: Extent | None, *, stored: bool = True) -> None:
    """The whole incident; without `extent` its blast radius was not counted, and is not `stored` in a replay."""
    incident = case.incident
    _head(console, case)
    _section(console, "What", _what(incident))
    _section(console, "Since when", _since(incident, case.state))
    _section(
        console,
        f"Evidence ({_number(incident.count, 'finding')}, {_number(incident.independent, 'independent kind')})",
        _evidence(incident),
    )
    _section(console, "Ranked causes", _causes(incident))
    plan = incident.plan
    if plan is not None:
        _section(console, "Blast radius", _radius(plan, extent))
        _section(console, "Next checks", _numbered(plan.checks))
        _section(console, "How to roll back", map(Text, (*plan.roll_back, *_last_good(plan))))
        _section(console, "Actions proposed, for a gateway or a SOAR", map(_action, plan.actions))
        _section(console, "Notify", map(Text, map(printable, plan.notify)))
        if stored:
            console.print("\nThe calls since the onset", style="bold")
            console.print(Text(plan.radius.query), soft_wrap=True)  # whole lines: it is there to be copied
    if stored:
        console.print(
            f"\nwhen you know: inferwatch incidents verdict {incident.incident_id} true|false|benign --note …"
        )


def _head(console: Console, case: Case) -> None:
    incident = case.incident
    again = f", re-opened {_number(incident.reopened, 'time')}" if incident.reopened else ""
    console.print(
        Text.assemble(
            (f" {incident.severity.upper()} ", f"reverse {STYLES[incident.severity]}"),
            " ",
            (f"{incident.incident_id}", "bold"),
            f"  {case.state}{again}  revision {incident.revision}",
        )
    )
    if case.verdict:
        note = f": {printable(case.note)}" if case.note else ""
        console.print(Text(f"verdict: {case.verdict}{note}", "bold"))
    if incident.merged_into:
        console.print(Text(f"merged into {incident.merged_into}"))


def _section(console: Console, title: str, lines: Iterator[Text] | list[Text] | map[Text]) -> None:
    rows = list(lines)
    if not rows:
        return
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    for row in rows:
        for part in row.wrap(console, max(console.width - len(_INDENT), _NARROW)):
            part.rstrip()
            console.print(Text(_INDENT) + part, soft_wrap=True)


def _what(incident: Incident) -> Iterator[Text]:
    likeliest = incident.causes[0] if incident.causes else None
    if likeliest is not None:
        sure = "most likely" if likeliest.share >= CONFIDENT else "perhaps"
        title = "the cause is not known yet" if likeliest.name == UNKNOWN else f"{sure}: {likeliest.title}"
        yield Text(title, "bold")
    yield Text(f"deployment {printable(incident.deployment)}, {incident.component}")
    if incident.subject != incident.deployment:
        yield Text(f"{incident.scope} {printable(incident.subject)}")
    if incident.members:
        yield Text(f"members known by name ({len(incident.members)}): {printable(' '.join(incident.members))}")
    for affected in incident.plan.affected if incident.plan else ():
        before = "" if affected.before is None else f", before {printable(affected.before)}"
        yield Text(f"{affected.component} is now {printable(affected.now)}{before}")


def _since(incident: Incident, state: str) -> Iterator[Text]:
    yield Text(f"began   {clock(incident.onset_s)}  (the earliest onset estimated)")
    yield Text(f"found   {clock(incident.first_s)}")
    yield Text(f"latest  {clock(incident.last_s)}")
    if state in {CLOSED, MERGED} and incident.closed_s is not None:
        yield Text(f"{state}  {clock(incident.closed_s)}")


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _evidence(incident: Incident) -> Iterator[Text]:
    quoted = incident.cited[:_MOST_QUOTED]
    for cited in quoted:
        yield _quote(cited)
    if incident.count > len(quoted):
        yield Text(f"and {incident.count - len(quoted)} more: inferwatch findings --deployment NAME", "dim")


def _quote(cited: Cited) -> Text:
    facts = "; ".join(printable(fact(row)) for row in cited.evidence[:_LIKELY])
    return Text.assemble(
        (clock(cited.time_s), "dim"),
        " ",
        (f"{cited.severity:<8}", STYLES[cited.severity]),
        " ",
        (cited.detector, "bold"),
        f" {printable(cited.summary)}",
        (f"\n{facts}" if facts else "", "dim"),
    )


def _causes(incident: Incident) -> Iterator[Text]:
    for number, cause in enumerate(incident.causes[:_MOST_CAUSES], 1):
        yield _cause(number, cause)


def _cause(number: int, cause: Cause) -> Text:
    text = Text.assemble((f"{number}. {cause.title}", "bold"), f"  {cause.share:.0%} of the evidence")
    for said in cause.supports[:_LIKELY]:
        text.append(f"\n   + {printable(said)}")
    for said in cause.contradicts[:_LIKELY]:
        text.append(f"\n   - {printable(said)}", "dim")
    return text


def _radius(plan: Plan, extent: Extent | None) -> Iterator[Text]:
    radius = plan.radius
    who = _number(len(radius.principals), "caller") if radius.principals else "all callers"
    span = f"{who} of {printable(radius.deployment)} since {clock(radius.since_s)}"
    if extent is None:
        yield Text(span)
        return
    yield Text(
        f"{span}: {_number(extent.events, 'call')}, {_number(extent.principals, 'caller')}, "
        f"{_number(extent.sessions, 'session')}"
    )
    if extent.busiest:
        yield Text(f"most calls by {printable(', '.join(extent.busiest))}")


def _last_good(plan: Plan) -> Iterator[str]:
    for good in plan.last_good:
        version = "" if good.version is None else f" {printable(good.version)}"
        yield f"last known good: {good.component}{version}, until {clock(good.until_s)}"


def _numbered(steps: tuple[str, ...]) -> Iterator[Text]:
    for number, step in enumerate(steps, 1):
        yield Text(f"{number}. {step}")


def _action(action: Action) -> Text:
    what = f" {action.component} at {printable(action.version or '')}" if action.component else ""
    return Text(f"{action.kind} {printable(action.target)}{what}  ({action.because})")
