# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""What the detectors cost and are worth: scores, the alarm budget, verdicts, warm-up."""

from __future__ import annotations

import itertools

from dashboards.queries import HEARD, Query, shown

_DAYS = "(dateDiff('second', $__fromTime, $__toTime) / 86400)"
_NEWEST = """\
  SELECT argMax(numbers, time) AS newest FROM worker_metrics
  WHERE time > now64(3, 'UTC') - toIntervalMinute(5) GROUP BY worker"""

_PROMISED = f"""\
promised AS
(
  SELECT 'deployment' AS scope, sumOrNull(newest['inferwatch_live_subjects{{scope=deployment}}']) AS live,
    max(newest['inferwatch_alarm_share{{scope=deployment}}']) AS share,
    max(arrayCount(name -> startsWith(name, 'inferwatch_warming_deployments'), mapKeys(newest))) AS detectors
  FROM ({_NEWEST})
  UNION ALL
  SELECT 'principal' AS scope, sumOrNull(newest['inferwatch_live_subjects{{scope=principal}}']) AS live,
    max(newest['inferwatch_alarm_share{{scope=principal}}']) AS share,
    max(arrayCount(name -> startsWith(name, 'inferwatch_warming_principals'), mapKeys(newest))) AS detectors
  FROM ({_NEWEST})
)"""

SPENT = Query(f"""\
WITH {_PROMISED}, {HEARD} AS heard
SELECT if(heard, toNullable(countIf(budget_share > 0) / {_DAYS}), NULL) AS findings_a_day,
  (SELECT sum(live * share * detectors) FROM promised) AS promised_a_day
FROM findings_latest WHERE $__timeFilter(time)""")

TROUBLE = Query(f"""\
WITH {HEARD} AS heard
SELECT if(heard, toNullable(countIf(detector = 'pipeline.detector_fault')), NULL) AS faults,
  if(heard, toNullable(countIf(detector = 'pipeline.cold_start')), NULL) AS cold_starts
FROM findings_latest WHERE $__timeFilter(time)""")


def _warming(subjects: str) -> str:
    named = f"(name, number) -> startsWith(name, 'inferwatch_warming_{subjects}')"
    return f"sumOrNull(arraySum(mapValues(mapFilter({named}, newest))))"


WARMING = Query(f"""\
SELECT {_warming("deployments")} AS deployment_detectors,
  {_warming("principals")} AS principal_detectors
FROM ({_NEWEST})""")

JUDGED = Query("""\
SELECT nullIf(countIf(said = 'true') + countIf(said = 'false') + countIf(said = 'benign'), 0) AS judged,
  countIf(said = 'true') / nullIf(countIf(said IN ('true', 'false')), 0) AS precision
FROM
(
  SELECT argMax(verdict, said_at) AS said FROM incident_verdicts
  WHERE verdict IN ('true', 'false', 'benign') AND $__timeFilter(said_at) GROUP BY incident_id
)""")

BUDGET = Query(f"""\
WITH {_PROMISED}
SELECT detector, scope, count() / {_DAYS} AS findings_a_day, any(promise) AS promised_a_day,
  findings_a_day / nullIf(promised_a_day, 0) AS times_the_promise, uniqExact(subject) AS subjects,
  max(time) AS last_finding
FROM
(
  SELECT detector, if(scope = 'cohort', 'deployment', scope) AS scope, subject, time
  FROM findings_latest WHERE $__timeFilter(time) AND budget_share > 0
) AS found
LEFT JOIN (SELECT scope AS which, live * share AS promise FROM promised) AS each ON each.which = found.scope
GROUP BY detector, scope ORDER BY times_the_promise DESC, findings_a_day DESC, detector LIMIT 60""")

FINDINGS_BY_DETECTOR = Query(
    """\
SELECT $__timeInterval(time) AS t, detector, count() AS findings
FROM findings_latest WHERE $__timeFilter(time)
GROUP BY t, detector ORDER BY t, findings DESC, detector LIMIT 12 BY t""",
    "timeseries",
    60,
)

_RATIO = "score / nullIf(threshold, 0)"
_EDGES = (1.1, 1.25, 1.5, 2, 3, 5, 10)


def _distribution() -> str:
    names = ["at most 1.1", *(f"{low:g} to {high:g}" for low, high in itertools.pairwise(_EDGES)), "over 10"]
    labels = ", ".join(f"'{name}'" for name in names)
    return f"[{labels}][1 + arrayCount(edge -> ratio > edge, [{', '.join(map(str, _EDGES))}])]"


SCORES = Query(f"""\
SELECT {_distribution()} AS times_the_threshold, countIf(severity = 'critical') AS critical,
  countIf(severity = 'high') AS high, countIf(severity = 'medium') AS medium, countIf(severity = 'low') AS low,
  countIf(severity = 'info') AS info
FROM (SELECT severity, {_RATIO} AS ratio FROM findings_latest WHERE $__timeFilter(time) AND isFinite({_RATIO}))
GROUP BY times_the_threshold ORDER BY min(ratio)""")

SCORES_BY_DETECTOR = Query(f"""\
SELECT detector, count() AS findings, min(ratio) AS least, quantile(0.5)(ratio) AS median, quantile(0.9)(ratio) AS p90,
  max(ratio) AS most
FROM (SELECT detector, {_RATIO} AS ratio FROM findings_latest WHERE $__timeFilter(time) AND isFinite({_RATIO}))
GROUP BY detector ORDER BY findings DESC, detector LIMIT 60""")

PRECISION = Query("""\
SELECT detector, confirmed, refuted, benign, precision, low AS at_least, high AS at_most
FROM detector_precision
ORDER BY precision, refuted DESC, detector LIMIT 60""")

QUIET = Query(f"""\
SELECT until, {shown("suppressions.deployment", 80)} AS for_deployment,
  {shown("suppressions.detector", 60)} AS for_detector, {shown("suppressions.subject", 80)} AS about, cause,
  toString(severity) AS up_to, {shown("reason", 300)} AS why, {shown("made_by", 60)} AS by_whom, suppression_id
FROM suppressions FINAL
WHERE until > now64(3, 'UTC') AND ended_at < toDateTime64('1971-01-01 00:00:00', 3, 'UTC')
ORDER BY until, suppression_id LIMIT 50""")

WARM_UP = Query(
    """\
SELECT t, extract(name, 'detector=([^,}]+)') AS detector, sum(subjects) AS warming
FROM
(
  SELECT $__timeInterval(time) AS t, worker, name, argMax(number, time) AS subjects
  FROM worker_metrics ARRAY JOIN mapKeys(numbers) AS name, mapValues(numbers) AS number
  WHERE $__timeFilter(time) AND startsWith(name, 'inferwatch_warming_deployments')
  GROUP BY t, worker, name
)
GROUP BY t, detector ORDER BY t, detector""",
    "timeseries",
    60,
)

UNJUDGED = Query(f"""\
SELECT toString(severity) AS severity, toString(state) AS state, deployment, incident_id AS incident, cause,
  onset AS since, {shown("incidents_latest.summary", 300)} AS what
FROM incidents_latest
WHERE $__timeFilter(last) AND state != 'merged'
  AND incident_id NOT IN (SELECT incident_id FROM incident_verdicts WHERE verdict IN ('true', 'false', 'benign'))
ORDER BY incidents_latest.severity DESC, last DESC, incident_id LIMIT 30""")
