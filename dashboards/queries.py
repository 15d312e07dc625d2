# ruff: noqa: S608 - SQL is put together from constants of this file only
r"""What a query is, and the parts that several of them share; the queries of a screen are in `dashboards.sql`.

Rules that the ClickHouse data source and ClickHouse itself impose:

- a time bucket is called ``t``: an alias that repeats a column's name would replace it in ``WHERE``;
- a variable reaches SQL percent-encoded and is decoded by ClickHouse. Grafana's quoting formats leave the
  backslash alone, and ClickHouse reads it as an escape: a deployment named ``x\'`` would end the string;
- events are counted in rollups (`traffic`, `callers`, `arrivals`), or in their table where a rollup has not what is
  asked for, never in the deduplicated view: at millions of events that takes seconds. An event that a replay stored
  again counts again, in the table until ClickHouse merges its parts;
- a rollup by minute cannot be drawn in smaller buckets: its panels ask for at least a minute;
- a count of nothing is 0 only while events arrive. Where none did, it is NULL, and the panel says so;
- text of senders goes through `shown`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from detectors.types import Severity

SEVERITIES = [severity.value for severity in reversed(Severity)]

BASELINE_EVENTS = 500
"""Answers at the beginning of a deployment that its later style is compared with on the graphs."""

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with the data source's macros; a time series has its time first and sorted.

    `least_s` is the smallest bucket that the panel may ask for, in seconds; 0 for any. `texts` says that it reads what
    was asked or answered: then another data source is asked, which is there only where texts may be seen.
    """

    sql: str
    shape: Literal["timeseries", "table"] = "table"
    least_s: int = 0
    texts: bool = False


def series(sql: str) -> Query:
    """A time series out of single rows."""
    return Query(sql, "timeseries")


def of_texts(sql: str, shape: Literal["timeseries", "table"] = "table") -> Query:
    """A query that reads texts of calls."""
    return Query(sql, shape, texts=True)


def minutes(sql: str) -> Query:
    """A time series out of a rollup by minute."""
    return Query(sql, "timeseries", MINUTE_S)


def chosen(column: str, variable: str | None = None) -> str:
    """That `column` is what the variable of its name holds."""
    return f"{column} = {value(variable or column)}"


def value(variable: str) -> str:
    """What a variable holds, as a literal that no content can leave."""
    return f"decodeURLComponent('${{{variable}:percentencode}}')"


DEPLOYMENT = chosen("deployment")
HEARD = "(SELECT sum(calls) FROM traffic WHERE $__timeFilter(minute)) > 0"
DEPLOYMENT_HEARD = f"(SELECT sum(calls) FROM traffic WHERE $__timeFilter(minute) AND {DEPLOYMENT}) > 0"
HOURS = "hour >= toStartOfHour($__fromTime) AND hour <= $__toTime"
"""The time range of a rollup by hour, the hour in which it begins included."""

ARRIVALS_S = 300
"""The buckets of `arrivals`."""

BUCKET_S = f"greatest($__interval_s, {ARRIVALS_S})"
MINUTES_S = f"greatest($__interval_s, {MINUTE_S})"
"""How long a bucket over minutes is, whatever was asked for."""

_UNSEEN = (
    r"[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x{9f}\\x{ad}\\x{61c}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{206f}"
    r"\\x{feff}\\x{e0000}-\\x{e007f}]"
)
"""Control and bidirectional characters, and what has no width: they change how the text around them looks."""


def shown(text: str, chars: int = 1_000) -> str:
    """`text` cut, with a dot for each character that is not seen but works."""
    return f"replaceRegexpAll(substringUTF8(ifNull({text}, ''), 1, {chars}), '{_UNSEEN}', '·')"


def milliseconds(time: str) -> str:
    """A time as a number that Grafana shows as one: milliseconds since 1970."""
    return f"toFloat64(toUnixTimestamp64Milli(toDateTime64({time}, 3, 'UTC')))"


def percentiles(column: str, keys: Mapping[str, str], where: str) -> str:
    """The 50th, 95th and 99th percentile of `latency` or `ttft` of `traffic` in seconds, and the calls that tell it.

    `keys` are the columns to group by, with what they are. Durations were counted in buckets; of each its middle is
    given, at most 2.2 % from any duration in it.
    """
    by = ", ".join(keys)
    return f"""\
  SELECT {by}, max(total) AS told, minIf(seconds, below >= 0.5 * total) AS p50,
    minIf(seconds, below >= 0.95 * total) AS p95, minIf(seconds, below >= 0.99 * total) AS p99
  FROM
  (
    SELECT {by}, pow(2, (edge - 0.5) / 16) AS seconds, sum(fell) OVER (PARTITION BY {by} ORDER BY edge) AS below,
      sum(fell) OVER (PARTITION BY {by}) AS total
    FROM
    (
      SELECT {", ".join(f"{what} AS {name}" for name, what in keys.items())}, edge, sum(counted) AS fell
      FROM traffic ARRAY JOIN mapKeys({column}) AS edge, mapValues({column}) AS counted
      WHERE {where} GROUP BY {by}, edge
    )
  )
  GROUP BY {by}"""


def by_severity(condition: str, heard: str) -> str:
    """One column a severity, counted where `condition` holds; NULL where nothing was heard."""
    return ",\n  ".join(
        f"if({heard}, toNullable(countIf({condition}severity = '{name}')), NULL) AS {name}" for name in SEVERITIES
    )


FINDING = f"""\
time, toString(severity) AS severity, detector, deployment, principal, {shown("findings_latest.summary", 400)} AS what,
  onset, score, threshold, arrayStringConcat(atlas, ', ') AS atlas, arrayStringConcat(owasp, ', ') AS owasp, event_id"""
"""Columns of a list of findings."""

NEXT_STEP = """\
coalesce(nullIf(JSONExtractString(body, 'plan', 'roll_back', 1), ''),
    nullIf(JSONExtractString(body, 'plan', 'checks', 1), ''), 'inferwatch incidents show ID')"""
"""What a responder does next about an incident, in one sentence."""

INCIDENT = f"""\
toString(severity) AS severity, toString(state) AS state, deployment, {shown("subject", 80)} AS about, onset AS since,
  last, {shown("incidents_latest.summary", 400)} AS what, cause, {shown(NEXT_STEP, 400)} AS next_step,
  incident_id AS incident, toString(toUnixTimestamp64Milli(onset) - 3600000) AS from_ms,
  toString(toUnixTimestamp64Milli(last) + 3600000) AS until_ms"""
"""Columns of a list of incidents."""
