"""How long what is kept: a time to live for each table and class of content, from the settings. Pure.

Calls with their numbers stay for the retention; texts of calls and dead letters, which quote records, may go earlier;
findings, incidents, what people said and first sights may stay longer. Rows go by themselves, a partition at a time.

Texts go out of rows that stay by an update, each time `migrate` runs. A time to live of their columns does not work
with ClickHouse 26.7: where all texts of a part have expired it loses the column, and every merge of it fails, because
its index of words cannot be built any more. One that groups rows by their identity fails on columns of low cardinality.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streams.settings import Settings

CALLS, TEXTS, CASES = "calls", "texts", "cases"

KEPT: Final[Mapping[str, tuple[str, str]]] = {
    "inference_events": (CALLS, "record_time"),
    "dead_letters": (TEXTS, "record_time"),
    "detector_snapshots": (CALLS, "saved_at"),
    "arrivals": (CALLS, "bucket"),
    "traffic": (CALLS, "(month + toIntervalMonth(1))"),
    "callers": (CALLS, "(month + toIntervalMonth(1))"),
    "worker_metrics": (CALLS, "toDateTime(time)"),
    "findings": (CASES, "stored_at"),
    "incidents": (CASES, "stored_at"),
    "incident_revisions": (CASES, "stored_at"),
    "incident_verdicts": (CASES, "said_at"),
    "suppressions": (CASES, "until"),
    "changes": (CASES, "stored_at"),
    "component_reports": (CASES, "stored_at"),
    "baselines": (CASES, "stored_at"),
    "sightings": (CASES, "(month + toIntervalMonth(1))"),
}
"""Of each table that forgets, what it holds, and the time from which its rows are kept."""

_EVENTS = "inference_events"
_EMPTIED: Final[Mapping[str, str]] = {
    "prompt": "NULL",
    "output": "NULL",
    "system": "NULL",
    "conversation": "''",
    "features": "''",
}
"""What holds texts of calls, and what takes their place."""


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it stands: `engine` with its keys, time to live and settings, as `system.tables` has it."""

    table: str
    engine: str
    storage_policy: str

    @property
    def lives(self) -> str:
        """Its time to live."""
        found = re.search(r" TTL (.*?)(?: SETTINGS |$)", self.engine)
        return found[1] if found else ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that is due, and what it does in words."""

    what: str
    statements: tuple[str, ...]


def days(settings: Settings, content: str) -> int:
    """How many days content of that class is kept."""
    own = {TEXTS: settings.text_retention_days, CASES: settings.case_retention_days}.get(content)
    return settings.retention_days if own is None else own


def lives(settings: Settings, table: str) -> str:
    """The time to live that the settings want for a table of `KEPT`."""
    content, since = KEPT[table]
    kept = days(settings, content)
    parts = [f"{since} + toIntervalDay({kept})"]
    if table == _EVENTS and settings.clickhouse_cold_volume is not None:
        moved = f"{since} + toIntervalDay({settings.clickhouse_cold_days})"
        parts.append(f"{moved} TO VOLUME '{settings.clickhouse_cold_volume}'")
    return ", ".join(parts)


def due(settings: Settings, standing: Iterable[Stands]) -> list[Change]:
    """What has to be changed for tables to be kept, and where, as the settings want it."""
    changes = []
    for each in standing:
        policy = settings.clickhouse_storage_policy
        if each.table == _EVENTS and policy is not None and each.storage_policy != policy:
            sql = f"ALTER TABLE {each.table} MODIFY SETTING storage_policy = '{policy}'"
            changes.append(Change(what=f"{each.table}: stored by the policy {policy}", statements=(sql,)))
        wanted = lives(settings, each.table)
        if _folded(each.lives) != _folded(wanted):
            changes.append(
                Change(
                    what=f"{each.table}: {_said(settings, each.table)}",
                    statements=(
                        f"ALTER TABLE {each.table} MODIFY SETTING materialize_ttl_recalculate_only = 1",
                        f"ALTER TABLE {each.table} MODIFY TTL {wanted}",
                    ),
                )
            )
    return changes


def old_texts(settings: Settings) -> str | None:
    """The condition for calls whose texts are too old, whole days; `None` where texts stay as long as calls."""
    kept = days(settings, TEXTS)
    if kept >= settings.retention_days:
        return None
    there = " OR ".join(
        f"{name} IS NOT NULL" if empty == "NULL" else f"notEmpty({name})" for name, empty in _EMPTIED.items()
    )
    return f"record_time < toStartOfDay(now('UTC')) - toIntervalDay({kept}) AND ({there})"


def emptying(settings: Settings, condition: str) -> Change:
    """What takes out texts of the calls that meet the condition."""
    emptied = ", ".join(f"{name} = {empty}" for name, empty in _EMPTIED.items())
    return Change(
        what=f"{_EVENTS}: texts kept for {days(settings, TEXTS)} days",
        statements=(f"ALTER TABLE {_EVENTS} UPDATE {emptied} WHERE {condition}",),
    )


def _said(settings: Settings, table: str) -> str:
    said = f"kept for {days(settings, KEPT[table][0])} days"
    if table == _EVENTS and settings.clickhouse_cold_volume is not None:
        said += f", on the volume {settings.clickhouse_cold_volume} after {settings.clickhouse_cold_days}"
    return said


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
