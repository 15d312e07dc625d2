"""The store over a listening ClickHouse: the same body as over the engine in process."""

from __future__ import annotations

import msgspec
import pytest

from streams.clickhouse import Store, StoreError
from streams.settings import Settings
from tests.integration.clickhouse_server import ClickHouseServer
from tests.store_values import FINDING

pytest.register_assert_rewrite("tests.store_conformance")

from tests.store_conformance import StoreConformance  # noqa: E402 - its asserts shall explain themselves


class TestListeningServer(StoreConformance):
    @pytest.fixture(scope="class")
    def servers(self, clickhouse: ClickHouseServer) -> Settings:
        return Settings(clickhouse_url=clickhouse.url)

    def test_a_wrong_password_is_said_with_what_to_check_and_not_shown(self, settings: Settings) -> None:
        wrong = msgspec.structs.replace(settings, clickhouse_user="default", clickhouse_password="hunter2")
        with pytest.raises(StoreError) as caught:
            Store.connect(wrong)
        assert "INFERWATCH_CLICKHOUSE_PASSWORD" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_a_server_that_died_is_an_error_and_one_that_came_back_takes_rows_again(
        self, clickhouse: ClickHouseServer, store: Store
    ) -> None:
        clickhouse.kill()
        with pytest.raises(StoreError, match="check that it runs"):
            store.insert_findings([FINDING])
        clickhouse.start()
        store.insert_findings([FINDING])
        assert store.query("SELECT count() AS rows FROM findings_latest") == [{"rows": 1}]
