"""A ClickHouse server with the users that compose installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.pinned import REPOSITORY

MIGRATOR_PASSWORD = "of the migration"
OWN_PASSWORD = "of the worker"
GRAFANA_PASSWORD = "of the dashboards"

DEFAULT_ON_LOOPBACK = "<default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>"


@contextmanager
def passwords() -> Iterator[None]:
    """In the environment, where the server looks for them when it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKHOUSE_MIGRATOR_PASSWORD", MIGRATOR_PASSWORD)
        patch.setenv("CLICKHOUSE_PASSWORD", OWN_PASSWORD)
        patch.setenv("CLICKHOUSE_GRAFANA_PASSWORD", GRAFANA_PASSWORD)
        yield


def server_with_users(directory: Path) -> ClickHouseServer:
    """Not started. The library that is our server needs its `default`, which compose removes."""
    config_file = directory / "config.xml"
    text = (REPOSITORY / "docker/clickhouse/users.xml").read_text()
    for ours, theirs in (
        ('<default remove="remove"/>', DEFAULT_ON_LOOPBACK),
        ("<profiles>", f"<users_config>{config_file}</users_config><quotas><default/></quotas><profiles><default/>"),
    ):
        if text.count(ours) != 1:
            raise ValueError(f"users.xml has {ours} {text.count(ours)} times")
        text = text.replace(ours, theirs)
    config_file.write_text(text)
    return ClickHouseServer(directory / "data", config_file)
