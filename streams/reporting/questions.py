"""The queries of reports. Values are bound by the server, every answer has a limit, and no alias hides a column.

Events of the whole installation are counted in the table: at many millions the deduplicated view takes minutes. An
event that was stored twice by a replay counts twice there until ClickHouse merges its parts. Those of one deployment
around an incident come from the view.
"""

from __future__ import annotations

from typing import Final

_EDGES = """
fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS since, fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC') AS until
"""
_IN_SPAN = "time >= since AND time < until"
_BUCKET = "intDiv(toUnixTimestamp(time), {step_s:UInt32}) * {step_s:UInt32}"

MOST_DEPLOYMENTS: Final = 50
MOST_DRAWN: Final = 6
MOST_TOLD: Final = 100
MOST_CALLS: Final = 20
TEXT_CHARS: Final = 4_000
"""Of a text that are read: redaction looks at more than is shown."""

_BASELINE_ANSWERS = 5_000

TRAFFIC: Final = f"""
WITH {_EDGES}, fromUnixTimestamp64Milli({{before_ms:Int64}}, 'UTC') AS before
SELECT deployment, countIf(time >= since) AS calls, countIf(time < since) AS calls_before,
       uniqIf(principal, time >= since) AS principals,
       quantileIf(0.5)(latency_s, time >= since) AS p50_s, quantileIf(0.95)(latency_s, time >= since) AS p95_s,
       quantileIf(0.99)(latency_s, time >= since) AS p99_s,
       countIf(failed AND time >= since) / nullIf(countIf(failed IS NOT NULL AND time >= since), 0) AS error_rate,
       countIf(refused AND time >= since) / nullIf(countIf(refused IS NOT NULL AND time >= since), 0) AS refusal_rate,
       toFloat64(max(record_time)) AS last_s
FROM inference_events WHERE time >= before AND time < until
GROUP BY deployment ORDER BY calls DESC, deployment LIMIT {MOST_DEPLOYMENTS}
"""  # noqa: S608 - constants of this file, as below

SLOTS: Final = f"""
WITH {_EDGES}
SELECT {_BUCKET} AS t, deployment, count() AS calls, quantile(0.95)(latency_s) AS p95_s,
       countIf(failed) / nullIf(count(failed), 0) AS error_rate
FROM inference_events WHERE {_IN_SPAN} AND deployment IN {{deployments:Array(String)}}
GROUP BY t, deployment ORDER BY t, deployment LIMIT 5000
"""  # noqa: S608

HEARD: Final = f"""
WITH {_EDGES}
SELECT {_BUCKET} AS t FROM inference_events WHERE {_IN_SPAN} GROUP BY t ORDER BY t LIMIT 5000
"""  # noqa: S608

TALLIES: Final = f"""
WITH {_EDGES}
SELECT {_BUCKET} AS t, toString(severity) AS level, count() AS findings
FROM findings_latest WHERE {_IN_SPAN} GROUP BY t, level ORDER BY t, level LIMIT 5000
"""  # noqa: S608

FINDINGS_BEFORE: Final = f"""
WITH {_EDGES}
SELECT count() AS findings FROM findings_latest
WHERE time >= fromUnixTimestamp64Milli({{before_ms:Int64}}, 'UTC') AND time < since AND time < until
"""  # noqa: S608

DETECTED: Final = f"""
WITH {_EDGES}
SELECT detector, count() AS findings, toString(max(severity)) AS level, uniq(subject) AS subjects,
       toFloat64(max(time)) AS last_s
FROM findings_latest WHERE {_IN_SPAN}
GROUP BY detector ORDER BY max(severity) DESC, findings DESC, detector LIMIT 100
"""  # noqa: S608

_TOLD = """
SELECT finding_id, detector, scope, subject, deployment, toFloat64(time) AS time_s, toFloat64(onset) AS onset_s,
       toString(severity) AS level, leftUTF8(summary, 2000) AS said, score, threshold, event_id
"""
TOLD: Final = f"""
WITH {_EDGES} {_TOLD}
FROM findings_latest WHERE {_IN_SPAN} ORDER BY time DESC, finding_id LIMIT {MOST_TOLD}
"""
TOLD_OF: Final = f"""
{_TOLD}
FROM findings_latest WHERE deployment = {{deployment:String}} AND finding_id IN {{known:Array(String)}}
ORDER BY time DESC, finding_id LIMIT 512
"""

SUSPECTS: Final = f"""
WITH {_EDGES}
SELECT ifNull(principal, '') AS who, toString(max(severity)) AS level, count() AS findings
FROM findings_latest WHERE {_IN_SPAN} AND principal IS NOT NULL
GROUP BY who ORDER BY max(severity) DESC, findings DESC, who LIMIT 12
"""  # noqa: S608

