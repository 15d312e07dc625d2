"""Overview: is anything wrong now, where, since when, what do I do; and would we see it."""

from __future__ import annotations

from dashboards.board import dashboard
from dashboards.cells import (
    AGE,
    GREEN,
    GREY,
    NEUTRAL,
    ORANGE,
    RED,
    cohort_cell,
    deployment_cell,
    event_cell,
    fixed,
    hidden,
    incident_at_its_time,
    principal_cell,
    severity_cell,
    severity_columns,
    unit,
    wide,
    zero_is,
)
from dashboards.panels import Json, row, stat, table, timeseries
from dashboards.sql import overview as sql

BLIND = "no events: blind"
QUIET_OR_BLIND = "None in this time range. 'Last event' at the top tells whether it was quiet or nobody was listening."
OPEN_INCIDENTS = "Open incidents by severity"
NO_REPORT = "no worker reports"


def overview() -> Json:
    """The screen to leave open in a security operations center."""
    return dashboard(
        "inferwatch-overview",
        "inferwatch / Overview",
        "Open incidents, what the detectors found in all deployments, and whether events arrive at all. Times are UTC.",
        [*_now(), *_over_time(), *_where(), *_watched(), *_what()],
    )


def _now() -> list[Json]:
    return [
        stat(
            OPEN_INCIDENTS,
            sql.OPEN_BY_SEVERITY,
            description="Incidents that are open now, whatever the time range. Grey: no event arrived in the time "
            "range, so this is not an all-clear.",
            unit="short",
            no_value=BLIND,
            steps=NEUTRAL,
            width=8,
            overrides=severity_columns(),
        ),
        stat(
            "High or critical since",
            sql.URGENT_SINCE,
            description="When the oldest open incident of severity high or critical began.",
            unit="dateTimeFromNow",
            no_value=BLIND,
            steps=((None, RED),),
            width=4,
            overrides=[("since", zero_is("none open", BLIND))],
        ),
        stat(
            "Last event",
            sql.LAST_EVENT_AGE,
            description="Age of the newest record that was stored, over all deployments, whatever the time range. Old: "
            "the senders, the broker or the worker stand still, and quiet panels mean nothing.",
            unit="s",
            no_value="none in 7 days",
            steps=AGE,
            width=3,
        ),
        stat(
            "Records that wait",
            sql.LAG,
            description="Records on the broker that no worker has done with, as workers reported in the last two "
            "minutes. Findings are late by as much.",
            unit="short",
            no_value=NO_REPORT,
            steps=((None, GREEN), (1_000, ORANGE), (100_000, RED)),
            width=3,
        ),
        stat(
            "Deployments heard",
            sql.WATCHED,
            description="Share of the deployments of the last seven days that were heard in the last 15 minutes.",
            unit="percentunit",
            no_value="none in 7 days",
            steps=((None, RED), (0.5, ORANGE), (0.999, GREEN)),
            width=3,
        ),
        stat(
            "Dead letters",
            sql.DEAD_LETTERS,
            description="Records in the time range that will never decode. More than a few: a sender changed format.",
            unit="short",
            no_value="no records",
            steps=((None, GREEN), (1, ORANGE), (100, RED)),
            width=3,
        ),
        table(
            "Open incidents: what, where, since when, what to do",
            sql.OPEN_INCIDENTS,
            description="The 50 most severe that are open now, whatever the time range. An incident leads to its page "
            "at the time when it happened.",
            no_value="No incident is open. 'Last event' above tells whether it is quiet or nobody is listening.",
            width=24,
            overrides=[
                severity_cell(),
                deployment_cell(),
                incident_at_its_time(),
                wide("what", 420),
                wide("next_step", 420),
                hidden("state"),
                hidden("from_ms"),
                hidden("until_ms"),
            ],
        ),
    ]


def _over_time() -> list[Json]:
    return [
        timeseries(
            "Findings over time",
            sql.FINDINGS_OVER_TIME,
            description="Findings by severity, stacked. Zero is drawn while events arrive; a gap is a time without.",
            unit="short",
            no_value=BLIND,
            width=15,
            stacked=True,
            overrides=severity_columns(),
        ),
        table(
            "Against the period before",
            sql.CHANGE,
            description="This time range and the one of the same length just before it. Change is empty where there "
            "was nothing before.",
            no_value="nothing to compare",
            width=9,
            height=8,
            overrides=[unit("change", "percentunit"), wide("what", 180)],
        ),
    ]


def _where() -> list[Json]:
    return [
        row("Where"),
        table(
            "Deployments by findings",
            sql.TOP_DEPLOYMENTS,
            description="Deployments with calls or findings in the time range; severity is the worst. A deployment "
            "leads to its own screen.",
            no_value="no events and no findings in this time range",
            width=9,
            overrides=[severity_cell(), deployment_cell()],
        ),
        table(
            "Principals by findings",
            sql.TOP_PRINCIPALS,
            description="Callers (as pseudonyms) that findings are about; worst is the highest severity.",
            no_value="no findings about a principal in this time range",
            width=15,
            overrides=[severity_cell("worst"), principal_cell(), deployment_cell(), wide("detectors", 240)],
        ),
        table(
            "Cohorts by findings",
            sql.TOP_COHORTS,
            description="Callers that act as one: they share a network, an agent or a template of prompts.",
            no_value="no findings about a cohort in this time range",
            width=24,
            height=6,
            overrides=[severity_cell("worst"), cohort_cell(), deployment_cell(), wide("what")],
        ),
    ]


def _watched() -> list[Json]:
    shares = ("principal", "prompt", "output", "latency", "tokens", "outcome", "components")
    return [
        row("Quiet or blind"),
        table(
            "What is heard of each deployment",
            sql.QUIET_OR_BLIND,
            description="By deployment and format over seven days: how long nothing came, and which share of events "
            "tells what detectors need. A field that is not delivered blinds the detectors that use it.",
            no_value="no events in 7 days: blind",
            width=24,
            overrides=[
                deployment_cell(),
                unit("last_event_age_s", "s"),
                *(unit(share, "percentunit") for share in shares),
            ],
        ),
        timeseries(
            "Events per second by deployment",
            sql.EVENTS_OVER_TIME,
            description="Stored events per second of the ten busiest deployments, all others as one, by the time of "
            "their records. Events that a replay stored again count again.",
            unit="eps",
            no_value="no events in this time range",
            width=16,
            label="name",
        ),
        timeseries(
            "Dead letters over time",
            sql.DEAD_LETTERS_OVER_TIME,
            description="Records that will never decode, by the Kafka record's time. Zero while others decode.",
            unit="short",
            no_value="no records in this time range",
            width=8,
            stacked=True,
            overrides=[fixed("dead_letters", GREY)],
        ),
    ]


def _what() -> list[Json]:
    return [
        row("What"),
        table(
            "Latest findings",
            sql.LATEST_FINDINGS,
            description="The 100 newest findings: what was seen, since when (onset), how far past the threshold. "
            "`inferwatch detectors show DETECTOR` prints causes, false positives and the runbook.",
            no_value=QUIET_OR_BLIND,
            width=24,
            height=12,
            overrides=[severity_cell(), deployment_cell(), principal_cell(), event_cell(), wide("what")],
        ),
        table(
            "Why records did not decode",
            sql.DEAD_REASONS,
            description="Dead letters by reason and content type, with the first bytes of the newest as escaped text.",
            no_value="no dead letters in this time range",
            width=24,
            overrides=[wide("why", 360), wide("example")],
        ),
    ]
