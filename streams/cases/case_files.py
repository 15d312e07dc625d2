"""Incidents in the store: written by revision, read back whole, and what people said of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from detectors.types import Severity
from streams.cases.incidents import OPEN, Incident, Radius, Verdict
from streams.clickhouse import Store
from streams.triage import MOST_LIVE

_log = logging.getLogger(__name__)

VERDICTS = ("true", "false", "benign")
SHUT = "closed"
"""What is said of an incident that a person closes; it opens again with the next finding."""

ASSIGNED = "assigned"

_MOST_OVERDUE = 1_000
_MOST_SAID = 100
_RECALL = f"""
SELECT deployment, body FROM incidents_latest WHERE deployment IN {{deployments:Array(String)}}
ORDER BY last DESC, incident_id DESC LIMIT {MOST_LIVE} BY deployment
"""  # noqa: S608 - a constant of ours
_OVERDUE = f"""
SELECT body FROM incidents_latest
WHERE state = 'open' AND last < fromUnixTimestamp64Milli({{before_ms:Int64}}, 'UTC')
  AND stored_at < fromUnixTimestamp64Milli({{before_ms:Int64}}, 'UTC')
ORDER BY last LIMIT {_MOST_OVERDUE}
"""  # noqa: S608 - as above
_LIST = """
SELECT incidents_latest.incident_id AS incident_id, body, toFloat64(stored_at) AS stored_s,
       said.what AS verdict, said.why AS note, said.given AS assignee, toFloat64(said.shut) AS shut_s
FROM incidents_latest
LEFT JOIN
(
    SELECT incident_id, argMaxIf(verdict, said_at, verdict IN ('true', 'false', 'benign')) AS what,
           argMaxIf(note, said_at, verdict IN ('true', 'false', 'benign')) AS why,
           argMaxIf(assignee, said_at, verdict = 'assigned') AS given, maxIf(said_at, verdict = 'closed') AS shut
    FROM incident_verdicts GROUP BY incident_id
) AS said ON said.incident_id = incidents_latest.incident_id
WHERE incidents_latest.severity >= {severity:String}
  AND last >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND (deployment = {deployment:String} OR {deployment:String} = '')
  AND startsWith(incidents_latest.incident_id, {incident_id:String})
  AND (state != 'merged' OR {merged:Bool})
ORDER BY last DESC, incident_id LIMIT {limit:UInt32}
"""
_LIST_KEPT = _LIST.replace("incidents_latest", "incidents_kept").replace("FROM incident_verdicts", "FROM verdicts_kept")
_HISTORY = f"""
SELECT incident_id, verdict, note, said_by, assignee, toFloat64(said_at) AS said_s FROM incident_verdicts FINAL
WHERE incident_id = {{incident_id:String}} ORDER BY said_at DESC LIMIT {_MOST_SAID}
"""  # noqa: S608 - a constant of ours
_PRECISION = """
SELECT detector, confirmed, refuted, benign, precision, low, high FROM detector_precision ORDER BY detector
"""
_EXTENT = """
SELECT count() AS events, uniqExact(principal) AS principals, uniqExact(session) AS sessions,
       topK(8)(principal) AS busiest
FROM events_latest
WHERE deployment = {deployment:String}
  AND time >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
  AND time <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
  AND (principal IN {principals:Array(String)} OR {anyone:Bool})
"""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An incident and what people said of it; `state` is what holds after both."""

    incident: Incident
    state: str
    verdict: str | None = None
    note: str | None = None
    assignee: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which incidents are asked for; `incident_id` is the beginning of one, `since_s` unix seconds of event time."""

    severity: Severity = Severity.INFO
    deployment: str = ""
    incident_id: str = ""
    since_s: float = 0.0
    limit: int = 100
    merged: bool = False


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """How often a detector was right where people said so: `precision` of `confirmed` and `refuted` incidents.

    `low` and `high` bound it (Wilson, 95 %); all three are `None` where nothing was judged. What was real and harmless
    is counted as `benign` and in neither.
    """

    detector: str
    confirmed: int
    refuted: int
    benign: int
    precision: float | None = None
    low: float | None = None
    high: float | None = None


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls, callers and sessions an incident touched, and who called most."""

    events: int
    principals: int
    sessions: int
    busiest: tuple[str, ...]


def recalled(store: Store, deployments: Sequence[str]) -> dict[str, list[Incident]]:
    """The latest incidents of each deployment, as many as triage remembers. Raises `StoreError`."""
    found: dict[str, list[Incident]] = {deployment: [] for deployment in deployments}
    for row in store.query(_RECALL, {"deployments": list(deployments)}):
        found[row["deployment"]] += _read([row])
    return found


def overdue(store: Store, now_s: float, quiet_s: float) -> list[Incident]:
    """Open incidents without a finding for `quiet_s`, by the events' clock and by ours. Raises `StoreError`."""
    return _read(store.query(_OVERDUE, {"before_ms": _millis(now_s - quiet_s)}))


def listed(store: Store, asked: Asked) -> list[Case]:
    """The newest cases that match, in order of event time. Raises `StoreError`."""
    return _listed(store, asked, _LIST)


def kept(store: Store, asked: Asked) -> list[Case]:
    """As `listed`, with those too whose time is over and that are held. Raises `StoreError`."""
    return _listed(store, asked, _LIST_KEPT)


def _listed(store: Store, asked: Asked, sql: str) -> list[Case]:
    rows = store.query(
        sql,
        {
            "severity": asked.severity.value,
            "deployment": asked.deployment,
            "incident_id": asked.incident_id,
            "since_ms": _millis(asked.since_s),
            "limit": asked.limit,
            "merged": asked.merged,
        },
    )
    return [case for row in reversed(rows) for case in _case(row)]


def history(store: Store, incident_id: str) -> list[Verdict]:
    """What people said of an incident, in order; the latest where that is a lot. Raises `StoreError`."""
    return [Verdict(**row) for row in reversed(store.query(_HISTORY, {"incident_id": incident_id}))]


def precision(store: Store) -> list[Precision]:
    """What verdicts say of each detector. Raises `StoreError`."""
    return [Precision(**row) for row in store.query(_PRECISION)]


def extent(store: Store, radius: Radius) -> Extent:
    """The blast radius in numbers. Raises `StoreError`."""
    (row,) = store.query(
        _EXTENT,
        {
            "deployment": radius.deployment,
            "since_us": _millis(radius.since_s) * 1_000,
            "until_us": _millis(radius.until_s) * 1_000,
            "principals": list(radius.principals),
            "anyone": not radius.principals,
        },
    )
    busiest = tuple(each for each in row["busiest"] if each is not None)
    return Extent(**{**row, "busiest": busiest})


def _case(row: dict[str, Any]) -> Iterable[Case]:
    for incident in _read([row]):
        shut = incident.state == OPEN and row["shut_s"] > row["stored_s"]
        yield Case(
            incident=incident,
            state="closed by hand" if shut else incident.state,
            verdict=row["verdict"] or None,
            note=row["note"] or None,
            assignee=row["assignee"] or None,
        )


def _read(rows: Iterable[dict[str, Any]]) -> list[Incident]:
    """The incidents in `rows`; one that a newer version wrote and this one cannot read is left out and logged."""
    found = []
    for row in rows:
        try:
            found.append(msgspec.json.decode(row["body"], type=Incident))
        except msgspec.MsgspecError as error:
            _log.warning("an incident in the store is not of this version of inferwatch: %s", error)
    return found


def _millis(seconds: float) -> int:
    return max(int(seconds * 1_000), 0)
