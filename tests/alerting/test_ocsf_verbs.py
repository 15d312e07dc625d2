"""Incidents of the store as OCSF events on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from typer.testing import CliRunner

from streams.alerting.ocsf_incidents import CLASS_UID
from streams.cases.incidents import Verdict
from streams.cli import app
from streams.clickhouse import Store
from streams.settings import Settings
from tests.alerting.test_ocsf import wrong
from tests.chdb_directory import fresh_database
from tests.incidents import incident


@pytest.fixture
def settings() -> Iterator[Settings]:
    with fresh_database() as settings, closing(Store.connect(settings)) as store:
        store.insert_incidents([incident(), incident(1, deployment="mail")])
        store.insert_verdict(Verdict(incident_id=incident().incident_id, verdict="true", note="it was"))
        store.insert_verdict(Verdict(incident_id=incident().incident_id, verdict="closed", note="rolled back"))
        yield settings


def test_incidents_are_listed_as_events_with_what_people_said(settings: Settings) -> None:
    environ = {
        "INFERWATCH_CLICKHOUSE_URL": settings.clickhouse_url,
        "INFERWATCH_CLICKHOUSE_DATABASE": settings.clickhouse_database,
    }
    result = CliRunner().invoke(app, ["incidents", "list", "--ocsf", "--since", "36500d"], env=environ)
    assert result.exit_code == 0, result.output
    events = [msgspec.json.decode(line) for line in result.stdout.splitlines()]
    assert all(wrong(event, CLASS_UID) == [] for event in events)
    by_incident = {event["metadata"]["correlation_uid"]: event for event in events}
    assert set(by_incident) == {incident().incident_id, incident(1, deployment="mail").incident_id}
    told = by_incident[incident().incident_id]
    assert (told["verdict"], told["comment"], told["status"]) == ("True Positive", "it was", "Closed")
