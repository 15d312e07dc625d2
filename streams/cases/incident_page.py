"""An incident as a page that a responder would print. Text from outside is printed as inert text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from streams.cases.case_files import Case, Extent
from streams.cases.case_provenance import Decision, Provenance, Report
from streams.cases.causes import UNKNOWN, is_sure
from streams.cases.incident_lines import number, span
from streams.cases.incidents import CALLERS, CLOSED, MERGED, MONITORING, Action, Cause, Cited, Incident, Plan, Verdict
from streams.cases.signs import COMPONENTS, fact
from streams.show import MOST_SEEN, STYLES, clock, inert

_MOST_QUOTED = 12
_MOST_LINES = 100
_MOST_CAUSES = 4
_MOST_FACTS = 3
_MOST_NAMED = 6
_INDENT = "  "
_HANGING = "   "
_THROTTLE = "throttle_principal"
_NARROW = 40
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has about an incident beside itself; what could not be read is `None`."""

    extent: Extent | None = None
    provenance: Provenance | None = None
    history: Sequence[Verdict] = ()


def pages(console: Console, incidents: Sequence[Incident], *, as_json: bool) -> None:
    """The incidents of a replay, which are in no store, one after the other."""
    for incident in incidents:
        if as_json:
            typer.echo(msgspec.json.encode(incident))
        else:
            console.rule()
            page(console, Case(incident=incident, state=incident.state), None)
    if incidents and not as_json:
        console.rule()


def page(console: Console, case: Case, record: Record | None) -> None:
    """The whole incident; one without a `record` is of a replay, and in no store."""
    incident, known = case.incident, record or Record()
    _head(console, case)
    _section(console, "What", _what(incident))
    _section(console, "Since when", _since(incident, case.state))
    _section(
        console,
        f"Evidence ({number(incident.count, 'finding')}, {number(incident.independent, 'independent kind')})",
        _evidence(incident, stored=record is not None),
    )
    _section(console, "Ranked causes", _causes(incident))
    if known.provenance is not None:
        _section(console, "On record about its components", _recorded(known.provenance, incident.onset_s))
    plan = incident.plan
    if plan is not None:
        _section(console, "Blast radius", _radius(plan, known.extent))
        _section(console, "Next checks", _numbered(plan.checks))
        _section(
            console,
            "How to roll back",
            map(Text, (*map(inert, plan.roll_back), *_last_good(incident, plan, known.provenance))),
        )
        _section(console, "Actions proposed, for a gateway or a SOAR", _actions(plan.actions))
        _section(console, "Notify", map(Text, map(inert, plan.notify)))
    _section(console, "What people said", map(_said, known.history))
    if plan is not None and record is not None:
        console.print("\nThe calls since it began, as a query", style="bold")
        console.print(Text(_copied(plan.radius.query)), soft_wrap=True)
    if record is not None:
        console.print("\nWhen you take it, know what it was, or are done", style="bold")
        for verb in ("assign {} NAME", "verdict {} true|false|benign --note …", "close {} --note …"):
            console.print(
                Text(f"{_INDENT}inferwatch incidents {verb.format(inert(incident.incident_id))}"), soft_wrap=True
            )


def _copied(query: str) -> str:
    """A query in whole lines: it is there to be copied."""
    return "\n".join(inert(line, MOST_SEEN) for line in query.split("\n")[:_MOST_LINES])


def _head(console: Console, case: Case) -> None:
    incident = case.incident
    again = f", re-opened {number(incident.reopened, 'time')}" if incident.reopened else ""
    console.print(
        Text.assemble(
            (f" {incident.severity.upper()} ", f"reverse {STYLES[incident.severity]}"),
            " ",
            (inert(incident.incident_id), "bold"),
            f"  {inert(case.state)}{again}",
            f", {inert(case.assignee)} works on it" if case.assignee else "",
        )
    )
    if case.verdict:
        note = f": {inert(case.note)}" if case.note else ""
        console.print(Text(f"verdict: {inert(case.verdict)}{note}", "bold"))
    if incident.merged_into:
        console.print(Text(f"merged into {inert(incident.merged_into)}"))
    if incident.quiet:
        console.print(Text(f"nobody is told: {inert(incident.quiet)}", "bold"))
    for reason in incident.kept_quiet:
        if reason != incident.quiet:
            console.print(Text(f"was kept quiet before: {inert(reason)}", "dim"))


def _section(console: Console, title: str, lines: Iterable[Text]) -> None:
    """A title and its lines; where one has to be broken, its rest stands further in."""
    rows = [part for row in lines for part in row.split("\n")]
    if not rows:
        return
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    for row in rows:
        own = " " * (len(row.plain) - len(row.plain.lstrip(" ")))
        width = max(console.width - len(_INDENT) - len(own) - len(_HANGING), _NARROW)
        for place, part in enumerate(row[len(own) :].wrap(console, width)):
            part.rstrip()
            console.print(Text(_INDENT + own + _HANGING * (place > 0)) + part, soft_wrap=True)


