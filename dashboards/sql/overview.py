# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""Is anything wrong now, where, since when, what do I do; and would we see it."""

from __future__ import annotations

from dashboards.queries import (
    ARRIVALS_S,
    BUCKET_S,
    FINDING,
    HEARD,
    HOURS,
    INCIDENT,
    SEVERITIES,
    Query,
    by_severity,
    milliseconds,
    minutes,
    shown,
)

OPEN_BY_SEVERITY = Query(f"""\
WITH {HEARD} AS heard
SELECT
  {by_severity("state = 'open' AND ", "heard")}
FROM incidents_latest""")

URGENT_SINCE = Query(f"""\
WITH {HEARD} AS heard, minOrNullIf(onset, state = 'open' AND severity >= 'high') AS earliest
SELECT if(heard, ifNull({milliseconds("earliest")}, 0), NULL) AS since
FROM incidents_latest""")

LAST_EVENT_AGE = Query("""\
SELECT dateDiff('second', maxOrNull(last), now64(3, 'UTC')) AS age_s
FROM arrivals WHERE bucket > now() - toIntervalDay(7)""")

LAG = Query("""\
SELECT sumOrNull(records) AS behind
FROM
(
  SELECT argMax(arraySum(mapValues(mapFilter((name, number) -> startsWith(name, 'inferwatch_lag_records'), numbers))),
    time) AS records
  FROM worker_metrics WHERE time > now64(3, 'UTC') - toIntervalMinute(2) GROUP BY worker
)""")

WATCHED = Query("""\
SELECT countIf(heard > now64(3, 'UTC') - toIntervalMinute(15)) / nullIf(count(), 0) AS heard_lately
FROM
(
  SELECT deployment, max(last) AS heard FROM arrivals
  WHERE bucket > now() - toIntervalDay(7) GROUP BY deployment
)""")

DEAD_LETTERS = Query("""\
WITH (SELECT sum(events) FROM arrivals WHERE $__timeFilter(bucket)) AS heard
SELECT if(heard = 0 AND count() = 0, NULL, toNullable(count())) AS dead_letters
FROM dead_letters_latest WHERE $__timeFilter(record_time)""")

OPEN_INCIDENTS = Query(f"""\
SELECT {INCIDENT}
FROM incidents_latest WHERE state = 'open'
ORDER BY incidents_latest.severity DESC, last DESC, incident_id LIMIT 50""")

FINDINGS_OVER_TIME = minutes(f"""\
SELECT t, {", ".join(f"sum(n_{name}) AS {name}" for name in SEVERITIES)}
FROM
(
  SELECT $__timeInterval(time) AS t, {", ".join(f"countIf(severity = '{name}') AS n_{name}" for name in SEVERITIES)}
  FROM findings_latest WHERE $__timeFilter(time) GROUP BY t
  UNION ALL
  SELECT $__timeInterval(minute) AS t, {", ".join("0" for _ in SEVERITIES)}
  FROM traffic WHERE $__timeFilter(minute) GROUP BY t
)
GROUP BY t ORDER BY t""")

_SPAN = "dateDiff('second', $__fromTime, $__toTime)"
_TWO_SPANS = "{time} >= $__fromTime - " + _SPAN + " AND {time} <= $__toTime"


def _compared(what: str, number: str, source: str, time: str) -> str:
    return f"""\
  SELECT '{what}' AS what, {number.format(when=f"{time} >= $__fromTime")} AS now_,
    {number.format(when=f"{time} < $__fromTime")} AS before_
  FROM {source} WHERE {_TWO_SPANS.format(time=time)}"""


CHANGE = Query(f"""\
SELECT what, now_ AS in_this_range, before_ AS in_the_one_before, (now_ - before_) / nullIf(before_, 0) AS change
FROM
(
{
    '''
  UNION ALL
'''.join(
        (
            _compared("calls", "sumIf(calls, {when})", "traffic", "minute"),
            _compared("calls that failed", "sumIf(failed, {when})", "traffic", "minute"),
            _compared("answers that refuse", "sumIf(refused, {when})", "traffic", "minute"),
            _compared("deployments heard", "uniqExactIf(deployment, {when})", "traffic", "minute"),
            _compared("findings", "countIf({when})", "findings_latest", "findings_latest.time"),
            _compared("high or critical findings", "countIf({when} AND severity >= 'high')", "findings_latest", "time"),
            _compared("incidents that began", "countIf({when})", "incidents_latest", "incidents_latest.first"),
            _compared("dead letters", "countIf({when})", "dead_letters_latest", "record_time"),
        )
    )
}
)
ORDER BY what""")

