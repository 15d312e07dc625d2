"""Findings to incidents: what belongs together, when a case ends and begins again, and that nothing depends on luck."""

from __future__ import annotations

import msgspec
import pytest

from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases import causes
from streams.cases.incidents import MERGED, MOST_CITED, OPEN, Incident, closed
from streams.triage import CROWD, MOST_ALONE, MOST_LIVE, REOPENS, Cases, independence
from tests.findings import QUIET_S, START_S, changed, found, new_host, slower

CATALOG = {name: kind.metadata for name, kind in discover().items()}


def cases() -> Cases:
    return Cases(QUIET_S, CATALOG, {"*": "on-call", "chat": "team-chat"})


def played(findings: list[Finding], into: Cases | None = None) -> dict[str, Incident]:
    """The last revision of each incident that the findings made."""
    into = into or cases()
    return {each.incident_id: each for finding in findings for each in into.take(finding)}


def only(findings: list[Finding]) -> Incident:
    (incident,) = played(findings).values()
    return incident


def test_findings_of_one_deployment_within_a_quiet_period_are_one_incident() -> None:
    incident = only([found("output_drift"), found("refusal_shift", 600.0), found("error_shift", QUIET_S)])
    assert (incident.count, incident.revision, incident.state, incident.reopened) == (3, 6, OPEN, 0)
    assert incident.detectors == {"output_drift": 1, "refusal_shift": 1, "error_shift": 1}
    assert (incident.first_s, incident.last_s) == (START_S, START_S + QUIET_S)


@pytest.mark.parametrize(
    "other",
    [
        found("output_drift", deployment="search", subject="search"),
        found("extraction", scope="principal", subject="p_1"),
        found("source_blind"),
        found("output_drift", (REOPENS + 1) * QUIET_S),
    ],
    ids=["another deployment", "a caller", "the watch itself", "long after"],
)
def test_what_has_nothing_to_do_with_an_incident_opens_another(other: Finding) -> None:
    assert len(played([found("output_drift"), other])) == 2


def test_an_onset_that_reaches_back_into_an_incident_joins_it_however_late_it_was_found() -> None:
    late = (REOPENS + 2) * QUIET_S
    assert only([found("output_drift"), found("canary", late, onset_s=60.0)]).count == 2
    assert len(played([found("output_drift"), found("canary", late + 8 * 86_400.0, onset_s=60.0)])) == 2


def test_an_incident_closes_when_it_is_quiet_and_opens_again_when_it_is_not() -> None:
    first = only([found("output_drift")])
    shut = closed(first, QUIET_S)
    assert (shut.state, shut.closed_s, shut.revision) == ("closed", START_S + QUIET_S, first.revision + 1)
    again = cases()
    again.recall("chat", [shut])
    (incident,) = again.take(found("output_drift", 2 * QUIET_S))
    assert (incident.incident_id, incident.state, incident.reopened) == (first.incident_id, OPEN, 1)
    assert incident.revision > shut.revision
    assert incident.closed_s is None


def test_the_same_finding_twice_changes_nothing() -> None:
    triage = cases()
    finding = found("output_drift")
    assert triage.take(finding)
    assert triage.take(finding) == []
    assert triage.take(msgspec.structs.replace(finding, time_s=finding.time_s + 90 * 86_400.0)) == []


SEQUENCE = [
    slower(),
    found("extraction", 10.0, scope="principal", subject="p_1"),
    new_host("connection", 60.0),
    changed("weights", "sha256:b", "sha256:a", 2 * QUIET_S),
    found("coordinated_extraction", 70.0, ("members", "p_1 p_2"), scope="cohort", subject="cohort:1"),
    found("new_context", 80.0, scope="principal", subject="p_2"),
    found("output_drift", 40 * QUIET_S),
]


@pytest.mark.parametrize("cut", range(len(SEQUENCE)))
@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_worker_that_goes_on_from_what_was_stored_writes_what_one_that_never_ended_would(
    cut: int, again: int
) -> None:
    expected = played(SEQUENCE)
    stored = played(SEQUENCE[:cut])
    second = cases()
    second.recall("chat", [closed(each, QUIET_S) if each.state == OPEN else each for each in stored.values()])
    stored |= played(SEQUENCE[max(cut - again, 0) :], second)
    for incident_id, incident in expected.items():
        assert stored[incident_id] == incident
    assert stored.keys() == expected.keys()


def test_severity_rises_with_evidence_that_shares_no_input_and_not_with_more_of_the_same() -> None:
    assert only([slower()]).severity is Severity.MEDIUM
    assert only([slower(), slower(5.0), found("tail_latency", 9.0)]).severity is Severity.MEDIUM
    assert only([slower(), new_host("connection", 60.0)]).severity is Severity.HIGH
    three = [slower(), new_host("connection", 60.0), found("refusal_shift", 90.0)]
    assert only(three).severity is Severity.CRITICAL


def test_detectors_are_independent_when_no_field_is_read_by_both() -> None:
    assert independence(["latency_shift", "tail_latency"], CATALOG) == 1
    assert independence(["latency_shift", "egress"], CATALOG) == 2
    assert independence(["unheard-of", "another"], CATALOG) == 1


