# ruff: noqa: T201 - a command line prints
"""``python -m tests.dashboards.speed``: how long the server takes for every query over two million events.

Writes `SPEED.md` and ends with status 1 for a query beyond `MOST_MS`. A query is asked five times with the limits of
the data source's user (`viewer.AS_GRAFANA`); the fastest counts, because a machine that others use only adds to it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from streams.clickhouse import Store
from streams.settings import Settings
from tests.dashboards import scenario
from tests.dashboards.extraction import every_query
from tests.dashboards.viewer import Viewer
from tests.integration.clickhouse_server import ClickHouseServer

RESULTS = Path(__file__).with_name("SPEED.md")
EVENTS = 2_000_000
HOURS = 24
INTERVAL_S = 120
"""What a graph of 24 hours, about a thousand pixels wide, asks for: some 700 buckets."""

MOST_MS = 500.0
PART = 500_000
SHAPE = {"every_ms": HOURS * 3_600_000 // PART, "callers": 2_000, "spread": 2}
"""Each part goes over the whole time: in all two thousand callers of eight deployments."""


def fill(client: Client, url: str, now_s: int, count: int = EVENTS) -> None:
    """`count` events over `HOURS`, and what was found in them."""
    scenario.fill(client, url, now_s)
    for part in range(0, count, PART):
        scenario.events(client, f"part-{part // PART}-", min(count - part, PART), now_s, **SHAPE)
    store = Store.connect(Settings(clickhouse_url=url, clickhouse_database=str(client.database)))
    scenario.cases(store, now_s, tuple(f"part-0-{number}" for number in range(SHAPE["spread"])))
    store.close()


def measured(
    client: Client, now_s: int, rounds: int = 5, places: Container[str] | None = None
) -> Iterator[tuple[str, float, float]]:
    """Each place, or each of `places`, and the server's milliseconds: of its fastest and of its middle answer."""
    viewer = Viewer(client, now_s, HOURS, INTERVAL_S)
    for query in [each for each in every_query() if places is None or each.place in places]:
        chosen = {"deployment": "part-0-1", "event": "part-0-3"}
        times = [max(took for _, took in viewer.timed(query, **chosen)) for _ in range(rounds)]
        yield query.place, min(times), statistics.median(times)


def main() -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.dashboards.speed", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = ClickHouseServer(Path(directory))
        server.start()
        try:
            return _report(server, given.events)
        finally:
            server.stop()


def _report(server: ClickHouseServer, count: int) -> int:
    with clickhouse_connect.get_client(dsn=server.url) as admin:
        admin.command("CREATE DATABASE speed")
    with clickhouse_connect.get_client(dsn=server.url, database="speed") as client:
        scenario.migrate(client)
        now_s, began_s = int(time.time()), time.monotonic()
        fill(client, server.url, now_s, count)
        stored_s = time.monotonic() - began_s
        found = sorted(measured(client, now_s), key=lambda each: -each[1])
    slow = [place for place, took_ms, _ in found if took_ms > MOST_MS]
    lines = [
        "# Every query of the dashboards, timed",
        "",
        f"`python -m tests.dashboards.speed` at {count:,} events over {HOURS} hours, all in the time range, of eight",
        f"deployments and 2,000 callers; stored in {stored_s:.0f} s. Milliseconds of the server with two threads, the",
        "fastest and the middle of five answers (other programs ran beside it).",
        f"{len(found)} places, {len(slow)} over {MOST_MS:.0f} ms.",
        "",
        "| place | fastest, ms | middle, ms |",
        "| --- | --- | --- |",
        *(f"| {place} | {took_ms:.0f} | {middle_ms:.0f} |" for place, took_ms, middle_ms in found),
    ]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[:24]))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
