# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""Single calls: one by its id, and those whose prompts hold certain words."""

from __future__ import annotations

from dashboards.queries import FINDING, Query, chosen, of_texts, shown, value

_WORDS = f"$__timeFilter(time) AND hasAllTokens(prompt, {value('words')})"
"""Answered by the index over the words of prompts: nothing is found for no words."""

_EVENT = chosen("event_id", "event")

FOUND = of_texts(f"""\
SELECT if({value("words")} = '', NULL, toNullable(count())) AS calls, nullIf(uniqExact(deployment), 0) AS deployments,
  nullIf(uniqExact(principal), 0) AS callers
FROM inference_events WHERE {_WORDS}""")

FIRST_FOUND = of_texts(f"""\
SELECT toFloat64(toUnixTimestamp64Milli(minOrNull(inference_events.time))) AS first_asked,
  toFloat64(toUnixTimestamp64Milli(maxOrNull(inference_events.time))) AS last_asked
FROM inference_events WHERE {_WORDS}""")

OVER_TIME = of_texts(
    f"""\
SELECT $__timeInterval(time) AS t, {shown("deployment", 80)} AS name, count() AS calls
FROM inference_events WHERE {_WORDS}
GROUP BY t, name ORDER BY t, calls DESC, name LIMIT 10 BY t""",
    "timeseries",
)

WHO = of_texts(f"""\
SELECT principal, deployment, count() AS calls, uniqExact(prompt_hash) AS different_prompts,
  countIf(refused) AS refused, min(time) AS first_asked, max(time) AS last_asked
FROM inference_events WHERE {_WORDS}
GROUP BY principal, deployment ORDER BY calls DESC, deployment, principal LIMIT 50""")

CALLS = of_texts(f"""\
SELECT time, event_id, deployment, principal, {shown("prompt", 400)} AS asked, {shown("output", 400)} AS answered,
  refused, failed
FROM inference_events WHERE {_WORDS}
ORDER BY inference_events.time DESC LIMIT 100""")

_COLUMNS = (
    "event_id, topic, partition, offset, event_index, record_time, time, source, operation, deployment, model, "
    "served_model, provider, components, principal, network, user_agent, session, region, input_tokens, "
    "output_tokens, cached_tokens, reasoning_tokens, temperature, top_p, max_tokens, n, logprobs, top_logprobs, "
    "logit_bias, stream, latency_s, ttft_s, failed, refused, finish_reason, error_type, http_status, cost_usd, score, "
    "egress_hosts, style, prompt_hash, prompt_template, prompt_simhash, trace_id, span_id, response_id"
)

EVENT = Query(f"""\
SELECT pair.1 AS field, {shown("pair.2", 20_000)} AS value
FROM
(
  SELECT arrayJoin(JSONExtractKeysAndValuesRaw(formatRowNoNewline('JSONEachRow', {_COLUMNS}))) AS pair
  FROM (SELECT {_COLUMNS} FROM inference_events WHERE {_EVENT} LIMIT 1)
)
WHERE pair.2 NOT IN ('null', '""', '[]', '{{}}')""")

TEXTS = of_texts(f"""\
SELECT said.1 AS part, {shown("said.2", 20_000)} AS text
FROM
(
  SELECT arrayJoin([('system', ifNull(system, '')), ('prompt', ifNull(prompt, '')), ('output', ifNull(output, '')),
    ('conversation', conversation), ('features', features), ('prediction', ifNull(prediction, ''))]) AS said
  FROM inference_events WHERE {_EVENT} LIMIT 1 BY said.1
)
WHERE text NOT IN ('', '{{}}', '[]')""")

CITED_BY = Query(f"""\
SELECT {FINDING}, finding_id
FROM findings_latest WHERE {_EVENT} ORDER BY time LIMIT 50""")


_ITS = f"""\
  SELECT (any(deployment), any(ifNull(principal, '')), any(ifNull(session, '')), any(ifNull(prompt_hash, 0)))
  FROM inference_events WHERE {_EVENT}"""
"""What calls around the chosen event are found by; empty where no such event is stored."""

SAME_PROMPT = of_texts(f"""\
WITH
(
{_ITS}
) AS its
SELECT time, event_id, deployment, principal, served_model, {shown("output", 400)} AS answered, latency_s, refused
FROM inference_events
WHERE $__timeFilter(time) AND its.4 != 0 AND prompt_hash = its.4
ORDER BY inference_events.time DESC LIMIT 50""")

SAME_SESSION = of_texts(f"""\
WITH
(
{_ITS}
) AS its
SELECT time, event_id, deployment, principal, {shown("prompt", 300)} AS asked, {shown("output", 300)} AS answered
FROM inference_events
WHERE $__timeFilter(time) AND deployment = its.1 AND principal = its.2 AND its.3 != '' AND session = its.3
ORDER BY inference_events.time LIMIT 100""")
