"""An incident as a document: what, since when, why, whom it touched and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases.case_files import Extent
from streams.cases.causes import UNKNOWN, is_sure
from streams.cases.incidents import CLOSED, MERGED, OPEN, Action, Incident, Plan
from streams.cases.signs import fact
from streams.reporting import case_charts
from streams.reporting.attachment import as_json
from streams.reporting.blocks import (
    Block,
    Cell,
    Code,
    Document,
    Facts,
    Item,
    Items,
    Note,
    Section,
    Table,
    counted,
    duration,
    duration_cell,
    moment,
    name_cell,
    number_cell,
    prose_cell,
    severity_look,
    text_cell,
    time_cell,
)
from streams.reporting.facts import Call, CaseFacts, Numbers, Served
from streams.reporting.overview import told_table
from streams.reporting.record import history, recorded

_SHOWN_CHARS = 1_500
_UNREAD = "The user of this report may not read events: there are no numbers of calls."


def case_page(facts: CaseFacts) -> Document:
    """The document."""
    case, incident = facts.case, facts.case.incident
    lasted = duration(max((facts.made_s if case.state == OPEN else incident.last_s) - incident.onset_s, 0.0))
    state = f"{case.state} for {lasted}" if case.state == OPEN else f"{case.state}, lasted {lasted}"
    return Document(
        title=f"{incident.severity.upper()} {incident.deployment}: {incident.summary}",
        verdict=f"{_likely(incident)}. Since {moment(incident.onset_s)}, {state}.",
        look=severity_look(incident.severity),
        subtitle=f"{incident.incident_id}, revision {incident.revision}, written {moment(facts.made_s)} by "
        f"inferwatch {facts.version}",
        sections=tuple(_sections(facts)),
        file_name="inferwatch-incident.json",
        attachment=as_json(facts),
    )


def _sections(facts: CaseFacts) -> Iterator[Section]:
    incident = facts.case.incident
    plan = incident.plan
    yield Section(title="What, and since when", blocks=(_what(facts),))
    yield Section(title="Ranked causes", blocks=(_causes(incident),))
    if plan is not None:
        yield Section(title="What to do", blocks=tuple(_to_do(plan)))
    if facts.provenance is not None:
        yield Section(title="On record about its components", blocks=tuple(recorded(facts.provenance, incident)))
    yield Section(title="How it went", blocks=tuple(_course(facts)))
    if plan is not None:
        yield Section(title="Blast radius", blocks=tuple(_radius(plan, facts.numbers)))
    yield Section(title="Evidence", blocks=(told_table(facts.told), _quoted(incident)))
    if facts.history:
        yield Section(title="What people said", blocks=(history(facts.history),))
    if facts.numbers is not None:
        yield Section(title="Calls", blocks=tuple(_calls(facts.numbers, with_texts=facts.with_texts)))


def _likely(incident: Incident) -> str:
    likeliest = incident.causes[0] if incident.causes else None
    if likeliest is None or likeliest.name == UNKNOWN:
        return "The cause is not known yet"
    return f"{'Most likely' if is_sure(likeliest) else 'Perhaps'}: {likeliest.title}"


def _what(facts: CaseFacts) -> Facts:
    case, incident = facts.case, facts.case.incident
    rows = [
        ("severity", str(incident.severity)),
        ("state", case.state + (f", re-opened {counted(incident.reopened, 'time')}" if incident.reopened else "")),
        ("deployment", incident.deployment),
        ("about", incident.component),
        ("began", f"{moment(incident.onset_s)} (the earliest onset estimated)"),
        ("found", moment(incident.first_s)),
        ("latest finding", moment(incident.last_s)),
    ]
    if incident.subject != incident.deployment:
        rows.insert(3, (incident.scope, incident.subject))
    if incident.state in {CLOSED, MERGED} and incident.closed_s is not None:
        rows.append((incident.state, moment(incident.closed_s)))
    if incident.merged_into:
        rows.append(("merged into", incident.merged_into))
    if incident.members:
        rows.append((f"members known ({len(incident.members)})", " ".join(incident.members)))
    if case.assignee:
        rows.append(("works on it", case.assignee))
    if incident.quiet:
        rows.append(("nobody is told", incident.quiet))
    rows += (("was kept quiet", reason) for reason in incident.kept_quiet if reason != incident.quiet)
    if case.verdict:
        rows.append(("verdict", f"{case.verdict}: {case.note}" if case.note else case.verdict))
    for affected in incident.plan.affected if incident.plan else ():
        before = "" if affected.before is None else f", before {affected.before}"
        rows.append(("changed", f"{affected.component} is now {affected.now}{before}"))
    said = ", ".join(f"{name} ({count})" for name, count in incident.detectors.items())
    agree = f"; {counted(incident.independent, 'independent kind')} agree" if incident.independent > 1 else ""
    rows.append(("findings", f"{incident.count}{agree}: {said}"))
    return Facts(rows=tuple(rows))


def _causes(incident: Incident) -> Block:
    if not incident.causes:
        return Note(text="No cause was ranked.")
    return Items(
        ordered=True,
        items=tuple(
            Item(
                text=f"{cause.title}: {cause.share:.0%} of the evidence",
                supports=cause.supports,
                contradicts=cause.contradicts,
            )
            for cause in incident.causes
        ),
    )


def _to_do(plan: Plan) -> Iterator[Block]:
    yield Note(text="Next checks, in this order:")
    yield Items(ordered=True, items=tuple(Item(text=each) for each in plan.checks))
    if plan.roll_back:
        yield Note(text="How to roll back:")
        yield Items(items=tuple(Item(text=each) for each in plan.roll_back))
    rows = tuple(
        (name_cell(each.component), name_cell(each.version), time_cell(each.until_s)) for each in plan.last_good
    )
    yield Table(
        title="Last known good", columns=("component", "version", "until"), rows=rows, empty="Nothing is known of it."
    )
    yield Table(
        title="Actions proposed, for a gateway or a SOAR; none was carried out",
        columns=("action", "target", "component", "version", "because"),
        rows=tuple(map(_action, plan.actions)),
        empty="None is proposed.",
    )
    if plan.notify:
        yield Facts(rows=(("notify", ", ".join(plan.notify)),))


def _action(action: Action) -> tuple[Cell, ...]:
    names = (action.kind, action.target, action.component, action.version)
    return (*map(name_cell, names), prose_cell(action.because))


def _course(facts: CaseFacts) -> Iterator[Block]:
    yield case_charts.timeline(facts)
    if facts.numbers is None:
        yield Note(text=_UNREAD)
        return
    yield from case_charts.charts(facts, facts.numbers)
    if facts.numbers.served:
        yield _served(facts.numbers.served)


def _served(served: tuple[Served, ...]) -> Table:
    return Table(
        title="What answered, and since when",
        columns=("served model", "asked for", "components", "calls", "first", "last"),
        rows=tuple(
            (
                name_cell(each.served_model),
                name_cell(each.model),
                name_cell(", ".join(f"{name} {digest}" for name, digest in each.components.items())),
                number_cell(each.calls),
                time_cell(each.first_s),
                time_cell(each.last_s),
            )
            for each in served
        ),
        empty="",
    )


def _radius(plan: Plan, numbers: Numbers | None) -> Iterator[Block]:
    radius = plan.radius
    who = counted(len(radius.principals), "caller") if radius.principals else "all callers"
    rows = [("who", f"{who} of {radius.deployment}"), ("since", moment(radius.since_s))]
    extent = None if numbers is None else numbers.extent
    if extent is not None:
        rows += _extent(extent)
    yield Facts(rows=tuple(rows))
    yield Code(title="The calls since the onset, to run on ClickHouse", text=radius.query)


def _extent(extent: Extent) -> Iterator[tuple[str, str]]:
    yield "calls", f"{extent.events:,}"
    yield "callers", f"{extent.principals:,}"
    yield "sessions", f"{extent.sessions:,}"
    if extent.busiest:
        yield "most calls by", ", ".join(extent.busiest)


def _quoted(incident: Incident) -> Table:
    rows = [
        (time_cell(cited.time_s), name_cell(cited.detector), prose_cell(fact(row)))
        for cited in incident.cited
        for row in cited.evidence
    ]
    return Table(
        title="The numbers behind them",
        columns=("time", "detector", "number"),
        rows=tuple(rows),
        empty="No finding brought numbers.",
    )


def _calls(numbers: Numbers, *, with_texts: bool) -> Iterator[Block]:
    texts = ("prompt", "output") if with_texts else ()
    columns = (
        *("time", "cited", "principal", "outcome"),
        *texts,
        *("served model", "latency", "tokens in", "tokens out", "event"),
    )
    yield Table(
        title="A sample: the calls that findings name, then the first since the onset",
        columns=columns,
        rows=tuple(_call(call, with_texts=with_texts) for call in numbers.calls),
        empty="No call is stored of this time.",
        note="Texts are as stored, redacted once more."
        if with_texts
        else "Without texts: a ticket travels further than a database. --with-texts adds them, redacted.",
    )


def _call(call: Call, *, with_texts: bool) -> tuple[Cell, ...]:
    outcomes = (
        ("failed" if call.failed else None),
        ("refused" if call.refused else None),
        call.finish_reason,
        call.error_type,
    )
    texts = (_text(call.prompt, call.prompt_chars), _text(call.output, call.output_chars)) if with_texts else ()
    return (
        time_cell(call.time_s),
        text_cell("yes" if call.named else None),
        name_cell(call.principal),
        text_cell(", ".join(each for each in outcomes if each)),
        *texts,
        name_cell(call.served_model),
        duration_cell(call.latency_s),
        number_cell(call.input_tokens),
        number_cell(call.output_tokens),
        name_cell(call.event_id),
    )


def _text(text: str | None, chars: int | None) -> Cell:
    """The beginning of a text, and how long it is."""
    if text is None:
        return text_cell(None)
    total = len(text) if chars is None else max(chars, len(text))
    return prose_cell(
        text[:_SHOWN_CHARS] + (f" … cut here: {total:,} characters in all" if total > _SHOWN_CHARS else "")
    )
