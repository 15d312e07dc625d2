"""What is on record beside an incident: decisions about components, attestations, and what people said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.cases.case_provenance import Decision, Provenance, Report
from streams.cases.incidents import Incident, Verdict
from streams.reporting.blocks import (
    Block,
    Cell,
    Facts,
    Table,
    duration,
    moment,
    name_cell,
    prose_cell,
    text_cell,
    time_cell,
)


def recorded(provenance: Provenance, incident: Incident) -> Iterator[Block]:
    """Who approved what and when, what attestations found, and the last good digests that follow from both."""
    onset_s = incident.onset_s
    yield Table(
        title="Changes that people decided on",
        columns=(
            "decided",
            "against the onset",
            "state",
            "component",
            "new",
            "before",
            "by",
            "ticket",
            "from",
            "until",
        ),
        rows=tuple(_decision(each, onset_s) for each in provenance.decisions),
        empty="No change was approved or rejected: inferwatch changes approve.",
    )
    yield Table(
        title="Attestations",
        columns=("attested", "against the onset", "of", "in", "digests", "alarms"),
        rows=tuple(_report(each, onset_s) for each in provenance.reports),
        empty="Nothing was attested: inferwatch attest --send.",
    )
    components = dict.fromkeys(each.component for each in incident.plan.affected) if incident.plan else {}
    known = {component: provenance.last_good(component, onset_s) for component in components}
    rows = tuple(
        (component, f"{digest}, {how} {moment(time_s)}")
        for component, (digest, how, time_s) in ((name, good) for name, good in known.items() if good is not None)
    )
    if rows:
        yield Facts(rows=rows)


def history(said: Sequence[Verdict]) -> Table:
    """What people said of the incident, in order."""
    return Table(
        title="Verdicts and assignments",
        columns=("when", "who", "what", "to", "note"),
        rows=tuple(
            (
                time_cell(each.said_s),
                name_cell(each.said_by),
                text_cell(each.verdict),
                name_cell(each.assignee),
                prose_cell(each.note),
            )
            for each in said
        ),
        empty="Nobody said anything.",
    )


def _decision(decision: Decision, onset_s: float) -> tuple[Cell, ...]:
    return (
        time_cell(decision.decided_s),
        _relative(decision.decided_s, onset_s),
        text_cell(decision.state),
        name_cell(decision.component or "its behavior"),
        name_cell(decision.new),
        name_cell(decision.old),
        name_cell(decision.who),
        name_cell(decision.ticket),
        time_cell(decision.from_s),
        time_cell(decision.until_s),
    )


def _report(report: Report, onset_s: float) -> tuple[Cell, ...]:
    digests = ", ".join(f"{name} {digest}" for name, digest in sorted(report.components.items()))
    return (
        time_cell(report.attested_s),
        _relative(report.attested_s, onset_s),
        name_cell(report.subject),
        name_cell(report.source),
        name_cell(digests),
        prose_cell(", ".join(report.risks)),
    )


def _relative(time_s: float, onset_s: float) -> Cell:
    word = "before" if time_s < onset_s else "after"
    return Cell(text=f"{duration(abs(time_s - onset_s))} {word}", key=time_s - onset_s, look="number")
