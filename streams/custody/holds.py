"""Holds: copies of what an incident needs, in tables that never forget, until somebody releases them.

The order of a hold, which may be run again after a crash and when the incident has gone on:
    1. the hold is written down, so that an erasure heeds it from now on;
    2. the server copies the rows, table by table, into the hold's own partitions; a row that is there replaces itself;
    3. the hold is written down again, with what it has.
The order of a release: the partitions are dropped, then it is written down. One cut off in between still holds.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

import msgspec

from streams.cases.incidents import Incident
from streams.clickhouse import Store

HOLD_ID: Final = re.compile(r"hold-[0-9a-f]{8}")

_MARGIN_S = 3_600.0

COPIES: Final = {
    "inference_events": """event_id IN {event_ids:Array(String)} OR (
        deployment = {deployment:String}
        AND inference_events.time BETWEEN fromUnixTimestamp64Milli({since:Int64}, 'UTC')
            AND fromUnixTimestamp64Milli({until:Int64}, 'UTC')
        AND (principal IN {principals:Array(String)} OR {anyone:Bool}))""",
    "findings": """finding_id IN {finding_ids:Array(String)} OR (
        deployment = {deployment:String}
        AND findings.time BETWEEN fromUnixTimestamp64Milli({since:Int64}, 'UTC')
            AND fromUnixTimestamp64Milli({until:Int64}, 'UTC')
        AND (principal IN {principals:Array(String)} OR subject IN {principals:Array(String)} OR {anyone:Bool}))""",
    "incidents": "incident_id = {incident_id:String}",
    "incident_verdicts": "incident_id = {incident_id:String}",
    **dict.fromkeys(
        ("changes", "component_reports", "suppressions", "baselines"), "deployment IN ('', {deployment:String})"
    ),
}
"""Of each table, what an incident needs of it. Of a deployment, and of all of them, what people said and what was
reported is little, and an old word may explain a new call."""

_REVISIONS = "incident_revisions"
"""Filled behind `incidents`, with the revisions that are not the latest; they go into the same copies."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One hold; times are unix seconds, 0 for not yet."""

    hold_id: str
    incident_id: str
    deployment: str
    reason: str
    made_by: str
    made_s: float
    copied_s: float = 0.0
    rows: dict[str, int] = {}
    released_by: str = ""
    release_reason: str = ""
    released_s: float = 0.0


_COLUMNS: Final = (
    *(
        (name, "String", lambda row, name=name: getattr(row, name))
        for name in ("hold_id", "incident_id", "reason", "made_by", "released_by", "release_reason")
    ),
    ("deployment", "LowCardinality(String)", lambda row: row.deployment),
    ("rows", "Map(LowCardinality(String), UInt64)", lambda row: row.rows),
    *(
        (name, "DateTime64(3, 'UTC')", lambda row, field=field: round(getattr(row, field) * 1_000))
        for name, field in (("made_at", "made_s"), ("copied_at", "copied_s"), ("released_at", "released_s"))
    ),
)


def holds(store: Store) -> list[Hold]:
    """All holds, released ones too, the latest first. Raises `StoreError`."""
    rows = store.query("""
        SELECT hold_id, incident_id, deployment, reason, made_by, toFloat64(made_at) AS made_s,
               toFloat64(copied_at) AS copied_s, rows, released_by, release_reason, toFloat64(released_at) AS released_s
        FROM holds FINAL ORDER BY made_at DESC, hold_id LIMIT 10000
    """)
    return [Hold(**row) for row in rows]


