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
from streams.ocsf import CLASS_UID, VERSION, detection_finding
from streams.triage import cold_start

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


@functools.cache
def validator() -> Draft202012Validator:
    made = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    return Draft202012Validator(made.get_class_schema(class_name=made.lookup_class_name_from_uid(CLASS_UID)))


def wrong(event: dict[str, Any]) -> list[str]:
    """What the schema says against an event that has gone through JSON."""
    return [error.message for error in validator().iter_errors(msgspec.json.decode(msgspec.json.encode(event)))]


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
