"""A ClickHouse server with the users that compose installs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.pinned import REPOSITORY

MIGRATOR_PASSWORD = "of the migration"
OWN_PASSWORD = "of the worker"
GRAFANA_PASSWORD = "of the dashboards"
GRAFANA_TEXTS_PASSWORD = "of the texts in dashboards"
ANALYST_PASSWORD = "of the analysts"
RESPONDER_PASSWORD = "of the responders"
INVESTIGATOR_PASSWORD = "of the investigators"
CUSTODIAN_PASSWORD = "of the custodians"

PASSWORDS = {
    "migrator": MIGRATOR_PASSWORD,
    "inferwatch": OWN_PASSWORD,
    "grafana": GRAFANA_PASSWORD,
    "grafana_texts": GRAFANA_TEXTS_PASSWORD,
    "analyst": ANALYST_PASSWORD,
    "responder": RESPONDER_PASSWORD,
    "investigator": INVESTIGATOR_PASSWORD,
    "custodian": CUSTODIAN_PASSWORD,
}
"""Of every user that compose installs."""

DEFAULT_ON_LOOPBACK = "<default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>"


@contextmanager
def passwords() -> Iterator[None]:
    """In the environment, where the server looks for them when it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for user, password in PASSWORDS.items():
            patch.setenv(f"CLICKHOUSE_{'' if user == 'inferwatch' else f'{user.upper()}_'}PASSWORD", password)
        yield


def server_with_users(directory: Path, **changed: str) -> ClickHouseServer:
    """Not started; `changed` are numbers of users.xml that a test wants to run into, by ``quota_queries``.

    The library that is our server needs its `default`, which compose removes. Of server.xml it gets what users may do
    by it; it writes no log files, and masks nothing in its query log.
    """
    config_file = directory / "config.xml"
    text = (REPOSITORY / "docker/clickhouse/users.xml").read_text()
    for ours, theirs in (
        ('<default remove="remove"/>', DEFAULT_ON_LOOPBACK),
        ("<quotas>", "<quotas><default/>"),
        ("<profiles>", f"<users_config>{config_file}</users_config>{_access_control()}<profiles><default/>"),
    ):
        if text.count(ours) != 1:
            raise ValueError(f"users.xml has {ours} {text.count(ours)} times")
        text = text.replace(ours, theirs)
    for place, value in changed.items():
        quota, _, kind = place.partition("_")
        found = re.search(rf"(?s)<quotas>.*<{quota}>.*?<{kind}>(\d+)", text)
        if found is None:
            raise ValueError(f"users.xml has no {place}")
        text = text[: found.start(1)] + value + text[found.end(1) :]
    config_file.write_text(text)
    return ClickHouseServer(directory / "data", config_file)


def _access_control() -> str:
    text = (REPOSITORY / "docker/clickhouse/server.xml").read_text()
    tag = "access_control_improvements"
    return text[text.index(f"<{tag}>") : text.index(f"</{tag}>")] + f"</{tag}>"
