"""The measured part of streams/SCALING.md: what a core does, and how much of everything a number of calls needs.

`make bench` writes it from the figures it has kept, so that the page and the figures cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.speed import storage, throughput
from tests.speed.results import Outcome, number

PAGE = Path(__file__).parents[2] / "streams" / "SCALING.md"
BEGIN, END = "<!-- measured: written by `make bench` -->", "<!-- end of what was measured -->"

BUSY = 0.6
"""Of a core, in the plan: the rest is for bursts, for catching up after a restart, and for merges."""

RATES = (100, 10_000, 1_000_000)
COPIES_KAFKA, COPIES_CLICKHOUSE = 3, 2
DAYS_KAFKA, DAYS_STORED = 1, 90
_LEAST_WORKERS, _LEAST_PARTITIONS = 2, 8
_WORKER, _KAFKA, _CLICKHOUSE = "us/event worker", "us/event Kafka", "us/event ClickHouse"
_FORM = throughput.OURS.format("100 a record")
_TERABYTE = 1e12

Figures = Mapping[str, float]


def block(outcomes: Sequence[Outcome]) -> str:
    """The tables, or that nothing was measured."""
    by_task = {each.task: each for each in outcomes}
    medians = {name: each.medians() for name, each in by_task.items()}
    cells, stored = medians.get("throughput", {}), medians.get("storage", {}).get(storage.CELL)
    needed = (throughput.STAGES, *map(throughput.OURS.format, throughput.FORMS))
    if not stored or not all(cells.get(name) for name in needed):
        return "\n".join([BEGIN, *(_bytes(stored) if stored else ()), END])
    outcome = by_task["throughput"]
    short = ", short runs" if outcome.quick else ""
    lines = [BEGIN, f"{outcome.date}, {outcome.machine}; load {outcome.load:.1f} before it began{short}.", ""]
    lines += [*_stages(cells), "", *_forms(cells), "", *_bytes(stored), "", *_sizes(cells[_FORM], stored), END]
    return "\n".join(lines)


def write(outcomes: Sequence[Outcome], path: Path = PAGE) -> None:
    """Put the tables in their place."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    path.write_text(before + block(outcomes) + rest.split(END)[1], encoding="utf-8")


def _stages(cells: Mapping[str, Figures]) -> list[str]:
    """Each stage of a worker, by what it leaves of a core."""
    staged = cells[throughput.STAGES]
    whole = cells[throughput.OURS.format("10 a record")][_WORKER]
    lines = ["| stage of a worker, 10 a record | share | µs an event | events/s on a core of its own |"]
    lines.append("| --- | --- | --- | --- |")
    for name, share in staged.items():
        if name.startswith("share ") and share:
            cost = share * whole
            lines.append(f"| {name.removeprefix('share ')} | {share:.1%} | {number(cost)} | {number(1e6 / cost)} |")
    return lines


def _forms(cells: Mapping[str, Figures]) -> list[str]:
    lines = ["| records | worker, µs an event | Kafka | ClickHouse | events/s for each core of a worker |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for form in throughput.FORMS:
        each = cells[throughput.OURS.format(form)]
        shown = " | ".join(number(each[name]) for name in (_WORKER, _KAFKA, _CLICKHOUSE))
        lines.append(f"| {form} | {shown} | {number(1e6 / each[_WORKER])} |")
    return lines


def _bytes(stored: Figures) -> list[str]:
    lines = ["| what | bytes | of a million events |", "| --- | --- | --- |"]
    for name, value in stored.items():
        if "bytes/event" in name:
            shown = name.replace(" bytes/event", "")
            lines.append(f"| {shown}, an event | {number(value)} | {number(value / 1e3)} GB |")
        else:
            lines.append(f"| {name} | {number(value)} | |")
    return lines


def _sizes(cost: Figures, stored: Figures) -> list[str]:
    """What each rate needs; everything rounded up."""
    rows: dict[str, list[str]] = {}
    for rate in RATES:
        workers = max(_cores(rate, cost[_WORKER]), _LEAST_WORKERS)
        day = rate * 86_400
        logs = (stored["Kafka logs bytes/event"] + stored["Kafka observations bytes/event"]) * day
        kept = (stored["stored bytes/event"] + stored["rollups and others bytes/event"]) * day
        for name, value in {
            "workers, one core each": f"{workers:,}",
            "partitions": f"{partitions(workers):,}",
            f"cores of Kafka, {COPIES_KAFKA} copies": f"{_cores(rate, cost[_KAFKA] * COPIES_KAFKA):,}",
            f"cores of ClickHouse, {COPIES_CLICKHOUSE} copies": (
                f"{_cores(rate, cost[_CLICKHOUSE] * COPIES_CLICKHOUSE):,}"
            ),
            "Kafka in, MB/s before copies": number(logs / 86_400 / 1e6),
            f"Kafka, {DAYS_KAFKA} day, all copies": _size(logs * DAYS_KAFKA * COPIES_KAFKA),
            f"ClickHouse, {DAYS_STORED} days, all copies": _size(kept * DAYS_STORED * COPIES_CLICKHOUSE),
        }.items():
            rows.setdefault(name, []).append(value)
    lines = [f"| calls a second | {' | '.join(f'{rate:,}' for rate in RATES)} |", "| --- |" + " --- |" * len(RATES)]
    return lines + [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]


def partitions(workers: int) -> int:
    """Twice as many as workers, in powers of two: room to grow, and the hash spreads subjects unevenly."""
    return max(_LEAST_PARTITIONS, 2 ** math.ceil(math.log2(2 * workers)))


def _cores(rate: int, micros: float) -> int:
    return math.ceil(rate * micros / 1e6 / BUSY)


def _size(size_bytes: float) -> str:
    return f"{number(size_bytes / _TERABYTE)} TB"