def hold(store: Store, incident: Incident, reason: str, who: str, before_s: float = _MARGIN_S) -> Hold:
    """Hold what `incident` needs, from `before_s` before its onset; one that holds it already is extended.

    Raises `StoreError`.
    """
    known = [each for each in holds(store) if each.incident_id == incident.incident_id and not each.released_s]
    made = (
        known[0]
        if known
        else Hold(
            hold_id=f"hold-{secrets.token_hex(4)}",
            incident_id=incident.incident_id,
            deployment=incident.deployment,
            reason=reason,
            made_by=who,
            made_s=time.time(),
        )
    )
    store.insert("holds", _COLUMNS, [made])
    needed = _needed(incident, before_s)
    # Findings first: the calls that they are about are held too, wherever they are.
    for table in sorted(COPIES, key=lambda each: each != "findings"):
        if table == "inference_events":
            needed["event_ids"] = _cited_calls(store, made.hold_id)
        _copy(store, table, made.hold_id, table, COPIES[table], needed)
    _copy(store, _REVISIONS, made.hold_id, "incidents", COPIES["incidents"], needed)
    counts = {table: count(store, f"held_{table}", made.hold_id) for table in COPIES}
    done = msgspec.structs.replace(made, copied_s=time.time(), rows=counts)
    store.insert("holds", _COLUMNS, [done])
    return done


def release(store: Store, held: Hold, reason: str, who: str) -> Hold:
    """Drop the copies of a hold. Raises `StoreError`."""
    for table in COPIES:
        if count(store, f"held_{table}", held.hold_id):
            # An id of ours, of its own shape: `_one_of` and `hold` let nothing else through.
            store.command(f"ALTER TABLE held_{table} DROP PARTITION '{_checked(held.hold_id)}'")
    done = msgspec.structs.replace(held, released_s=time.time(), release_reason=reason, released_by=who)
    store.insert("holds", _COLUMNS, [done])
    return done


def count(store: Store, table: str, hold_id: str) -> int:
    """Rows that a hold has in a table of copies."""
    sql = f"SELECT uniqExact(tuple(*)) AS n FROM {table} FINAL WHERE hold_id = {{hold:String}}"  # noqa: S608 - a table of ours
    if table == "held_inference_events":
        sql = f"SELECT uniqExact(event_id) AS n FROM {table} WHERE hold_id = {{hold:String}}"  # noqa: S608 - as above
    return int(store.query(sql, {"hold": hold_id})[0]["n"])


def _copy(store: Store, source: str, hold_id: str, table: str, condition: str, values: dict[str, object]) -> None:
    rows = store.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
        "AND name != 'hold_id' ORDER BY position",
        {"table": f"held_{table}"},
    )
    names = ", ".join(f"`{row['name']}`" for row in rows)
    store.command(
        f"INSERT INTO held_{table} (hold_id, {names}) SELECT {{hold:String}}, {names} FROM {source} "  # noqa: S608 - names of the schema
        f"WHERE {condition.replace(f'{table}.', f'{source}.')}",
        {"hold": hold_id, **values},
    )


def _needed(incident: Incident, before_s: float) -> dict[str, object]:
    """The values of the conditions: the calls that the plan's radius names, and an hour on both sides of them."""
    radius = None if incident.plan is None else incident.plan.radius
    principals = list(incident.members) if radius is None else list(radius.principals)
    if radius is None and incident.scope == "principal":
        principals = [incident.subject]
    until_s = max(incident.last_s, incident.last_s if radius is None else radius.until_s) + _MARGIN_S
    since_s = min(incident.onset_s, incident.first_s) - before_s
    return {
        "incident_id": incident.incident_id,
        "deployment": incident.deployment,
        "since": round(since_s * 1_000),
        "until": round(until_s * 1_000),
        "principals": principals,
        "anyone": not principals,
        "finding_ids": sorted({*incident.known, *(each.finding_id for each in incident.cited)}),
    }


def _cited_calls(store: Store, hold_id: str) -> list[str]:
    rows = store.query(
        "SELECT DISTINCT event_id FROM held_findings WHERE hold_id = {hold:String} AND event_id != '' LIMIT 1000",
        {"hold": hold_id},
    )
    return [row["event_id"] for row in rows]


def _checked(hold_id: str) -> str:
    if HOLD_ID.fullmatch(hold_id) is None:
        raise ValueError("no id of a hold")
    return hold_id
