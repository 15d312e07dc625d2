"""Incident: one case from its onset to what to do about it."""

from __future__ import annotations

from dashboards.board import annotation, dashboard, variable
from dashboards.cells import (
    GREEN,
    NEUTRAL,
    ORANGE,
    RED,
    incident_cell,
    principal_cell,
    severity_cell,
    severity_rank,
    state_rank,
    unit,
    wide,
)
from dashboards.panels import Json, row, stat, table, timeseries
from dashboards.sql import incident as sql

NO_INCIDENT = "no incident of this id is stored"


def incident() -> Json:
    """The screen that a responder gets the address of."""
    return dashboard(
        "inferwatch-incident",
        "inferwatch / Incident",
        "One case: what happened since when, the likely causes, whom it touched and what to do. Times are UTC.",
        [*_now(), *_why(), *_when(), *_whom()],
        variables=[variable("incident", "Incident", "The latest first, merged ones left out.", sql.INCIDENTS)],
        annotations=[annotation("Edges of the incident", RED, sql.MARKS)],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Severity",
            sql.SEVERITY,
            description="Of the incident as a whole.",
            unit="short",
            no_value=NO_INCIDENT,
            steps=NEUTRAL,
            width=3,
            overrides=[severity_rank("severity", NO_INCIDENT)],
        ),
        stat(
            "State",
            sql.STATE,
            description="An incident closes when it was quiet for long enough, or by hand.",
            unit="short",
            no_value=NO_INCIDENT,
            steps=NEUTRAL,
            width=3,
            overrides=[state_rank("state", NO_INCIDENT)],
        ),
        stat(
            "Began",
            sql.ONSET,
            description="The earliest onset that a finding of it gives.",
            unit="dateTimeAsIso",
            no_value=NO_INCIDENT,
            steps=NEUTRAL,
            width=5,
        ),
        stat(
            "Last finding",
            sql.LAST_AGE,
            description="Age of the newest finding of it.",
            unit="s",
            no_value=NO_INCIDENT,
            steps=NEUTRAL,
            width=3,
        ),
        stat(
            "Evidence",
            sql.FINDINGS_COUNTED,
            description="Findings, and how many of their detectors share no input with each other.",
            unit="short",
            no_value=NO_INCIDENT,
            steps=NEUTRAL,
            width=4,
        ),
        stat(
            "Points of the likeliest cause",
            sql.BEST_SHARE,
            description="Its share of the points of all causes. It orders explanations and is no probability.",
            unit="percentunit",
            no_value="no cause",
            steps=((None, ORANGE), (0.4, GREEN)),
            width=3,
        ),
        stat(
            "Calls and callers meanwhile",
            sql.TOUCHED,
            description="Calls of the deployment from the onset to the last finding, to the hour.",
            unit="short",
            no_value="none",
            steps=NEUTRAL,
            width=3,
        ),
        table(
            "What happened, and what to do",
            sql.TO_DO,
            description="In the order in which to read it. Proposed actions are carried out by nobody here.",
            no_value=NO_INCIDENT,
            width=24,
            height=11,
            overrides=[wide("what", 200)],
        ),
    ]


def _why() -> list[Json]:
    return [
        row("Why"),
        table(
            "Causes, the likeliest first",
            sql.CAUSES,
            description="What speaks for each and against it. Shares are of the evidence.",
            no_value=NO_INCIDENT,
            width=24,
            overrides=[unit("share_of_the_evidence", "percentunit"), wide("cause", 280), wide("speaks_for_it", 520)],
        ),
        table(
            "Findings that it quotes",
            sql.EVIDENCE,
            description="With what was observed and what was usual.",
            no_value=NO_INCIDENT,
            width=24,
            height=11,
            overrides=[severity_cell(), wide("what", 380), wide("evidence", 480)],
        ),
    ]


def _when() -> list[Json]:
    return [
        row("When"),
        timeseries(
            "Findings of the deployment, by detector",
            sql.TIMELINE,
            description="From a day before the onset to the last finding, those of other incidents too: choose the "
            "time range of the incident, as the link of the overview does.",
            unit="short",
            no_value="no findings in this time range",
            width=12,
            stacked=True,
            label="detector",
        ),
        timeseries(
            "The deployment around it",
            sql.SERVICE,
            description="Calls per second on one side, shares of errors and refusals on the other.",
            unit="percentunit",
            no_value="no calls in this time range",
            width=12,
            overrides=[("calls_s", {"unit": "reqps", "custom.axisPlacement": "right"})],
        ),
    ]


def _whom() -> list[Json]:
    return [
        row("Whom it touched, and where to go on"),
        table(
            "Callers meanwhile",
            sql.RADIUS,
            description="Callers from the onset to the last finding, to the hour; those that findings name first.",
            no_value="no calls are stored of that time",
            width=14,
            overrides=[principal_cell()],
        ),
        table(
            "Where to go on",
            sql.RADIUS_QUERY,
            description="The verb that prints the whole case, and the query that lists the calls.",
            no_value=NO_INCIDENT,
            width=10,
            overrides=[wide("how", 200)],
        ),
        table(
            "What people said",
            sql.VERDICTS,
            description="Verdicts, assignments and notes, given with `inferwatch incidents`.",
            no_value="nobody has said anything yet",
            width=10,
            height=8,
        ),
        table(
            "Other incidents of the deployment",
            sql.ALIKE,
            description="The latest 20.",
            no_value="none",
            width=14,
            height=8,
            overrides=[severity_cell(), incident_cell(), wide("what", 360)],
        ),
    ]
