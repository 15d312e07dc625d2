# ruff: noqa: S608 - SQL is put together from constants of this file only
r"""Named SQL of the dashboards, and the only place that knows tables and columns.

Rules that the ClickHouse data source and ClickHouse itself impose:

- a time bucket is called ``t``: an alias that repeats a column's name would replace it in ``WHERE``;
- a variable reaches SQL percent-encoded and is decoded by ClickHouse. Grafana's quoting formats leave the
  backslash alone, and ClickHouse reads it as an escape: a deployment named ``x\'`` would end the string;
- events of all deployments are counted in the table, not in the deduplicated view: at millions of events the view
  takes seconds. An event that was stored twice by a replay counts twice until ClickHouse merges its parts;
- a count of nothing is 0 only while events arrive. Where none did, it is NULL, and the panel says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detectors.features import STYLE
from detectors.types import Severity

BASELINE_EVENTS = 500
"""Answers at the beginning of a deployment that its later style is compared with on the graphs."""

_DEPLOYMENT = "deployment = decodeURLComponent('${deployment:percentencode}')"
_HEARD = "(SELECT count() FROM inference_events WHERE $__timeFilter(time)) > 0"
_SEVERITIES = [severity.value for severity in reversed(Severity)]


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with the data source's macros; a time series has its time first and sorted."""

    sql: str
    shape: Literal["timeseries", "table"] = "table"


def _series(sql: str) -> Query:
    return Query(sql, "timeseries")


def _finding_columns() -> str:
    return """\
time, toString(severity) AS severity, detector, scope, deployment, principal, summary, onset, score, threshold,
  arrayStringConcat(atlas, ', ') AS atlas, arrayStringConcat(owasp, ', ') AS owasp, event_id, finding_id"""


URGENT = Query(f"""\
SELECT if({_HEARD}, toNullable(countIf(severity >= 'high')), NULL) AS urgent
FROM findings_latest WHERE $__timeFilter(time)""")

BY_SEVERITY = Query(f"""\
WITH {_HEARD} AS heard
SELECT
  {", ".join(f"if(heard, toNullable(countIf(severity = '{name}')), NULL) AS {name}" for name in _SEVERITIES)}
FROM findings_latest WHERE $__timeFilter(time)""")

LAST_EVENT_AGE = Query("""\
SELECT dateDiff('second', maxOrNull(record_time), now64(3, 'UTC')) AS age_s
FROM inference_events WHERE record_time > now64(3, 'UTC') - toIntervalDay(7)""")

EVENTS_PER_SECOND = Query("""\
SELECT count() / 300 AS events_s
FROM inference_events WHERE record_time > now64(3, 'UTC') - toIntervalSecond(300)""")

DEAD_LETTERS = Query("""\
WITH (SELECT count() FROM inference_events WHERE $__timeFilter(record_time)) AS events
SELECT if(events = 0 AND count() = 0, NULL, toNullable(count())) AS dead_letters
FROM dead_letters_latest WHERE $__timeFilter(record_time)""")

DEPLOYMENTS_SEEN = Query("""\
SELECT nullIf(uniqExact(deployment), 0) AS deployments
FROM inference_events WHERE $__timeFilter(time)""")

FINDINGS_OVER_TIME = _series(f"""\
SELECT t, {", ".join(f"sum(n_{name}) AS {name}" for name in _SEVERITIES)}
FROM
(
  SELECT $__timeInterval(time) AS t, {", ".join(f"countIf(severity = '{name}') AS n_{name}" for name in _SEVERITIES)}
  FROM findings_latest WHERE $__timeFilter(time) GROUP BY t
  UNION ALL
  SELECT $__timeInterval(time) AS t, {", ".join("0" for _ in _SEVERITIES)}
  FROM inference_events WHERE $__timeFilter(time) GROUP BY t
)
GROUP BY t ORDER BY t""")

