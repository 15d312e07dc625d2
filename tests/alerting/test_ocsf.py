"""OCSF output against the schema that OCSF publishes, as the package ocsf-json-schema carries it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from detectors.bank import discover
from detectors.types import Evidence, Finding, Observation, Severity
from streams.alerting.ocsf import CLASS_UID, VERSION, a_test_event, detection_finding, encoded
from streams.alerting.ocsf_incidents import CLASS_UID as INCIDENT_CLASS_UID
from streams.alerting.ocsf_incidents import Said, incident_finding
from streams.cases.incidents import CLOSED, MERGED, Incident
from streams.triage import Cases, cold_start
from tests.alerting.test_alerts import HOSTILE, hostile
from tests.findings import changed, found, new_host, slower
from tests.incidents import incident

FINDING = Finding(
    finding_id="f" * 32,
    detector="output_drift",
    version=2,
    scope="deployment",
    subject="support-chat",
    deployment="support-chat",
    time_s=1_790_000_000.25,
    onset_s=1_789_999_000.0,
    severity=Severity.HIGH,
    summary="Outputs of gpt-4o changed style",
    score=12.5,
    threshold=9.0,
    budget_share=0.02,
    event_id="0" * 32 + ":3:77:0",
    evidence=(Evidence(name="style", observed=1.5, expected=0.1, unit="sd"), Evidence(name="model", observed="m-2")),
    atlas=("AML.T0010.003", "AML.T0018"),
    owasp=("LLM03:2025",),
)


CATALOG = {name: kind.metadata for name, kind in discover().items()}


@functools.cache
def validator(class_uid: int) -> Draft202012Validator:
    made = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    return Draft202012Validator(made.get_class_schema(class_name=made.lookup_class_name_from_uid(class_uid)))


def wrong(event: dict[str, Any], class_uid: int = CLASS_UID) -> list[str]:
    """What the schema says against an event that has gone through JSON."""
    through = msgspec.json.decode(msgspec.json.encode(event))
    return [error.message for error in validator(class_uid).iter_errors(through)]


def findings() -> Iterator[Finding]:
    change = functools.partial(msgspec.structs.replace, FINDING)
    for severity in Severity:
        yield change(severity=severity)
    for name, kind in discover().items():
        metadata = kind.metadata
        yield change(detector=name, scope=metadata.scope, atlas=metadata.atlas, owasp=metadata.owasp, principal="p_1")
    yield change(event_id="", evidence=(), atlas=(), owasp=())
    yield change(scope="cohort", subject="c_1", principal=None)
    yield change(score=float("inf"), atlas=("AML.T9999.001",))
    yield change(subject='"\u2028<b>\x00', deployment="\U0001f9ff", summary="")
    yield cold_start("deployment", "chat", Observation(event_id="t:0:1:0", time_s=1.0, deployment="chat"), "edited")


@pytest.mark.parametrize("finding", list(findings()), ids=lambda each: f"{each.detector}-{each.severity}-{each.scope}")
def test_every_kind_of_finding_is_valid_by_the_published_schema(finding: Finding) -> None:
    assert wrong(detection_finding(finding, "0.1.0")) == []


@pytest.mark.parametrize(
    ("name", "value"), [("severity_id", 7), ("class_uid", 2005), ("type_uid", 200_501), ("made_up", 1), ("time", "now")]
)
def test_the_schema_refuses_what_is_wrong(name: str, value: object) -> None:
    assert wrong({**detection_finding(FINDING, "0.1.0"), name: value})


@pytest.mark.parametrize("name", ["finding_info", "metadata", "severity_id", "time", "type_uid"])
def test_the_schema_misses_what_is_missing(name: str) -> None:
    event = detection_finding(FINDING, "0.1.0")
    del event[name]
    assert wrong(event)


def test_a_finding_says_who_what_and_since_when() -> None:
    event = detection_finding(FINDING, "0.1.0")
    assert event["type_uid"] == 200_401
    assert (event["start_time"], event["time"]) == (1_789_999_000_000, 1_790_000_000_250)
    assert event["resources"] == [{"type": "deployment", "name": "support-chat", "uid": "support-chat"}]
    assert event["finding_info"]["attacks"][0]["technique"]["uid"] == "AML.T0010"
    assert event["finding_info"]["attacks"][0]["sub_technique"]["uid"] == "AML.T0010.003"
    assert "sub_technique" not in event["finding_info"]["attacks"][1]
    assert event["evidences"][0] == {"name": "style", "data": {"observed": 1.5, "expected": 0.1, "unit": "sd"}}
    assert event["unmapped"]["threshold"] == 9.0


def test_the_same_finding_gives_the_same_event() -> None:
    assert msgspec.json.encode(detection_finding(FINDING, "1")) == msgspec.json.encode(detection_finding(FINDING, "1"))


def test_the_event_of_a_test_is_valid_too() -> None:
    assert wrong(a_test_event(1_790_000_000.0, "0.1.0")) == []


def folded(*findings: Finding) -> Iterator[Incident]:
    """All revisions of the incidents that findings make."""
    cases = Cases(21_600.0, CATALOG, {"*": "on-call"})
    for finding in findings:
        for deployment in cases.lacks([finding.deployment]):
            cases.recall(deployment, [])
        yield from cases.take(finding)


def incidents() -> Iterator[Incident]:
    for severity in Severity:
        yield incident(severity=severity)
    yield incident(state=CLOSED, news=CLOSED, closed_s=1_790_009_000.0)
    yield incident(state=MERGED, merged_into="inc-0123456789abcdef")
    yield incident(quiet="suppressed: sup-1, a load test until tomorrow")
    yield incident(cited=(), known=(), causes=(), plan=None, detectors={})
    yield incident(detectors=dict.fromkeys(CATALOG, 3), count=90)
    yield incident(onset_s=-5.0, summary="")
    yield hostile()
    members = ("members", " ".join(f"p_{number}" for number in range(70)), None)
    yield from folded(
        changed("weights", "sha256:b", "sha256:a"),
        slower(60.0),
        new_host("deployment", 90.0),
        found("probing", 100.0, scope="principal", subject="p_1"),
        found("coordinated_extraction", 120.0, members, scope="cohort", subject="c_1"),
    )


@pytest.mark.parametrize("each", list(incidents()), ids=lambda each: f"{each.severity}-{each.state}-{each.scope[:9]}")
def test_every_kind_of_incident_is_valid_by_the_published_schema(each: Incident) -> None:
    for verdict in (None, "true", "false", "benign"):
        said = Said(verdict=verdict, note=HOSTILE, assignee=HOSTILE, shut=True) if verdict else None
        assert wrong(incident_finding(each, "0.1.0", CATALOG, said), INCIDENT_CLASS_UID) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("status_id", 6), ("class_uid", 2004), ("type_uid", 200_401), ("made_up", 1), ("finding_info_list", [{}])],
)
def test_the_schema_refuses_what_is_wrong_of_an_incident(name: str, value: object) -> None:
    assert wrong({**incident_finding(incident(), "0.1.0", CATALOG), name: value}, INCIDENT_CLASS_UID)


def test_an_incident_says_what_it_is_made_of_and_how_it_stands() -> None:
    event = incident_finding(incident(), "0.1.0", CATALOG)
    assert (event["activity_name"], event["status"], event["priority"]) == ("Create", "New", "High")
    assert event["metadata"]["uid"] == f"{incident().incident_id}:2"
    assert event["metadata"]["correlation_uid"] == incident().incident_id
    assert [each["uid"] for each in event["finding_info_list"]] == ["f0"]
    assert event["assignee_group"] == {"name": "team-a"}
    assert event["unmapped"]["plan"]["actions"][0]["kind"] == "pin_component"
    assert event["attacks"]
    said = Said(verdict="false", note="a test", assignee="kim")
    closed = incident_finding(incident(state=CLOSED, closed_s=1_790_009_000.0), "0.1.0", CATALOG, said)
    assert (closed["activity_name"], closed["status"], closed["time"]) == ("Close", "Closed", 1_790_009_000_000)
    assert (closed["verdict_id"], closed["comment"], closed["assignee"]) == (1, "a test", {"name": "kim"})
    assert incident_finding(incident(), "0.1.0", CATALOG, Said(shut=True))["status"] == "Closed"
    assert incident_finding(incident(count=2), "0.1.0", CATALOG)["activity_name"] == "Update"
    assert incident_finding(incident(state=MERGED), "0.1.0", CATALOG)["verdict"] == "Duplicate"


def test_an_event_that_no_message_could_hold_is_cut_and_still_valid() -> None:
    finding = msgspec.structs.replace(FINDING, summary="x" * 900_000, subject="y" * 10_000)
    for event, class_uid in (
        (detection_finding(finding, "0.1.0"), CLASS_UID),
        (incident_finding(incident(summary="x" * 900_000), "0.1.0", CATALOG), INCIDENT_CLASS_UID),
    ):
        value = encoded(event, 20_000)
        assert len(value) <= 20_000
        assert wrong(msgspec.json.decode(value), class_uid) == []
        assert msgspec.json.decode(value)["metadata"] == event["metadata"]
        assert encoded(event, 2_000_000) == msgspec.json.encode(event)
