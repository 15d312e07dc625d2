"""Alert rules that Grafana evaluates itself, as its provisioning wants them.

Grafana expands ``$NAME`` in provisioning files from its environment: a dollar of a template is written twice.
Where alerts go is left to the installation: without a contact point of yours they use Grafana's default one.
"""

from __future__ import annotations

from dashboards import queries
from dashboards.panels import DATASOURCE_UID, PLUGIN_VERSION, Json

GROUP = "inferwatch"
FOLDER = "inferwatch"
EVALUATED_EVERY = "1m"
PANEL_WITH_URGENT_FINDINGS = 1
"""On the overview; an alert leads there. Grafana wants the panel with the dashboard, or neither."""


def alert_rules() -> Json:
    """The rule groups of one file."""
    return {
        "apiVersion": 1,
        "groups": [
            {"orgId": 1, "name": GROUP, "folder": FOLDER, "interval": EVALUATED_EVERY, "rules": [_new_urgent_finding()]}
        ],
    }


def _new_urgent_finding() -> Json:
    """Fires once for each deployment and detector, and stays for the ten minutes the query looks back.

    No rows is the good state. A query that cannot run is an alert of its own: a monitor that is down
    must not look like quiet.
    """
    return {
        "uid": "inferwatch-new-urgent",
        "title": "New high or critical finding",
        "condition": "C",
        "for": "0s",
        "noDataState": "OK",
        "execErrState": "Error",
        "isPaused": False,
        "labels": {"product": "inferwatch", "severity": "{{ $$labels.level }}"},
        "annotations": {
            "summary": "{{ $$labels.level }}: {{ $$labels.detector }} on {{ $$labels.deployment }}",
            "description": "{{ $$values.A.Value }} new in ten minutes. `inferwatch findings` has the evidence, "
            "`inferwatch detectors show {{ $$labels.detector }}` the causes and the runbook.",
            "__dashboardUid__": "inferwatch-overview",
            "__panelId__": str(PANEL_WITH_URGENT_FINDINGS),
        },
        "data": [
            {
                "refId": "A",
                "datasourceUid": DATASOURCE_UID,
                "relativeTimeRange": {"from": 600, "to": 0},
                "model": {
                    "refId": "A",
                    "editorType": "sql",
                    "queryType": "table",
                    "format": 1,
                    "pluginVersion": PLUGIN_VERSION,
                    "rawSql": queries.NEW_URGENT.sql,
                    "intervalMs": 60_000,
                    "maxDataPoints": 1_000,
                },
            },
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "relativeTimeRange": {"from": 0, "to": 0},
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
                },
            },
        ],
    }