def _what(incident: Incident) -> Iterator[Text]:
    likeliest = incident.causes[0] if incident.causes else None
    if likeliest is not None:
        sure = "most likely" if is_sure(likeliest) else "perhaps"
        title = "the cause is not known yet" if likeliest.name == UNKNOWN else f"{sure}: {inert(likeliest.title)}"
        yield Text(title, "bold")
    yield Text(f"deployment {inert(incident.deployment)}: {_ABOUT.get(incident.component, inert(incident.component))}")
    if incident.subject != incident.deployment:
        yield Text(f"{inert(incident.scope)} {inert(incident.subject)}")
    if incident.members:
        more = f" and {len(incident.members) - _MOST_NAMED} more" if len(incident.members) > _MOST_NAMED else ""
        named = inert(" ".join(incident.members[:_MOST_NAMED]))
        yield Text(f"members known by name ({len(incident.members)}): {named}{more}")
    for affected in incident.plan.affected if incident.plan else ():
        before = "" if affected.before is None else f", before {_brief(affected.before)}"
        yield Text(
            f"{inert(affected.component)} is now {_brief(affected.now)}{before}, since {clock(affected.since_s)}"
        )


_ABOUT = {
    "serving": "how it answers",
    "monitoring": "whether it is still seen",
    "callers": "who calls it",
}


def _since(incident: Incident, state: str) -> Iterator[Text]:
    yield Text(f"began   {clock(incident.onset_s)}  (the earliest estimate)")
    waited_s = incident.first_s - incident.onset_s
    yield Text(f"found   {clock(incident.first_s)}  ({f'{span(waited_s)} later' if waited_s >= 1.0 else 'at once'})")
    estimates: dict[str, float] = {}
    for cited in incident.cited:
        estimates[cited.detector] = min(cited.onset_s, estimates.get(cited.detector, cited.onset_s))
    if len(estimates) > 1:
        ordered = sorted(estimates.items(), key=lambda each: (each[1], each[0]))[:_MOST_NAMED]
        yield Text("by      " + ", ".join(f"{detector} {clock(onset_s)}" for detector, onset_s in ordered))
    if incident.last_s > incident.first_s:
        yield Text(f"latest  {clock(incident.last_s)}  (after {span(incident.last_s - incident.onset_s)})")
    if state in {CLOSED, MERGED} and incident.closed_s is not None:
        yield Text(f"{inert(state)}  {clock(incident.closed_s)}")


def _evidence(incident: Incident, *, stored: bool) -> Iterator[Text]:
    """The first finding of each detector, and how many there are: the next ones mostly say the same."""
    quoted: dict[str, Cited] = {}
    for cited in sorted(incident.cited, key=lambda each: (each.time_s, each.finding_id)):
        quoted.setdefault(cited.detector, cited)
    shown = sorted(quoted.values(), key=lambda each: (-each.severity.rank, each.time_s))[:_MOST_QUOTED]
    for cited in shown:
        yield _quote(cited, incident.detectors.get(cited.detector, 1) - 1)
    if incident.count > len(shown) and stored:
        named = shlex.quote(inert(incident.deployment))
        yield Text(f"all {incident.count}: inferwatch findings --deployment {named}", "dim")


def _quote(cited: Cited, more: int) -> Text:
    shown = [row for row in cited.evidence if row.name != "members"]  # they are named above
    facts = "; ".join(_brief(fact(row)) for row in shown[:_MOST_FACTS])
    return Text.assemble(
        (clock(cited.time_s), "dim"),
        " ",
        (f"{cited.severity:<8}", STYLES[cited.severity]),
        " ",
        (inert(cited.detector), "bold"),
        f" {_brief(cited.summary)}",
        (f" (and {more} more)" if more > 0 else "", "dim"),
        (f"\n   {facts}" if facts else "", "dim"),
    )


def _causes(incident: Incident) -> Iterator[Text]:
    for place, cause in enumerate(incident.causes[:_MOST_CAUSES], 1):
        yield _cause(place, cause)


def _cause(place: int, cause: Cause) -> Text:
    text = Text.assemble((f"{place}. {inert(cause.title)}", "bold"), f"  {cause.share:.0%} of the evidence")
    if cause.name == UNKNOWN:
        text.append("\n   what the evidence leaves open", "dim")
    for said in cause.supports[:_MOST_FACTS]:
        text.append(f"\n   + {_brief(said)}")
    for said in cause.contradicts[:_MOST_FACTS]:
        text.append(f"\n   - {_brief(said)}", "dim")
    return text


