# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""What one deployment does, against what it did at first."""

from __future__ import annotations

import itertools
import math

from dashboards.queries import (
    BASELINE_EVENTS,
    DEPLOYMENT,
    DEPLOYMENT_HEARD,
    FINDING,
    HOURS,
    INCIDENT,
    MINUTES_S,
    Query,
    by_severity,
    milliseconds,
    minutes,
    of_texts,
    percentiles,
    series,
    shown,
)
from detectors.features import STYLE
from detectors.types import Components

DEPLOYMENTS = Query("""\
SELECT deployment FROM traffic WHERE $__timeFilter(minute)
GROUP BY deployment ORDER BY deployment LIMIT 1000""")

OPEN_BY_SEVERITY = Query(f"""\
WITH {DEPLOYMENT_HEARD} AS heard
SELECT
  {by_severity("state = 'open' AND ", "heard")}
FROM incidents_latest WHERE {DEPLOYMENT}""")

URGENT_SINCE = Query(f"""\
WITH {DEPLOYMENT_HEARD} AS heard, minOrNullIf(onset, state = 'open' AND severity >= 'high') AS earliest
SELECT if(heard, ifNull({milliseconds("earliest")}, 0), NULL) AS since
FROM incidents_latest WHERE {DEPLOYMENT}""")

LAST_EVENT_AGE = Query(f"""\
SELECT dateDiff('second', maxOrNull(last), now64(3, 'UTC')) AS age_s
FROM arrivals WHERE bucket > now() - toIntervalDay(7) AND {DEPLOYMENT}""")

CALLS = Query(f"""\
WITH (SELECT uniqExact(principal) FROM callers WHERE {HOURS} AND {DEPLOYMENT}) AS principals
SELECT nullIf(sum(calls), 0) AS calls, nullIf(principals, 0) AS callers
FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}""")

FAILED = Query(f"""\
SELECT sum(failed) / nullIf(sum(told_failed), 0) AS errors
FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}""")

INCIDENTS = Query(f"""\
SELECT {INCIDENT}
FROM incidents_latest
WHERE {DEPLOYMENT} AND state != 'merged' AND (state = 'open' OR $__timeFilter(last))
ORDER BY incidents_latest.state, incidents_latest.severity DESC, last DESC, incident_id LIMIT 50""")

TRAFFIC = minutes(f"""\
SELECT $__timeInterval(minute) AS t, sum(calls) / {MINUTES_S} AS calls_s
FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}
GROUP BY t ORDER BY t""")

OUTCOMES = minutes(f"""\
SELECT $__timeInterval(minute) AS t, sum(failed) / nullIf(sum(told_failed), 0) AS errors,
  sum(refused) / nullIf(sum(told_refused), 0) AS refusals
FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}
GROUP BY t ORDER BY t""")

ERRORS_BY_TYPE = series(f"""\
SELECT $__timeInterval(time) AS t,
  {shown("coalesce(error_type, 'HTTP ' || toString(http_status), 'not said')", 60)} AS kind, count() AS calls
FROM inference_events WHERE $__timeFilter(time) AND {DEPLOYMENT} AND failed
GROUP BY t, kind ORDER BY t, calls DESC, kind LIMIT 10 BY t""")


def _percentiles(column: str) -> Query:
    return minutes(f"""\
SELECT t, p50, p95, p99
FROM
(
{percentiles(column, {"t": "$__timeInterval(minute)"}, f"$__timeFilter(minute) AND {DEPLOYMENT}")}
)
ORDER BY t""")


LATENCY = _percentiles("latency")
TTFT = _percentiles("ttft")

_EDGES_S = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
_FROM_MINUTES = 16
"""Buckets of `traffic` in one that is drawn."""


def _buckets() -> str:
    """How many calls took at most so long, and longer than the bucket below."""
    places = [round(_FROM_MINUTES * math.log2(edge)) for edge in _EDGES_S]
    columns = [f'sumIf(counted, edge <= {places[0]}) AS "{_EDGES_S[0]}"']
    columns += [
        f'sumIf(counted, edge > {low} AND edge <= {high}) AS "{edge}"'
        for (low, high), edge in zip(itertools.pairwise(places), _EDGES_S[1:], strict=True)
    ]
    return ",\n  ".join([*columns, f'sumIf(counted, edge > {places[-1]}) AS "512"'])


