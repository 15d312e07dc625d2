"""Deployment: what one served model does, against what it did at first."""

from __future__ import annotations

from dashboards import queries
from dashboards.overview import BLIND, QUIET_OR_BLIND
from dashboards.panels import (
    GREEN,
    GREY,
    NEUTRAL,
    ORANGE,
    RED,
    Json,
    annotation,
    dashboard,
    row,
    severity_cell,
    stat,
    table,
    timeseries,
    variable,
)

NO_EVENTS = "no events of this deployment in this time range"
NOT_TOLD = "the source does not tell this, or there were no events"


def deployment() -> Json:
    """The screen to open when the overview names a deployment."""
    return dashboard(
        "inferwatch-deployment",
        "inferwatch / Deployment",
        "Traffic, latency, outcomes, tokens, output style and served model of one deployment. Times are UTC.",
        [*_now(), *_service(), *_outputs(), *_findings()],
        variables=[
            variable(
                "deployment",
                "Deployment",
                "The served model behind one endpoint; those with events in the time range.",
                queries.DEPLOYMENTS,
            )
        ],
        annotations=[annotation("Onset of findings, medium and above", RED, queries.ONSETS)],
    )


def _now() -> list[Json]:
    return [
        stat(
            "High and critical findings",
            queries.DEPLOYMENT_URGENT,
            description="Findings about this deployment in the time range. Grey: no event arrived, not an all-clear.",
            unit="short",
            no_value=BLIND,
            steps=((None, GREEN), (1, RED)),
            width=6,
        ),
        stat(
            "Last event",
            queries.DEPLOYMENT_LAST_EVENT_AGE,
            description="Age of the newest stored record of this deployment, whatever the time range.",
            unit="s",
            no_value="none in 7 days",
            steps=((None, GREEN), (120, ORANGE), (600, RED)),
            width=6,
        ),
        stat(
            "Calls and principals",
            queries.DEPLOYMENT_TOTALS,
            description="Calls in the time range, and how many different principals made them.",
            unit="short",
            no_value="none",
            steps=NEUTRAL,
            width=12,
        ),
    ]


def _service() -> list[Json]:
    return [
        row("Service"),
        timeseries(
            "Calls per second",
            queries.TRAFFIC,
            description="Calls by the time they began.",
            unit="reqps",
            no_value=NO_EVENTS,
            width=12,
        ),
        timeseries(
            "Errors and refusals",
            queries.OUTCOMES,
            description="Share of calls that failed, and share of answers that read as a refusal. Calls whose outcome "
            "the source does not tell are left out.",
            unit="percentunit",
            no_value=NOT_TOLD,
            steps=((None, GREEN), (0.05, ORANGE), (0.2, RED)),
            width=12,
            overrides=[
                ("errors", {"color": {"mode": "fixed", "fixedColor": RED}}),
                ("refusals", {"color": {"mode": "fixed", "fixedColor": ORANGE}}),
            ],
        ),
        timeseries(
            "Latency",
            queries.LATENCY,
            description="Raw percentiles of whole calls. They move with prompt and output lengths too: the detector "
            "latency_shift conditions on tokens and model, these lines do not.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Time to first token",
            queries.TTFT,
            description="Raw percentiles of the time to the first token of streamed calls.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Tokens per second",
            queries.TOKENS,
            description="Input and output tokens as the source counts them, per second of wall time.",
            unit="short",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Calls by served model",
            queries.SERVED_MODELS,
            description="Calls a bucket by the model that says it answered. A new color is a swap or a rollout.",
            unit="short",
            no_value=NO_EVENTS,
            width=12,
            stacked=True,
            label="served",
        ),
    ]


def _outputs() -> list[Json]:
    first = f"the first {queries.BASELINE_EVENTS} answers that are still stored"
    return [
        row("Outputs"),
        timeseries(
            "Shift of output style",
            queries.STYLE_SHIFT,
            description=f"Mean of each style feature in a bucket, in standard deviations from its mean over {first}. "
            "Near 0: as at first. Small buckets scatter; a lasting step is a change.",
            unit="none",
            no_value="no output text was delivered in this time range",
            width=16,
            floor=None,
            steps=((None, GREEN), (1, ORANGE)),
        ),
        timeseries(
            "Output length",
            queries.OUTPUT_LENGTH,
            description=f"Geometric mean of the size of an answer, and the same over {first}.",
            unit="decbytes",
            no_value="no output text was delivered in this time range",
            width=8,
            overrides=[
                ("at_first", {"color": {"mode": "fixed", "fixedColor": GREY}, "custom.lineStyle": {"fill": "dash"}})
            ],
        ),
    ]


def _findings() -> list[Json]:
    return [
        row("Findings"),
        table(
            "Findings of this deployment",
            queries.DEPLOYMENT_FINDINGS,
            description="The 100 newest: what was seen, since when (onset), how far past the threshold.",
            no_value=QUIET_OR_BLIND,
            width=24,
            height=12,
            overrides=[severity_cell("severity"), ("summary", {"custom.width": 480})],
        ),
    ]