def test_a_cohort_takes_in_the_incidents_of_its_members_and_what_they_do_next() -> None:
    alone = found("extraction", scope="principal", subject="p_1")
    stranger = found("extraction", 5.0, scope="principal", subject="p_9")
    cohort = found("coordinated_extraction", 60.0, ("members", "p_1 p_2"), scope="cohort", subject="cohort:1")
    later = found("parameter_probing", 90.0, scope="principal", subject="p_2")
    made = {each.subject: each for each in played([alone, stranger, cohort, later]).values()}
    assert set(made) == {"p_1", "p_9", "cohort:1"}
    assert made["p_1"].state == MERGED
    assert made["p_1"].merged_into == made["cohort:1"].incident_id
    assert (made["cohort:1"].count, made["p_9"].count) == (3, 1)
    assert made["cohort:1"].onset_s == alone.onset_s


def test_three_hundred_callers_are_a_few_incidents_and_the_cohort_that_names_them_takes_the_crowd_in() -> None:
    triage = cases()
    made = played(
        [found("extraction", float(each), scope="principal", subject=f"p_{each}") for each in range(300)], triage
    )
    assert len(made) == MOST_ALONE + 1
    (crowd,) = [each for each in made.values() if each.subject == CROWD]
    assert crowd.count == 300 - MOST_ALONE
    named = found("coordinated_extraction", 400.0, ("members", "p_0 p_20"), scope="cohort", subject="cohort:1")
    changed_now = triage.take(named)
    assert {each.incident_id for each in changed_now if each.state == MERGED} >= {crowd.incident_id}
    assert changed_now[0].count == 1 + 1 + crowd.count


def test_what_is_remembered_and_quoted_is_bounded_and_a_loud_detector_hides_no_other() -> None:
    triage = cases()
    triage.take(changed("weights", "b", "a"))
    for each in range(2_000):
        (incident,) = triage.take(found("output_drift", each * 1.0))
    assert (incident.count, len(incident.cited)) == (2_001, MOST_CITED)
    assert {quote.detector for quote in incident.cited} == {"served_model_change", "output_drift"}
    assert len(msgspec.json.encode(incident)) < 100_000
    for each in range(3 * MOST_LIVE):
        triage.take(found("output_drift", each * 10 * QUIET_S))
    assert len(triage._live["chat"]) == MOST_LIVE


def test_an_incident_says_what_a_response_needs() -> None:
    findings = [changed("image", "sha256:bb", "sha256:aa", 30.0), slower(60.0), new_host("connection", 90.0)]
    incident = only(findings)
    plan = incident.plan
    assert plan is not None
    assert [(each.component, each.before, each.now) for each in plan.affected] == [("image", "sha256:aa", "sha256:bb")]
    assert [(each.version, each.until_s) for each in plan.last_good] == [("sha256:aa", START_S + 30.0)]
    assert plan.notify == ("team-chat",)
    assert len(plan.checks) == 3
    assert set(plan.checks) <= {step for metadata in CATALOG.values() for step in metadata.runbook}
    assert plan.roll_back and "image" in plan.roll_back[0]
    assert {(each.kind, each.version) for each in plan.actions} == {
        ("pin_component", "sha256:aa"),
        ("isolate_deployment", None),
    }
    assert "deployment = 'chat'" in plan.radius.query


def test_a_report_that_writes_versions_otherwise_than_calls_does_not_mix_with_theirs() -> None:
    calls = changed("tool_list", "sha256:bb", "sha256:aa", 0.0, "tool_list_changed")
    report = changed("tool_list", "tools 17f2", "tools 09ac", 60.0, "tool_list_changed")
    incident = only([calls, report])
    assert incident.plan is not None
    assert [(each.now, each.before) for each in incident.plan.affected] == [("sha256:bb", "sha256:aa")]


def test_an_owner_of_everything_else_is_notified_of_a_deployment_without_one() -> None:
    incident = only([found("output_drift", deployment="search", subject="search")])
    assert incident.plan is not None and incident.plan.notify == ("on-call",)


def test_the_query_of_the_blast_radius_holds_names_from_outside_as_literals_only() -> None:
    hostile = "x' OR 1=1 --\n\\"
    incident = only([found("extraction", scope="principal", subject=hostile, deployment=hostile)])
    assert incident.plan is not None
    assert incident.plan.radius.query.count("'x\\x27 OR 1=1 --\\x0a\\x5c'") == 2
    assert hostile not in incident.plan.radius.query


def test_an_approved_change_wakes_nobody_and_asks_for_nothing() -> None:
    incident = only([changed("image", "v2", "v1", detector="approved_change"), changed("image", "v2", "v1"), slower()])
    assert incident.causes[0].name == causes.UPDATE
    assert incident.severity is Severity.INFO
    assert incident.plan is not None and incident.plan.actions == ()


def test_a_burst_of_load_that_slows_calls_is_low_and_asks_for_nothing() -> None:
    incident = only([found("load_anomaly", severity=Severity.HIGH), slower(60.0), found("error_shift", 90.0)])
    assert (incident.causes[0].name, incident.severity) == (causes.LOAD, Severity.LOW)
    assert incident.plan is not None and incident.plan.actions == ()


def test_a_summary_names_the_likeliest_cause_and_says_when_that_is_a_guess() -> None:
    sure = only([changed("image", "v2", "v1"), slower(), new_host("connection", 60.0)])
    assert sure.summary == (
        "The inference code or its image was tampered with: 3 findings of served_model_change, latency_shift, egress "
        "about deployment chat"
    )
    guess = only([found("output_drift")])
    assert guess.summary == "The provider updated the model silently?: 1 finding of output_drift about deployment chat"