TOP_DEPLOYMENTS = Query("""\
SELECT deployment, if(max(worst) = '', 'none', max(worst)) AS severity, sum(n_findings) AS findings,
  sum(n_events) AS calls, max(last_heard) AS last_call
FROM
(
  SELECT deployment, toString(max(severity)) AS worst, count() AS n_findings, 0 AS n_events, NULL AS last_heard
  FROM findings_latest WHERE $__timeFilter(time) GROUP BY deployment
  UNION ALL
  SELECT deployment, '' AS worst, 0 AS n_findings, sum(calls) AS n_events, toNullable(max(minute)) AS last_heard
  FROM traffic WHERE $__timeFilter(minute) GROUP BY deployment
)
GROUP BY deployment ORDER BY findings DESC, calls DESC, deployment LIMIT 20""")

TOP_PRINCIPALS = Query(f"""\
SELECT principal, deployment, toString(max(severity)) AS worst, count() AS findings, any(made) AS calls,
  {shown("arrayStringConcat(arraySort(groupUniqArray(detector)), ', ')", 200)} AS detectors, max(time) AS last_finding
FROM findings_latest
LEFT JOIN
(
  SELECT deployment, principal, sum(calls) AS made FROM callers WHERE {HOURS} GROUP BY deployment, principal
) AS caller ON caller.deployment = findings_latest.deployment AND caller.principal = findings_latest.principal
WHERE $__timeFilter(time) AND principal IS NOT NULL
GROUP BY principal, deployment ORDER BY max(severity) DESC, findings DESC, principal LIMIT 20""")

TOP_COHORTS = Query(f"""\
SELECT subject AS cohort, deployment, toString(max(severity)) AS worst, count() AS findings,
  argMax({shown("findings_latest.summary", 300)}, time) AS what, min(onset) AS since, max(time) AS last_finding
FROM findings_latest WHERE $__timeFilter(time) AND scope = 'cohort'
GROUP BY cohort, deployment ORDER BY max(severity) DESC, findings DESC, cohort LIMIT 20""")

LATEST_FINDINGS = Query(f"""\
SELECT {FINDING}
FROM findings_latest WHERE $__timeFilter(time)
ORDER BY time DESC, finding_id LIMIT 100""")

EVENTS_OVER_TIME = Query(
    f"""\
WITH busiest AS
(
  SELECT deployment FROM arrivals WHERE $__timeFilter(bucket)
  GROUP BY deployment ORDER BY sum(events) DESC, deployment LIMIT 10
)
SELECT $__timeInterval(bucket) AS t,
  if(deployment IN (SELECT deployment FROM busiest), {shown("deployment", 80)}, 'all others') AS name,
  sum(events) / {BUCKET_S} AS events_s
FROM arrivals WHERE $__timeFilter(bucket)
GROUP BY t, name ORDER BY t, name""",
    "timeseries",
    ARRIVALS_S,
)

DEAD_LETTERS_OVER_TIME = minutes("""\
SELECT t, sum(dead) AS dead_letters
FROM
(
  SELECT $__timeInterval(record_time) AS t, count() AS dead
  FROM dead_letters_latest WHERE $__timeFilter(record_time) GROUP BY t
  UNION ALL
  SELECT $__timeInterval(bucket) AS t, 0 AS dead
  FROM arrivals WHERE $__timeFilter(bucket) GROUP BY t
)
GROUP BY t ORDER BY t""")

QUIET_OR_BLIND = Query("""\
SELECT deployment, source, dateDiff('second', max(last), now64(3, 'UTC')) AS last_event_age_s,
  sumIf(events, bucket > now() - toIntervalHour(1)) AS events_last_hour, sum(events) AS events_7_days,
  sum(with_principal) / events_7_days AS principal, sum(with_prompt_hash) / events_7_days AS prompt,
  sum(with_style) / events_7_days AS output, sum(with_latency_s) / events_7_days AS latency,
  sum(with_output_tokens) / events_7_days AS tokens, sum(with_failed) / events_7_days AS outcome,
  sum(with_components) / events_7_days AS components
FROM arrivals WHERE bucket > now() - toIntervalDay(7)
GROUP BY deployment, source ORDER BY last_event_age_s DESC, deployment, source LIMIT 50""")

DEAD_REASONS = Query(f"""\
SELECT {shown("reason", 200)} AS why, {shown("content_type", 80)} AS content, count() AS records,
  max(record_time) AS last_seen, {shown("argMax(head, record_time)", 200)} AS example
FROM dead_letters_latest WHERE $__timeFilter(record_time)
GROUP BY reason, content_type ORDER BY records DESC, reason LIMIT 20""")
