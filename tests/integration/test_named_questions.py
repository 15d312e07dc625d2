"""An incident planted among many stored events: every named question finds it, and reads no more than it may."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import clickhouse_connect
import pytest

from streams.clickhouse import Store, migrate
from streams.forensics.questions import questions
from streams.settings import Settings
from tests.integration.clickhouse_server import ClickHouseServer
from tests.speed.forensics import Timed, filled, measured
from tests.speed.planted import KEY, cases, planted

pytestmark = pytest.mark.integration

EVENTS = 100_000
COPIES = 20
"""Two million rows to look through for the price of a few seconds."""

WHAT = planted(float(int(time.time()) // 3_600 * 3_600))
CASES = list(cases(WHAT))
IDS = [f"{case.name}-{at}" for at, case in enumerate(CASES)]


@pytest.fixture(scope="module")
def answers(clickhouse: ClickHouseServer) -> Iterator[dict[str, Timed]]:
    """Each question asked once; other tests of the run share the server."""
    settings = Settings(
        clickhouse_url=clickhouse.url, clickhouse_database=f"forensics_{uuid.uuid4().hex[:12]}", key=KEY
    )
    migrate(settings)
    store = Store.connect(settings)
    with clickhouse_connect.get_client(dsn=clickhouse.url, database=settings.clickhouse_database) as client:
        what = filled(client, store, EVENTS, int(WHAT.incident.onset_s) + 20 * 86_400, COPIES)
        assert what.incident == WHAT.incident
        found = measured(client, store, settings, CASES, clickhouse.pid, rounds=1)
        yield dict(zip(IDS, found, strict=True))
        client.command(f"DROP DATABASE {settings.clickhouse_database}")
    store.close()


def test_every_question_is_asked() -> None:
    assert {case.name for case in CASES} == set(questions())


@pytest.mark.parametrize("name", IDS)
def test_a_question_finds_the_planted_incident_and_nothing_else(name: str, answers: dict[str, Timed]) -> None:
    assert answers[name].right


@pytest.mark.parametrize("name", IDS)
def test_a_question_reads_a_part_of_all_events(name: str, answers: dict[str, Timed]) -> None:
    timed = answers[name]
    assert timed.rows_read <= timed.case.most_read * EVENTS * COPIES
