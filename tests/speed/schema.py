# ruff: noqa: T201, S608 - a command line prints; statements are built of this file's own text
"""``python -m tests.speed.schema``: what the choices in the schema cost and bring, measured on a server that listens.

Fills the tables (`stored`), then asks for sizes by column and index, times questions with and without what serves them,
tries other ways on copies of the parts that share their files, and takes the processor time of inserts before and after
the last migration. Writes `RESULTS-schema.md`. Times are the fastest of five with two threads; processor time is that
of the server's process, so that other programs disturb it little.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from streams.migrations import migrations
from tests.integration.clickhouse_server import ClickHouseServer
from tests.speed import stored

RESULTS = Path(__file__).with_name("RESULTS-schema.md")
NOW_S = 1_795_000_000
ROUNDS = 5
MANY = 50_000
FOREVER_DAYS = 36_500
FORENSICS = 6
"""The migration whose cost is asked for."""

WHO = stored.principal(40)
WEEK = f"time >= toDateTime({NOW_S} - 40 * 86400) AND time < toDateTime({NOW_S} - 33 * 86400)"
DAY = f"time >= toDateTime({NOW_S} - 40 * 86400) AND time < toDateTime({NOW_S} - 39 * 86400)"
TYPED = "JSON(weights String, tokenizer String, image String, tool_list String)"
ONE = "FROM {table} WHERE event_id = 'stored:1:77'"
CALLED = "arrayDistinct(JSONExtract(conversation, 'tool_calls', 1, 'tool_calls', 'Array(Tuple(name String))').1)"

QUERIES = {
    "one principal, 7 days": f"SELECT count(), sum(cost_usd) FROM {{table}} WHERE principal = '{WHO}' AND {WEEK}",
    "one principal, 90 days": f"SELECT count(), sum(cost_usd) FROM {{table}} WHERE principal = '{WHO}'",
    "a rare principal, 90 days": (
        f"SELECT count(), sum(cost_usd) FROM {{table}} WHERE principal = '{stored.principal(4_900)}'"
    ),
    "a deployment, one day": (
        f"SELECT count(), quantile(0.95)(latency_s) FROM {{table}} WHERE deployment = 'chat' AND {DAY}"
    ),
    "all deployments, one day": (
        f"SELECT deployment, count(), quantile(0.95)(latency_s) FROM {{table}} WHERE {DAY} GROUP BY 1"
    ),
    "one session": f"SELECT count() FROM {{table}} WHERE session = (SELECT session {ONE})",
    "one event": "SELECT count() FROM {table} WHERE event_id = 'stored:1:7777'",
    "one response": (f"SELECT count() FROM {{table}} WHERE response_id = (SELECT response_id {ONE})"),
    "a prompt's hash": (f"SELECT count() FROM {{table}} WHERE prompt_hash = (SELECT prompt_hash {ONE})"),
    "near sketches, 90 days": (
        f"SELECT count() FROM {{table}} WHERE bitCount(bitXor(prompt_simhash, (SELECT any(prompt_simhash) {ONE}))) <= 6"
    ),
    "three words of an answer": "SELECT count() FROM {table} WHERE hasAllTokens(output, '{words}')",
    "three words of a prompt": "SELECT count() FROM {table} WHERE hasAllTokens(prompt, '{words}')",
    "a host": "SELECT min(time), max(time), count() FROM {table} WHERE has(egress_hosts, 'host-57.example')",
    "a tool": "SELECT min(time), max(time), count() FROM {table} WHERE has(tools, 'run_query')",
    "a digest": "SELECT count() FROM {table} WHERE has(mapValues(components), 'sha256:none')",
    "calls by weights": "SELECT components['weights'] AS w, count() FROM {table} GROUP BY w",
}

OTHER_WAYS: dict[str, tuple[str, str, str]] = {
    "one principal, 7 days: a projection by principal": (
        "PROJECTION {name} (SELECT principal, time, deployment, event_id, cost_usd ORDER BY principal, time)",
        "projection",
        QUERIES["one principal, 7 days"],
    ),
    "one principal, 7 days: a projection of offsets": (
        "PROJECTION {name} (SELECT _part_offset ORDER BY principal, time)",
        "projection",
        QUERIES["one principal, 7 days"],
    ),
    "calls by weights: components as JSON with typed paths": (
        f"COLUMN {{name}} {TYPED} MATERIALIZED toJSONString(components)::{TYPED}",
        "column",
        "SELECT {name}.weights AS w, count() FROM {table} GROUP BY w",
    ),
    "calls by weights: a column of its own": (
        "COLUMN {name} LowCardinality(String) MATERIALIZED components['weights']",
        "column",
        "SELECT {name} AS w, count() FROM {table} GROUP BY w",
    ),
    "a tool: conversation as JSON": (
        "COLUMN {name} JSON MATERIALIZED if(conversation = '', '{{}}', conversation)::JSON",
        "column",
        "SELECT count() FROM {table} WHERE position(toString({name}.tool_calls), 'run_query') > 0",
    ),
    "a tool: conversation as text": (
        "",
        "",
        f"SELECT min(time), max(time), count() FROM {{table}} WHERE has({CALLED}, 'run_query')",
    ),
}
"""What was not taken: how it is added, its kind, and the question it would serve."""


class Bench:
    """One database on one server."""

    def __init__(self, server: ClickHouseServer, name: str) -> None:
        """Make the database."""
        self._pid = server.pid
        with clickhouse_connect.get_client(dsn=server.url) as admin:
            admin.command(f"CREATE DATABASE {name}")
        self.client: Client = clickhouse_connect.get_client(dsn=server.url, database=name, send_receive_timeout=3_600)

    def migrate(self, up_to: int) -> None:
        """Make the tables as they were after that migration."""
        for migration in migrations():
            for statement in migration.statements(FOREVER_DAYS) if migration.version <= up_to else ():
                self.client.command(statement, settings={"mutations_sync": 2})

    def cpu_s(self, work: Callable[[], object]) -> float:
        """Processor seconds of the server for `work`."""
        before = self._spent()
        work()
        return self._spent() - before

    def fastest_ms(self, sql: str, **settings: int) -> float:
        """The fastest of some answers."""
        times = []
        for _ in range(ROUNDS):
            began_s = time.monotonic()
            self.client.command(f"{sql} FORMAT Null", settings={"max_threads": 2, **settings})
            times.append(time.monotonic() - began_s)
        return min(times) * 1_000

    def number(self, sql: str) -> float:
        """One number."""
        return float(self.client.query(sql).result_rows[0][0] or 0)

    def _spent(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sizes(bench: Bench, millions: float) -> Iterator[str]:
    """Megabytes a million events, by column and index."""
    where = "WHERE database = currentDatabase() AND table = 'inference_events'"
    whole = bench.number(f"SELECT sum(bytes_on_disk) / 1e6 FROM system.parts {where} AND active") / millions
    yield f"\n## Size\n\n{whole:.0f} MB a million events on disk, parts merged."
    yield "\n| column or index | MB a million | raw |\n| --- | --- | --- |"
    rows = bench.client.query(
        "SELECT column, sum(column_data_compressed_bytes) / 1e6 AS packed, sum(column_data_uncompressed_bytes) / 1e6 "
        f"FROM system.parts_columns {where} AND active GROUP BY column ORDER BY packed DESC LIMIT 16"
    ).result_rows
    yield from (f"| {name} | {packed / millions:.1f} | {raw / millions:.0f} |" for name, packed, raw in rows)
    indexes = bench.client.query(
        "SELECT name, type, data_compressed_bytes / 1e6 AS packed FROM system.data_skipping_indices "
        f"{where} ORDER BY packed DESC"
    ).result_rows
    yield from (f"| index {name} ({kind}) | {packed / millions:.2f} | |" for name, kind, packed in indexes)
    for table in ("traffic", "callers", "arrivals", "sightings"):
        size, rolled = bench.client.query(
            "SELECT sum(bytes_on_disk) / 1e6, sum(rows) FROM system.parts "
            f"WHERE database = currentDatabase() AND active AND table = '{table}'"
        ).result_rows[0]
        yield f"| table {table}, {rolled / millions:,.0f} rows a million | {size / millions:.1f} | |"


def times(bench: Bench) -> Iterator[str]:
    """Each question with and without indexes."""
    some = "SELECT splitByChar(' ', ifNull(output, '')) FROM inference_events WHERE length(output) > 500 LIMIT 1"
    words = " ".join(bench.client.query(some).result_rows[0][0][3:60:19])
    yield "\n## Questions\n\n| question | ms | without indexes |\n| --- | --- | --- |"
    for name, sql in QUERIES.items():
        asked = sql.format(table="inference_events", words=words)
        yield f"| {name} | {bench.fastest_ms(asked):.0f} | {bench.fastest_ms(asked, use_skip_indexes=0):.0f} |"


def other_ways(bench: Bench, millions: float) -> Iterator[str]:
    """What would serve some questions too, on copies of the parts."""
    yield "\n## Other ways\n\n| way | ms | CPU s a million to build | MB a million |\n| --- | --- | --- | --- |"
    for number, (name, (what, kind, sql)) in enumerate(OTHER_WAYS.items()):
        table, added = f"copy_{number}", f"way_{number}"
        bench.client.command(f"CREATE TABLE {table} AS inference_events")
        bench.client.command(f"ALTER TABLE {table} MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild'")
        parts = "FROM system.parts WHERE database = currentDatabase() AND active AND table ="
        for (each,) in bench.client.query(f"SELECT DISTINCT partition_id {parts} 'inference_events'").result_rows:
            bench.client.command(f"ALTER TABLE {table} ATTACH PARTITION ID '{each}' FROM inference_events")
        before = bench.number(f"SELECT sum(bytes_on_disk) / 1e6 {parts} '{table}'")
        spent = 0.0
        if kind:
            bench.client.command(f"ALTER TABLE {table} ADD {what.format(name=added)}")
            statement = f"ALTER TABLE {table} MATERIALIZE {kind.upper()} {added} SETTINGS mutations_sync = 2"
            spent = bench.cpu_s(functools.partial(bench.client.command, statement))
        grown = bench.number(f"SELECT sum(bytes_on_disk) / 1e6 {parts} '{table}'") - before
        took_ms = bench.fastest_ms(sql.format(table=table, name=added))
        yield f"| {name} | {took_ms:.0f} | {spent / millions:.1f} | {grown / millions:.1f} |"
        bench.client.command(f"DROP TABLE {table} SYNC")


def inserts(server: ClickHouseServer) -> Iterator[str]:
    """Processor time of inserts of a batch's size, merges held back, before and after the migration."""
    yield "\n## Inserts\n\n| schema | rows an insert | server's CPU, us an event |\n| --- | --- | --- |"
    for name, version, left in (
        ("before 0006", FORENSICS - 1, ""),
        ("with 0006, words indexed at once", FORENSICS, ""),
        ("with 0006, words indexed by merges (what a worker does)", FORENSICS, "prompt_words,output_words"),
    ):
        bench = Bench(server, "inserts")
        bench.migrate(version)
        bench.client.command("CREATE TABLE ready ENGINE = Memory AS SELECT * FROM inference_events LIMIT 0")
        fill = stored.EVENTS.replace("INTO inference_events", "INTO ready")
        # Ten thousand calls a second: as near in time as a batch's are.
        given = {"count": MANY, "now_s": NOW_S, "every_us": 100.0, "salt": 1, "first": 0, "many": MANY}
        bench.client.command(fill, parameters=given)
        bench.client.command("SYSTEM STOP MERGES")
        for rows in (1_000, 10_000):
            spent = [
                bench.cpu_s(functools.partial(_inserted, bench, rows, left))
                - bench.cpu_s(functools.partial(_inserted, bench, rows, None))
                for _ in range(3)
            ]
            yield f"| {name} | {rows:,} | {min(spent) * 1e6 / MANY:.0f} |"
            bench.client.command("TRUNCATE TABLE inference_events")
        bench.client.command("SYSTEM START MERGES")
        bench.client.command("DROP DATABASE inserts")


