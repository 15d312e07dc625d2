# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""What is marked on graphs beyond our own: incidents, approved changes of components and baselines."""

from __future__ import annotations

TABLES = """\
SELECT name FROM system.tables
WHERE database = currentDatabase() AND name IN ('incidents_latest', 'changes_latest', 'baselines_latest')"""
"""Which of the views below there are: a database that is not migrated yet has fewer."""

_SINCE = "stored_at >= toDateTime64({since_s}, 3, 'UTC')"

INCIDENTS = f"""\
SELECT 'incident' AS kind, incident_id AS id, deployment, toUnixTimestamp64Milli(onset) AS from_ms,
  if(state = 'merged', 0, toUnixTimestamp64Milli(incidents_latest.last)) AS until_ms, toString(severity) AS severity,
  incidents_latest.summary AS what
FROM incidents_latest WHERE {_SINCE} ORDER BY incidents_latest.stored_at, incident_id"""
"""An incident that went into another one has no end, and its mark goes."""

CHANGES = f"""\
SELECT 'change' AS kind, change_id AS id, deployment,
  toUnixTimestamp64Milli(ifNull(changes_latest.holds_from, decided)) AS from_ms, from_ms AS until_ms, '' AS severity,
  concat(if(component = '', 'all of it', component), ' may be ', changes_latest.new, ', says ', who, ' ', ticket)
    AS what
FROM changes_latest WHERE state = 'approved' AND {_SINCE} ORDER BY changes_latest.stored_at, change_id"""

BASELINES = f"""\
SELECT 'baseline' AS kind, name AS id, deployment, toUnixTimestamp64Milli(assumeNotNull(approved)) AS from_ms,
  from_ms AS until_ms, '' AS severity, concat(name, ' is what it is compared with, says ', who) AS what
FROM baselines_latest WHERE approved IS NOT NULL AND {_SINCE} ORDER BY baselines_latest.stored_at, name"""

OF_VIEWS = {"incidents_latest": INCIDENTS, "changes_latest": CHANGES, "baselines_latest": BASELINES}
