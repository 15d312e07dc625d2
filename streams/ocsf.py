"""Findings as Detection Findings of the Open Cybersecurity Schema Framework (OCSF 1.8, class 2004): pure.

What a SIEM reads without knowing us. Every attribute is one the published schema has; what it has no place for
(score, threshold, share of the alarm budget, OWASP ids) is in `unmapped`, as the framework asks. Times are milliseconds
since 1970. Attributes without a value are left out. https://schema.ocsf.io/1.8.0/classes/detection_finding
"""

from __future__ import annotations

from typing import Any

from detectors import frameworks
from detectors.types import Evidence, Finding, Severity

VERSION = "1.8.0"
CLASS_UID = 2004

_CATEGORY_FINDINGS = 2
_CREATED = 1
_NEW = 1
_STATISTICAL = 3
_SEVERITIES = {
    Severity.INFO: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}
_PRODUCT = "inferwatch"


def detection_finding(finding: Finding, product_version: str) -> dict[str, Any]:
    """One finding as an event of class 2004, activity Create; the same for the same finding, so that SIEMs deduplicate.

    `product_version` is that of inferwatch.
    """
    severity_id, severity = _SEVERITIES[finding.severity]
    return {
        "activity_id": _CREATED,
        "activity_name": "Create",
        "category_uid": _CATEGORY_FINDINGS,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + _CREATED,
        "type_name": "Detection Finding: Create",
        "severity_id": severity_id,
        "severity": severity,
        "status_id": _NEW,
        "status": "New",
        "time": _milliseconds(finding.time_s),
        "start_time": _milliseconds(min(finding.onset_s, finding.time_s)),
        "end_time": _milliseconds(finding.time_s),
        "message": finding.summary,
        "metadata": {
            "version": VERSION,
            "uid": finding.finding_id,
            "product": {"name": _PRODUCT, "vendor_name": _PRODUCT, "version": product_version},
        },
        "finding_info": _finding_info(finding),
        "resources": _resources(finding),
        "evidences": [{"name": each.name, "data": _measured(each)} for each in finding.evidence],
        "unmapped": _unmapped(finding),
    }


def _finding_info(finding: Finding) -> dict[str, Any]:
    info = {
        "uid": finding.finding_id,
        "title": f"{finding.detector}: {finding.subject}",
        "desc": finding.summary,
        "created_time": _milliseconds(finding.time_s),
        "first_seen_time": _milliseconds(min(finding.onset_s, finding.time_s)),
        "last_seen_time": _milliseconds(finding.time_s),
        "types": [finding.scope],
        "analytic": {
            "uid": finding.detector,
            "name": finding.detector,
            "type_id": _STATISTICAL,
            "type": "Statistical",
            "version": str(finding.version),
        },
    }
    if finding.atlas:
        info["attacks"] = [_attack(identifier) for identifier in finding.atlas]
    if finding.event_id:
        info["related_events"] = [{"uid": finding.event_id, "type": "inference event"}]
        info["related_events_count"] = 1
    return info


def _attack(identifier: str) -> dict[str, Any]:
    """A technique of MITRE ATLAS, with its parent where it is a sub-technique."""
    parent, _, child = identifier.partition(".")[2].partition(".")
    technique = f"AML.{parent}"
    attack: dict[str, Any] = {
        "technique": {"uid": technique, "name": _atlas(technique)},
        "version": frameworks.versions()["MITRE ATLAS"],
    }
    if child:
        attack["sub_technique"] = {"uid": identifier, "name": _atlas(identifier)}
    return attack


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


def _milliseconds(time_s: float) -> int:
    return round(time_s * 1_000)