EVENTS_OVER_TIME = _series("""\
WITH busiest AS
(
  SELECT deployment FROM inference_events WHERE $__timeFilter(time)
  GROUP BY deployment ORDER BY count() DESC, deployment LIMIT 10
)
SELECT $__timeInterval(time) AS t, if(deployment IN (SELECT deployment FROM busiest), deployment, 'all others') AS name,
  count() / $__interval_s AS events_s
FROM inference_events WHERE $__timeFilter(time)
GROUP BY t, name ORDER BY t, name""")

DEAD_LETTERS_OVER_TIME = _series("""\
SELECT t, sum(dead) AS dead_letters
FROM
(
  SELECT $__timeInterval(record_time) AS t, count() AS dead
  FROM dead_letters_latest WHERE $__timeFilter(record_time) GROUP BY t
  UNION ALL
  SELECT $__timeInterval(record_time) AS t, 0 AS dead
  FROM inference_events WHERE $__timeFilter(record_time) GROUP BY t
)
GROUP BY t ORDER BY t""")

TOP_DEPLOYMENTS = Query("""\
SELECT deployment, if(max(worst) = '', 'none', max(worst)) AS severity, sum(n_findings) AS findings,
  sum(n_events) AS events, max(last_heard) AS last_event
FROM
(
  SELECT deployment, toString(max(severity)) AS worst, count() AS n_findings, 0 AS n_events, NULL AS last_heard
  FROM findings_latest WHERE $__timeFilter(time) GROUP BY deployment
  UNION ALL
  SELECT deployment, '' AS worst, 0 AS n_findings, count() AS n_events, toNullable(max(time)) AS last_heard
  FROM inference_events WHERE $__timeFilter(time) GROUP BY deployment
)
GROUP BY deployment ORDER BY findings DESC, events DESC, deployment LIMIT 20""")

TOP_PRINCIPALS = Query("""\
SELECT principal, toString(max(severity)) AS worst, count() AS findings,
  arrayStringConcat(arraySort(groupUniqArray(detector)), ', ') AS detectors, max(time) AS last_finding
FROM findings_latest WHERE $__timeFilter(time) AND principal IS NOT NULL
GROUP BY principal ORDER BY max(severity) DESC, findings DESC, principal LIMIT 20""")

LATEST_FINDINGS = Query(f"""\
SELECT {_finding_columns()}
FROM findings_latest WHERE $__timeFilter(time)
ORDER BY time DESC, finding_id LIMIT 100""")

DEAD_REASONS = Query("""\
SELECT reason, content_type, count() AS records, max(record_time) AS last_seen, argMax(head, record_time) AS example
FROM dead_letters_latest WHERE $__timeFilter(record_time)
GROUP BY reason, content_type ORDER BY records DESC, reason LIMIT 20""")

DEPLOYMENTS = Query("""\
SELECT deployment FROM inference_events WHERE $__timeFilter(time)
GROUP BY deployment ORDER BY deployment LIMIT 1000""")

DEPLOYMENT_URGENT = Query(f"""\
WITH (SELECT count() FROM inference_events WHERE $__timeFilter(time) AND {_DEPLOYMENT}) AS events
SELECT if(events > 0, toNullable(countIf(severity >= 'high')), NULL) AS urgent
FROM findings_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}""")

DEPLOYMENT_LAST_EVENT_AGE = Query(f"""\
SELECT dateDiff('second', maxOrNull(record_time), now64(3, 'UTC')) AS age_s
FROM inference_events WHERE record_time > now64(3, 'UTC') - toIntervalDay(7) AND {_DEPLOYMENT}""")

DEPLOYMENT_TOTALS = Query(f"""\
SELECT nullIf(count(), 0) AS calls, nullIf(uniqExact(principal), 0) AS principals
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}""")

TRAFFIC = _series(f"""\
SELECT $__timeInterval(time) AS t, count() / $__interval_s AS calls_s
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}
GROUP BY t ORDER BY t""")