LATENCY_SPREAD = minutes(f"""\
SELECT $__timeInterval(minute) AS t,
  {_buckets()}
FROM traffic ARRAY JOIN mapKeys(latency) AS edge, mapValues(latency) AS counted
WHERE $__timeFilter(minute) AND {DEPLOYMENT}
GROUP BY t ORDER BY t""")

FIRST_CALLS = 2_000
"""Calls that the expectation of a latency is learned from, by model."""

LATENCY_CONDITIONED = series(f"""\
WITH
(
  SELECT mapFromArrays(groupArray(asked), groupArray((line.1, line.2, greatest(least_s, 0.001))))
  FROM
  (
    SELECT asked, simpleLinearRegression(toFloat64(tokens), seconds) AS line, quantileExact(0.05)(seconds) AS least_s
    FROM
    (
      SELECT ifNull(model, '') AS asked, assumeNotNull(output_tokens) AS tokens, assumeNotNull(latency_s) AS seconds
      FROM inference_events
      WHERE {DEPLOYMENT} AND latency_s > 0 AND output_tokens IS NOT NULL
      ORDER BY toStartOfHour(inference_events.time), inference_events.time LIMIT {FIRST_CALLS}
    )
    GROUP BY asked HAVING count() >= 50
  )
) AS lines
SELECT t, quantile(0.5)(ratio) AS p50, quantile(0.95)(ratio) AS p95
FROM
(
  SELECT $__timeInterval(time) AS t, lines[toString(ifNull(model, ''))] AS line,
    assumeNotNull(latency_s) / greatest(line.1 * assumeNotNull(output_tokens) + line.2, line.3) AS ratio
  FROM inference_events
  WHERE $__timeFilter(time) AND {DEPLOYMENT} AND latency_s > 0 AND output_tokens IS NOT NULL AND line.3 > 0
)
GROUP BY t ORDER BY t""")

TOKENS = minutes(f"""\
SELECT $__timeInterval(minute) AS t, sum(input_tokens) / {MINUTES_S} AS input,
  sum(output_tokens) / {MINUTES_S} AS output
FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}
GROUP BY t HAVING sum(told_tokens) > 0 ORDER BY t""")

_BASELINE = f"""\
baseline AS
(
  SELECT avgForEach(style) AS mean, stddevPopForEach(style) AS deviation
  FROM
  (
    SELECT style FROM inference_events WHERE {DEPLOYMENT} AND notEmpty(style)
    ORDER BY toStartOfHour(inference_events.time), inference_events.time LIMIT {BASELINE_EVENTS}
  )
)"""

_BY_BUCKET = f"""\
  SELECT $__timeInterval(minute) AS t, sum(told_style) AS answers, sumForEachMerge(traffic.style) AS total
  FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT} GROUP BY t HAVING answers > 0"""

STYLE_FEATURES = ("log_chars", "word_length", "punctuation", "markup", "entropy", "repetition")
"""The features drawn: together they see length, vocabulary, layout and loops."""


def _shift(feature: str) -> str:
    index = STYLE.index(feature) + 1
    return f"(total[{index}] / answers - mean[{index}]) / nullIf(deviation[{index}], 0) AS {feature}"


STYLE_SHIFT = minutes(f"""\
WITH {_BASELINE}
SELECT t, {", ".join(_shift(feature) for feature in STYLE_FEATURES)}
FROM
(
{_BY_BUCKET}
) AS buckets CROSS JOIN baseline
ORDER BY t""")

_LENGTH = STYLE.index("log_chars") + 1

OUTPUT_LENGTH = minutes(f"""\
WITH {_BASELINE}
SELECT t, exp(total[{_LENGTH}] / answers) - 1 AS typical, exp(mean[{_LENGTH}]) - 1 AS at_first
FROM
(
{_BY_BUCKET}
) AS buckets CROSS JOIN baseline
ORDER BY t""")

_COMPONENTS = Components.__struct_fields__
_SERVED = "coalesce(nullIf(served_model, ''), nullIf(model, ''))"


def _short(version: str) -> str:
    """A version that fits into a bar; one that is cut gets a hash, so that two are never taken for one."""
    cut = f"concat({shown(version, 15)}, ' #', lower(hex(sipHash64({version}) % 16777216)))"
    return f"multiIf({version} = '', NULL, lengthUTF8({version}) > 24, {cut}, {shown(version, 24)})"


