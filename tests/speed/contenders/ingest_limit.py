"""How fast ClickHouse takes our rows and nothing else: columns that are ready, inserted one batch after the other.

The same table with the same indexes and views, the same driver and the same settings of the insert as in a worker.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import clickhouse_connect

from streams.clickhouse import _INSERT_SETTINGS
from streams.composing import make_pipeline
from streams.dlq import Record
from streams.keys import load_keys
from streams.rows import EVENTS, columns
from streams.settings import Settings
from tests.speed.contenders.given import Progress, given
from tests.speed.load import JSON, Load

BATCH = 5_000
_PREPARED = 40_000
"""Rows that are made; more than these are the same ones again, as other events."""

_PER_RECORD = 100


def prepared(events: int) -> list[list[Sequence[Any]]]:
    """Columns of batches."""
    pipeline = make_pipeline(Settings(key="k" * 32), load_keys(Settings(key="k" * 32)), "0" * 32)
    headers = (("content-type", JSON.encode()),)
    now_s = time.time()
    records = [
        Record(topic="logs", partition=0, offset=offset, time_s=now_s, value=value, headers=headers)
        for offset, value in enumerate(Load(seed=1).records(min(events, _PREPARED), _PER_RECORD, now_s))
    ]
    size = BATCH // _PER_RECORD
    return [
        columns(EVENTS, pipeline.process(records[first : first + size]).stored)
        for first in range(0, len(records), size)
    ]


def main() -> None:
    """Prepare the columns, then insert until told off."""
    told = given()
    batches = prepared(told.events)
    names = [name for name, _, _ in EVENTS]
    place = names.index("event_id")
    host, _, port = told.url.removeprefix("http://").partition(":")
    client = clickhouse_connect.get_client(host=host, port=int(port), database=told.database, compress="lz4")
    progress = Progress(told)
    for number in itertools.count():
        for data in batches:
            data[place] = [f"{number}:{each}" for each in data[place]] if number else data[place]
            client.insert(
                "inference_events",
                data,
                column_names=names,
                column_type_names=[kind for _, kind, _ in EVENTS],
                column_oriented=True,
                settings=_INSERT_SETTINGS,
            )
            progress.done += len(data[place])
            if progress.done >= told.events:
                progress.say()
                time.sleep(3_600)


if __name__ == "__main__":
    main()