def _inserted(bench: Bench, rows: int, left: str | None) -> None:
    """All that is ready, so many rows at a time; `None`: only read."""
    for first in range(0, MANY, rows):
        read = f"SELECT * FROM ready LIMIT {first}, {rows}"
        sql = f"{read} FORMAT Null" if left is None else f"INSERT INTO inference_events {read}"
        settings = {"max_threads": 1, "exclude_materialize_skip_indexes_on_insert": left or ""}
        bench.client.command(sql, settings=settings)


def main() -> int:
    """Fill, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.schema", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--directory", type=Path, help="where the server's files go")
    given = parser.parse_args()
    lines = [
        "# The schema, measured",
        "",
        "`python -m tests.speed.schema`, see there how; on two cores, that others used too.",
    ]
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        server = ClickHouseServer(Path(directory))
        server.start()
        try:
            for part in _report(server, given.events):
                print(part, flush=True)
                lines.append(part)
        finally:
            server.stop()
    RESULTS.write_text(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n", encoding="utf-8")
    return 0


def _report(server: ClickHouseServer, counts: list[int]) -> Iterator[str]:
    latest = FORENSICS
    yield from inserts(server)
    for count in counts:
        bench = Bench(server, f"schema_{count}")
        bench.migrate(latest)
        began_s = time.monotonic()
        spent = bench.cpu_s(functools.partial(stored.fill, bench.client, count, NOW_S))
        yield f"\n# {count:,} events\n\nStored in {time.monotonic() - began_s:.0f} s, {spent:.0f} s of processor time."
        bench.client.command("OPTIMIZE TABLE inference_events FINAL")
        yield from sizes(bench, count / 1e6)
        yield from times(bench)
        yield from other_ways(bench, count / 1e6)
        bench.client.command(f"DROP DATABASE schema_{count}")


if __name__ == "__main__":
    sys.exit(main())