def _lines() -> str:
    kept = (f"{_short(f'components[{name!r}]')} AS {name}" for name in _COMPONENTS)
    return ",\n  ".join((f"nullIf({shown('who', 60)}, '') AS served_model", *kept))


COMPONENTS = Query(
    f"""\
SELECT t,
  {_lines()}
FROM
(
  SELECT t, argMax(served, n) AS who, argMax(used, n) AS components
  FROM
  (
    SELECT $__timeInterval(minute) AS t, {_SERVED} AS served, build, any(traffic.components) AS used, sum(calls) AS n
    FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT} GROUP BY t, served, build
  )
  GROUP BY t
)
ORDER BY t""",
    least_s=60,
)

VERSIONS = Query(f"""\
SELECT component, {shown("version_", 120)} AS version, min(minute) AS first_seen, max(minute) AS last_seen,
  sum(calls) AS calls
FROM
(
  SELECT minute, calls, pair.1 AS component, pair.2 AS version_
  FROM traffic
  ARRAY JOIN arrayPushBack(CAST(traffic.components, 'Array(Tuple(String, String))'),
    ('served_model', ifNull({_SERVED}, ''))) AS pair
  WHERE minute > $__fromTime - toIntervalDay(7) AND minute <= $__toTime AND {DEPLOYMENT}
)
WHERE version_ != ''
GROUP BY component, version_ ORDER BY first_seen DESC, component, version LIMIT 100""")

CANARIES = of_texts(
    f"""\
WITH asked AS
(
  SELECT time, prompt_hash, substringUTF8(ifNull(output, ''), 1, 2000) AS answer
  FROM inference_events
  WHERE {DEPLOYMENT} AND operation = 'canary' AND notEmpty(output) AND prompt_hash IS NOT NULL
    AND time > $__fromTime - toIntervalDay(30) AND time <= $__toTime
),
first_answers AS
(
  SELECT prompt_hash, argMin(answer, time) AS stored, min(time) AS asked_first FROM asked GROUP BY prompt_hash
)
SELECT $__timeInterval(time) AS t, avg(stringJaccardIndexUTF8(answer, stored)) AS similarity,
  min(stringJaccardIndexUTF8(answer, stored)) AS least_similar
FROM asked INNER JOIN first_answers USING (prompt_hash)
WHERE $__timeFilter(time) AND time > asked_first
GROUP BY t ORDER BY t""",
    "timeseries",
)

CHANGES = Query(f"""\
SELECT decided, if(component = '', 'all of it', component) AS component_, state, {shown("new", 120)} AS version,
  {shown("old", 120)} AS instead_of, {shown("who", 60)} AS decided_by, {shown("ticket", 60)} AS under,
  {shown("reason", 300)} AS why, holds_from, holds_until
FROM changes_latest WHERE {DEPLOYMENT}
ORDER BY decided DESC, change_id LIMIT 50""")

REPORTS = Query(f"""\
SELECT attested, subject, {shown("source", 120)} AS of_what, {shown("digest", 80)} AS version,
  length(risks) AS risks_found, {shown("arrayStringConcat(risks, '; ')", 600)} AS first_risks
FROM component_reports_latest WHERE {DEPLOYMENT}
ORDER BY attested DESC, report_id LIMIT 50""")

BASELINES = Query(f"""\
SELECT {shown("name", 80)} AS baseline, if(approved IS NULL, 'not approved', 'approved') AS state, since, until,
  events AS calls, {shown("who", 60)} AS frozen_by, frozen, approved AS approved_at
FROM baselines_latest WHERE {DEPLOYMENT}
ORDER BY frozen DESC, baseline LIMIT 20""")

FINDINGS = Query(f"""\
SELECT {FINDING}
FROM findings_latest WHERE $__timeFilter(time) AND {DEPLOYMENT}
ORDER BY time DESC, finding_id LIMIT 100""")

ONSETS = Query(f"""\
SELECT onset AS time, detector AS title, concat(toString(severity), ': ', detector, ' began here') AS text
FROM findings_latest WHERE $__timeFilter(findings_latest.onset) AND {DEPLOYMENT} AND severity >= 'medium'
ORDER BY onset LIMIT 200""")
