"""Findings once each, and the finding that a detector's memory was lost."""

from __future__ import annotations

import msgspec
import pytest

from detectors.types import Finding, Observation, Severity
from streams.triage import COLD_START, cold_start, deduplicated

OBSERVATION = Observation(event_id="t:0:5:1", time_s=1_750_000_000.0, deployment="chat", principal="p_1")


def finding(finding_id: str, summary: str = "s") -> Finding:
    return Finding(
        finding_id=finding_id,
        detector="error_shift",
        version=1,
        scope="deployment",
        subject="chat",
        deployment="chat",
        time_s=1.0,
        onset_s=1.0,
        severity=Severity.LOW,
        summary=summary,
        score=1.0,
        threshold=1.0,
        budget_share=0.1,
        event_id="e",
    )


def test_the_first_of_each_identity_stays_in_the_order_they_came() -> None:
    rows = [finding("b"), finding("a"), finding("b"), finding("c"), finding("a")]
    assert [row.finding_id for row in deduplicated(rows)] == ["b", "a", "c"]


def test_no_findings_are_no_findings() -> None:
    assert deduplicated([]) == []


@pytest.mark.parametrize(("scope", "subject", "principal"), [("deployment", "chat", None), ("principal", "p_1", "p_1")])
def test_a_refused_snapshot_is_a_finding_that_says_why(scope: str, subject: str, principal: str | None) -> None:
    found = cold_start(scope, subject, OBSERVATION, "its signature does not match its content")
    assert found.detector == COLD_START == "pipeline.cold_start"
    assert (found.scope, found.subject, found.principal, found.deployment) == (scope, subject, principal, "chat")
    assert (found.time_s, found.event_id) == (OBSERVATION.time_s, OBSERVATION.event_id)
    assert "its signature does not match its content" in found.summary
    assert found.score >= found.threshold


def test_the_same_cold_start_seen_again_after_a_crash_is_the_same_finding() -> None:
    one = cold_start("principal", "p_1", OBSERVATION, "why")
    assert cold_start("principal", "p_1", OBSERVATION, "why") == one
    others = [
        cold_start("deployment", "p_1", OBSERVATION, "why"),
        cold_start("principal", "p_2", OBSERVATION, "why"),
        cold_start("principal", "p_1", msgspec.structs.replace(OBSERVATION, event_id="t:0:6:0"), "why"),
    ]
    assert len({each.finding_id for each in (one, *others)}) == 4
