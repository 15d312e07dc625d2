# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""One case: what happened since when, why, whom it touched, and what to do."""

from __future__ import annotations

from dashboards.queries import MINUTES_S, Query, chosen, milliseconds, minutes, shown, value

_IT = chosen("incident_id", "incident")
_ONE = f"(SELECT deployment, scope, subject, onset, last, body FROM incidents_latest WHERE {_IT} LIMIT 1)"
_DEPLOYMENT = f"(SELECT any(deployment) FROM incidents_latest WHERE {_IT})"
_ONSET = f"(SELECT any(onset) FROM incidents_latest WHERE {_IT})"
_LAST = f"(SELECT any(incidents_latest.last) FROM incidents_latest WHERE {_IT})"

INCIDENTS = Query("""\
SELECT incident_id FROM incidents_latest WHERE state != 'merged' ORDER BY last DESC, incident_id LIMIT 500""")

SEVERITY = Query(f"SELECT toFloat64(toInt8(severity)) AS severity FROM incidents_latest WHERE {_IT}")
STATE = Query(f"SELECT toFloat64(toInt8(state)) AS state FROM incidents_latest WHERE {_IT}")
ONSET = Query(f"SELECT {milliseconds('onset')} AS since FROM incidents_latest WHERE {_IT}")
LAST_AGE = Query(f"""\
SELECT dateDiff('second', incidents_latest.last, now64(6, 'UTC')) AS age_s FROM incidents_latest WHERE {_IT}""")
FINDINGS_COUNTED = Query(f"""\
SELECT findings, toFloat64(JSONExtractUInt(body, 'independent')) AS independent_detectors
FROM incidents_latest WHERE {_IT}""")
BEST_SHARE = Query(f"""\
SELECT nullIf(JSONExtractFloat(body, 'causes', 1, 'share'), 0) AS share FROM incidents_latest WHERE {_IT}""")

TOUCHED = Query(f"""\
SELECT nullIf(sum(calls), 0) AS calls, nullIf(uniqExact(principal), 0) AS callers
FROM callers
WHERE deployment = {_DEPLOYMENT} AND hour >= toStartOfHour({_ONSET}) AND hour <= {_LAST}""")


def _step(order: int, what: str, path: str) -> str:
    keys = ", ".join(f"'{key}'" for key in path.split("."))
    return (
        f"SELECT {order} AS place, '{what}' AS what, arrayJoin(JSONExtract(body, {keys}, 'Array(String)')) AS said "
        f"FROM {_ONE}"
    )


_ACTION = """concat(JSONExtractString(act, 'kind'), ' ', JSONExtractString(act, 'target'),
  if(JSONExtractString(act, 'component') = '', '', concat(', ', JSONExtractString(act, 'component'), ' to ',
  JSONExtractString(act, 'version'))), ': ', JSONExtractString(act, 'because'))"""

TO_DO = Query(f"""\
SELECT what, {shown("said", 1_000)} AS text
FROM
(
  SELECT 1 AS place, 'what happened' AS what, summary AS said FROM incidents_latest WHERE {_IT}
  UNION ALL
  SELECT 2 AS place, 'likeliest cause' AS what, JSONExtractString(body, 'causes', 1, 'title') AS said FROM {_ONE}
  UNION ALL
  {_step(3, "to do first", "plan.roll_back")}
  UNION ALL
  {_step(4, "to look at", "plan.checks")}
  UNION ALL
  SELECT 5 AS place, 'proposed, not carried out' AS what, {_ACTION} AS said
  FROM {_ONE} ARRAY JOIN JSONExtractArrayRaw(body, 'plan', 'actions') AS act
  UNION ALL
  {_step(6, "to tell", "plan.notify")}
  UNION ALL
  SELECT 7 AS place, 'last known good' AS what, concat(JSONExtractString(good, 'component'), ' ',
    JSONExtractString(good, 'version'), ' until ',
    toString(toDateTime(toUInt32(JSONExtractFloat(good, 'until_s')), 'UTC'))) AS said
  FROM {_ONE} ARRAY JOIN JSONExtractArrayRaw(body, 'plan', 'last_good') AS good
)
WHERE said != '' ORDER BY place, text LIMIT 60""")

CAUSES = Query(f"""\
SELECT place AS rank, {shown("JSONExtractString(each, 'title')", 200)} AS cause,
  JSONExtractFloat(each, 'share') AS share_of_the_evidence,
  {shown("arrayStringConcat(JSONExtract(each, 'supports', 'Array(String)'), '; ')", 600)} AS speaks_for_it,
  {shown("arrayStringConcat(JSONExtract(each, 'contradicts', 'Array(String)'), '; ')", 600)} AS speaks_against_it
FROM {_ONE}
ARRAY JOIN JSONExtractArrayRaw(body, 'causes') AS each, arrayEnumerate(JSONExtractArrayRaw(body, 'causes')) AS place
ORDER BY rank LIMIT 20""")

