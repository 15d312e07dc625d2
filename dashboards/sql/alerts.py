"""For the alert rules: no macro and no variable, so that what runs in a browser and in the ruler is one text."""

from __future__ import annotations

from dashboards.queries import Query

URGENT_INCIDENTS = Query("""\
SELECT incident_id AS incident, deployment, toString(severity) AS level, cause, findings
FROM incidents_latest
WHERE state = 'open' AND severity >= 'high' AND stored_at > now64(3, 'UTC') - toIntervalDay(1)
ORDER BY incidents_latest.severity DESC, last DESC, incident LIMIT 100""")
"""One row an open incident; it is gone when the incident is closed, or has been still for a day."""

FINDING_RATE = Query("""\
SELECT deployment, lately
FROM
(
  SELECT deployment, countIf(stored_at > now64(3, 'UTC') - toIntervalMinute(10)) AS lately,
    (count() - lately) / 143 AS usual
  FROM findings_latest WHERE stored_at > now64(3, 'UTC') - toIntervalDay(1)
  GROUP BY deployment
)
WHERE lately >= 20 AND lately > 6 * usual
ORDER BY lately DESC, deployment LIMIT 100""")
"""Twenty findings in ten minutes, and more than six times as many as in ten minutes of the day before."""

BLIND = Query("""\
SELECT deployment, toString(severity) AS level, cause, findings
FROM
(
  SELECT deployment, max(severity) AS severity, argMax(cause, last) AS cause, sum(findings) AS findings
  FROM incidents_latest
  WHERE state = 'open' AND component = 'monitoring' AND stored_at > now64(3, 'UTC') - toIntervalDay(1)
  GROUP BY deployment
)
ORDER BY deployment LIMIT 100""")
"""Incidents about the watching itself: a silent source, one that delivers less, a detector that broke or began anew."""

STALLED = Query("""\
SELECT part, toFloat64(stalled_s) AS stalled_s
FROM
(
  SELECT 'no worker reports' AS part, dateDiff('second', max(time), now64(3, 'UTC')) AS stalled_s
  FROM worker_metrics
  UNION ALL
  SELECT 'records wait and none is stored' AS part, if(least_behind > 0 AND stored = 0, 600, 0) AS stalled_s
  FROM
  (
    SELECT min(behind) AS least_behind, max(events) - min(events) AS stored
    FROM
    (
      SELECT toStartOfMinute(time) AS minute, sum(each_behind) AS behind, sum(each_events) AS events
      FROM
      (
        SELECT time, arraySum(mapValues(mapFilter((name, number) -> startsWith(name, 'inferwatch_lag_records'),
          numbers))) AS each_behind, numbers['inferwatch_events_total'] AS each_events
        FROM worker_metrics WHERE time > now64(3, 'UTC') - toIntervalMinute(10)
        ORDER BY time DESC LIMIT 1 BY toStartOfMinute(time), worker
      )
      GROUP BY minute
    )
  )
)
ORDER BY part""")
"""Seconds since any worker wrote its numbers; and whether all that waited ten minutes ago still does."""

DEAD_LETTERS = Query("""\
SELECT topic, dead
FROM
(
  SELECT topic, countIf(record_time > now64(3, 'UTC') - toIntervalMinute(10)) AS dead, (count() - dead) / 143 AS usual
  FROM dead_letters_latest WHERE record_time > now64(3, 'UTC') - toIntervalDay(1)
  GROUP BY topic
)
WHERE dead >= 10 AND dead > 3 * usual
ORDER BY topic LIMIT 100""")
"""Ten in ten minutes, and more than three times as many as in ten minutes of the day before."""

DISK = Query("""\
SELECT name AS disk, free_space / total_space AS free
FROM system.disks WHERE total_space > 0
ORDER BY disk""")
