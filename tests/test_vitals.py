"""What a worker writes down of itself: all of its numbers, and never in the way of its work."""

from __future__ import annotations

import asyncio

from streams.clickhouse import StoreError
from streams.metrics import Metrics
from streams.readiness import Readiness
from streams.rows import Vitals
from streams.vitals import Diary


class Shelf:
    """A store that refuses the first rows."""

    def __init__(self, refusals: int = 0) -> None:
        self.rows: list[Vitals] = []
        self._refusals = refusals

    def insert_vitals(self, row: Vitals) -> None:
        if self._refusals:
            self._refusals -= 1
            raise StoreError("ClickHouse: away")
        self.rows.append(row)


def test_a_row_holds_the_numbers_under_the_name_of_the_process() -> None:
    shelf = Shelf()
    diary = Diary(lambda: shelf, lambda: {"inferwatch_ready": 1.0})  # type: ignore[arg-type, return-value]
    asyncio.run(diary.write())
    (row,) = shelf.rows
    assert row.numbers == {"inferwatch_ready": 1.0}
    assert row.worker.rpartition(":")[2].isdigit()


def test_a_row_that_cannot_be_written_is_left_out_and_the_next_one_connects_again() -> None:
    shelf, connections = Shelf(refusals=1), []
    diary = Diary(lambda: connections.append(1) or shelf, dict)  # type: ignore[arg-type, return-value, func-returns-value]

    async def twice() -> None:
        await diary.write()
        await diary.write()

    asyncio.run(twice())
    assert (len(shelf.rows), len(connections)) == (1, 2)


def test_numbers_have_labels_in_their_names_and_no_buckets() -> None:
    metrics = Metrics(Readiness())
    metrics.watch_bank("deployment", lambda: 3, lambda: 12.5)
    metrics.watch_detectors("deployment", 0.01, lambda: {"canary": 2})
    metrics.watch_lag(lambda: [("inference-logs", 1, 7)])
    with metrics.batch("ingest"):
        pass
    numbers = metrics.numbers()
    assert numbers["inferwatch_lag_records{topic=inference-logs,partition=1}"] == 7
    assert numbers["inferwatch_live_subjects{scope=deployment}"] == 3
    assert numbers["inferwatch_warming_deployments{detector=canary}"] == 2
    assert numbers["inferwatch_alarm_share{scope=deployment}"] == 0.01
    assert numbers["inferwatch_batch_seconds_count{role=ingest}"] == 1
    assert not any("_bucket" in name or "_created" in name for name in numbers)
