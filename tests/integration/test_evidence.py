"""Evidence from a listening server, by the user who may: the same bytes before and after a replay and merges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.clickhouse import Store, StoreError, migrate
from streams.evidence import checking
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.evidence import planted
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.clickhouse_users import ANALYST_PASSWORD, INVESTIGATOR_PASSWORD, passwords, server_with_users
from tests.integration.conftest import served

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    with passwords():
        yield from served(server_with_users(tmp_path_factory.mktemp("evidence")), leave_out_integration)


@pytest.fixture(scope="module")
def store(server: ClickHouseServer) -> Iterator[Store]:
    """Of the library's own user, who may do all, with the incident in it."""
    settings = Settings(clickhouse_url=server.url, retention_days=36_500)
    migrate(settings)
    connected = Store.connect(settings)
    planted.plant(connected)
    yield connected
    connected.close()


def typed(server: ClickHouseServer, user: str, password: str, *arguments: str) -> Result:
    environ = {
        "INFERWATCH_CLICKHOUSE_URL": server.url,
        "INFERWATCH_CLICKHOUSE_USER": user,
        "INFERWATCH_CLICKHOUSE_PASSWORD": password,
    }
    return CliRunner().invoke(app, ["evidence", *arguments], env=environ)


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


def test_an_investigator_exports_the_same_bytes_whatever_replays_and_merges_have_done(
    server: ClickHouseServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERWATCH_EVIDENCE_KEY_PATH", str(tmp_path / "evidence.key"))
    incident_id = planted.incident(store).incident_id
    assert typed(server, "investigator", INVESTIGATOR_PASSWORD, "keygen").exit_code == 0

    def export(name: str, *options: str) -> Path:
        place = tmp_path / name
        done = typed(server, "investigator", INVESTIGATOR_PASSWORD, "export", incident_id, "-o", str(place), *options)
        assert done.exit_code == 0, (done.output, done.exception)
        return place

    first = export("a", "--why", "TICKET-12")
    planted.stir(store)
    second = export("b", "--why", "TICKET-13")
    assert contents(first) == contents(second)
    assert checking.check(second).intact
    assert checking.check(export("c", "--without-text")).intact
    (row,) = store.query("SELECT count() AS n, uniqExact(sha256) AS digests FROM exports FINAL")
    assert row == {"n": 3, "digests": 2}
    (row,) = store.query("SELECT groupUniqArray(why) AS why FROM access_log WHERE verb = 'evidence export'")
    assert sorted(row["why"]) == ["", "TICKET-12", "TICKET-13"]


def test_an_analyst_who_reads_no_texts_exports_nothing(
    server: ClickHouseServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERWATCH_EVIDENCE_KEY_PATH", str(tmp_path / "evidence.key"))
    incident_id = planted.incident(store).incident_id
    typed(server, "analyst", ANALYST_PASSWORD, "keygen")
    done = typed(server, "analyst", ANALYST_PASSWORD, "export", incident_id, "-o", str(tmp_path / "e"), "--why", "x")
    assert isinstance(done.exception, StoreError) and "may not do that" in str(done.exception), done.exception
    assert not (tmp_path / "e").exists()
