"""The store: rows in, durable or raised, and the numbered migrations that make its tables.

The same client code serves a server over HTTP(S) and the engine in process (``chdb:///directory``);
`Settings.clickhouse_url` decides. A client is for one thread.
"""

from __future__ import annotations

import contextlib
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
from streams.allowed import who_may
from streams.cases.incidents import Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.clusters import clustered, local
from streams.components.baselines import Baseline
from streams.components.provenance import Noted
from streams.dlq import DeadLetter
from streams.migrations import TABLE, Migration, migrations
from streams.pipeline import Stored
from streams.replies import Reply
from streams.retention import KEPT, Change, Stands, due, emptying, old_texts
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

_INSERT_SETTINGS = {
    "async_insert": 0,
    "max_partitions_per_insert_block": 0,
    "distributed_foreground_insert": 1,
    "optimize_on_insert": 0,
    "exclude_materialize_skip_indexes_on_insert": "prompt_words,output_words",
}
"""Acknowledged means on disk, in a cluster too; and event times an attacker spread over centuries must not refuse a
batch. When parts are merged, and not for each small one, it is found what replaces what (within a batch as between two)
and the indexes of words are built: both would make an insert cost half as much again."""

_UNWAITED = {"mutations_sync": 0}
"""What rewrites rows that are stored already goes on by itself."""

_PARAMETER_BYTES = 60_000


class StoreError(Exception):
    """Not now: the store did not take or give rows. The message is one line without secrets."""


class LimitError(StoreError):
    """A read was cut by a limit; `code` is ClickHouse's name of it."""

    def __init__(self, code: str) -> None:
        """`code` such as TIMEOUT_EXCEEDED."""
        super().__init__(f"ClickHouse: {code}; it was cut by a limit: ask for less")
        self.code = code


class UnstorableError(Exception):
    """Never will: some value of some of the rows fits into no column. The message names the column, not the value."""


_LIMITS = frozenset(
    {
        "TIMEOUT_EXCEEDED",
        "TOO_SLOW",
        "TOO_MANY_ROWS",
        "TOO_MANY_BYTES",
        "TOO_MANY_ROWS_OR_BYTES",
        "MEMORY_LIMIT_EXCEEDED",
        "QUOTA_EXCEEDED",
    }
)

_NO_COLUMN_TAKES = (DataError, struct.error, UnicodeError, TypeError, AttributeError, OverflowError)
"""What the driver raises while it writes values down, before any is sent; a `ValueError` may be a closed socket."""