CALLERS: Final = f"""
WITH {_EDGES}
SELECT ifNull(principal, '') AS who, count() AS calls,
       sum(ifNull(toFloat64(input_tokens), 0) + ifNull(toFloat64(output_tokens), 0)) AS tokens,
       uniq(network) AS networks, uniq(user_agent) AS agents, topK(3)(deployment) AS deployments,
       countIf(refused) / nullIf(count(refused), 0) AS refusal_rate
FROM inference_events WHERE {_IN_SPAN} AND principal IS NOT NULL
GROUP BY who ORDER BY who IN {{suspects:Array(String)}} DESC, calls DESC, who LIMIT 20
"""  # noqa: S608

DEAD: Final = """
SELECT replaceRegexpAll(reason, '[0-9]+', 'N') AS why, countIf(record_time >= since) AS letters,
       countIf(record_time < since) AS letters_before, toFloat64(max(record_time)) AS last_s,
       argMax(head, record_time) AS example
FROM
(
    SELECT reason, record_time, head, fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS since
    FROM dead_letters_latest
    WHERE record_time >= fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')
      AND record_time < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
)
GROUP BY why ORDER BY letters DESC, why LIMIT 20
"""

BUCKETS: Final = f"""
WITH {_EDGES}
SELECT {_BUCKET} AS t, count() AS calls, quantile(0.5)(latency_s) AS p50_s, quantile(0.95)(latency_s) AS p95_s,
       quantile(0.99)(latency_s) AS p99_s, quantile(0.5)(events_latest.ttft_s) AS median_ttft_s,
       countIf(failed) / nullIf(count(failed), 0) AS error_rate,
       countIf(refused) / nullIf(count(refused), 0) AS refusal_rate, avgForEach(style) AS means
FROM events_latest WHERE deployment = {{deployment:String}} AND {_IN_SPAN}
GROUP BY t ORDER BY t LIMIT 5000
"""  # noqa: S608

BASELINE: Final = f"""
SELECT count() AS answers, avgForEach(style) AS mean, stddevPopForEach(style) AS deviation
FROM
(
    SELECT style FROM events_latest
    WHERE deployment = {{deployment:String}} AND notEmpty(style)
      AND time >= fromUnixTimestamp64Milli({{since_ms:Int64}}, 'UTC')
      AND time < fromUnixTimestamp64Milli({{onset_ms:Int64}}, 'UTC')
    ORDER BY time DESC LIMIT {_BASELINE_ANSWERS}
)
"""  # noqa: S608

BUSIEST: Final = f"""
WITH {_EDGES}
SELECT ifNull(principal, '') AS who FROM events_latest
WHERE deployment = {{deployment:String}} AND time >= fromUnixTimestamp64Milli({{onset_ms:Int64}}, 'UTC') AND {_IN_SPAN}
  AND principal IS NOT NULL
GROUP BY who ORDER BY who IN {{named:Array(String)}} DESC, count() DESC, who LIMIT {MOST_DRAWN}
"""  # noqa: S608

CALLER_SLOTS: Final = f"""
WITH {_EDGES}
SELECT {_BUCKET} AS t, ifNull(principal, '') AS who, count() AS calls
FROM events_latest
WHERE deployment = {{deployment:String}} AND {_IN_SPAN} AND principal IN {{principals:Array(String)}}
GROUP BY t, who ORDER BY t, who LIMIT 5000
"""  # noqa: S608

SERVED: Final = f"""
WITH {_EDGES}
SELECT model, served_model, components, count() AS calls, toFloat64(min(time)) AS first_s,
       toFloat64(max(time)) AS last_s
FROM events_latest WHERE deployment = {{deployment:String}} AND {_IN_SPAN}
GROUP BY model, served_model, components ORDER BY first_s, calls DESC LIMIT 30
"""  # noqa: S608

_NO_TEXTS = "NULL AS asked, NULL AS asked_chars, NULL AS answered, NULL AS answered_chars"
_TEXTS = f"""
leftUTF8(prompt, {TEXT_CHARS}) AS asked, lengthUTF8(prompt) AS asked_chars,
leftUTF8(output, {TEXT_CHARS}) AS answered, lengthUTF8(output) AS answered_chars
"""


def calls(*, texts: bool) -> str:
    """The sample of an incident: calls that its findings name, then the first since the onset, with or without text."""
    return f"""
WITH {_EDGES}
SELECT event_id, toFloat64(time) AS time_s, event_id IN {{event_ids:Array(String)}} AS named, principal, served_model,
       latency_s, input_tokens, output_tokens, failed, refused, finish_reason, error_type,
       {_TEXTS if texts else _NO_TEXTS}
FROM events_latest
WHERE deployment = {{deployment:String}} AND {_IN_SPAN}
  AND (principal IN {{principals:Array(String)}} OR {{anyone:Bool}})
ORDER BY named DESC, time, event_id LIMIT {MOST_CALLS}
"""  # noqa: S608
