"""One database for all tests of custody, empty before each, and its verbs as a shell runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import typer
from typer.testing import CliRunner, Result

from streams.clickhouse import Store
from streams.settings import Settings
from streams.verbs import subjects as verbs_subjects
from tests import chdb_directory
from tests.custody.planted import KEY, SEALED_WITH, migrated, settings

app = typer.Typer()
app.command()(verbs_subjects.erase)
app.command()(verbs_subjects.export)

Typed = Callable[..., Result]


@pytest.fixture(scope="session")
def where() -> Settings:
    pytest.importorskip("chdb")
    return settings()


@pytest.fixture(scope="session")
def store(where: Settings) -> Iterator[Store]:
    store = migrated(where)
    yield store
    store.command(f"DROP DATABASE IF EXISTS {where.clickhouse_database}")
    store.close()


@pytest.fixture(autouse=True)
def _empty(store: Store) -> Iterator[None]:
    yield
    empty(store)


def empty(store: Store) -> None:
    """Take out all rows, and what an erasure that was cut off has left."""
    tables = store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    for name in (row["name"] for row in tables):
        if name.startswith(("erasing_", "erased_", "later_")):
            store.command(f"DROP TABLE {name} SYNC")
    chdb_directory.empty(store)


@pytest.fixture(scope="module")
def typed(where: Settings) -> Iterator[Typed]:
    """`erase` and `export` on the database of the tests."""

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFERWATCH_CLICKHOUSE_URL", where.clickhouse_url)
        patch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", where.clickhouse_database)
        patch.setenv("INFERWATCH_KEY", KEY)
        patch.setenv("INFERWATCH_SNAPSHOT_KEY", "s" * 40)
        patch.setenv("INFERWATCH_KAFKA_BROKERS", "127.0.0.1:1")
        patch.setattr("streams.keys.snapshot_keys", lambda *_: (SEALED_WITH,))
        patch.setattr("streams.topics.retentions", lambda _: {"inference-logs": "168 hours"})
        yield run
