"""The one directory of the engine in this process, and databases in it.

It serves no second directory for as long as the process lives.
"""

from __future__ import annotations

import functools
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import pytest

from streams.clickhouse import Store, migrate
from streams.settings import Settings

_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def chdb_url() -> str:
    """The address for `Settings.clickhouse_url`; the directory goes when the process ends."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="inferwatch-chdb-", ignore_cleanup_errors=True))
    return f"chdb://{_KEPT[0].name}"


@contextmanager
def fresh_database(key: str | None = None) -> Iterator[Settings]:
    """Settings of a database of its own with the schema in it; it is dropped in the end."""
    pytest.importorskip("chdb", reason="the extra `local` is not installed")
    name = f"test_{uuid.uuid4().hex[:12]}"
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database=name, key=key, retention_days=36_500)
    migrate(settings)
    yield settings
    with closing(Store.connect(msgspec.structs.replace(settings, clickhouse_database="default"))) as store:
        store.command(f"DROP DATABASE {name}")


def empty(store: Store) -> None:
    """Take out all rows, so that a test can have the database of another."""
    rows = store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 "
        "AND endsWith(engine, 'MergeTree') AND name != 'schema_migrations'"
    )
    for row in rows:
        store.command(f"TRUNCATE TABLE {row['name']}")
