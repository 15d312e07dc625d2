"""The state of an installation as a document: is anything wrong now, where, since when. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from detectors.types import Severity
from streams.cases.case_files import Case
from streams.cases.incidents import OPEN
from streams.reporting.attachment import as_json
from streams.reporting.blocks import (
    NOTHING,
    Block,
    Cell,
    Document,
    Section,
    Table,
    Tile,
    Tiles,
    against,
    counted,
    duration,
    duration_cell,
    moment,
    name_cell,
    number,
    number_cell,
    prose_cell,
    severity_cell,
    severity_look,
    share_cell,
    text_cell,
    time_cell,
)
from streams.reporting.charts import Chart, Frame, Line, Mark
from streams.reporting.facts import Installation, Slot, Told

SILENT_S = 900.0
"""Without an event for so long, nothing is said to be well."""

_MOST_CASES, _MOST_MARKS = 60, 4


def overview(facts: Installation) -> Document:
    """The document."""
    verdict, look = _verdict(facts)
    span_s = facts.span.until_s - facts.span.since_s
    return Document(
        title="inferwatch: state of the installation",
        verdict=verdict,
        look=look,
        subtitle=f"{moment(facts.span.since_s)} to {moment(facts.span.until_s)} ({duration(span_s)}), "
        f"written {moment(facts.made_s)} by inferwatch {facts.version}",
        sections=(
            Section(title="Now", blocks=(_tiles(facts), _cases(facts))),
            Section(title="Findings", blocks=(_over_time(facts), _detectors(facts), told_table(facts.told))),
            Section(title="Deployments", blocks=tuple(_deployments(facts))),
            Section(title="Quiet, or blind", blocks=(_sight(facts), _dead(facts))),
            Section(title="Callers", blocks=(_callers(facts),)),
        ),
        file_name="inferwatch-report.json",
        attachment=as_json(facts),
    )


def _verdict(facts: Installation) -> tuple[str, str]:
    """The sentence to read first, and its color. Nothing open is no good news while nothing arrives."""
    cases = _open(facts)
    if cases:
        worst = cases[0].incident
        many = f"{counted(len(cases), 'open incident')}, the worst {worst.severity}"
        ago = duration(max(facts.made_s - worst.onset_s, 0.0))
        said = f"{many}, since {moment(worst.onset_s)} ({ago} ago). {worst.deployment}: {worst.summary}"
        return said, severity_look(worst.severity)
    last_s = max((each.last_s for each in facts.traffic if each.calls), default=None)
    if last_s is None:
        return "Nothing is known: no event arrived in this time. This is no all-clear.", "blind"
    silent_s = facts.made_s - last_s
    if silent_s > SILENT_S:
        return f"No open incident, but nothing has arrived for {duration(silent_s)}: no all-clear.", "blind"
    blind = sum(bool(each.blind) for each in facts.sight)
    but = f" Some detectors are blind in {counted(blind, 'deployment')}." if blind else ""
    calls = sum(each.calls for each in facts.traffic)
    return f"No open incident; {counted(calls, 'call')} seen.{but}", "well"


def _open(facts: Installation) -> list[Case]:
    """The worst first."""
    cases = [case for case in facts.cases if case.state == OPEN]
    return sorted(cases, key=lambda case: (-case.incident.severity.rank, case.incident.onset_s))


def _tiles(facts: Installation) -> Tiles:
    cases = Counter(case.incident.severity for case in _open(facts))
    levels = [level for level in reversed(Severity) if cases[level]]
    calls, before = (sum(getattr(each, name) for each in facts.traffic) for name in ("calls", "calls_before"))
    found = sum(each.findings for each in facts.tallies)
    letters, letters_before = (
        sum(getattr(each, name) for each in facts.dead) for name in ("letters", "letters_before")
    )
    last_s = max((each.last_s for each in facts.traffic), default=None)
    age_s = None if last_s is None else max(facts.made_s - last_s, 0.0)
    return Tiles(
        tiles=(
            Tile(
                label="Open incidents",
                text=str(sum(cases.values())),
                note=", ".join(f"{cases[level]} {level}" for level in levels),
                look=severity_look(levels[0]) if levels else "",
            ),
            Tile(label="Findings", text=number(found), note=against(found, facts.findings_before)),
            Tile(label="Calls", text=number(calls), note=against(calls, before), look="" if calls else "blind"),
            Tile(
                label="Last event arrived",
                text=NOTHING if age_s is None else f"{duration(age_s)} ago",
                note="" if last_s is None else moment(last_s),
                look="blind" if age_s is None or age_s > SILENT_S else "well",
            ),
            Tile(label="Dead letters", text=number(letters), note=against(letters, letters_before)),
        )
    )


def _cases(facts: Installation) -> Table:
    shown = sorted(
        facts.cases, key=lambda case: (case.state != OPEN, -case.incident.severity.rank, -case.incident.last_s)
    )
    return Table(
        title="Incidents, open ones first",
        columns=("severity", "state", "deployment", "what", "share", "began", "latest", "findings", "verdict", "id"),
        rows=tuple(map(_case_row, shown[:_MOST_CASES])),
        empty="No incident was open in this time.",
        note="Share: how much of the evidence is for the likeliest cause."
        + (f" {len(shown) - _MOST_CASES} more: inferwatch incidents list" if len(shown) > _MOST_CASES else ""),
    )


def _case_row(case: Case) -> tuple[Cell, ...]:
    incident = case.incident
    return (
        severity_cell(incident.severity),
        text_cell(case.state),
        name_cell(incident.deployment),
        prose_cell(incident.summary),
        share_cell(incident.causes[0].share if incident.causes else None),
        time_cell(incident.onset_s),
        time_cell(incident.last_s),
        number_cell(incident.count),
        text_cell(case.verdict),
        name_cell(incident.incident_id),
    )


def _frame(facts: Installation) -> Frame:
    cases = _open(facts)[:_MOST_MARKS]
    marks = tuple(
        Mark(time_s=case.incident.onset_s, label="" if place else f"{case.incident.severity} began")
        for place, case in enumerate(cases)
        if case.incident.onset_s >= facts.span.since_s
    )
    span = facts.span
    return Frame(
        since_s=span.since_s,
        until_s=span.until_s,
        step_s=float(span.step_s),
        marks=marks,
        blind=gaps(facts.heard, span.since_s, span.until_s, span.step_s),
    )


def gaps(heard: Iterable[int], since_s: float, until_s: float, step_s: int) -> tuple[tuple[float, float], ...]:
    """The spans of which no bucket had an event, within the whole."""
    there = set(heard)
    found: list[tuple[float, float]] = []
    for t in buckets(since_s, until_s, step_s):
        if t in there:
            continue
        begin_s, end_s = max(float(t), since_s), min(float(t + step_s), until_s)
        if found and found[-1][1] == begin_s:
            found[-1] = (found[-1][0], end_s)
        else:
            found.append((begin_s, end_s))
    return tuple(found)


def buckets(since_s: float, until_s: float, step_s: int) -> range:
    """The beginnings of the buckets of a span."""
    return range(int(since_s) // step_s * step_s, int(until_s) + 1, step_s)


def _over_time(facts: Installation) -> Chart:
    span = facts.span
    times = buckets(span.since_s, span.until_s, span.step_s)
    counts = {(each.t, each.severity): each.findings for each in facts.tallies}
    return Chart(
        title="Findings over time, by severity",
        unit="findings",
        frame=_frame(facts),
        times_s=tuple(map(float, times)),
        lines=tuple(
            Line(name=level, severity=level, values=tuple(float(counts.get((t, level), 0)) for t in times))
            for level in Severity
        ),
        stacked=True,
        note=f"In {duration(float(span.step_s))}; dashed: open incidents began; grey: no event arrived.",
    )


def _detectors(facts: Installation) -> Table:
    judged = {each.detector: each for each in facts.judged}
    rows = []
    for each in facts.detected:
        said = judged.get(each.detector)
        total = 0 if said is None else said.confirmed + said.refuted
        cells = (name_cell(each.detector), number_cell(each.findings), severity_cell(each.severity))
        rows.append(
            (
                *cells,
                number_cell(each.subjects),
                time_cell(each.last_s),
                number_cell(total),
                share_cell(None if said is None else said.precision),
            )
        )
    return Table(
        title="By detector",
        columns=("detector", "findings", "worst", "subjects", "latest", "incidents judged", "precision"),
        rows=tuple(rows),
        empty="No detector said anything in this time.",
        note="Judged: incidents with findings of the detector that people called true or false, of all that are kept.",
    )


def told_table(told: Sequence[Told]) -> Table:
    """Findings, the latest first."""
    rows = tuple(
        (
            time_cell(each.time_s),
            severity_cell(each.severity),
            name_cell(each.detector),
            name_cell(each.deployment),
            name_cell(each.subject),
            prose_cell(each.summary),
            time_cell(each.onset_s),
            number_cell(each.score),
            number_cell(each.threshold),
            name_cell(each.finding_id),
        )
        for each in sorted(told, key=lambda each: -each.time_s)
    )
    columns = ("time", "severity", "detector", "deployment", "subject", "what", "began", "score", "threshold", "id")
    return Table(title=f"The findings ({len(rows)} latest)", columns=columns, rows=rows, empty="There are none.")


def _deployments(facts: Installation) -> Iterator[Block]:
    open_cases = Counter(case.incident.deployment for case in _open(facts))
    yield Table(
        title="Traffic",
        columns=(
            *("deployment", "calls", "change", "callers", "p50", "p95", "p99", "errors", "refusals", "last event"),
            "open incidents",
        ),
        rows=tuple(
            (
                name_cell(each.deployment),
                number_cell(each.calls),
                share_cell((each.calls - each.calls_before) / each.calls_before if each.calls_before else None),
                number_cell(each.principals),
                duration_cell(each.p50_s),
                duration_cell(each.p95_s),
                duration_cell(each.p99_s),
                share_cell(each.error_rate),
                share_cell(each.refusal_rate),
                time_cell(each.last_s),
                number_cell(open_cases[each.deployment]),
            )
            for each in facts.traffic
        ),
        empty="No deployment was heard of in this time.",
    )
    if facts.slots:
        yield _lines(facts, "Calls", "calls", lambda slot: float(slot.calls))
        yield _lines(facts, "95th percentile of latency", "seconds", lambda slot: slot.p95_s)
        yield _lines(facts, "Failed calls", "share", lambda slot: slot.error_rate)


def _lines(facts: Installation, title: str, unit: str, measure: Callable[[Slot], float | None]) -> Chart:
    span = facts.span
    times = buckets(span.since_s, span.until_s, span.step_s)
    slots = {(each.t, each.deployment): measure(each) for each in facts.slots}
    names = [
        each.deployment for each in facts.traffic if any(slot.deployment == each.deployment for slot in facts.slots)
    ]
    return Chart(
        title=title,
        unit=unit,
        frame=_frame(facts),
        times_s=tuple(t + span.step_s / 2.0 for t in times),
        lines=tuple(Line(name=name, values=tuple(slots.get((t, name)) for t in times)) for name in names),
        note="The deployments with most calls." if len(names) < len(facts.traffic) else "",
    )


def _sight(facts: Installation) -> Table:
    last = {each.deployment: each.last_s for each in facts.traffic}
    rows = []
    for each in facts.sight:
        last_s = last.get(each.deployment)
        silent = last_s is None or facts.made_s - last_s > SILENT_S
        state = "silent" if silent else "partly blind" if each.blind else "seen"
        blind = "; ".join(each.blind) if each.blind else None
        rows.append(
            (
                name_cell(each.deployment),
                text_cell(state),
                time_cell(last_s),
                number_cell(each.events),
                prose_cell(blind),
            )
        )
    return Table(
        title="What is seen of each deployment",
        columns=("deployment", "state", "last event", "events in a day", "blind detectors, and what they lack"),
        rows=tuple(rows),
        empty="No event arrived in the last day: nothing is watched.",
        note=f"Silent: no event for {duration(SILENT_S)}. A detector is blind where half of the events lack its field.",
    )


def _dead(facts: Installation) -> Table:
    return Table(
        title="Dead letters: what could not be read",
        columns=("reason", "letters", "in the span before", "latest", "how one begins"),
        rows=tuple(
            (
                prose_cell(each.reason),
                number_cell(each.letters),
                number_cell(each.letters_before),
                time_cell(each.last_s),
                name_cell(each.example),
            )
            for each in facts.dead
        ),
        empty="Everything that arrived was read.",
    )


def _callers(facts: Installation) -> Table:
    return Table(
        title="Principals with findings, then those with most calls",
        columns=(
            *("principal", "worst finding", "findings", "calls", "tokens", "networks", "agents", "refusals"),
            "deployments",
        ),
        rows=tuple(
            (
                name_cell(each.principal),
                text_cell(None) if each.severity is None else severity_cell(each.severity),
                number_cell(each.findings),
                number_cell(each.calls),
                number_cell(each.tokens),
                number_cell(each.networks),
                number_cell(each.agents),
                share_cell(each.refusal_rate),
                text_cell(", ".join(each.deployments)),
            )
            for each in facts.callers
        ),
        empty="No event names a principal: the detectors of callers are blind.",
    )
