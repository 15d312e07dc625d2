"""Cost and latency: what models take in tokens, money and time."""

from __future__ import annotations

from dashboards.board import dashboard, variable
from dashboards.cells import GREEN, NEUTRAL, ORANGE, RED, deployment_cell, principal_cell, unit
from dashboards.panels import Json, row, stat, table, timeseries
from dashboards.sql import cost as sql

NOT_TOLD = "the source does not tell this, or there were no calls"
_MONEY = "currencyUSD"


def cost() -> Json:
    """The screen for capacity and money."""
    return dashboard(
        "inferwatch-cost",
        "inferwatch / Cost and latency",
        "Tokens, spend, time to first token and latency percentiles by model, over all deployments. Times are UTC.",
        [*_now(), *_spend(), *_latency(), *_chosen(), *_tables()],
        variables=[variable("model", "Model", "Those that answered in the time range, the busiest first.", sql.MODELS)],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Spend",
            sql.SPENT,
            description="US dollars in the time range, an hour and a call, as the source tells costs.",
            unit=_MONEY,
            no_value=NOT_TOLD,
            steps=NEUTRAL,
            width=9,
        ),
        stat(
            "Tokens",
            sql.TOKENS_COUNTED,
            description="Input and output tokens in the time range, as the source counts them.",
            unit="short",
            no_value=NOT_TOLD,
            steps=NEUTRAL,
            width=6,
        ),
        stat(
            "Slowest model, 95th percentile",
            sql.SLOWEST,
            description="The highest 95th percentile of latency of a model over the whole time range.",
            unit="s",
            no_value=NOT_TOLD,
            steps=((None, GREEN), (10, ORANGE), (60, RED)),
            width=4,
        ),
        stat(
            "Calls that tell",
            sql.TOLD,
            description="Share of the calls that tell costs and tokens: the figures beside are of those only.",
            unit="percentunit",
            no_value="no calls",
            steps=((None, RED), (0.5, ORANGE), (0.99, GREEN)),
            width=5,
        ),
    ]


def _spend() -> list[Json]:
    return [
        row("By model"),
        timeseries(
            "Spend an hour by model",
            sql.SPEND,
            description="US dollars an hour at the pace of each bucket, the ten busiest models.",
            unit=_MONEY,
            no_value=NOT_TOLD,
            width=8,
            stacked=True,
            label="name",
        ),
        timeseries(
            "Input tokens per second by model",
            sql.INPUT_TOKENS,
            description="As the source counts them, per second of wall time, the ten busiest models.",
            unit="short",
            no_value=NOT_TOLD,
            width=8,
            label="name",
        ),
        timeseries(
            "Output tokens per second by model",
            sql.OUTPUT_TOKENS,
            description="As the source counts them, per second of wall time, the ten busiest models.",
            unit="short",
            no_value=NOT_TOLD,
            width=8,
            label="name",
        ),
    ]


def _latency() -> list[Json]:
    return [
        timeseries(
            "Latency by model, 95th percentile",
            sql.P95,
            description="Of whole calls, exact to 2 %, the ten busiest models.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
            label="name",
        ),
        timeseries(
            "Time to first token by model, 95th percentile",
            sql.TTFT_P95,
            description="Of streamed calls, exact to 2 %, the ten busiest models.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
            label="name",
        ),
    ]


def _chosen() -> list[Json]:
    return [
        row("The chosen model"),
        timeseries(
            "Latency of the chosen model",
            sql.LATENCY,
            description="50th, 95th and 99th percentile of whole calls, exact to 2 %.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
        timeseries(
            "Time to first token of the chosen model",
            sql.TTFT,
            description="50th, 95th and 99th percentile of streamed calls, exact to 2 %.",
            unit="s",
            no_value=NOT_TOLD,
            width=12,
        ),
    ]


def _tables() -> list[Json]:
    seconds = ("p50", "p95", "p99", "ttft_p95")
    return [
        row("In numbers"),
        table(
            "Models and deployments",
            sql.BY_MODEL,
            description="Over the whole time range, the 50 busiest. Percentiles in seconds.",
            no_value="no calls in this time range",
            width=14,
            height=10,
            overrides=[
                deployment_cell(),
                unit("spent", _MONEY),
                unit("a_call", _MONEY),
                *(unit(name, "s") for name in seconds),
            ],
        ),
        table(
            "Callers that cost most",
            sql.BY_CALLER,
            description="Over the time range, to the hour; by money, then by output tokens.",
            no_value="no calls in this time range, or the source names no callers",
            width=10,
            height=10,
            overrides=[principal_cell(), deployment_cell(), unit("spent", _MONEY)],
        ),
    ]
