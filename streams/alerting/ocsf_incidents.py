"""Incidents as Incident Findings of the Open Cybersecurity Schema Framework (OCSF 1.8, class 2005): pure.

One event for each revision. `metadata.uid` is the revision's, `metadata.correlation_uid` the incident's; findings are
named by the same uids as in their own events (class 2004). Causes, the response plan and proposed actions, for which
the framework has no place, are in `unmapped`. https://schema.ocsf.io/1.8.0/classes/incident_finding
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from detectors.base import Metadata
from detectors.types import Severity
from streams.alerting.ocsf import CATEGORY_FINDINGS, SEVERITIES, attack, finding_info, metadata, milliseconds
from streams.cases.incidents import CLOSED, MERGED, Incident

CLASS_UID = 2005

_CREATE, _UPDATE, _CLOSE = (1, "Create"), (2, "Update"), (3, "Close")
_NEW, _CLOSED = (1, "New"), (5, "Closed")
_PRIORITIES = {
    Severity.INFO: (1, "Low"),
    Severity.LOW: (1, "Low"),
    Severity.MEDIUM: (2, "Medium"),
    Severity.HIGH: (3, "High"),
    Severity.CRITICAL: (4, "Critical"),
}
_VERDICTS = {"false": (1, "False Positive"), "true": (2, "True Positive"), "benign": (5, "Benign")}
_DUPLICATE = (10, "Duplicate")
_DEPLOYMENT = 99
_NOBODY = "unassigned"
"""In place of an owner: the schema wants somebody."""

_MOST_ATTACKS = 32


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What people said of an incident; `shut` that one closed it."""

    verdict: str | None = None
    note: str | None = None
    assignee: str | None = None
    shut: bool = False


def incident_finding(
    incident: Incident, product_version: str, catalog: Mapping[str, Metadata], said: Said | None = None
) -> dict[str, Any]:
    """One revision as an event, with what people `said` of the incident where that is known.

    `product_version` is that of inferwatch, `catalog` what detectors say of themselves.
    """
    said = said or Said()
    over = said.shut or incident.state in {CLOSED, MERGED}
    activity_id, activity = _CLOSE if over else _CREATE if incident.count == 1 else _UPDATE
    status_id, status = _CLOSED if over else _NEW
    severity_id, severity = SEVERITIES[incident.severity]
    priority_id, priority = _PRIORITIES[incident.severity]
    event: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": CATEGORY_FINDINGS,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Incident Finding",
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"Incident Finding: {activity}",
        "severity_id": severity_id,
        "severity": severity,
        "priority_id": priority_id,
        "priority": priority,
        "status_id": status_id,
        "status": status,
        "time": milliseconds(incident.last_s if incident.closed_s is None else incident.closed_s),
        "start_time": milliseconds(min(incident.onset_s, incident.first_s)),
        "end_time": milliseconds(incident.last_s),
        "count": incident.count,
        "message": incident.summary,
        "desc": "; ".join(f"{cause.title} ({cause.share:.0%})" for cause in incident.causes[:3]) or incident.summary,
        "metadata": {
            **metadata(f"{incident.incident_id}:{incident.revision}", product_version),
            "correlation_uid": incident.incident_id,
        },
        "assignee_group": {"name": next(iter(incident.plan.notify if incident.plan else ()), _NOBODY)},
        "finding_info_list": _findings(incident),
        "observables": [
            {"name": "deployment", "type": "Deployment", "type_id": _DEPLOYMENT, "value": incident.deployment}
        ],
        "unmapped": _unmapped(incident),
    }
    return event | _optional(incident, catalog, said)


def _optional(incident: Incident, catalog: Mapping[str, Metadata], said: Said) -> dict[str, Any]:
    """What is left out where there is nothing to say."""
    found: dict[str, Any] = {}
    verdict = _DUPLICATE if incident.state == MERGED else _VERDICTS.get(said.verdict or "")
    if verdict is not None:
        found["verdict_id"], found["verdict"] = verdict
    if said.note:
        found["comment"] = said.note
    if said.assignee:
        found["assignee"] = {"name": said.assignee}
    if incident.quiet is not None:
        found["status_detail"] = incident.quiet
    techniques = dict.fromkeys(
        technique for name in sorted(incident.detectors) if name in catalog for technique in catalog[name].atlas
    )
    if techniques:
        found["attacks"] = [attack(technique) for technique in list(techniques)[:_MOST_ATTACKS]]
    return found


def _findings(incident: Incident) -> list[dict[str, Any]]:
    """The findings that are quoted; an incident whose quotes were too long for a message names the last ones."""
    if not incident.cited:
        return [{"uid": each} for each in incident.known[-1:] or (incident.incident_id,)]
    return [finding_info(cited) for cited in incident.cited]


def _unmapped(incident: Incident) -> dict[str, Any]:
    plan = incident.plan
    found: dict[str, Any] = {
        "revision": incident.revision,
        "scope": incident.scope,
        "subject": incident.subject,
        "component": incident.component,
        "detectors": incident.detectors,
        "independent": incident.independent,
        "reopened": incident.reopened,
        "members": list(incident.members),
        "causes": [{"name": cause.name, "share": cause.share} for cause in incident.causes],
    }
    if incident.news is not None:
        found["news"] = incident.news
    if incident.merged_into is not None:
        found["merged_into"] = incident.merged_into
    if plan is not None:
        found["plan"] = msgspec.to_builtins(plan)
    return found
