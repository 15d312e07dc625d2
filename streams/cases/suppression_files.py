"""Suppressions in the store: made and ended by people, read by triage. No record and no topic can make one."""

from __future__ import annotations

from typing import Any

from detectors.types import Severity
from streams.cases.suppressions import MOST_ACTIVE, Suppression
from streams.clickhouse import Store

_COLUMNS = """
SELECT suppression_id, reason, deployment, detector, subject, cause, toString(severity) AS severity, made_by AS by,
       toFloat64(made_at) AS made_s, toFloat64(until) AS until_s, toFloat64(ended_at) AS ended_s, ended_by
FROM suppressions FINAL
"""
_ACTIVE = f"""
{_COLUMNS} WHERE until > fromUnixTimestamp64Milli({{now_ms:Int64}}, 'UTC') AND toFloat64(ended_at) = 0
ORDER BY made_at DESC, suppression_id LIMIT {MOST_ACTIVE}
"""
_ALL = f"{_COLUMNS} ORDER BY made_at DESC, suppression_id LIMIT {{limit:UInt32}}"
_BEGINNING = f"{_COLUMNS} WHERE startsWith(suppression_id, {{beginning:String}}) ORDER BY made_at DESC LIMIT 2"


def active(store: Store, now_s: float) -> list[Suppression]:
    """Those that hold at `now_s`, the latest first. Raises `StoreError`."""
    return [_read(row) for row in store.query(_ACTIVE, {"now_ms": int(now_s * 1_000)})]


def all_made(store: Store, limit: int) -> list[Suppression]:
    """Those that have ended too, the latest first. Raises `StoreError`."""
    return [_read(row) for row in store.query(_ALL, {"limit": limit})]


def beginning_with(store: Store, beginning: str) -> list[Suppression]:
    """At most two whose id begins so. Raises `StoreError`."""
    return [_read(row) for row in store.query(_BEGINNING, {"beginning": beginning})]


def _read(row: dict[str, Any]) -> Suppression:
    return Suppression(**{**row, "severity": Severity(row["severity"])})
