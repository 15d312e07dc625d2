"""Deployment: what one served model does, against what it did at first."""

from __future__ import annotations

from dashboards import queries
from dashboards.board import annotation, dashboard, marked, variable
from dashboards.cells import (
    AGE,
    BLUE,
    GREEN,
    NEUTRAL,
    ORANGE,
    RED,
    dashed,
    event_cell,
    fixed,
    hidden,
    incident_at_its_time,
    principal_cell,
    severity_cell,
    severity_columns,
    wide,
    zero_is,
)
from dashboards.overview import BLIND, QUIET_OR_BLIND
from dashboards.panels import Json, heatmap, row, stat, state_timeline, table, timeseries
from dashboards.sql import deployment as sql

NO_EVENTS = "no events of this deployment in this time range"
NOT_TOLD = "the source does not tell this, or there were no events"
NO_TEXT = "no output text was delivered in this time range"


def chosen_deployment() -> Json:
    """The variable that several screens have."""
    return variable(
        "deployment",
        "Deployment",
        "The served model behind one endpoint; those with calls in the time range.",
        sql.DEPLOYMENTS,
    )


def deployment() -> Json:
    """The screen to open when the overview names a deployment."""
    return dashboard(
        "inferwatch-deployment",
        "inferwatch / Deployment",
        "Traffic, outputs, latency, outcomes and components of one deployment against its beginning. Times are UTC.",
        [*_now(), *_service(), *_latency(), *_outputs(), *_components(), *_findings()],
        variables=[chosen_deployment()],
        annotations=[
            annotation("Onset of findings, medium and above", RED, sql.ONSETS),
            marked("Approved changes", BLUE, "change", "$deployment"),
            marked("Approved baselines", GREEN, "baseline", "$deployment"),
        ],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Open incidents of this deployment",
            sql.OPEN_BY_SEVERITY,
            description="Incidents that are open now, by severity. Grey: no event arrived, not an all-clear.",
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
            description="Age of the newest stored record of this deployment, whatever the time range.",
            unit="s",
            no_value="none in 7 days",
            steps=AGE,
            width=3,
        ),
        stat(
            "Calls and callers",
            sql.CALLS,
            description="Calls in the time range, and how many different principals made them (to the hour).",
            unit="short",
            no_value="none",
            steps=NEUTRAL,
            width=6,
        ),
        stat(
            "Errors",
            sql.FAILED,
            description="Share of the calls in the time range that failed, of those whose outcome is told.",
            unit="percentunit",
            no_value="not told",
            steps=((None, GREEN), (0.05, ORANGE), (0.2, RED)),
            width=3,
        ),
        table(
            "Incidents of this deployment: what, since when, what to do",
            sql.INCIDENTS,
            description="Open ones first, then those that were active in the time range.",
            no_value=QUIET_OR_BLIND,
            width=24,
            height=7,
            overrides=[
                severity_cell(),
                incident_at_its_time(),
                wide("what", 420),
                wide("next_step", 420),
                hidden("deployment"),
                hidden("from_ms"),
                hidden("until_ms"),
            ],
        ),
    ]


def _service() -> list[Json]:
    return [
        row("Traffic and outcomes"),
        timeseries(
            "Calls per second",
            sql.TRAFFIC,
            description="Calls by the time they began.",
            unit="reqps",
            no_value=NO_EVENTS,
            width=12,
        ),
        timeseries(
            "Tokens per second",
            sql.TOKENS,
            description="Input and output tokens as the source counts them, per second of wall time.",
            unit="short",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Errors and refusals",
            sql.OUTCOMES,
            description="Share of calls that failed, and share of answers that read as a refusal. Calls whose outcome "
            "the source does not tell are left out.",
            unit="percentunit",
            no_value=NOT_TOLD,
            steps=((None, GREEN), (0.05, ORANGE), (0.2, RED)),
            width=12,
            overrides=[fixed("errors", RED), fixed("refusals", ORANGE)],
        ),
        timeseries(
            "Errors by kind",
            sql.ERRORS_BY_TYPE,
            description="Calls that failed, by the error that the source names or the HTTP status; the ten commonest.",
            unit="short",
            no_value="no call failed in this time range, or the source does not tell",
            width=12,
            stacked=True,
            label="kind",
        ),
    ]


