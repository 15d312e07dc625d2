"""Custody on a listening server with the users of compose: each verb by the user who is meant to, and by no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.clickhouse import Store, migrate
from streams.custody.places import everywhere
from streams.custody.subjects import Subject
from streams.keys import derive
from streams.privacy import Pseudonymizer
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.custody.planted import IDENTITY, KEY, plant
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.clickhouse_users import MIGRATOR_PASSWORD, PASSWORDS, passwords, server_with_users
from tests.integration.conftest import served
from tests.test_query_log import masked

pytestmark = pytest.mark.integration

WHO = Pseudonymizer(derive(KEY).pseudonyms).pseudonym("principal", IDENTITY)
OTHER = "p_" + "0b" * 16
SUBJECT = Subject(pseudonyms=(WHO,), texts=(IDENTITY,))

QUERY_LOG = "<query_log><database>system</database><table>query_log</table></query_log>"
"""The library that is our server keeps one where it is told to, and loads no rules that mask values in it."""

Typed = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    made = server_with_users(tmp_path_factory.mktemp("custody"))
    assert made.config_file is not None
    made.config_file.write_text(made.config_file.read_text().replace("</clickhouse>", QUERY_LOG + "</clickhouse>"))
    with passwords():
        yield from served(made, leave_out_integration)


@pytest.fixture(scope="module")
def store(server: ClickHouseServer) -> Iterator[Store]:
    """Of the library's own user, who may do all, after the migration's user has made the schema."""
    own = Settings(clickhouse_url=server.url, clickhouse_user="migrator", clickhouse_password=MIGRATOR_PASSWORD)
    assert migrate(own)
    connected = Store.connect(Settings(clickhouse_url=server.url))
    yield connected
    connected.close()


@pytest.fixture
def typed(server: ClickHouseServer, tmp_path: Path) -> Typed:
    """A verb as a shell of a user runs it."""

    def run(user: str, *arguments: str, stdin: str = "") -> Result:
        environ = {
            "INFERWATCH_CLICKHOUSE_URL": server.url,
            "INFERWATCH_CLICKHOUSE_USER": user,
            "INFERWATCH_CLICKHOUSE_PASSWORD": PASSWORDS[user],
            "INFERWATCH_KEY": KEY,
            "INFERWATCH_KAFKA_BROKERS": "127.0.0.1:1",
            "INFERWATCH_EVIDENCE_KEY_PATH": str(tmp_path / "evidence.key"),
        }
        return CliRunner().invoke(app, list(arguments), env=environ, input=stdin)

    return run


def found(store: Store) -> dict[str, dict[str, int]]:
    """Where the person is, of all that the database has."""
    return {place.table: place.found for place in everywhere(store, SUBJECT) if place.found}


def test_the_custodian_holds_hands_out_and_erases_over_a_hold_which_is_recorded(
    store: Store, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.topics.retentions", lambda _: {"inference-logs": "168 hours"})
    case = plant(store, WHO, OTHER).incident_id
    evidence, subject_json = tmp_path / "evidence", tmp_path / "subject.json"

    held = typed("custodian", "hold", case, "--reason", "LEGAL-7")
    assert held.exit_code == 0, (held.output, held.exception)
    assert typed("investigator", "evidence", "keygen").exit_code == 0
    exported = typed("investigator", "evidence", "export", case, "-o", str(evidence), "--why", "LEGAL-7")
    assert exported.exit_code == 0, (exported.output, exported.exception)
    given = typed("custodian", "export", WHO, "-o", str(subject_json), "--why", "DSR-30")
    assert given.exit_code == 0, (given.output, given.exception)
    kinds = store.query("SELECT kind, machine != '' AS known FROM exports FINAL ORDER BY kind")
    assert kinds == [{"kind": "evidence", "known": 1}, {"kind": "subject", "known": 1}]

    for another in (("erase", WHO, "--why", "x", "--override-hold", "x"), ("hold", case, "--reason", "x")):
        stopped = typed("investigator", *another)
        assert "custodian" in str(stopped.exception), (another, stopped.output, stopped.exception)
    refused = typed("custodian", "erase", "-", "--why", "DSR-31", stdin=IDENTITY)
    assert refused.exit_code == 1 and f"holds {case}: LEGAL-7" in refused.output, (refused.output, refused.exception)
    assert "holds the export exp-" in refused.output
    assert evidence.is_dir() and subject_json.is_file() and "held_inference_events" in found(store)

    options = ("--why", "DSR-31", "--override-hold", "court says so", "--patience", "45")
    done = typed("custodian", "erase", "-", *options, stdin=IDENTITY)
    assert "StoreError" not in repr(done.exception), done.exception
    assert "no old part is left on the disk" in done.output
    assert set(found(store)) == {"system.query_log"}, done.output
    assert not evidence.exists() and not subject_json.exists()
    log = typed("custodian", "access", "list", "--since", "1d")
    assert "hold override" in log.output and "court says so" in log.output and "DSR-31" in log.output

    kept = " ".join(row["command"] for row in store.query("SELECT command FROM system.mutations"))
    assert "SHA256" in kept and WHO not in kept and IDENTITY not in kept
    store.command("SYSTEM FLUSH LOGS")
    logged = store.query("SELECT DISTINCT query FROM system.query_log WHERE user = 'custodian'")
    assert logged
    assert IDENTITY in str(logged), "nothing to mask: nothing was tested"
    said = " ".join(masked(row["query"]) for row in logged)
    assert WHO not in said and IDENTITY not in said
