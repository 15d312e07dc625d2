"""One incident and the numbers around its onset, read from the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from streams.cases import case_files, case_provenance
from streams.cases.case_files import Case
from streams.cases.incidents import Cited, Incident
from streams.clickhouse import Store, StoreError
from streams.reporting import questions
from streams.reporting.facts import (
    Baseline,
    Bucket,
    Call,
    CallerSlot,
    CaseFacts,
    Numbers,
    Served,
    Span,
    Told,
)
from streams.reporting.gathering import edges, millis, rows, span_of

_LEAST_LEAD_S, _MOST_LEAD_S = 3_600.0, 2 * 86_400.0
T = TypeVar("T")

_BASELINE_S = 7 * 86_400.0


def case_facts(store: Store, case: Case, now_s: float, version: str, redact: Callable[[str], str] | None) -> CaseFacts:
    """All that a report of `case` says; texts of calls only with `redact`, and then only what it leaves of them.

    A user who may not read events gets a report without numbers. Raises `StoreError`.
    """
    incident = case.incident
    span = _span(incident, now_s)
    told = _told(store, incident)
    return CaseFacts(
        version=version,
        made_s=now_s,
        span=span,
        case=case,
        told=told,
        numbers=_read(lambda: _numbers(store, incident, span, told, redact)),
        provenance=_read(lambda: case_provenance.around(store, incident)),
        history=tuple(_read(lambda: case_files.history(store, incident.incident_id)) or ()),
        with_texts=redact is not None,
    )


def _read(ask: Callable[[], T]) -> T | None:
    """What this user may not read is None."""
    try:
        return ask()
    except StoreError:
        return None


def _span(incident: Incident, now_s: float) -> Span:
    """From before the onset, long enough to see what was usual, until after the last finding."""
    lasted_s = max(incident.last_s - incident.onset_s, 0.0)
    lead_s = min(max(lasted_s, _LEAST_LEAD_S), _MOST_LEAD_S)
    until_s = incident.last_s + max(lead_s / 2.0, _LEAST_LEAD_S / 2.0)
    since_s = max(incident.onset_s - lead_s, 0.0)
    return span_of(since_s, max(min(until_s, now_s), incident.last_s + 1.0, since_s + 1.0))


def _told(store: Store, incident: Incident) -> tuple[Told, ...]:
    """The findings as they are stored; of one that is no longer, what the incident quotes."""
    asked = {"deployment": incident.deployment, "known": list(incident.known)}
    try:
        stored = rows(store, Told, questions.TOLD_OF, asked)
    except StoreError:
        stored = ()  # this user may not read findings
    known = {each.finding_id for each in stored}
    quoted = (_of(incident, cited) for cited in incident.cited if cited.finding_id not in known)
    return tuple(sorted((*stored, *quoted), key=lambda each: each.time_s))


def _of(incident: Incident, cited: Cited) -> Told:
    return Told(
        finding_id=cited.finding_id,
        detector=cited.detector,
        scope=cited.scope,
        subject=cited.subject,
        deployment=incident.deployment,
        time_s=cited.time_s,
        onset_s=cited.onset_s,
        severity=cited.severity,
        summary=cited.summary,
        score=None,
        threshold=None,
        event_id="",
    )


def _numbers(
    store: Store, incident: Incident, span: Span, told: Sequence[Told], redact: Callable[[str], str] | None
) -> Numbers:
    plan = incident.plan
    principals = list(plan.radius.principals) if plan else []
    asked: dict[str, Any] = {
        **edges(span),
        "deployment": incident.deployment,
        "onset_ms": millis(incident.onset_s),
        "principals": principals,
        "anyone": not principals,
        "named": principals,
        "event_ids": [each.event_id for each in told if each.event_id],
    }
    (baseline,) = rows(
        store, Baseline, questions.BASELINE, {**asked, "since_ms": millis(incident.onset_s - _BASELINE_S)}
    )
    busiest = [row["who"] for row in store.query(questions.BUSIEST, asked)]
    sample = rows(
        store, Call, questions.calls(texts=redact is not None), {**asked, "since_ms": millis(incident.onset_s)}
    )
    return Numbers(
        extent=case_files.extent(store, plan.radius) if plan else None,
        buckets=rows(store, Bucket, questions.BUCKETS, asked),
        baseline=baseline,
        callers=rows(store, CallerSlot, questions.CALLER_SLOTS, {**asked, "principals": busiest}),
        served=rows(store, Served, questions.SERVED, asked),
        calls=tuple(_redacted(call, redact) for call in sample),
    )


def _redacted(call: Call, redact: Callable[[str], str] | None) -> Call:
    if redact is None:
        return call
    prompt, output = (None if text is None else redact(text) for text in (call.prompt, call.output))
    return msgspec.structs.replace(call, prompt=prompt, output=output)