def _brief(text: str) -> str:
    """A text from outside, inert, with long digests cut: they stand in full where they are to be copied from."""
    return _DIGEST.sub(r"\1…", inert(text))


def _recorded(provenance: Provenance, onset_s: float) -> Iterator[Text]:
    for decision in provenance.decisions:
        yield _decision(decision, onset_s)
    for report in provenance.reports:
        yield _report(report, onset_s)
    if not (provenance.decisions or provenance.reports):
        yield Text("no approved change and no attestation: `inferwatch changes approve` and `attest --send` make them")


def _decision(decision: Decision, onset_s: float) -> Text:
    what = f"{inert(decision.component) or 'its behavior'} {inert(decision.new)}".strip()
    ticket = f", {inert(decision.ticket)}" if decision.ticket else ""
    window = "".join(
        f", {word} {clock(time_s)}"
        for word, time_s in (("from", decision.from_s), ("until", decision.until_s))
        if time_s is not None
    )
    who = inert(decision.who) or "somebody"
    return Text(
        f"{clock(decision.decided_s)} {inert(decision.state)} {what}{window}, by {who}{ticket}"
        f"  ({_relative(decision.decided_s, onset_s)})"
    )


def _report(report: Report, onset_s: float) -> Text:
    digests = ", ".join(f"{inert(name)} {inert(digest)}" for name, digest in sorted(report.components.items()))
    risks = f"; {number(len(report.risks), 'alarm')}: {inert(', '.join(report.risks[:_MOST_FACTS]))}" * bool(
        report.risks
    )
    return Text(
        f"{clock(report.attested_s)} attested {inert(report.subject)}: {digests or 'no digest'}{risks}"
        f"  ({_relative(report.attested_s, onset_s)})"
    )


def _relative(time_s: float, onset_s: float) -> str:
    return f"{span(abs(time_s - onset_s))} {'before it began' if time_s < onset_s else 'after it began'}"


def _radius(plan: Plan, extent: Extent | None) -> Iterator[Text]:
    radius = plan.radius
    who = f"{number(len(radius.principals), 'caller')} known by name" if radius.principals else "all callers"
    named = f"{who} of {inert(radius.deployment)} since {clock(radius.since_s)}"
    if extent is None:
        yield Text(named)
        return
    yield Text(
        f"{named}: {number(extent.events, 'call')}, {number(extent.principals, 'caller')}, "
        f"{number(extent.sessions, 'session')}"
    )
    if extent.busiest:
        yield Text(f"most calls by {inert(', '.join(extent.busiest))}")


def _last_good(incident: Incident, plan: Plan, provenance: Provenance | None) -> Iterator[str]:
    for good in plan.last_good:
        if good.component in COMPONENTS:
            version = "" if good.version is None else f" {inert(good.version)}"
            yield f"last known good: {inert(good.component)}{version}, until {clock(good.until_s)}"
        elif incident.component == MONITORING:
            yield f"last seen in full: until {clock(good.until_s)}"
        elif incident.component != CALLERS:
            yield f"last known good: as it was served until {clock(good.until_s)}"
    for component in dict.fromkeys(each.component for each in plan.affected):
        known = None if provenance is None else provenance.last_good(component, incident.onset_s)
        if known is not None:
            digest, how, time_s = known
            yield f"on record before it began: {inert(component)} {inert(digest)}, {inert(how)} {clock(time_s)}"


def _numbered(steps: tuple[str, ...]) -> Iterator[Text]:
    for place, step in enumerate(steps, 1):
        yield Text(f"{place}. {inert(step)}")


def _actions(actions: Sequence[Action]) -> Iterator[Text]:
    """One a line, and callers together."""
    for action in actions:
        what = f" {inert(action.component)} at {inert(action.version or '')}" if action.component else ""
        if action.kind != _THROTTLE:
            yield Text(f"{inert(action.kind)} {inert(action.target)}{what}  (if: {inert(action.because)})")
    callers = [action for action in actions if action.kind == _THROTTLE]
    if callers:
        named = " ".join(inert(action.target) for action in callers[:_MOST_NAMED])
        more = f" and {len(callers) - _MOST_NAMED} more (--json has all)" if len(callers) > _MOST_NAMED else ""
        yield Text(f"{_THROTTLE} {named}{more}  (if: {inert(callers[0].because)})")


def _said(said: Verdict) -> Text:
    to = f" to {inert(said.assignee)}" if said.assignee else ""
    note = f": {inert(said.note)}" if said.note else ""
    return Text(f"{clock(said.said_s)} {inert(said.said_by) or 'somebody'}: {inert(said.verdict)}{to}{note}")
