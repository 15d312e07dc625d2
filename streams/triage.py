"""Findings on their way to people: pure. Once each, and those the pipeline makes about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from detectors.types import Evidence, Finding, Observation, Severity

COLD_START = "pipeline.cold_start"
_MAX_NAME_CHARS = 64


def deduplicated(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in order, the first of each identity."""
    return list({finding.finding_id: finding for finding in findings}.values())


def cold_start(scope: str, subject: str, observation: Observation, reason: str, alike: int = 1) -> Finding:
    """The finding that a subject's saved state was refused and its detectors warm up again.

    `alike` is how many of its partition were refused for this reason by now.
    """
    identity = f"{COLD_START}\0{scope}\0{subject}\0{observation.event_id}"
    others = f" (number {alike} refused for this reason in its partition)" if alike > 1 else ""
    return Finding(
        finding_id=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        detector=COLD_START,
        version=1,
        scope=scope,
        subject=subject,
        deployment=observation.deployment,
        principal=observation.principal if scope == "principal" else None,
        time_s=observation.time_s,
        onset_s=observation.time_s,
        severity=Severity.MEDIUM,
        summary=f"the saved detector state of {scope} {subject[:_MAX_NAME_CHARS]!r} was refused{others}: {reason}; "
        f"its detectors warm up again",
        score=1.0,
        threshold=1.0,
        budget_share=0.0,
        event_id=observation.event_id,
        evidence=(
            Evidence(name="reason", observed=reason),
            Evidence(name="refused for this reason", observed=float(alike), unit="subjects of its partition"),
        ),
    )
