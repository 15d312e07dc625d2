# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""What calls cost and how long they take, by model."""

from __future__ import annotations

from dashboards.queries import MINUTES_S, Query, minutes, percentiles, shown, value

_ASKED_OF = "if(served_model = '', model, served_model)"
_MODEL = f"if({_ASKED_OF} = '', 'not said', {_ASKED_OF})"
_CHOSEN = f"{_MODEL} = {value('model')}"
_SPAN_H = "(dateDiff('second', $__fromTime, $__toTime) / 3600)"

MODELS = Query(f"""\
SELECT {_MODEL} AS name FROM traffic WHERE $__timeFilter(minute)
GROUP BY name ORDER BY sum(calls) DESC, name LIMIT 200""")

SPENT = Query(f"""\
SELECT if(sum(told_cost) = 0, NULL, sum(cost_usd)) AS spent,
  if(sum(told_cost) = 0, NULL, sum(cost_usd) / {_SPAN_H}) AS an_hour,
  if(sum(told_cost) = 0, NULL, sum(cost_usd) / sum(told_cost)) AS a_call
FROM traffic WHERE $__timeFilter(minute)""")

TOKENS_COUNTED = Query("""\
SELECT if(sum(told_tokens) = 0, NULL, sum(input_tokens)) AS input,
  if(sum(told_tokens) = 0, NULL, sum(output_tokens)) AS output
FROM traffic WHERE $__timeFilter(minute)""")

SLOWEST = Query(f"""\
SELECT maxOrNull(p95) AS slowest_p95
FROM
(
{percentiles("latency", {"name": _MODEL}, "$__timeFilter(minute)")}
)""")

TOLD = Query("""\
SELECT sum(told_cost) / nullIf(sum(calls), 0) AS cost, sum(told_tokens) / nullIf(sum(calls), 0) AS tokens
FROM traffic WHERE $__timeFilter(minute)""")

_NAMED = f"substringUTF8({shown(_MODEL, 60)}, 1, 60)"


def _by_model(number: str, condition: str) -> Query:
    """The ten busiest models a bucket."""
    return minutes(f"""\
SELECT $__timeInterval(minute) AS t, {_NAMED} AS name, {number} AS number
FROM traffic WHERE $__timeFilter(minute)
GROUP BY t, name HAVING {condition} ORDER BY t, sum(calls) DESC, name LIMIT 10 BY t""")


SPEND = _by_model(f"sum(cost_usd) / {MINUTES_S} * 3600", "sum(told_cost) > 0")
INPUT_TOKENS = _by_model(f"sum(input_tokens) / {MINUTES_S}", "sum(told_tokens) > 0")
OUTPUT_TOKENS = _by_model(f"sum(output_tokens) / {MINUTES_S}", "sum(told_tokens) > 0")


def _p95(column: str) -> Query:
    return minutes(f"""\
SELECT t, name, p95 AS seconds
FROM
(
{percentiles(column, {"t": "$__timeInterval(minute)", "name": _NAMED}, "$__timeFilter(minute)")}
)
ORDER BY t, told DESC, name LIMIT 10 BY t""")


P95 = _p95("latency")
TTFT_P95 = _p95("ttft")


def _percentiles(column: str) -> Query:
    return minutes(f"""\
SELECT t, p50, p95, p99
FROM
(
{percentiles(column, {"t": "$__timeInterval(minute)"}, f"$__timeFilter(minute) AND {_CHOSEN}")}
)
ORDER BY t""")


LATENCY = _percentiles("latency")
TTFT = _percentiles("ttft")

_KEYS = {"name": _NAMED, "deployment": "deployment"}

BY_MODEL = Query(f"""\
SELECT name AS model, deployment, calls_ AS calls, input, output, spent, spent / nullIf(calls_, 0) AS a_call, p50, p95,
  p99, ttft_p95
FROM
(
  SELECT {_NAMED} AS name, deployment, sum(calls) AS calls_, sum(traffic.input_tokens) AS input,
    sum(traffic.output_tokens) AS output, if(sum(told_cost) = 0, NULL, sum(traffic.cost_usd)) AS spent
  FROM traffic WHERE $__timeFilter(minute)
  GROUP BY name, deployment ORDER BY calls_ DESC, name, deployment LIMIT 50
) AS counts
LEFT JOIN
(
{percentiles("latency", _KEYS, "$__timeFilter(minute)")}
) AS whole USING (name, deployment)
LEFT JOIN
(
  SELECT name, deployment, toNullable(p95) AS ttft_p95
  FROM
  (
{percentiles("ttft", _KEYS, "$__timeFilter(minute)")}
  )
) AS first USING (name, deployment)
ORDER BY calls DESC, model, deployment""")

BY_CALLER = Query("""\
SELECT principal, deployment, sum(callers.calls) AS calls, sum(callers.input_tokens) AS input,
  sum(callers.output_tokens) AS output, sum(callers.cost_usd) AS spent
FROM callers WHERE hour >= toStartOfHour($__fromTime) AND hour <= $__toTime
GROUP BY principal, deployment ORDER BY spent DESC, output DESC, principal LIMIT 30""")
