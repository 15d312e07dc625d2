"""Detector quality: what detectors cost and are worth, and whether they are ready."""

from __future__ import annotations

from dashboards.board import dashboard
from dashboards.cells import (
    GREEN,
    NEUTRAL,
    ORANGE,
    RED,
    deployment_cell,
    incident_cell,
    severity_cell,
    severity_columns,
    unit,
    wide,
)
from dashboards.overview import BLIND, NO_REPORT
from dashboards.panels import Json, bars, row, stat, table, timeseries
from dashboards.sql import quality as sql

NO_FINDINGS = "no findings in this time range"
NO_VERDICTS = "nobody has judged an incident; `inferwatch incidents verdict` does"


def quality() -> Json:
    """The screen of whoever answers for the detectors."""
    return dashboard(
        "inferwatch-quality",
        "inferwatch / Detector quality",
        "Scores, the alarm budget that was spent against the one that was promised, verdicts, warm-up. Times are UTC.",
        [*_now(), *_budget(), *_scores(), *_verdicts(), *_warm_up()],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Findings a day against the promise",
            sql.SPENT,
            description="Findings a day in the time range, true ones included, and the false alarms a day that are "
            "promised for the subjects that workers hold now: share of the budget times subjects times detectors.",
            unit="short",
            no_value=NO_REPORT,
            steps=NEUTRAL,
            width=8,
        ),
        stat(
            "Judged incidents",
            sql.JUDGED,
            description="Incidents that people judged in the time range, and the share of true ones of true and false.",
            unit="short",
            no_value="none judged",
            steps=NEUTRAL,
            width=6,
            overrides=[unit("precision", "percentunit")],
        ),
        stat(
            "Warming up",
            sql.WARMING,
            description="Pairs of a live subject and a detector that lacks observations and cannot speak yet.",
            unit="short",
            no_value=NO_REPORT,
            steps=NEUTRAL,
            width=6,
        ),
        stat(
            "Trouble",
            sql.TROUBLE,
            description="Detectors that broke and began anew, and saved states that were refused, in the time range.",
            unit="short",
            no_value=BLIND,
            steps=((None, GREEN), (1, ORANGE), (10, RED)),
            width=4,
        ),
    ]


def _budget() -> list[Json]:
    return [
        row("Alarm budget"),
        table(
            "Spent against promised, by detector",
            sql.BUDGET,
            description="Findings a day, and the false alarms a day that are promised for all subjects of the "
            "detector's scope. Far above 1: something is wrong out there, or with the detector; verdicts tell which.",
            no_value=NO_FINDINGS,
            width=12,
            overrides=[("times_the_promise", {"decimals": 1})],
        ),
        timeseries(
            "Findings by detector",
            sql.FINDINGS_BY_DETECTOR,
            description="Findings a bucket, the twelve commonest detectors.",
            unit="short",
            no_value=NO_FINDINGS,
            width=12,
            stacked=True,
            label="detector",
        ),
    ]


def _scores() -> list[Json]:
    return [
        row("Scores"),
        bars(
            "How far findings pass their thresholds",
            sql.SCORES,
            across="times_the_threshold",
            description="Findings by score divided by threshold. All just above 1: a threshold that cuts noise.",
            unit="short",
            no_value=NO_FINDINGS,
            width=12,
            overrides=severity_columns(),
        ),
        table(
            "Scores by detector",
            sql.SCORES_BY_DETECTOR,
            description="Score divided by threshold, of findings: scores below the threshold are not stored. "
            "`inferwatch backtest --detector NAME --plot FILE` draws those too.",
            no_value=NO_FINDINGS,
            width=12,
            height=8,
        ),
    ]


def _verdicts() -> list[Json]:
    return [
        row("Verdicts"),
        table(
            "Precision by detector",
            sql.PRECISION,
            description="Of the incidents that a detector had a part in and that people judged true or false: the "
            "share of true ones, and its 95 % interval. Benign ones (real, harmless) are counted beside.",
            no_value=NO_VERDICTS,
            width=12,
            overrides=[unit(name, "percentunit") for name in ("precision", "at_least", "at_most")],
        ),
        table(
            "Incidents that nobody judged",
            sql.UNJUDGED,
            description="Active in the time range, the most severe first.",
            no_value="none",
            width=12,
            overrides=[severity_cell(), incident_cell(), deployment_cell(), wide("what", 300)],
        ),
        table(
            "What people are not told of",
            sql.QUIET,
            description="Suppressions that hold now; an empty column is for any. Incidents are made all the same.",
            no_value="nothing is suppressed",
            width=24,
            height=6,
            overrides=[severity_cell("up_to"), wide("why", 300)],
        ),
    ]


def _warm_up() -> list[Json]:
    return [
        row("Warm-up"),
        timeseries(
            "Deployments that a detector warms up for",
            sql.WARM_UP,
            description="Live deployments for which a detector lacks observations, as workers report. A line that does "
            "not fall: the source does not deliver what the detector needs.",
            unit="short",
            no_value=NO_REPORT,
            width=24,
            label="detector",
        ),
    ]
