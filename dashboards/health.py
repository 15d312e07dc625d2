"""Pipeline health: whether the watch itself gets on."""

from __future__ import annotations

from dashboards.board import dashboard
from dashboards.cells import GREEN, NEUTRAL, ORANGE, RED, unit
from dashboards.overview import NO_REPORT
from dashboards.panels import Json, row, stat, table, timeseries
from dashboards.sql import health as sql

FROM_WORKERS = "Workers write their numbers down every 15 seconds; the same ones are on their page `/metrics`."


def health() -> Json:
    """The screen of whoever runs inferwatch."""
    return dashboard(
        "inferwatch-health",
        "inferwatch / Pipeline health",
        "What arrives, what waits, what fails, and how much room is left. Times are UTC.",
        [*_now(), *_flow(), *_work(), *_store()],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Last report",
            sql.LAST_REPORT,
            description=f"How long no worker wrote its numbers down. {FROM_WORKERS}",
            unit="s",
            no_value="none in 7 days",
            steps=((None, GREEN), (60, ORANGE), (120, RED)),
            width=4,
        ),
        stat(
            "Workers",
            sql.READY,
            description="Workers that reported in the last two minutes, and how many of them wait for something: their "
            "page `/readyz` says for what.",
            unit="short",
            no_value=NO_REPORT,
            steps=NEUTRAL,
            width=5,
            overrides=[("waiting", {"thresholds": {"mode": "absolute", "steps": _steps((None, GREEN), (1, RED))}})],
        ),
        stat(
            "Records that wait",
            sql.LAG,
            description="On the broker and not done with, over all topics.",
            unit="short",
            no_value=NO_REPORT,
            steps=((None, GREEN), (1_000, ORANGE), (100_000, RED)),
            width=4,
        ),
        stat(
            "Events per second",
            sql.RATE,
            description="Mean rate of stored events, from a quarter of an hour to five minutes ago.",
            unit="eps",
            no_value="nothing arrived",
            steps=NEUTRAL,
            width=4,
        ),
        stat(
            "Oldest snapshot",
            sql.SNAPSHOT_AGE,
            description="How long ago detector state of a scope was last durable: so much is replayed after a crash.",
            unit="s",
            no_value=NO_REPORT,
            steps=((None, GREEN), (60, ORANGE), (600, RED)),
            width=4,
        ),
        stat(
            "Disk that is free",
            sql.DISK_FREE,
            description="Of the fullest disk of ClickHouse.",
            unit="percentunit",
            no_value="not told",
            steps=((None, RED), (0.15, ORANGE), (0.3, GREEN)),
            width=3,
        ),
        table(
            "Workers that report",
            sql.WORKERS,
            description=f"As they said last, within two minutes. Counts are since their start. {FROM_WORKERS}",
            no_value="no worker has reported in the last two minutes: nothing is watched",
            width=24,
            height=6,
            overrides=[unit("last_report_s", "s"), unit("memory", "decbytes")],
        ),
    ]


def _steps(*steps: tuple[float | None, str]) -> list[Json]:
    return [{"value": value, "color": color} for value, color in steps]


def _flow() -> list[Json]:
    return [
        row("What arrives and waits"),
        timeseries(
            "Throughput by format",
            sql.THROUGHPUT,
            description="Stored events per second by the format they came in, by the time of their records.",
            unit="eps",
            no_value="no events in this time range",
            width=8,
            stacked=True,
            label="name",
        ),
        timeseries(
            "Records that wait, by topic",
            sql.LAG_OVER_TIME,
            description="On the broker and not done with. A line that only rises: a worker that is too slow or stuck.",
            unit="short",
            no_value=NO_REPORT,
            width=8,
            label="label",
        ),
        timeseries(
            "Dead letters by reason",
            sql.DEAD_LETTERS,
            description="Records that will never decode, the eight commonest reasons a bucket.",
            unit="short",
            no_value="none in this time range",
            width=8,
            stacked=True,
            label="why",
        ),
    ]


def _work() -> list[Json]:
    return [
        row("How the work goes"),
        timeseries(
            "Seconds a batch takes, by role",
            sql.BATCH_SECONDS,
            description=f"Mean from taking a batch to having done with it. {FROM_WORKERS}",
            unit="s",
            no_value=NO_REPORT,
            width=8,
            label="label",
        ),
        timeseries(
            "Age of snapshots by scope",
            sql.SNAPSHOT_AGES,
            description="The oldest of all workers, when they wrote it down.",
            unit="s",
            no_value=NO_REPORT,
            width=8,
            label="label",
        ),
        timeseries(
            "Attempts that failed and were made again",
            sql.RETRIES,
            description="By what was asked: ClickHouse or Kafka. Nothing is lost meanwhile, and everything waits.",
            unit="short",
            no_value="none, or no worker reports",
            width=8,
            stacked=True,
            label="label",
        ),
        timeseries(
            "Memory of workers",
            sql.MEMORY,
            description="Resident bytes of each process.",
            unit="decbytes",
            no_value=NO_REPORT,
            width=8,
            label="worker",
        ),
        timeseries(
            "Live subjects by scope",
            sql.LIVE_SUBJECTS,
            description="Deployments and principals whose detectors are in memory, over all workers.",
            unit="short",
            no_value=NO_REPORT,
            width=8,
            label="label",
        ),
        timeseries(
            "Alerts that were sent, by target and outcome",
            sql.ALERTS_TOLD,
            description="Attempts to tell a target of `INFERWATCH_ALERT_TARGETS`; one that fails is made again.",
            unit="short",
            no_value="no target is set, or there was nothing to tell",
            width=8,
            stacked=True,
            label="label",
        ),
    ]


def _store() -> list[Json]:
    return [
        row("ClickHouse"),
        table(
            "Tables: parts and sizes",
            sql.TABLES,
            description="Active parts only. Hundreds of parts of one table: inserts are too small, or merges do not "
            "keep up.",
            no_value="this user may not read system.parts, see docker/clickhouse/users.xml",
            width=15,
            overrides=[unit("on_disk", "decbytes"), unit("uncompressed", "decbytes")],
        ),
        table(
            "Disks",
            sql.DISKS,
            description="Of the server that answers.",
            no_value="this user may not read system.disks, see docker/clickhouse/users.xml",
            width=9,
            overrides=[unit("free", "decbytes"), unit("size", "decbytes"), unit("free_share", "percentunit")],
        ),
    ]
