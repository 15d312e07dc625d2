"""Principal and cohort: how one caller asks, and what it shares with others."""

from __future__ import annotations

from dashboards.board import annotation, dashboard, variable
from dashboards.cells import (
    GREEN,
    NEUTRAL,
    NONE_IS_GOOD,
    RED,
    dashed,
    event_cell,
    hidden,
    principal_cell,
    severity_cell,
    severity_rank,
    unit,
    wide,
    zero_is,
)
from dashboards.deployment import chosen_deployment
from dashboards.panels import Json, node_graph, row, stat, table, timeseries
from dashboards.sql import principal as sql

SILENT = "no calls of this caller in this time range"


def principal() -> Json:
    """The screen to open when a caller behaves."""
    return dashboard(
        "inferwatch-principal",
        "inferwatch / Principal and cohort",
        "How one caller (a pseudonym) asks one deployment, and what it shares with others. Times are UTC.",
        [*_now(), *_pattern(), *_places(), *_cohort(), *_what()],
        variables=[
            chosen_deployment(),
            variable("principal", "Principal", "Callers of the deployment, the busiest first.", sql.PRINCIPALS),
            variable("cohort", "Cohort", "Groups of callers that findings are about, the latest first.", sql.COHORTS),
        ],
        annotations=[annotation("Onset of findings", RED, sql.ONSETS)],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Worst finding",
            sql.WORST,
            description="The highest severity of findings about this caller in the time range.",
            unit="short",
            no_value="none",
            steps=NEUTRAL,
            width=4,
            overrides=[severity_rank("worst", "none")],
        ),
        stat(
            "Findings",
            sql.FINDINGS_COUNTED,
            description="About this caller in the time range. Grey: it made no call, which is no all-clear.",
            unit="short",
            no_value=SILENT,
            steps=NONE_IS_GOOD,
            width=4,
            overrides=[("findings", zero_is("0", SILENT))],
        ),
        stat(
            "Last call",
            sql.LAST_CALL_AGE,
            description="Age of the last call of this caller to the deployment, whatever the time range.",
            unit="s",
            no_value="never",
            steps=NEUTRAL,
            width=4,
        ),
        stat(
            "Habits",
            sql.HABITS,
            description="Calls in the time range, and how many different prompts, templates of prompts, networks and "
            "user agents they have. As many prompts as calls, of few templates: a machine that works off a list.",
            unit="short",
            no_value=SILENT,
            steps=NEUTRAL,
            width=12,
        ),
    ]


def _pattern() -> list[Json]:
    return [
        row("How it asks"),
        timeseries(
            "Query pattern",
            sql.PATTERN,
            description="Calls a bucket, how many of them have different prompts and templates, and how many were "
            "refused or failed.",
            unit="short",
            no_value=SILENT,
            width=12,
        ),
        timeseries(
            "Scores of detectors against their thresholds",
            sql.SCORES,
            description="Score divided by threshold of each finding about this caller or cohort: 1 is the threshold. "
            "Scores are stored with findings only; `inferwatch backtest --detector extraction --plot FILE` draws all.",
            unit="none",
            no_value="no detector passed its threshold in this time range",
            width=12,
            points=True,
            steps=((None, GREEN), (1, RED)),
            overrides=[dashed("threshold")],
        ),
        timeseries(
            "What it asks for besides text",
            sql.ASKED_FOR,
            description="Calls a bucket that want several answers, log probabilities, a bias of tokens, or no chance: "
            "what extraction and probing need.",
            unit="short",
            no_value=SILENT,
            width=24,
        ),
    ]


def _places() -> list[Json]:
    return [
        timeseries(
            "Networks",
            sql.NETWORKS,
            description="Calls a bucket by network (a pseudonym), the ten commonest. One key from many networks was "
            "shared or stolen.",
            unit="short",
            no_value="no calls, or the source does not tell networks",
            width=12,
            stacked=True,
            label="name",
        ),
        timeseries(
            "Agents",
            sql.AGENTS,
            description="Calls a bucket by user agent (a pseudonym), the ten commonest.",
            unit="short",
            no_value="no calls, or the source does not tell agents",
            width=12,
            stacked=True,
            label="name",
        ),
    ]


def _cohort() -> list[Json]:
    return [
        row("With whom"),
        node_graph(
            "What this caller and the cohort share",
            sql.NODES,
            sql.EDGES,
            description="Callers in orange, and the networks, agents and templates of prompts that they use most; "
            "numbers are calls. Without a cohort: the caller alone.",
            no_value=SILENT,
            width=14,
        ),
        table(
            "Members",
            sql.MEMBERS,
            description="Callers that findings about the cohort name, and the chosen one.",
            no_value=SILENT,
            width=10,
            height=12,
            overrides=[principal_cell(), hidden("deployment")],
        ),
    ]


def _what() -> list[Json]:
    return [
        row("What"),
        table(
            "Findings about this caller or cohort",
            sql.FINDINGS,
            description="The 100 newest in the time range.",
            no_value="none in this time range",
            width=24,
            overrides=[severity_cell(), event_cell(), wide("what"), hidden("deployment")],
        ),
        table(
            "Last calls",
            sql.LAST_EVENTS,
            description="The 50 newest in the time range; texts are cut and shown as text. An event leads to all that "
            "is stored of it.",
            no_value=SILENT,
            width=24,
            height=12,
            overrides=[event_cell(), unit("latency_s", "s")],
        ),
    ]
