# ruff: noqa: T201 - a command line prints
"""Every named question, timed over many events and checked: ``python -m tests.speed.forensics --events 10000000``.

A ClickHouse is filled with stored events, an incident is planted among them, and each question is asked five times,
each time with the server's caches of marks, conditions and index entries emptied before. The fastest counts, by the
clock: on a machine that does nothing else. Seconds of processors are what the server used, on all cores together, and
hardly depend on what else the machine does. Behind the questions about the incident come wide ones: the busiest caller,
the commonest word, a deployment over months.

Filling 10 million costs about a quarter of an hour on two idle cores and says how far it is. With ``--data DIR`` it is
kept: a second run goes on where the first one ended, and fills nothing that is there. With ``--copies N`` each event
is stored N times, by attaching the table's parts to it again: as many rows, granules and words of an index to look
through, of fewer different events.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from streams.clickhouse import Store, migrate
from streams.forensics.asking import ask
from streams.forensics.preparing import prepared
from streams.forensics.questions import named
from streams.settings import Settings
from tests.integration.clickhouse_server import ClickHouseServer
from tests.speed import stored
from tests.speed.planted import KEY, Case, Planted, cases, plant, planted

RESULTS = Path(__file__).with_name("RESULTS-forensics.md")
EVENTS = 10_000_000
WITHIN_S = 1.0
ROUNDS = 5
SETTLES_S = 600.0

_CACHES = ("MARK CACHE", "UNCOMPRESSED CACHE", "QUERY CONDITION CACHE", "TEXT INDEX CACHES", "QUERY CACHE")
_DAY_S = 86_400
_COMMONEST = """
SELECT arrayJoin(splitByChar(' ', assumeNotNull(prompt))) AS word
FROM (SELECT prompt FROM inference_events WHERE prompt IS NOT NULL LIMIT 3000)
GROUP BY word ORDER BY count() DESC LIMIT 1
"""
_TICKS = os.sysconf("SC_CLK_TCK")


class Timed(NamedTuple):
    """One case: seconds of the fastest and the middle answer, what it read, and whether it was right."""

    case: Case
    fastest_s: float
    middle_s: float
    cpu_s: float
    prepared_s: float
    rows: int
    rows_read: int
    bytes_read: int
    right: bool

    @property
    def slow(self) -> bool:
        """By the clock."""
        return self.fastest_s > WITHIN_S


def filled(
    client: Client,
    store: Store,
    count: int,
    now_s: int,
    copies: int = 1,
    begin: int = 0,
    told: Callable[[int], None] | None = None,
) -> Planted:
    """Stored events, `count` of them `copies` times, and an incident among them; `begin` and `told` as `fill` has."""
    if copies > 1:
        client.command("SYSTEM STOP MERGES inference_events")  # equal rows would become one
    stored.fill(client, count, now_s, begin=begin, told=told)
    parts = client.query(
        "SELECT DISTINCT partition_id FROM system.parts WHERE active AND table = 'inference_events' AND database = "
        "currentDatabase()"
    ).result_rows
    for (part,) in parts if copies > 1 else []:
        # Into a table of its own first: what was attached must not be attached again.
        client.command("CREATE TABLE once AS inference_events")
        client.command(f"ALTER TABLE once ATTACH PARTITION ID '{part}' FROM inference_events")
        for _ in range(copies - 1):
            client.command(f"ALTER TABLE inference_events ATTACH PARTITION ID '{part}' FROM once")
        client.command("DROP TABLE once")
    what = planted(now_s)
    plant(store, what)
    return what


def measured(
    client: Client, store: Store, settings: Settings, asked: Sequence[Case], pid: int, rounds: int = ROUNDS
) -> Iterator[Timed]:
    """Each case, asked `rounds` times of the server with this process id."""
    for case in asked:
        took: list[tuple[float, float]] = []
        began_s = time.monotonic()
        values = prepared(store, settings, case.name, case.values)
        prepared_s = time.monotonic() - began_s
        for _ in range(rounds):
            for cache in _CACHES:
                client.command(f"SYSTEM DROP {cache}")
            before_s = _cpu_s(pid)
            answer = ask(store, named(case.name), values)
            took.append((answer.elapsed_s, _cpu_s(pid) - before_s))
        rows = [dict(zip([each.name for each in answer.columns], row, strict=True)) for row in answer.rows]
        took.sort()
        yield Timed(
            case=case,
            fastest_s=took[0][0],
            middle_s=took[len(took) // 2][0],
            cpu_s=min(cpu_s for _, cpu_s in took),
            prepared_s=prepared_s,
            rows=len(rows),
            rows_read=answer.rows_read,
            bytes_read=answer.bytes_read,
            right=bool(case.holds(rows)),
        )


def wide(client: Client, now_s: int) -> Iterator[Case]:
    """Questions that concern much of what is stored; what they must hold is that they hold something."""
    word = client.query(_COMMONEST).result_rows[0][0]
    since, busiest, most = str(now_s - 89 * _DAY_S), stored.principal(1), stored.DEPLOYMENTS[0]
    months = {"deployment": most, "onset": since, "contained": str(now_s)}
    week = {"deployment": most, "moment": str(now_s - 30 * _DAY_S), "hours": "168"}
    for name, values in (
        ("blast_radius", months),
        ("blast_radius_sessions", months),
        ("before_after", week),
        ("everything_by", {"principals": busiest, "since": since}),
        ("subject", {"pseudonym": busiest}),
        ("first_sender_of_token", {"token": word, "since": since}),
        ("timeline", {"deployment": most, "since": since}),
    ):
        yield Case(name=name, values=values, holds=bool, most_read=2.0)


def report(found: list[Timed], count: int, copies: int, filled_s: float) -> list[str]:
    """The results, in Markdown."""
    of = f"{count:,} rows ({count // copies:,} events, each {copies} times)" if copies > 1 else f"{count:,} events"
    slow = [each.case.name for each in found if each.slow]
    wrong = [each.case.name for each in found if not each.right]
    verdict = f"{len(slow)} slower than {WITHIN_S:g} s{_names(slow)}, {len(wrong)} wrong{_names(wrong)}"
    heads = (
        "question",
        "asked with",
        "fastest, s",
        "middle, s",
        "processors, s",
        "first, s",
        "rows read",
        "MB",
        "rows",
    )
    lines = [
        "# Every named question, timed",
        "",
        f"`python -m tests.speed.forensics` over {of} of 90 days with a planted incident among them,",
        f"filled in {filled_s:.0f} s, on {os.cpu_count()} cores ({platform.machine()}) with a load of",
        f"{os.getloadavg()[0]:.1f} at the end. The server's caches of marks, conditions and index entries were emptied",
        f"before each answer. Seconds by the clock of the fastest and the middle of {ROUNDS} answers, and seconds of",
        "processors that the server used for the cheapest; *first* is what code computes before it asks:",
        "`would_have_seen` plays calls to detectors. Slow is what took more than a second by the clock each time.",
        "",
        f"{len(found)} answers, {verdict}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
    ]
    for each in found:
        given = ", ".join(f"{name}={value[:28]}" for name, value in each.case.values.items()).replace("|", r"\|")
        lines.append(
            f"| {each.case.name} | {given} | {each.fastest_s:.2f} | {each.middle_s:.2f} | {each.cpu_s:.2f} "
            f"| {each.prepared_s:.2f} | {each.rows_read:,} | {each.bytes_read / 1e6:.0f} | {each.rows} |"
        )
    return lines


def main() -> int:
    """Fill, plant, ask, print; 1 where an answer is wrong or slow."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.forensics", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="rows in all")
    parser.add_argument("--copies", type=int, default=1, help="how often each event is stored")
    parser.add_argument("--data", type=Path, help="where the server's data is kept; a second run goes on with it")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    with ExitStack() as ends:
        directory = given.data or Path(ends.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        server = ClickHouseServer(directory)
        ends.callback(server.stop)
        server.start()
        found, filled_s = _run(server, directory / "filling.json", given.events, given.copies)
    lines = report(found, given.events, given.copies, filled_s)
    print("\n".join(lines))
    if given.write:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(not each.right or each.slow for each in found))


