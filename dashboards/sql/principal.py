# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""How one caller asks, and what a cohort of callers shares."""

from __future__ import annotations

from dashboards.queries import DEPLOYMENT, FINDING, HOURS, Query, chosen, series, shown, value

_PRINCIPAL = chosen("principal")
_HERE = f"$__timeFilter(time) AND {DEPLOYMENT} AND {_PRINCIPAL}"

PRINCIPALS = Query(f"""\
SELECT principal FROM callers WHERE {HOURS} AND {DEPLOYMENT}
GROUP BY principal ORDER BY sum(calls) DESC, principal LIMIT 1000""")

COHORTS = Query(f"""\
SELECT subject FROM findings_latest WHERE scope = 'cohort' AND {DEPLOYMENT}
GROUP BY subject ORDER BY max(time) DESC, subject LIMIT 200""")

WORST = Query(f"""\
WITH (SELECT sum(calls) FROM callers WHERE {HOURS} AND {DEPLOYMENT} AND {_PRINCIPAL}) AS heard
SELECT if(heard > 0, toNullable(toFloat64(maxOrNull(toInt8(severity)))), NULL) AS worst
FROM findings_latest WHERE {_HERE}""")

FINDINGS_COUNTED = Query(f"""\
WITH (SELECT sum(calls) FROM callers WHERE {HOURS} AND {DEPLOYMENT} AND {_PRINCIPAL}) AS heard
SELECT if(heard > 0, toNullable(count()), NULL) AS findings
FROM findings_latest WHERE {_HERE}""")

LAST_CALL_AGE = Query(f"""\
SELECT dateDiff('second', maxOrNull(last), now64(3, 'UTC')) AS age_s
FROM callers WHERE {DEPLOYMENT} AND {_PRINCIPAL}""")

HABITS = Query(f"""\
SELECT nullIf(count(), 0) AS calls, uniqExactOrNull(prompt_hash) AS prompts,
  uniqExactOrNull(prompt_template) AS templates, uniqExactOrNull(network) AS networks,
  uniqExactOrNull(user_agent) AS agents
FROM inference_events WHERE {_HERE}""")

PATTERN = series(f"""\
SELECT $__timeInterval(time) AS t, count() AS calls, uniqExact(prompt_hash) AS different_prompts,
  uniqExact(prompt_template) AS different_templates, countIf(refused) AS refused, countIf(failed) AS failed
FROM inference_events WHERE {_HERE}
GROUP BY t ORDER BY t""")

ASKED_FOR = series(f"""\
SELECT $__timeInterval(time) AS t, countIf(n > 1) AS several_answers, countIf(top_logprobs > 0 OR logprobs) AS logprobs,
  countIf(logit_bias > 0) AS logit_bias, countIf(temperature = 0) AS temperature_0
FROM inference_events WHERE {_HERE}
GROUP BY t ORDER BY t""")

SCORES = Query(
    f"""\
SELECT time AS t, detector, score / nullIf(threshold, 0) AS times_the_threshold, 1 AS threshold
FROM findings_latest
WHERE $__timeFilter(time) AND {DEPLOYMENT} AND (principal = {value("principal")} OR subject = {value("cohort")})
  AND isFinite(score)
ORDER BY t, detector LIMIT 1000""",
    "timeseries",
)


def _over_time(column: str) -> Query:
    """Calls by the ten commonest values a bucket."""
    return series(f"""\
SELECT $__timeInterval(time) AS t, {shown(column, 60)} AS name, count() AS calls
FROM inference_events WHERE {_HERE} AND {column} IS NOT NULL
GROUP BY t, name ORDER BY t, calls DESC, name LIMIT 10 BY t""")


NETWORKS = _over_time("network")
AGENTS = _over_time("user_agent")

_MEMBERS = f"""\
members AS
(
  SELECT arrayJoin(splitByChar(' ', JSONExtractString(fact, 'observed'))) AS member
  FROM findings_latest ARRAY JOIN JSONExtractArrayRaw(evidence) AS fact
  WHERE scope = 'cohort' AND {DEPLOYMENT} AND subject = {value("cohort")}
    AND JSONExtractString(fact, 'name') = 'members'
  UNION DISTINCT
  SELECT {value("principal")} AS member
),
edges AS
(
  SELECT ifNull(who, '') AS member, pair.1 AS kind, pair.2 AS shared, n AS made
  FROM
  (
    SELECT principal AS who, arrayJoin([('network', ifNull(network, '')), ('agent', ifNull(user_agent, '')),
      ('template', ifNull(hex(prompt_template), ''))]) AS pair, count() AS n
    FROM inference_events
    WHERE $__timeFilter(time) AND {DEPLOYMENT} AND principal IN (SELECT member FROM members)
    GROUP BY who, pair
  )
  WHERE shared != ''
  ORDER BY made DESC, member, kind, shared LIMIT 5 BY member, kind LIMIT 300
)"""

NODES = Query(f"""\
WITH {_MEMBERS}
SELECT concat(node.1, ' ', node.2) AS id, any({shown("node.2", 24)}) AS title, any(node.1) AS subtitle,
  sum(made) AS mainstat, if(subtitle = 'principal', '#FF9830', '#5794F2') AS color
FROM (SELECT arrayJoin([('principal', member), (kind, shared)]) AS node, made FROM edges)
GROUP BY id ORDER BY id""")

EDGES = Query(f"""\
WITH {_MEMBERS}
SELECT concat(member, ' ', kind, ' ', shared) AS id, concat('principal ', member) AS source,
  concat(kind, ' ', shared) AS target, made AS mainstat
FROM edges ORDER BY mainstat DESC, id""")

MEMBERS = Query(f"""\
WITH {_MEMBERS}
SELECT member AS principal, {value("deployment")} AS deployment, sumIf(made, kind = 'network') AS calls,
  countIf(kind = 'network') AS networks, countIf(kind = 'agent') AS agents, countIf(kind = 'template') AS templates
FROM edges GROUP BY member ORDER BY calls DESC, principal LIMIT 100""")

LAST_EVENTS = Query(f"""\
SELECT time, event_id, model, input_tokens, output_tokens, latency_s, failed, refused, network, user_agent
FROM inference_events WHERE {_HERE}
ORDER BY toStartOfHour(inference_events.time) DESC, inference_events.time DESC LIMIT 50""")

FINDINGS = Query(f"""\
SELECT {FINDING}
FROM findings_latest
WHERE $__timeFilter(time) AND {DEPLOYMENT} AND (principal = {value("principal")} OR subject = {value("cohort")})
ORDER BY time DESC, finding_id LIMIT 100""")

ONSETS = Query(f"""\
SELECT onset AS time, detector AS title, concat(toString(severity), ': ', detector, ' began here') AS text
FROM findings_latest
WHERE $__timeFilter(findings_latest.onset) AND {DEPLOYMENT}
  AND (principal = {value("principal")} OR subject = {value("cohort")})
ORDER BY onset LIMIT 200""")
