"""Alert rules that Grafana evaluates itself, and whom it tells, as its provisioning wants them.

Of the texts in these files Grafana fills in ``$NAME`` from its environment in titles, labels and settings of contact
points: there a dollar of a template is written twice. In annotations it fills in ``${NAME}`` only, and in queries
nothing: there a dollar is a dollar.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dashboards.board import panel_id
from dashboards.health import health
from dashboards.overview import OPEN_INCIDENTS, overview
from dashboards.panels import DATASOURCE_UID, PLUGIN_VERSION, Json
from dashboards.queries import Query
from dashboards.sql import alerts as sql

FOLDER = "inferwatch"
RECEIVER = "inferwatch"
WEBHOOK_VARIABLE = "GRAFANA_ALERT_WEBHOOK_URL"
"""Set by compose in Grafana's environment; without an address of yours it leads nowhere."""

QUIET_HOURS = "inferwatch-nights-and-weekends"
NOW, LATER = "now", "working-hours"
"""How urgent a rule is: at once, or not at night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it fires for each row of its query whose number is `above` (or `below`) a limit for `pending`.

    `labels` may name columns of the query. `no_data` is what no rows mean: `OK` where a row is a problem, `Alerting`
    where there has to be one. A query that cannot run is an alert of its own: a monitor that is down must not look
    like quiet.
    """

    uid: str
    title: str
    query: Query
    urgency: str
    severity: str
    summary: str
    description: str
    panel: str
    board: Json = field(repr=False)
    above: float | None = 0
    below: float | None = None
    pending: str = "0s"
    no_data: str = "OK"


def rules() -> dict[str, list[Rule]]:
    """The rules by group; the rules of a group are evaluated one after the other."""
    first, pipeline = overview(), health()
    return {
        "inferwatch findings": [
            Rule(
                uid="inferwatch-urgent-incident",
                title="Open incident, high or critical",
                query=sql.URGENT_INCIDENTS,
                urgency=NOW,
                severity="{{ $$labels.level }}",
                summary="{{ $labels.level }} incident on {{ $labels.deployment }}: {{ $labels.cause }}",
                description="{{ $values.A.Value }} findings. `inferwatch incidents show {{ $labels.incident }}` has "
                "the evidence, the causes and what to do.",
                board=first,
                panel=OPEN_INCIDENTS,
            ),
            Rule(
                uid="inferwatch-finding-rate",
                title="Many more findings than usual",
                query=sql.FINDING_RATE,
                urgency=LATER,
                severity="medium",
                summary="{{ $values.A.Value }} findings in ten minutes on {{ $labels.deployment }}",
                description="More than six times as many as usual. One cause with many faces, or a detector that "
                "broke: `inferwatch findings --deployment {{ $labels.deployment }}`.",
                board=first,
                panel="Findings over time",
            ),
        ],
        "inferwatch watching": [
            Rule(
                uid="inferwatch-blind",
                title="A deployment is not fully watched",
                query=sql.BLIND,
                urgency=NOW,
                severity="{{ $$labels.level }}",
                summary="{{ $labels.deployment }} is not fully watched: {{ $labels.cause }}",
                description="Its source is silent or delivers less than it did, or detectors began anew. Quiet means "
                "nothing until it is heard again: `inferwatch doctor`.",
                board=first,
                panel="What is heard of each deployment",
            ),
            Rule(
                uid="inferwatch-stalled",
                title="The pipeline stands still",
                query=sql.STALLED,
                urgency=NOW,
                severity="critical",
                summary="{{ $labels.part }}",
                description="For {{ $values.A.Value }} seconds. Nothing is lost while Kafka keeps its records, and "
                "nothing is found: look at the workers' `/readyz` and log.",
                board=pipeline,
                panel="Workers that report",
                above=120,
                pending="2m",
                no_data="Alerting",
            ),
            Rule(
                uid="inferwatch-dead-letters",
                title="Dead letters rise",
                query=sql.DEAD_LETTERS,
                urgency=LATER,
                severity="medium",
                summary="{{ $values.A.Value }} records of {{ $labels.topic }} did not decode in ten minutes",
                description="A sender changed its format, or somebody sends what is none. `inferwatch dead-letters "
                "list` has the reasons.",
                board=first,
                panel="Why records did not decode",
            ),
            Rule(
                uid="inferwatch-disk",
                title="ClickHouse's disk is almost full",
                query=sql.DISK,
                urgency=NOW,
                severity="high",
                summary="Disk {{ $labels.disk }} of ClickHouse has {{ $values.A.Value }} of 1 left",
                description="When it is full, workers wait and nothing is found. Shorten INFERWATCH_RETENTION_DAYS, or "
                "give it a larger disk.",
                board=pipeline,
                panel="Disks",
                above=None,
                below=0.15,
                pending="5m",
                no_data="Alerting",
            ),
        ],
    }