def _percentiles(column: str) -> Query:
    """50th, 95th and 99th percentile of a duration in seconds; calls that do not tell it are left out."""
    return _series(f"""\
SELECT $__timeInterval(time) AS t, quantile(0.5)({column}) AS p50, quantile(0.95)({column}) AS p95,
  quantile(0.99)({column}) AS p99
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT} AND {column} IS NOT NULL
GROUP BY t ORDER BY t""")


LATENCY = _percentiles("latency_s")
TTFT = _percentiles("ttft_s")

OUTCOMES = _series(f"""\
SELECT $__timeInterval(time) AS t, countIf(failed) / nullIf(count(failed), 0) AS errors,
  countIf(refused) / nullIf(count(refused), 0) AS refusals
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}
GROUP BY t ORDER BY t""")

TOKENS = _series(f"""\
SELECT $__timeInterval(time) AS t, sum(input_tokens) / $__interval_s AS input,
  sum(output_tokens) / $__interval_s AS output
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}
GROUP BY t ORDER BY t""")

SERVED_MODELS = _series(f"""\
SELECT $__timeInterval(time) AS t, ifNull(served_model, 'not said by the source') AS served, count() AS calls
FROM events_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}
GROUP BY t, served ORDER BY t, served""")

_BASELINE = f"""\
baseline AS
(
  SELECT avgForEach(style) AS mean, stddevPopForEach(style) AS deviation
  FROM
  (
    SELECT style FROM inference_events WHERE {_DEPLOYMENT} AND notEmpty(style)
    ORDER BY toStartOfHour(inference_events.time), inference_events.time LIMIT {BASELINE_EVENTS}
  )
)"""

STYLE_FEATURES = ("log_chars", "word_length", "punctuation", "markup", "entropy", "repetition")
"""The features drawn: together they see length, vocabulary, layout and loops."""


def _shift(feature: str) -> str:
    index = STYLE.index(feature) + 1
    return f"(avg(style[{index}]) - any(mean[{index}])) / nullIf(any(deviation[{index}]), 0) AS {feature}"


STYLE_SHIFT = _series(f"""\
WITH {_BASELINE}
SELECT $__timeInterval(time) AS t, {", ".join(_shift(feature) for feature in STYLE_FEATURES)}
FROM events_latest CROSS JOIN baseline
WHERE $__timeFilter(time) AND {_DEPLOYMENT} AND notEmpty(style)
GROUP BY t ORDER BY t""")

_LENGTH = STYLE.index("log_chars") + 1

OUTPUT_LENGTH = _series(f"""\
WITH {_BASELINE}
SELECT $__timeInterval(time) AS t, exp(avg(style[{_LENGTH}])) - 1 AS typical,
  exp(any(mean[{_LENGTH}])) - 1 AS at_first
FROM events_latest CROSS JOIN baseline
WHERE $__timeFilter(time) AND {_DEPLOYMENT} AND notEmpty(style)
GROUP BY t ORDER BY t""")

DEPLOYMENT_FINDINGS = Query(f"""\
SELECT {_finding_columns()}
FROM findings_latest WHERE $__timeFilter(time) AND {_DEPLOYMENT}
ORDER BY time DESC, finding_id LIMIT 100""")

ONSETS = Query(f"""\
SELECT onset AS time, detector AS title, concat(toString(severity), ': ', detector, ' began here') AS text
FROM findings_latest WHERE $__timeFilter(findings_latest.onset) AND {_DEPLOYMENT} AND severity >= 'medium'
ORDER BY onset LIMIT 200""")

NEW_URGENT = Query("""\
SELECT deployment, detector, toString(severity) AS level, count() AS findings
FROM findings_latest
WHERE stored_at > now64(3, 'UTC') - toIntervalMinute(10) AND severity >= 'high'
GROUP BY deployment, detector, level
ORDER BY deployment, detector, level""")
"""For the alert rule: no macro and no variable, so that what runs in a browser and in the ruler is one text."""
