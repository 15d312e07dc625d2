"""The store: rows in, durable or raised, and the numbered migrations that make its tables.

The same client code serves a server over HTTP(S) and the engine in process (``chdb:///directory``);
`Settings.clickhouse_url` decides. A client is for one thread.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from clickhouse_connect.driver.httputil import get_pool_manager

from detectors.types import Finding
from streams import schema
from streams.cases.incidents import Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.components.baselines import Baseline
from streams.components.provenance import Noted
from streams.dlq import DeadLetter
from streams.pipeline import Stored
from streams.rows import (
    BASELINES,
    CHANGES,
    COMPONENT_REPORTS,
    DEAD_LETTERS,
    EVENTS,
    FINDINGS,
    INCIDENTS,
    SNAPSHOTS,
    SUPPRESSIONS,
    VERDICTS,
    WORKER_METRICS,
    Column,
    SavedState,
    Vitals,
    columns,
)
from streams.security import clickhouse_context
from streams.settings import Settings

_MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (version UInt32, name String, applied_at DateTime DEFAULT now())
ENGINE = ReplacingMergeTree ORDER BY version
"""
_INSERT_SETTINGS = {"async_insert": 0, "max_partitions_per_insert_block": 0}
"""Acknowledged means on disk; and event times an attacker spread over centuries must not refuse a batch."""

_PARAMETER_BYTES = 60_000


class StoreError(Exception):
    """Not now: the store did not take or give rows. The message is one line without secrets."""


class UnstorableError(Exception):
    """Never will: some value of some of the rows fits into no column. The message names the column, not the value."""


_NO_COLUMN_TAKES = (DataError, struct.error, UnicodeError, TypeError, AttributeError, OverflowError)
"""What the driver raises while it writes values down, before any is sent; a `ValueError` may be a closed socket."""