def alert_rules() -> Json:
    """The rule groups of one file."""
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": name,
                "folder": FOLDER,
                "interval": "1m",
                "rules": [_provisioned(rule) for rule in group],
            }
            for name, group in rules().items()
        ],
    }


def contact_points() -> Json:
    """One webhook, whose address is in Grafana's environment."""
    return {
        "apiVersion": 1,
        "contactPoints": [
            {
                "orgId": 1,
                "name": RECEIVER,
                "receivers": [
                    {
                        "uid": "inferwatch-webhook",
                        "type": "webhook",
                        "settings": {"url": f"${WEBHOOK_VARIABLE}", "httpMethod": "POST"},
                        "disableResolveMessage": False,
                    }
                ],
            }
        ],
    }


def policies() -> Json:
    """The whole tree of the organization: Grafana knows only one."""
    at_once = {
        "receiver": RECEIVER,
        "object_matchers": [["urgency", "=", NOW]],
        "group_wait": "10s",
        "repeat_interval": "1h",
    }
    later = {
        "receiver": RECEIVER,
        "object_matchers": [["urgency", "=", LATER]],
        "mute_time_intervals": [QUIET_HOURS],
    }
    return {
        "apiVersion": 1,
        "policies": [
            {
                "orgId": 1,
                "receiver": RECEIVER,
                "group_by": ["grafana_folder", "alertname", "deployment"],
                "group_wait": "30s",
                "group_interval": "5m",
                "repeat_interval": "4h",
                "routes": [at_once, later],
            }
        ],
    }


def mute_timings() -> Json:
    """When nobody is to be woken for what can wait, in UTC."""
    weekdays = {"weekdays": ["monday:friday"], "location": "UTC"}
    return {
        "apiVersion": 1,
        "muteTimes": [
            {
                "orgId": 1,
                "name": QUIET_HOURS,
                "time_intervals": [
                    {"weekdays": ["saturday", "sunday"], "location": "UTC"},
                    {"times": [{"start_time": "00:00", "end_time": "07:00"}], **weekdays},
                    {"times": [{"start_time": "18:00", "end_time": "24:00"}], **weekdays},
                ],
            }
        ],
    }


def _provisioned(rule: Rule) -> Json:
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "C",
        "for": rule.pending,
        "noDataState": rule.no_data,
        "execErrState": "Error",
        "isPaused": False,
        "labels": {"product": "inferwatch", "severity": rule.severity, "urgency": rule.urgency},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "__dashboardUid__": rule.board["uid"],
            "__panelId__": str(panel_id(rule.panel)),
        },
        "data": [_query(rule), _threshold(rule)],
    }


def _query(rule: Rule) -> Json:
    return {
        "refId": "A",
        "datasourceUid": DATASOURCE_UID,
        "relativeTimeRange": {"from": 600, "to": 0},
        "model": {
            "refId": "A",
            "editorType": "sql",
            "queryType": "table",
            "format": 1,
            "pluginVersion": PLUGIN_VERSION,
            "rawSql": rule.query.sql,
            "intervalMs": 60_000,
            "maxDataPoints": 1_000,
        },
    }


def _threshold(rule: Rule) -> Json:
    kind, limit = ("gt", rule.above) if rule.below is None else ("lt", rule.below)
    return {
        "refId": "C",
        "datasourceUid": "__expr__",
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": {
            "refId": "C",
            "type": "threshold",
            "expression": "A",
            "conditions": [{"evaluator": {"type": kind, "params": [limit]}}],
        },
    }
