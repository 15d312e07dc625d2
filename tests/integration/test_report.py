"""`inferwatch report` as a person types it, against a ClickHouse that listens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.cases.case_files import Asked, listed
from streams.clickhouse import Store, migrate
from streams.settings import Settings
from tests.integration.clickhouse_server import ClickHouseServer
from tests.report.attacks import ATTACKS
from tests.report.reading import Page
from tests.report.scene import NOW_S, fill


@pytest.fixture
def settings(clickhouse: ClickHouseServer, database: str) -> Settings:
    settings = Settings(clickhouse_url=clickhouse.url, clickhouse_database=database, retention_days=36_500)
    migrate(settings)
    return settings


def report(settings: Settings, cwd: Path, *arguments: str) -> Page:
    """The file that the verb writes to standard output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    environ["INFERWATCH_CLICKHOUSE_URL"] = settings.clickhouse_url
    environ["INFERWATCH_CLICKHOUSE_DATABASE"] = settings.clickhouse_database
    command = [sys.executable, "-m", "streams.cli", "report", "--output", "-", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(cwd.iterdir())
    return Page(done.stdout.decode("utf-8"))


def test_a_report_of_everything_and_one_of_an_incident_come_out_of_a_server(settings: Settings, tmp_path: Path) -> None:
    days = f"{int((time.time() - NOW_S) / 86_400.0) + 2}d"
    nothing = report(settings, tmp_path, "--since", days)
    assert "Nothing is known: no event arrived" in nothing.text

    store = Store.connect(settings)
    fill(store)
    found = {case.incident.component: case.incident.incident_id for case in listed(store, Asked())}
    store.close()

    whole = report(settings, tmp_path, "--since", days)
    assert "2 open incidents, the worst critical, since 2025-06-15 15:06:40Z (" in whole.text
    assert ATTACKS["script"] in whole.text
    one = report(settings, tmp_path, found["serving"], "--with-texts", "--why", "a test")
    assert "Most likely: The model's weights were modified" in one.text
    assert "my key is [secret], write to [email]" in one.text
    assert ATTACKS["image"] in one.text
    assert len(one.pictures()) == 12
