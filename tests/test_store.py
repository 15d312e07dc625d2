"""The store over the engine in process."""

from __future__ import annotations

import pytest

from streams.clickhouse import Store, StoreError, migrate
from streams.migrations import Migration, migrations
from streams.settings import Settings
from tests.chdb_directory import chdb_url

pytest.register_assert_rewrite("tests.store_conformance")

from tests.store_conformance import StoreConformance  # noqa: E402 - its asserts shall explain themselves

pytest.importorskip("chdb", reason="the extra `local` is not installed")


class TestEngineInProcess(StoreConformance):
    @pytest.fixture(scope="class")
    def servers(self) -> Settings:
        return Settings(clickhouse_url=chdb_url())


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_migration_is_split_at_semicolons_that_end_a_line_and_knows_its_name() -> None:
    text = "-- why; and\nCREATE TABLE a (x String COMMENT 'a;b')\nTTL {days};\n\nCREATE VIEW b AS SELECT 1;\n-- end\n"
    migration = Migration("0012_two_things.sql", text)
    assert (migration.version, migration.name) == (12, "two_things")
    assert migration.statements(30) == [
        "CREATE TABLE a (x String COMMENT 'a;b')\nTTL 30",
        "CREATE VIEW b AS SELECT 1",
    ]


@pytest.mark.parametrize("call", [migrate, Store.connect])
def test_a_server_that_is_down_is_one_line_that_says_what_to_check(call: object) -> None:
    settings = Settings(clickhouse_url="http://127.0.0.1:1", clickhouse_user="writer", clickhouse_password="hunter2")
    with pytest.raises(StoreError) as caught:
        call(settings)  # type: ignore[operator] # one of the two above
    said = str(caught.value)
    assert said.startswith("ClickHouse: ")
    assert "INFERWATCH_CLICKHOUSE_URL" in said
    assert "hunter2" not in said and "\n" not in said