_VALUES_REFUSED = frozenset({"VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "TOO_LARGE_STRING_SIZE", "TOO_LARGE_ARRAY_SIZE"})
"""Error codes of the server that are about a value, and will be the same tomorrow."""


class Migration:
    """One numbered file of DDL."""

    def __init__(self, file_name: str, text: str) -> None:
        """`file_name` is ``NNNN_what.sql``; statements end with a semicolon at the end of a line."""
        number, _, rest = file_name.partition("_")
        self.version = int(number)
        self.name = rest.removesuffix(".sql")
        self._text = text

    def statements(self, retention_days: int) -> list[str]:
        """The DDL with the retention written in, comments taken out."""
        code = "\n".join(line for line in self._text.splitlines() if not line.startswith("--"))
        found = (part.strip() for part in re.split(r";\s*\n", code.replace("{days}", str(retention_days)) + "\n"))
        return [part for part in found if part]


def migrations() -> list[Migration]:
    """All migrations, in order."""
    files = [file for file in importlib.resources.files(schema).iterdir() if file.name.endswith(".sql")]
    return [Migration(file.name, file.read_text()) for file in sorted(files, key=lambda each: each.name)]


class Store:
    """A connection to ClickHouse that speaks in our values; every method raises `StoreError`.

    Inserts raise `UnstorableError` too, and then none of their rows is stored.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        """Use `connect`; a test may pass a client of its own."""
        self._client = client
        self._settings = settings

    @classmethod
    def connect(cls, settings: Settings) -> Store:
        """Connect to the migrated database that `settings` name."""
        return cls(_client(settings, settings.clickhouse_database), settings)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def insert_events(self, rows: Sequence[Stored]) -> None:
        """Store events; returns when they are durable."""
        self._insert("inference_events", EVENTS, rows)

    def insert_findings(self, rows: Sequence[Finding]) -> None:
        """Store findings; returns when they are durable."""
        self._insert("findings", FINDINGS, rows)

    def insert_incidents(self, rows: Sequence[Incident]) -> None:
        """Store revisions of incidents; returns when they are durable."""
        self._insert("incidents", INCIDENTS, rows)

    def insert_verdict(self, verdict: Verdict) -> None:
        """Store what a person said of an incident; returns when it is durable."""
        self._insert("incident_verdicts", VERDICTS, [verdict])

    def insert_suppression(self, suppression: Suppression) -> None:
        """Store a suppression, or its end; returns when it is durable."""
        self._insert("suppressions", SUPPRESSIONS, [suppression])

    def insert_changes(self, rows: Sequence[Noted]) -> None:
        """Store what people decided of components; returns when it is durable."""
        self._insert("changes", CHANGES, rows)

    def insert_component_reports(self, rows: Sequence[Noted]) -> None:
        """Store what attestations found; returns when it is durable."""
        self._insert("component_reports", COMPONENT_REPORTS, rows)

    def insert_baseline(self, baseline: Baseline) -> None:
        """Store a baseline, in the place of one with its name; returns when it is durable."""
        self._insert("baselines", BASELINES, [baseline])

    def insert_dead_letters(self, rows: Sequence[DeadLetter]) -> None:
        """Store dead letters; returns when they are durable."""
        self._insert("dead_letters", DEAD_LETTERS, rows)

    def insert_snapshots(self, rows: Sequence[SavedState]) -> None:
        """Store snapshots; returns when they are durable."""
        self._insert("detector_snapshots", SNAPSHOTS, rows)

    def insert_vitals(self, row: Vitals) -> None:
        """Store what a worker says of itself; returns when it is durable."""
        self._insert("worker_metrics", WORKER_METRICS, [row])

    def snapshots(self, topic_id: str, scope: str, topic: str, subjects: Sequence[str]) -> dict[str, SavedState]:
        """The newest snapshot of each of `subjects` that has one.

        Asked in parts: a server refuses a parameter of more than 128 KiB, and an attacker can fill one with names.
        """
        sql = """
            SELECT subject, partition, next_offset, envelope FROM detector_snapshots FINAL
            PREWHERE topic_id = {topic_id:String} AND scope = {scope:String} AND topic = {topic:String}
              AND subject IN {subjects:Array(String)}
        """
        key = {"topic_id": topic_id, "scope": scope, "topic": topic}
        saved: dict[str, SavedState] = {}
        for names in _parts(subjects):
            with _store_errors():
                result = self._client.query(
                    sql, parameters={**key, "subjects": names}, column_formats={"envelope": "bytes"}
                )
            for subject, partition, next_offset, envelope in result.result_rows:
                saved[subject] = SavedState(
                    **key, subject=subject, partition=partition, next_offset=next_offset, envelope=envelope
                )
        return saved

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a read as dicts; `parameters` are bound by the server, never written into the text."""
        with _store_errors():
            result = self._client.query(sql, parameters=dict(parameters or {}))
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def pending(self) -> list[Migration]:
        """Migrations that were not applied yet."""
        if not self.query("EXISTS TABLE schema_migrations")[0]["result"]:
            return migrations()
        applied = {row["version"] for row in self.query("SELECT version FROM schema_migrations")}
        return [migration for migration in migrations() if migration.version not in applied]

    def apply(self, migration: Migration) -> None:
        """Run one migration; its statements may run again after a crash."""
        with _store_errors():
            self._client.command(_MIGRATIONS_TABLE)
            for statement in migration.statements(self._settings.retention_days):
                self._client.command(statement)
            self._client.insert(
                "schema_migrations", [[migration.version, migration.name]], column_names=["version", "name"]
            )

    def _insert(self, table: str, described: Sequence[Column], rows: Sequence[Any]) -> None:
        if not rows:
            return
        with _store_errors(), _value_errors():
            self._client.insert(
                table,
                columns(described, rows),
                column_names=[name for name, _, _ in described],
                column_type_names=[kind for _, kind, _ in described],
                column_oriented=True,
                settings=_INSERT_SETTINGS,
            )


def migrate(settings: Settings) -> list[Migration]:
    """Create the database, bring its schema up to date and say what was applied. Raises `StoreError`."""
    with _store_errors():
        bootstrap = _client(settings, None)
        bootstrap.command(f"CREATE DATABASE IF NOT EXISTS `{settings.clickhouse_database}`")
        bootstrap.close()
    store = Store.connect(settings)
    try:
        todo = store.pending()
        for migration in todo:
            store.apply(migration)
        return todo
    finally:
        store.close()


def _client(settings: Settings, database: str | None) -> Client:
    parts = urlsplit(settings.clickhouse_url)
    context = clickhouse_context(settings)
    certificate = settings.clickhouse_certificate_path
    with _store_errors():
        if parts.scheme == "chdb":
            return clickhouse_connect.get_client(interface="chdb", path=parts.path, database=database)
        return clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            database=database,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password or "",
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=60,
            query_retries=0,
            compress="lz4",
            pool_mgr=None if context is None else get_pool_manager(ssl_context=context),
            # What the context presents; said here too, because without a password it is who we are.
            client_cert=None if certificate is None else str(certificate),
            tls_mode=None if settings.clickhouse_password is None else "strict",
        )


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    """`names` in lists that fit into a parameter, in which a quote takes two bytes."""
    part: list[str] = []
    size_bytes = 0
    for name in names:
        size_bytes += len(name.encode()) + 4
        if part and size_bytes > _PARAMETER_BYTES:
            yield part
            part, size_bytes = [], len(name.encode()) + 4
        part.append(name)
    if part:
        yield part


@contextlib.contextmanager
def _value_errors() -> Iterator[None]:
    """What will never be stored becomes `UnstorableError`; everything else passes."""
    try:
        yield
    except _NO_COLUMN_TAKES as error:
        column = re.search(r"column(?: name:)? `([a-z0-9_]{1,60})`", str(error))
        raise UnstorableError(f"{column.group(1) if column else 'a column'}: {type(error).__name__}") from error
    except ClickHouseError as error:
        refused = [code for code in _VALUES_REFUSED if f"({code})" in str(error)]
        if refused:
            raise UnstorableError(f"ClickHouse: {refused[0]}") from error
        raise


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """What the driver raises becomes `StoreError` with one line that holds neither secrets nor values."""
    try:
        yield
    except (ClickHouseError, OSError) as error:
        text = str(error)
        code = re.search(r"\(([A-Z_]{4,60})\)", text)
        if "UNKNOWN_DATABASE" in text or "UNKNOWN_TABLE" in text:
            advice = "the schema is missing; run `inferwatch migrate`"
        elif "AUTHENTICATION_FAILED" in text or "REQUIRED_PASSWORD" in text:
            advice = "check INFERWATCH_CLICKHOUSE_USER and INFERWATCH_CLICKHOUSE_PASSWORD"
        elif "ACCESS_DENIED" in text or "Not enough privileges" in text:
            advice = "this user may not do that; see docker/clickhouse/users.xml for what each verb needs"
        elif "CERTIFICATE_VERIFY_FAILED" in text:
            advice = "its certificate is not to be trusted; check the address and INFERWATCH_CLICKHOUSE_CA_PATH"
        elif code:
            advice = "it runs and refuses; its own log says more"
        else:
            advice = "check that it runs and that INFERWATCH_CLICKHOUSE_URL is right"
        what = code.group(1) if code else type(error).__name__
        raise StoreError(f"ClickHouse: {what}; {advice}") from error
