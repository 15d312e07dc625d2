"""Overview: is anything wrong now, where, since when; and would we see it."""

from __future__ import annotations

from dashboards import queries
from dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    NEUTRAL,
    ORANGE,
    RED,
    Json,
    dashboard,
    deployment_cell,
    row,
    severity_cell,
    severity_columns,
    stat,
    table,
    timeseries,
)

BLIND = "no events: blind"
QUIET_OR_BLIND = (
    "No findings in this time range. 'Last event' above tells whether it was quiet or nobody was listening."
)


def overview() -> Json:
    """The screen to leave open in a security operations center."""
    return dashboard(
        "inferwatch-overview",
        "inferwatch / Overview",
        "What the detectors found in all deployments, and whether events arrive at all. Times are UTC.",
        [*_now(), *_over_time(), *_where(), *_what()],
    )


def _now() -> list[Json]:
    return [
        stat(
            "High and critical findings",
            queries.URGENT,
            description="Findings of severity high or critical in the time range. Grey: no event arrived, so this is "
            "not an all-clear.",
            unit="short",
            no_value=BLIND,
            steps=((None, GREEN), (1, RED)),
            width=4,
        ),
        stat(
            "Findings by severity",
            queries.BY_SEVERITY,
            description="All findings in the time range, counted by severity. Grey: no event arrived.",
            unit="short",
            no_value=BLIND,
            steps=NEUTRAL,
            width=8,
            overrides=severity_columns(),
        ),
        stat(
            "Last event",
            queries.LAST_EVENT_AGE,
            description="Age of the newest record that was stored, over all deployments, whatever the time range. Old: "
            "the senders, the broker or the worker stand still, and quiet panels mean nothing.",
            unit="s",
            no_value="none in 7 days",
            steps=((None, GREEN), (120, ORANGE), (600, RED)),
            width=3,
        ),
        stat(
            "Events per second, last 5 min",
            queries.EVENTS_PER_SECOND,
            description="Mean rate of stored events over the last five minutes, whatever the time range.",
            unit="eps",
            no_value="no data",
            steps=((None, ORANGE), (0.001, GREEN)),
            width=3,
        ),
        stat(
            "Dead letters",
            queries.DEAD_LETTERS,
            description="Records in the time range that will never decode. More than a few: a sender changed format.",
            unit="short",
            no_value="no records",
            steps=((None, GREEN), (1, ORANGE), (100, RED)),
            width=3,
        ),
        stat(
            "Deployments seen",
            queries.DEPLOYMENTS_SEEN,
            description="Deployments with an event in the time range. Fewer than you run: one is not watched.",
            unit="short",
            no_value="none",
            steps=((None, BLUE),),
            width=3,
        ),
    ]


def _over_time() -> list[Json]:
    return [
        timeseries(
            "Findings over time",
            queries.FINDINGS_OVER_TIME,
            description="Findings by severity, stacked. Zero is drawn while events arrive; a gap is a time without.",
            unit="short",
            no_value=BLIND,
            width=24,
            stacked=True,
            overrides=severity_columns(),
        ),
        timeseries(
            "Events per second by deployment",
            queries.EVENTS_OVER_TIME,
            description="Stored events per second of the ten busiest deployments, all others as one. Events replayed "
            "after a crash may count twice for some minutes.",
            unit="eps",
            no_value="no events in this time range",
            width=16,
            label="name",
        ),
        timeseries(
            "Dead letters over time",
            queries.DEAD_LETTERS_OVER_TIME,
            description="Records that will never decode, by the Kafka record's time. Zero while others decode.",
            unit="short",
            no_value="no records in this time range",
            width=8,
            stacked=True,
            overrides=[("dead_letters", {"color": {"mode": "fixed", "fixedColor": GREY}})],
        ),
    ]


def _where() -> list[Json]:
    return [
        row("Where"),
        table(
            "Deployments by findings",
            queries.TOP_DEPLOYMENTS,
            description="Deployments with events or findings in the time range; severity is the worst. A deployment "
            "leads to its own dashboard.",
            no_value="no events and no findings in this time range",
            width=12,
            overrides=[severity_cell("severity"), deployment_cell()],
        ),
        table(
            "Principals by findings",
            queries.TOP_PRINCIPALS,
            description="Callers (as pseudonyms) that findings are about; worst is the highest severity.",
            no_value="no findings about a principal in this time range",
            width=12,
            overrides=[severity_cell("worst")],
        ),
    ]


def _what() -> list[Json]:
    return [
        row("What"),
        table(
            "Latest findings",
            queries.LATEST_FINDINGS,
            description="The 100 newest findings: what was seen, since when (onset), how far past the threshold. "
            "`inferwatch detectors show DETECTOR` prints causes, false positives and the runbook.",
            no_value=QUIET_OR_BLIND,
            width=24,
            height=12,
            overrides=[severity_cell("severity"), deployment_cell(), ("summary", {"custom.width": 480})],
        ),
        table(
            "Why records did not decode",
            queries.DEAD_REASONS,
            description="Dead letters by reason and content type, with the first bytes of the newest as escaped text.",
            no_value="no dead letters in this time range",
            width=24,
            overrides=[("example", {"custom.width": 480})],
        ),
    ]