_FACTS = """arrayStringConcat(arrayMap(fact -> concat(JSONExtractString(fact, 'name'), ': ',
    trimBoth(JSONExtractRaw(fact, 'observed')), if(JSONExtractRaw(fact, 'expected') IN ('', 'null'), '',
    concat(' (usual: ', JSONExtractRaw(fact, 'expected'), ')')), ' ', JSONExtractString(fact, 'unit')),
    JSONExtractArrayRaw(each, 'evidence')), '; ')"""

EVIDENCE = Query(f"""\
SELECT toDateTime(toUInt32(JSONExtractFloat(each, 'time_s')), 'UTC') AS time,
  JSONExtractString(each, 'severity') AS severity, JSONExtractString(each, 'detector') AS detector,
  {shown("JSONExtractString(each, 'subject')", 80)} AS about,
  {shown("JSONExtractString(each, 'summary')", 400)} AS what, {shown(_FACTS, 1_000)} AS evidence,
  toDateTime(toUInt32(JSONExtractFloat(each, 'onset_s')), 'UTC') AS onset,
  JSONExtractString(each, 'finding_id') AS finding_id
FROM {_ONE} ARRAY JOIN JSONExtractArrayRaw(body, 'cited') AS each
ORDER BY time DESC LIMIT 100""")

TIMELINE = minutes(f"""\
SELECT $__timeInterval(time) AS t, detector, count() AS findings
FROM findings_latest
WHERE $__timeFilter(time) AND deployment = {_DEPLOYMENT}
  AND time >= {_ONSET} - toIntervalDay(1) AND time <= {_LAST}
GROUP BY t, detector ORDER BY t, detector""")

SERVICE = minutes(f"""\
SELECT $__timeInterval(minute) AS t, sum(calls) / {MINUTES_S} AS calls_s,
  sum(failed) / nullIf(sum(told_failed), 0) AS errors, sum(refused) / nullIf(sum(told_refused), 0) AS refusals
FROM traffic WHERE $__timeFilter(minute) AND deployment = {_DEPLOYMENT}
GROUP BY t ORDER BY t""")

RADIUS = Query(f"""\
SELECT principal, {_DEPLOYMENT} AS deployment, sum(calls) AS calls, sum(output_tokens) AS output_tokens,
  toDateTime64(min(callers.first), 3, 'UTC') AS first_call, toDateTime64(max(callers.last), 3, 'UTC') AS last_call,
  if(has((SELECT any(JSONExtract(body, 'plan', 'radius', 'principals', 'Array(String)')) FROM {_ONE}), principal),
    'named in it', 'called meanwhile') AS part
FROM callers
WHERE deployment = {_DEPLOYMENT} AND hour >= toStartOfHour({_ONSET}) AND hour <= {_LAST}
GROUP BY principal ORDER BY part DESC, calls DESC, principal LIMIT 50""")

RADIUS_QUERY = Query(f"""\
SELECT 'inferwatch incidents show' AS how, {value("incident")} AS text
UNION ALL
SELECT 'query of the calls that it touched' AS how,
  {shown("JSONExtractString(body, 'plan', 'radius', 'query')", 4_000)} AS text
FROM {_ONE}""")

VERDICTS = Query(f"""\
SELECT said_at AS at, verdict, {shown("said_by", 60)} AS by_whom, {shown("assignee", 60)} AS to_whom,
  {shown("note", 400)} AS said
FROM incident_verdicts FINAL WHERE {_IT} ORDER BY said_at DESC LIMIT 50""")

ALIKE = Query(f"""\
SELECT toString(severity) AS severity, toString(state) AS state, incident_id AS incident, cause, onset AS since, last,
  {shown("incidents_latest.summary", 300)} AS what
FROM incidents_latest
WHERE deployment = {_DEPLOYMENT} AND incident_id != {value("incident")} AND state != 'merged'
ORDER BY last DESC, incident_id LIMIT 20""")

MARKS = Query(f"""\
SELECT mark.2 AS time, mark.1 AS title, mark.1 AS text
FROM
(
  SELECT arrayJoin([('it began', onset), ('first finding', first), ('last finding', incidents_latest.last)]) AS mark
  FROM incidents_latest WHERE {_IT}
)
ORDER BY time""")
