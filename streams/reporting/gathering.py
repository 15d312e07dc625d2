"""The state of the installation, read from the store. Raises `StoreError`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from detectors.types import Severity
from streams import doctor
from streams.cases import case_files
from streams.cases.case_files import Asked, Case
from streams.cases.incidents import OPEN
from streams.clickhouse import Store
from streams.reporting import questions
from streams.reporting.facts import (
    Caller,
    Dead,
    Detected,
    Installation,
    Sight,
    Slot,
    Span,
    Tally,
    Told,
    Traffic,
)

Row = TypeVar("Row", bound=msgspec.Struct)

_BUCKETS = 96
_LOOK_BACK_S = 7 * 86_400.0
"""An incident that is open is shown however short a span is asked for; an open one closes long before."""

_MOST_CASES = 500
_NAMES = {
    "level": "severity",
    "said": "summary",
    "who": "principal",
    "why": "reason",
    "median_ttft_s": "ttft_s",
    "means": "style",
    "asked": "prompt",
    "asked_chars": "prompt_chars",
    "answered": "output",
    "answered_chars": "output_chars",
}
"""What queries call a column, so that no alias hides one of the table's, and what facts call it."""


def span_of(since_s: float, until_s: float) -> Span:
    """A span in about a hundred buckets of whole seconds."""
    return Span(since_s=since_s, until_s=until_s, step_s=max(math.ceil((until_s - since_s) / _BUCKETS), 1))


def edges(span: Span) -> dict[str, Any]:
    """The parameters of a span."""
    length_s = span.until_s - span.since_s
    return {
        "since_ms": millis(span.since_s),
        "until_ms": millis(span.until_s),
        "before_ms": millis(span.since_s - length_s),
        "step_s": span.step_s,
    }


def millis(time_s: float) -> int:
    """Unix milliseconds, from 1970 on."""
    return max(int(time_s * 1_000), 0)


def rows(store: Store, kind: type[Row], sql: str, parameters: Mapping[str, Any]) -> tuple[Row, ...]:
    """The answer as values of `kind`; a number that is none (a quantile of nothing) is None."""
    return tuple(
        msgspec.convert({_NAMES.get(name, name): _clean(value) for name, value in row.items()}, kind, strict=False)
        for row in store.query(sql, parameters)
    )


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def installation(store: Store, since_s: float, now_s: float, version: str) -> Installation:
    """What happened in the last `since_s` seconds of event time, and what is open now."""
    span = span_of(now_s - since_s, now_s)
    parameters = edges(span)
    traffic = rows(store, Traffic, questions.TRAFFIC, parameters)
    drawn = [each.deployment for each in traffic if each.calls][: questions.MOST_DRAWN]
    return Installation(
        version=version,
        made_s=now_s,
        span=span,
        cases=_cases(store, span),
        tallies=rows(store, Tally, questions.TALLIES, parameters),
        findings_before=store.query(questions.FINDINGS_BEFORE, parameters)[0]["findings"],
        detected=rows(store, Detected, questions.DETECTED, parameters),
        judged=tuple(case_files.precision(store)),
        told=rows(store, Told, questions.TOLD, parameters),
        traffic=traffic,
        slots=rows(store, Slot, questions.SLOTS, {**parameters, "deployments": drawn}),
        heard=tuple(row["t"] for row in store.query(questions.HEARD, parameters)),
        callers=_callers(store, parameters),
        dead=rows(store, Dead, questions.DEAD, parameters),
        sight=tuple(
            Sight(deployment=deployment, events=events, blind=tuple(blind))
            for deployment, events, blind in doctor.blind_detectors(store, now_s)
        ),
    )


def _cases(store: Store, span: Span) -> tuple[Case, ...]:
    """Those of the span and those that are open, the worst and latest first."""
    since_s = min(span.since_s, span.until_s - _LOOK_BACK_S)
    found = case_files.listed(store, Asked(since_s=since_s, limit=_MOST_CASES))
    return tuple(case for case in reversed(found) if case.state == OPEN or case.incident.last_s >= span.since_s)


def _callers(store: Store, parameters: Mapping[str, Any]) -> tuple[Caller, ...]:
    suspects = {row["who"]: row for row in store.query(questions.SUSPECTS, parameters)}
    callers = rows(store, Caller, questions.CALLERS, {**parameters, "suspects": list(suspects)})
    return tuple(
        msgspec.structs.replace(
            caller,
            findings=suspects[caller.principal]["findings"],
            severity=Severity(suspects[caller.principal]["level"]),
        )
        if caller.principal in suspects
        else caller
        for caller in callers
    )
