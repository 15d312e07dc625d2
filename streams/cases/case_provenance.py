"""What is on record about the components of an incident's deployment: decisions of people, and attestations."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.cases.incidents import Incident
from streams.clickhouse import Store

_AFTER_S = 86_400.0
"""How long after the latest finding a decision or a report still belongs to the case."""

_CHANGES = """
SELECT change_id, component, state, new, old, who, ticket, toFloat64(decided) AS decided_s,
       toFloat64(holds_from) AS from_s, toFloat64(holds_until) AS until_s
FROM changes_latest
WHERE deployment = {deployment:String} AND decided <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
ORDER BY decided DESC, change_id
LIMIT 2 BY component, decided < fromUnixTimestamp64Micro({onset_us:Int64}, 'UTC') LIMIT 12
"""
_REPORTS = """
SELECT subject, source, toFloat64(attested) AS attested_s, components, risks
FROM component_reports_latest
WHERE deployment = {deployment:String} AND attested <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
ORDER BY attested DESC, report_id
LIMIT 1 BY subject, attested < fromUnixTimestamp64Micro({onset_us:Int64}, 'UTC') LIMIT 8
"""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided of a component: `state` is ``approved``, ``rejected`` or ``baseline``."""

    change_id: str
    component: str
    state: str
    new: str
    old: str | None
    who: str
    ticket: str
    decided_s: float
    from_s: float | None
    until_s: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an attestation found: the digests of `components`, and its alarms."""

    subject: str
    source: str
    attested_s: float
    components: dict[str, str]
    risks: tuple[str, ...]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The latest decisions and reports before and after an incident began, the latest first."""

    decisions: tuple[Decision, ...] = ()
    reports: tuple[Report, ...] = ()

    def last_good(self, component: str, onset_s: float) -> tuple[str, str, float] | None:
        """The digest of `component` that was last attested or approved before `onset_s`: digest, by what, when."""
        known = [
            (report.attested_s, report.components[component], f"attested in {report.source or report.subject}")
            for report in self.reports
            if component in report.components and report.attested_s < onset_s
        ]
        known += [
            (decision.decided_s, decision.new, f"approved by {decision.who or 'somebody'}")
            for decision in self.decisions
            if (decision.component, decision.state) == (component, "approved") and decision.decided_s < onset_s
        ]
        if not known:
            return None
        time_s, digest, how = max(known)
        return digest, how, time_s


def around(store: Store, incident: Incident) -> Provenance:
    """What is on record about the deployment when the incident began. Raises `StoreError`."""
    asked: dict[str, Any] = {
        "deployment": incident.deployment,
        "onset_us": _micros(incident.onset_s),
        "until_us": _micros(incident.last_s + _AFTER_S),
    }
    return Provenance(
        decisions=tuple(Decision(**row) for row in store.query(_CHANGES, asked)),
        reports=tuple(
            Report(**{**row, "risks": tuple(row["risks"]), "components": dict(row["components"])})
            for row in store.query(_REPORTS, asked)
        ),
    )


def _micros(seconds: float) -> int:
    return max(int(seconds * 1_000_000), 0)
