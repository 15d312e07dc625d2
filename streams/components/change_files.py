"""Decided changes and reports in the store: as people list them, and as the detectors were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from detectors.types import APPROVED, Observation
from streams.clickhouse import Store
from streams.components.provenance import Change, ComponentReport, Noted

_LIST = """
SELECT change_id, deployment, component, state, new, old, who, ticket, reason, toFloat64(holds_from) AS from_s,
       toFloat64(holds_until) AS until_s, toFloat64(decided) AS decided_s
FROM changes_latest
WHERE (deployment = {deployment:String} OR {deployment:String} = '')
  AND decided >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
ORDER BY decided DESC, change_id LIMIT {limit:UInt32}
"""
# Not mapKeys: the server reads that from a part of the column, which a user with a grant for the column may not.
_SERVED = """
SELECT deployment, served.1 AS component, served.2 AS version, toFloat64(min(time)) AS first_s,
       toFloat64(max(time)) AS last_s
FROM inference_events
ARRAY JOIN arrayConcat(
    CAST(components, 'Array(Tuple(String, String))'), [('served_model', ifNull(toString(served_model), ''))]) AS served
WHERE deployment IN {deployments:Array(String)} AND has({versions:Array(String)}, version)
GROUP BY deployment, component, version
"""


_TOLD_CHANGES = """
SELECT deployment, component, new, old, state, who, ticket, reason, toFloat64(holds_from) AS from_s,
       toFloat64(holds_until) AS until_s, event_id, toFloat64(decided) AS said_s
FROM changes_kept
WHERE (deployment = {deployment:String} OR {deployment:String} = '')
  AND decided < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
"""
_TOLD_REPORTS = """
SELECT deployment, subject, source, digest, components, risks, tools, abilities, event_id,
       toFloat64(attested) AS said_s
FROM component_reports_kept
WHERE (deployment = {deployment:String} OR {deployment:String} = '')
  AND attested < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
"""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A change as it was decided last, and when calls were served by it, as far as events are stored (unix seconds)."""

    change_id: str
    deployment: str
    component: str
    state: str
    new: str
    old: str | None
    who: str
    ticket: str
    reason: str
    from_s: float | None
    until_s: float | None
    decided_s: float
    first_served_s: float | None = None
    last_served_s: float | None = None

    def standing(self, now_s: float) -> str:
        """What holds of it at `now_s`."""
        if self.state != APPROVED:
            return self.state
        if self.from_s is not None and now_s < self.from_s:
            return "approved, not yet"
        if self.until_s is not None and now_s > self.until_s:
            return "approved, over"
        return self.state


def decided(store: Store, deployment: str, since_s: float, limit: int) -> list[Decided]:
    """The latest decisions since `since_s`, the newest last; "" is any deployment. Raises `StoreError`."""
    rows = store.query(_LIST, {"deployment": deployment, "since_ms": max(int(since_s * 1_000), 0), "limit": limit})
    served = _served(store, rows)
    return [
        Decided(**row, first_served_s=first_s, last_served_s=last_s)
        for row in reversed(rows)
        for first_s, last_s in [served.get((row["deployment"], row["component"], row["new"]), (None, None))]
    ]


def told(store: Store, deployment: str, until_ms: int) -> list[Observation]:
    """What detectors were told until then (unix milliseconds), in order of time. Raises `StoreError`.

    Of a change that was decided more than once only the last decision is stored.
    """
    asked = {"deployment": deployment, "until_ms": until_ms}
    noted = [_noted(row, Change) for row in store.query(_TOLD_CHANGES, asked)]
    noted += [
        _noted({**row, "tools": msgspec.json.decode(row["tools"])}, ComponentReport)
        for row in store.query(_TOLD_REPORTS, asked)
    ]
    return [each.observation for each in sorted(noted, key=lambda each: (each.time_s, each.event_id))]


def _noted(row: dict[str, Any], kind: type[Change | ComponentReport]) -> Noted:
    event_id, said_s = row.pop("event_id"), row.pop("said_s")
    return Noted(said=msgspec.convert(row, kind), event_id=event_id, time_s=said_s)


def _served(
    store: Store, rows: Sequence[dict[str, Any]]
) -> dict[tuple[str, str, str], tuple[float | None, float | None]]:
    if not rows:
        return {}
    asked = {
        "deployments": sorted({row["deployment"] for row in rows}),
        "versions": sorted({row["new"] for row in rows if row["new"]}),
    }
    return {
        (row["deployment"], row["component"], row["version"]): (row["first_s"], row["last_s"])
        for row in store.query(_SERVED, asked)
    }
