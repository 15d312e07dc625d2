"""Findings as Detection Findings of the Open Cybersecurity Schema Framework (OCSF 1.8, class 2004): pure.

What a SIEM reads without knowing us. Every attribute is one the published schema has; what it has no place for
(score, threshold, share of the alarm budget, OWASP ids) is in `unmapped`, as the framework asks. Times are milliseconds
since 1970. Attributes without a value are left out. https://schema.ocsf.io/1.8.0/classes/detection_finding
"""

from __future__ import annotations

from typing import Any

import msgspec

from detectors import frameworks
from detectors.types import Evidence, Finding, Severity
from streams.cases.incidents import Cited

VERSION = "1.8.0"
CLASS_UID = 2004

CATEGORY_FINDINGS = 2
_CREATED = 1
_NEW = 1
STATISTICAL = 3
SEVERITIES = {
    Severity.INFO: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}
_PRODUCT = "inferwatch"
_CUT_CHARS = 1_000


def detection_finding(finding: Finding, product_version: str) -> dict[str, Any]:
    """One finding as an event of class 2004, activity Create; the same for the same finding, so that SIEMs deduplicate.

    `product_version` is that of inferwatch.
    """
    severity_id, severity = SEVERITIES[finding.severity]
    return {
        "activity_id": _CREATED,
        "activity_name": "Create",
        "category_uid": CATEGORY_FINDINGS,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + _CREATED,
        "type_name": "Detection Finding: Create",
        "severity_id": severity_id,
        "severity": severity,
        "status_id": _NEW,
        "status": "New",
        "time": milliseconds(finding.time_s),
        "start_time": milliseconds(min(finding.onset_s, finding.time_s)),
        "end_time": milliseconds(finding.time_s),
        "message": finding.summary,
        "metadata": metadata(finding.finding_id, product_version),
        "finding_info": _finding_info(finding),
        "resources": _resources(finding),
        "evidences": [{"name": each.name, "data": _measured(each)} for each in finding.evidence],
        "unmapped": _unmapped(finding),
    }


def a_test_event(now_s: float, product_version: str) -> dict[str, Any]:
    """The event that `inferwatch alerts test` sends: an informational Detection Finding that says it is a test."""
    finding = Finding(
        finding_id=f"test-{now_s:.3f}",
        detector="test",
        version=1,
        scope="deployment",
        subject="inferwatch-test",
        deployment="inferwatch-test",
        time_s=now_s,
        onset_s=now_s,
        severity=Severity.INFO,
        summary="Sent by `inferwatch alerts test`. Nothing was found; nothing is to be done.",
        score=0.0,
        threshold=0.0,
        budget_share=0.0,
        event_id="",
    )
    return detection_finding(finding, product_version)


def metadata(uid: str, product_version: str) -> dict[str, Any]:
    """Which event this is: one that comes again has the same `uid`."""
    product = {"name": _PRODUCT, "vendor_name": _PRODUCT, "version": product_version}
    return {"version": VERSION, "uid": uid, "product": product}


def attack(identifier: str) -> dict[str, Any]:
    """A technique of MITRE ATLAS, with its parent where it is a sub-technique."""
    parent, _, child = identifier.partition(".")[2].partition(".")
    technique = f"AML.{parent}"
    made: dict[str, Any] = {
        "technique": {"uid": technique, "name": _atlas(technique)},
        "version": frameworks.versions()["MITRE ATLAS"],
    }
    if child:
        made["sub_technique"] = {"uid": identifier, "name": _atlas(identifier)}
    return made


def encoded(event: dict[str, Any], most_bytes: int) -> bytes:
    """An event as JSON of at most `most_bytes`: Kafka refuses longer ones for ever. What is dropped is in the store."""
    value = msgspec.json.encode(event)
    if len(value) <= most_bytes:
        return value
    short = {name: each for name, each in event.items() if name not in {"evidences", "resources"}}
    short |= {name: event[name][:_CUT_CHARS] for name in ("message", "desc") if name in event}
    short["unmapped"] = {"cut": "it was too long for one message"}
    if "finding_info" in event:
        info = {name: each for name, each in event["finding_info"].items() if name in {"uid", "types", "analytic"}}
        short["finding_info"] = info
    if "finding_info_list" in event:
        short["finding_info_list"] = [{"uid": each["uid"]} for each in event["finding_info_list"]]
    return msgspec.json.encode(short)


def milliseconds(time_s: float) -> int:
    """A time as OCSF has it."""
    return round(time_s * 1_000)


def finding_info(finding: Finding | Cited) -> dict[str, Any]:
    """What a finding and an incident's quote of it have in common."""
    return {
        "uid": finding.finding_id,
        "title": f"{finding.detector}: {finding.subject}",
        "desc": finding.summary,
        "created_time": milliseconds(finding.time_s),
        "first_seen_time": milliseconds(min(finding.onset_s, finding.time_s)),
        "last_seen_time": milliseconds(finding.time_s),
        "types": [finding.scope],
        "analytic": {
            "uid": finding.detector,
            "name": finding.detector,
            "type_id": STATISTICAL,
            "type": "Statistical",
        },
    }


def _finding_info(finding: Finding) -> dict[str, Any]:
    info = finding_info(finding)
    info["analytic"]["version"] = str(finding.version)
    if finding.atlas:
        info["attacks"] = [attack(identifier) for identifier in finding.atlas]
    if finding.event_id:
        info["related_events"] = [{"uid": finding.event_id, "type": "inference event"}]
        info["related_events_count"] = 1
    return info


def _atlas(identifier: str) -> str:
    """The name; of an id that a former or later version of us stored and this one does not know, the id."""
    try:
        return frameworks.atlas_name(identifier)
    except frameworks.UnknownIdError:
        return identifier


def _resources(finding: Finding) -> list[dict[str, Any]]:
    """Who and what is affected; principals are pseudonyms, as everywhere."""
    named = [("deployment", finding.deployment), ("principal", finding.principal), (finding.scope, finding.subject)]
    pairs = dict.fromkeys((kind, name) for kind, name in named if name)
    return [{"type": kind, "name": name, "uid": name} for kind, name in pairs]


def _measured(evidence: Evidence) -> dict[str, Any]:
    measured: dict[str, Any] = {"observed": evidence.observed}
    if evidence.expected is not None:
        measured["expected"] = evidence.expected
    if evidence.unit:
        measured["unit"] = evidence.unit
    return measured


def _unmapped(finding: Finding) -> dict[str, Any]:
    return {
        "score": finding.score,
        "threshold": finding.threshold,
        "alarm_budget_share": finding.budget_share,
        "owasp_llm": list(finding.owasp),
    }