_VALUES_REFUSED = frozenset({"VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "TOO_LARGE_STRING_SIZE", "TOO_LARGE_ARRAY_SIZE"})
"""Error codes of the server that are about a value, and will be the same tomorrow."""


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

    def renew(self) -> None:
        """Connect anew where the engine is in this process: there a read that failed leaves its rest to the next."""
        if urlsplit(self._settings.clickhouse_url).scheme == "chdb":
            left, self._client = self._client, _client(self._settings, self._settings.clickhouse_database)
            left.close()

    def insert_events(self, rows: Sequence[Stored]) -> None:
        """Store events; returns when they are durable."""
        self.insert("inference_events", EVENTS, rows)

    def insert_findings(self, rows: Sequence[Finding]) -> None:
        """Store findings; returns when they are durable."""
        self.insert("findings", FINDINGS, rows)

    def insert_incidents(self, rows: Sequence[Incident]) -> None:
        """Store revisions of incidents; returns when they are durable."""
        self.insert("incidents", INCIDENTS, rows)

    def insert_verdict(self, verdict: Verdict) -> None:
        """Store what a person said of an incident; returns when it is durable."""
        self.insert("incident_verdicts", VERDICTS, [verdict])

    def insert_suppression(self, suppression: Suppression) -> None:
        """Store a suppression, or its end; returns when it is durable."""
        self.insert("suppressions", SUPPRESSIONS, [suppression])

    def insert_changes(self, rows: Sequence[Noted]) -> None:
        """Store what people decided of components; returns when it is durable."""
        self.insert("changes", CHANGES, rows)

    def insert_component_reports(self, rows: Sequence[Noted]) -> None:
        """Store what attestations found; returns when it is durable."""
        self.insert("component_reports", COMPONENT_REPORTS, rows)

    def insert_baseline(self, baseline: Baseline) -> None:
        """Store a baseline, in the place of one with its name; returns when it is durable."""
        self.insert("baselines", BASELINES, [baseline])

    def insert_dead_letters(self, rows: Sequence[DeadLetter]) -> None:
        """Store dead letters; returns when they are durable."""
        self.insert("dead_letters", DEAD_LETTERS, rows)

    def insert_snapshots(self, rows: Sequence[SavedState]) -> None:
        """Store snapshots; returns when they are durable."""
        self.insert("detector_snapshots", SNAPSHOTS, rows)

    def insert_vitals(self, row: Vitals) -> None:
        """Store what a worker says of itself; returns when it is durable."""
        self.insert("worker_metrics", WORKER_METRICS, [row])

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run what changes tables; `parameters` are bound by the server, and a mutation is waited for."""
        with _store_errors():
            for statement in clustered(sql.strip(), self._settings.clickhouse_cluster):
                self._client.command(
                    statement, parameters=dict(parameters or {}), settings={"mutations_sync": 2, **(settings or {})}
                )

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

    @property
    def reads_only(self) -> bool:
        """Whether the server lets this user only read, whatever a query asks for."""
        known = self._client.server_settings.get("readonly")
        return known is not None and str(known.value) != "0"

    def read(self, sql: str, parameters: Mapping[str, Any], *, whole: bool) -> Reply:
        """The answer to a statement that names its own FORMAT; `whole`: an error comes before the first byte."""
        with _store_errors():
            wait = {"wait_end_of_query": "1"} if whole else None
            stream = self._client.raw_stream(sql, parameters=dict(parameters), transport_settings=wait)
        return Reply(stream, _store_errors)

    def pending(self) -> list[Migration]:
        """Migrations that were not applied yet."""
        if not self.query("EXISTS TABLE schema_migrations")[0]["result"]:
            return migrations()
        applied = {row["version"] for row in self.query("SELECT version FROM schema_migrations")}
        return [migration for migration in migrations() if migration.version not in applied]

    def apply(self, migration: Migration) -> None:
        """Run one migration; its statements may run again after a crash."""
        for statement in (TABLE, *migration.statements(self._settings.retention_days)):
            self.command(statement, settings=_UNWAITED)
        with _store_errors():
            self._client.insert(
                "schema_migrations", [[migration.version, migration.name]], column_names=["version", "name"]
            )

    def retention_due(self) -> list[Change]:
        """What has to be changed for tables to be kept as long, and where, as the settings want it."""
        names = {name if self._settings.clickhouse_cluster is None else local(name): name for name in KEPT}
        sql = """
            SELECT name, engine_full, storage_policy FROM system.tables
            WHERE database = currentDatabase() AND name IN {names:Array(String)} ORDER BY name
        """
        standing = [
            Stands(table=names[row["name"]], engine=row["engine_full"], storage_policy=row["storage_policy"])
            for row in self.query(sql, {"names": list(names)})
        ]
        changes = due(self._settings, standing)
        condition = old_texts(self._settings)
        if condition is not None and standing:
            found = self.query(f"SELECT 1 FROM inference_events WHERE {condition} LIMIT 1")  # noqa: S608 - ours
            changes += [emptying(self._settings, condition)] if found else []
        return changes

    def change(self, change: Change) -> None:
        """Run what is due; it may run again after a crash."""
        for statement in change.statements:
            self.command(statement, settings=_UNWAITED)

    def insert(self, table: str, described: Sequence[Column], rows: Sequence[Any]) -> None:
        """Store rows of a table as it is described; returns when they are durable."""
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


def migrate(settings: Settings) -> list[Migration | Change]:
    """Create the database, bring its schema up to date and say what was applied. Raises `StoreError`."""
    with _store_errors():
        bootstrap = _client(settings, None)
        for statement in clustered(
            f"CREATE DATABASE IF NOT EXISTS `{settings.clickhouse_database}`", settings.clickhouse_cluster
        ):
            bootstrap.command(statement)
        bootstrap.close()
    store = Store.connect(settings)
    try:
        todo = store.pending()
        for migration in todo:
            store.apply(migration)
        changes = store.retention_due()
        for change in changes:
            store.change(change)
        return [*todo, *changes]
    finally:
        store.close()


def outlook(settings: Settings) -> list[Migration | Change]:
    """What `migrate` would do. Raises `StoreError`, also where there is no database yet."""
    store = Store.connect(settings)
    try:
        return [*store.pending(), *store.retention_due()]
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
        if code and code.group(1) in _LIMITS:
            raise LimitError(code.group(1)) from error
        if "UNKNOWN_DATABASE" in text or "UNKNOWN_TABLE" in text:
            advice = "the schema is missing; run `inferwatch migrate`"
        elif "AUTHENTICATION_FAILED" in text or "REQUIRED_PASSWORD" in text:
            advice = "check INFERWATCH_CLICKHOUSE_USER and INFERWATCH_CLICKHOUSE_PASSWORD"
        elif re.search(r"ACCESS_DENIED|Not enough privileges|\(READONLY\)|is readonly$", text):
            advice = f"this user may not do that, {who_may(text)} may (INFERWATCH_CLICKHOUSE_USER; users.xml)"
        elif "CERTIFICATE_VERIFY_FAILED" in text:
            advice = "its certificate is not to be trusted; check the address and INFERWATCH_CLICKHOUSE_CA_PATH"
        elif code:
            advice = "it runs and refuses; its own log says more"
        else:
            advice = "check that it runs and that INFERWATCH_CLICKHOUSE_URL is right"
        what = code.group(1) if code else type(error).__name__
        raise StoreError(f"ClickHouse: {what}; {advice}") from error
