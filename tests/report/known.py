"""Facts of a small installation and of one incident, written down: what pages are made of without any store."""

from __future__ import annotations

from typing import Any

from detectors.features import STYLE
from detectors.types import Severity
from streams.cases.case_files import Case, Extent, Precision
from streams.cases.case_provenance import Decision, Provenance, Report
from streams.cases.incidents import OPEN, Incident, Verdict
from streams.reporting.facts import (
    Baseline,
    Bucket,
    Call,
    Caller,
    CallerSlot,
    CaseFacts,
    Dead,
    Detected,
    Installation,
    Numbers,
    Served,
    Sight,
    Slot,
    Span,
    Tally,
    Told,
    Traffic,
)
from tests.report.scene import NOW_S, ONSET_S, incidents

STEP_S = 600
_T = int(ONSET_S) // STEP_S * STEP_S
SPAN = Span(since_s=ONSET_S - 3_600.0, until_s=NOW_S, step_s=STEP_S)
TIMES = range(_T - 6 * STEP_S, _T + 12 * STEP_S, STEP_S)

TOLD = Told(
    finding_id="f1",
    detector="latency_shift",
    scope="deployment",
    subject="chat",
    deployment="chat",
    time_s=ONSET_S + 600.0,
    onset_s=ONSET_S,
    severity=Severity.HIGH,
    summary="slower",
    score=9.0,
    threshold=5.0,
    event_id="t:0:1:0",
)


PROVENANCE = Provenance(
    decisions=(
        Decision(
            change_id="c", component="weights", state="approved", new="sha256:old", old=None, who="kim", ticket="T-1",
            decided_s=ONSET_S - 86_400.0, from_s=None, until_s=None,
        ),
    ),
    reports=(
        Report(
            subject="model", source="ci", attested_s=ONSET_S - 3_600.0, components={"weights": "sha256:old"},
            risks=("pickle",),
        ),
    ),
)  # fmt: skip
JUDGED = Precision(detector="latency_shift", confirmed=3, refuted=1, benign=1, precision=0.75, low=0.3, high=0.95)
SAID = Verdict(incident_id="inc-1", verdict="true", note="rolled back", said_by="kim", assignee="lee", said_s=NOW_S)


def serving() -> Incident:
    """The incident about the deployment itself."""
    return next(each for each in incidents() if each.component == "serving")


def traffic(deployment: str = "chat", calls: int = 100, last_s: float = NOW_S - 5.0) -> Traffic:
    """A deployment that is heard."""
    return Traffic(
        deployment=deployment, calls=calls, calls_before=80, principals=7, p50_s=0.2, p95_s=0.5, p99_s=1.0,
        error_rate=0.01, refusal_rate=0.02, last_s=last_s,
    )  # fmt: skip


def installation(**changes: Any) -> Installation:
    """An installation with one open incident."""
    known: dict[str, Any] = {
        "version": "1.2.3",
        "made_s": NOW_S,
        "span": SPAN,
        "cases": (Case(incident=serving(), state=OPEN, verdict="true", note="rolled back", assignee="lee"),),
        "tallies": tuple(Tally(t=t, severity=Severity.HIGH, findings=t % 7) for t in TIMES),
        "findings_before": 2,
        "detected": (Detected(detector="latency_shift", findings=3, severity=Severity.HIGH, subjects=1, last_s=NOW_S),),
        "judged": (JUDGED,),
        "told": (TOLD,),
        "traffic": (traffic(), traffic("search", calls=9)),
        "slots": tuple(Slot(t=t, deployment="chat", calls=5, p95_s=0.5, error_rate=None) for t in TIMES),
        "heard": tuple(TIMES),
        "callers": (
            Caller(
                principal="p_1", calls=9, tokens=1e6, networks=2, agents=1, deployments=("chat",), findings=1,
                severity=Severity.LOW,
            ),
        ),
        "dead": (Dead(reason="not JSON", letters=3, letters_before=0, last_s=NOW_S, example="xxx"),),
        "sight": (Sight(deployment="chat", events=100, blind=("extraction (no principal)",)),),
    }  # fmt: skip
    return Installation(**known | changes)


def call(**changes: Any) -> Call:
    """A call of the sample."""
    known: dict[str, Any] = {
        "event_id": "t:0:1:0", "time_s": ONSET_S + 1.0, "named": True, "principal": "p_1", "served_model": "m-2025",
        "latency_s": 0.5, "input_tokens": 10, "output_tokens": 20, "failed": False, "refused": True,
        "finish_reason": "stop", "error_type": "none", "prompt": "what is asked", "prompt_chars": 13,
        "output": "what is answered", "output_chars": 16,
    }  # fmt: skip
    return Call(**known | changes)


def case_facts(**changes: Any) -> CaseFacts:
    """The open incident with its numbers."""
    numbers = Numbers(
        extent=Extent(events=12_345, principals=3, sessions=2, busiest=("p_1", "p_2")),
        buckets=tuple(
            Bucket(
                t=t, calls=10, p50_s=0.2, p95_s=0.5, p99_s=0.9, ttft_s=0.1, error_rate=0.0, refusal_rate=0.1,
                style=tuple(0.5 + 0.1 * index * (t >= ONSET_S) for index in range(len(STYLE))),
            )
            for t in TIMES
        ),
        baseline=Baseline(answers=500, mean=(0.5,) * len(STYLE), deviation=(0.1,) * len(STYLE)),
        callers=tuple(CallerSlot(t=t, principal="p_1", calls=3) for t in TIMES),
        served=(
            Served(
                model="m", served_model="m-2025", components={"weights": "sha256:new"}, calls=9, first_s=ONSET_S,
                last_s=NOW_S,
            ),
        ),
        calls=(call(),),
    )  # fmt: skip
    known: dict[str, Any] = {
        "version": "1.2.3",
        "made_s": NOW_S,
        "span": SPAN,
        "case": Case(incident=serving(), state=OPEN, verdict="true", note="rolled back", assignee="lee"),
        "told": (TOLD,),
        "numbers": numbers,
        "provenance": PROVENANCE,
        "history": (SAID,),
        "with_texts": True,
    }
    return CaseFacts(**known | changes)
