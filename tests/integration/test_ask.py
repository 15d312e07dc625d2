"""Questions asked of a ClickHouse that listens: progress while it reads, and a cut in the middle of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pytest

from streams.clickhouse import Store, migrate
from streams.forensics.asking import CutError, Limits, ask, ask_as
from streams.forensics.questions import parse, questions
from streams.settings import Settings
from tests.forensics.asked import CASE, CONTAINED_S, GUEST, THIEF, plant
from tests.integration.clickhouse_server import ClickHouseServer

LONG = parse(
    "long",
    "-- question: How long?\n-- column: n UInt64 -- n\n-- text: no\n-- cost: all of it\n"
    "SELECT number AS n FROM numbers(400000000000) WHERE sipHash64(number) % 1000000 = 7",
)


@pytest.fixture(scope="module")
def settings(clickhouse: ClickHouseServer) -> Iterator[Settings]:
    made = Settings(clickhouse_url=clickhouse.url, clickhouse_database="asked_of_a_server")
    migrate(made)
    store = Store.connect(made)
    plant(store)
    store.close()
    yield made
    with clickhouse_connect.get_client(dsn=clickhouse.url.replace("http", "clickhousedb")) as client:
        client.command(f"DROP DATABASE {made.clickhouse_database}")


def test_it_answers_as_the_engine_in_process_does(settings: Settings) -> None:
    store = Store.connect(settings)
    values = {"incident": CASE.incident_id, "contained": str(int(CONTAINED_S))}
    answer = ask(store, questions()["blast_radius"], values)
    assert [row[0] for row in answer.rows] == [THIEF, GUEST, None]
    assert answer.rows_read > 0
    costs: list[Any] = []
    parquet = b"".join(ask_as(store, questions()["blast_radius"], values, "Parquet", told=costs.append))
    assert parquet[:4] == parquet[-4:] == b"PAR1"
    assert costs[0].rows_read > 0
    store.close()


def test_progress_is_told_while_it_reads_and_a_cut_in_the_middle_is_no_answer(settings: Settings) -> None:
    store = Store.connect(settings)
    heard: list[Any] = []
    with pytest.raises(CutError, match="long was cut: it ran longer than 1 s"):
        ask(store, LONG, {}, limits=Limits(seconds=1, rows=10**15, size_bytes=10**15), told=heard.append)
    assert len(heard) > 2 and heard[0].elapsed_s < heard[-1].elapsed_s <= 2
    assert heard[-1].rows_to_read == 400_000_000_000
    store.close()