class Filling:
    """How far filling is, in a file beside the data, and on standard error with the minutes that are left."""

    def __init__(self, file: Path, count: int, copies: int) -> None:
        """Raises `SystemExit` where the file is of another run."""
        self._file = file
        said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._of = {"events": count, "copies": copies, "now_s": int(time.time()) // 3_600 * 3_600} | {
            name: said[name] for name in ("now_s",) if name in said
        }
        if said and any(said[name] != value for name, value in self._of.items()):
            raise SystemExit(f"{file} is of {said['events']} events, {said['copies']} times: give another --data")
        self.now_s = self._of["now_s"]
        self.begin = int(said.get("there", 0))
        self.filled_s = float(said.get("filled_s", 0.0))
        self.planted = bool(said.get("planted", False))
        self._started_s = time.monotonic() - self.filled_s

    def told(self, there: int) -> None:
        """Keep it, and say it."""
        self.filled_s = time.monotonic() - self._started_s
        left_s = self.filled_s * (self._of["events"] // self._of["copies"] - there) / there
        print(
            f"filled {there:,} events in {self.filled_s:.0f} s, {left_s / 60:.0f} min left", file=sys.stderr, flush=True
        )
        self._keep(there)

    def done(self, there: int) -> None:
        """All of it is there, the incident too."""
        self.planted = True
        self._keep(there)

    def _keep(self, there: int) -> None:
        said = {**self._of, "there": there, "filled_s": self.filled_s, "planted": self.planted}
        self._file.write_text(json.dumps(said), encoding="utf-8")


def _run(server: ClickHouseServer, file: Path, count: int, copies: int) -> tuple[list[Timed], float]:
    filling = Filling(file, count, copies)
    settings = Settings(clickhouse_url=server.url, clickhouse_database="forensics", key=KEY)
    migrate(settings)
    store = Store.connect(settings)
    try:
        with clickhouse_connect.get_client(dsn=server.url, database="forensics") as client:
            what = planted(filling.now_s)
            if not filling.planted:
                filled(client, store, count // copies, filling.now_s, copies, filling.begin, filling.told)
                filling.done(count // copies)
            _settled(client)
            asked = [*cases(what), *wide(client, filling.now_s)]
            found = []
            for timed in measured(client, store, settings, asked, server.pid):
                print(f"{timed.case.name}: {timed.fastest_s:.2f} s, processors {timed.cpu_s:.2f} s", file=sys.stderr)
                found.append(timed)
            return found, filling.filled_s
    finally:
        store.close()


def _settled(client: Client) -> None:
    """Wait, for some minutes at most, until the server merges no more: it would use the processors meanwhile."""
    until_s = time.monotonic() + SETTLES_S
    while client.query("SELECT count() FROM system.merges").result_rows[0][0] and time.monotonic() < until_s:
        time.sleep(1)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _names(names: list[str]) -> str:
    return f" ({', '.join(dict.fromkeys(names))})" if names else ""


if __name__ == "__main__":
    sys.exit(main())
