"""Findings as detectors make them, for the tests of what becomes of them."""

from __future__ import annotations

import itertools

from detectors.base import DEPLOYMENT
from detectors.types import Evidence, Finding, Severity

START_S = 1_750_000_000.0
QUIET_S = 21_600.0
_numbers = itertools.count()


def found(
    detector: str,
    at_s: float = 0.0,
    *evidence: tuple[str, float | str] | tuple[str, float | str, float | str | None],
    scope: str = DEPLOYMENT,
    subject: str = "chat",
    deployment: str = "chat",
    severity: Severity = Severity.MEDIUM,
    onset_s: float | None = None,
    finding_id: str | None = None,
) -> Finding:
    """A finding `at_s` seconds after `START_S`, with a new identity unless one is given."""
    return Finding(
        finding_id=finding_id or f"f{next(_numbers):05d}",
        detector=detector,
        version=1,
        scope=scope,
        subject=subject,
        deployment=deployment,
        time_s=START_S + at_s,
        onset_s=START_S + (at_s if onset_s is None else onset_s),
        severity=severity,
        summary=f"what {detector} saw",
        score=9.0,
        threshold=5.0,
        budget_share=0.1,
        event_id="t:0:1:0",
        principal=subject if scope == "principal" else None,
        evidence=tuple(
            Evidence(name=row[0], observed=row[1], expected=row[2] if len(row) == 3 else None) for row in evidence
        ),
    )


def changed(component: str, now: str, before: str, at_s: float = 0.0, detector: str = "served_model_change") -> Finding:
    """A component that is another than it was."""
    return found(detector, at_s, (component, now, before), severity=Severity.HIGH)


def slower(at_s: float = 0.0) -> Finding:
    return found("latency_shift", at_s, ("latency", 0.28, 0.2), ("step", 40.0, 0.0), severity=Severity.MEDIUM)


def new_host(where: str, at_s: float = 0.0) -> Finding:
    return found("egress", at_s, ("new hosts", "drop[.]example"), ("where", where), severity=Severity.MEDIUM)