def _latency() -> list[Json]:
    return [
        row("Latency"),
        timeseries(
            "Latency against what its tokens explain",
            sql.LATENCY_CONDITIONED,
            description=f"Latency divided by what a line over output tokens, fitted by model to the first "
            f"{sql.FIRST_CALLS} calls, expects. 1: as at first. Prompts and answers that get longer do not move it; "
            "load, other hardware or another model do.",
            unit="none",
            no_value=NOT_TOLD,
            width=12,
            steps=((None, GREEN), (1.5, ORANGE)),
        ),
        heatmap(
            "Latency, how many calls took how long",
            sql.LATENCY_SPREAD,
            description="Calls by latency; a bucket is named by its upper end, the last one is everything above. Two "
            "bands are two ways to be served.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Latency, raw percentiles",
            sql.LATENCY,
            description="Of whole calls, exact to 2 %. They move with prompt and output lengths too.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Time to first token",
            sql.TTFT,
            description="Raw percentiles of the time to the first token of streamed calls, exact to 2 %.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
    ]


def _outputs() -> list[Json]:
    first = f"the first {queries.BASELINE_EVENTS} answers that are still stored"
    return [
        row("Outputs"),
        timeseries(
            "Shift of output style",
            sql.STYLE_SHIFT,
            description=f"Mean of each style feature in a bucket, in standard deviations from its mean over {first}. "
            "Near 0: as at first. Small buckets scatter; a lasting step is a change. Red marks: onset of findings.",
            unit="none",
            no_value=NO_TEXT,
            width=12,
            floor=None,
            steps=((None, GREEN), (1, ORANGE)),
        ),
        timeseries(
            "Output length",
            sql.OUTPUT_LENGTH,
            description=f"Geometric mean of the size of an answer, and the same over {first}.",
            unit="decbytes",
            no_value=NO_TEXT,
            width=6,
            overrides=[dashed("at_first")],
        ),
        timeseries(
            "Answers to canaries",
            sql.CANARIES,
            description="How alike answers to the prompts of `inferwatch canary run` are to the first stored ones: 1 "
            "is the same text. A drop is another model, or the same one with other settings.",
            unit="none",
            no_value="no canary was asked twice, or answers are not stored",
            width=6,
            overrides=[fixed("least_similar", ORANGE)],
        ),
    ]


def _components() -> list[Json]:
    return [
        row("What served it"),
        state_timeline(
            "Components over time",
            sql.COMPONENTS,
            description="What most calls of a bucket say they were served by: another color is a change. Versions that "
            "are cut end in a hash of the whole.",
            no_value="the source names neither a model nor components",
            width=14,
        ),
        table(
            "Versions",
            sql.VERSIONS,
            description="Every version of a component since a week before the time range, the newest first.",
            no_value="the source names neither a model nor components",
            width=10,
            height=8,
            overrides=[wide("version", 240)],
        ),
        table(
            "Changes that people decided on",
            sql.CHANGES,
            description="Approved and rejected changes and new baselines, the latest first. A version above that is "
            "not here changed without anybody's word.",
            no_value="nobody has announced a change of this deployment",
            width=14,
            height=8,
            overrides=[wide("version", 200), wide("why", 240)],
        ),
        table(
            "Attestations",
            sql.REPORTS,
            description="What `inferwatch attest` found in artifacts of this deployment, the latest first.",
            no_value="nothing of this deployment was attested",
            width=10,
            height=8,
            overrides=[wide("first_risks", 300)],
        ),
        table(
            "Baselines",
            sql.BASELINES,
            description="Numbers that were frozen to compare with, and whether anybody approved them.",
            no_value="no baseline of this deployment was frozen",
            width=24,
            height=5,
        ),
    ]


def _findings() -> list[Json]:
    return [
        row("Findings"),
        table(
            "Findings of this deployment",
            sql.FINDINGS,
            description="The 100 newest: what was seen, since when (onset), how far past the threshold.",
            no_value=QUIET_OR_BLIND,
            width=24,
            height=12,
            overrides=[severity_cell(), principal_cell(), event_cell(), wide("what"), hidden("deployment")],
        ),
    ]
