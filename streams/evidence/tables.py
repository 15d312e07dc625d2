"""Which tables are exported of an incident, and by which statements. Pure: values are bound by the server.

Every statement has a total order and settings under which the server writes the same bytes for the same rows: one
thread, blocks and row groups of a fixed size, one compression. `stored_at` is left out everywhere: a replay that
stores a row again changes it and nothing else.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from streams.cases.incidents import Incident

TEXTS: Final = ("prompt", "output", "system", "conversation", "features", "prediction")
"""The columns of `inference_events` with what was said in a call; all others stay without texts."""

SLICE_EVENTS: Final = 50_000
"""Events in one file, about: what a server sorts and holds in memory at once."""

_MINUTE_US: Final = 60_000_000
_AFTER_US: Final = 86_400_000_000
"""How long after the latest finding a decision or a report still belongs to the case."""

_LATEST_US: Final = 4_102_444_800_000_000
_PARQUET: Final = (
    "max_threads = 1, max_block_size = 65409, optimize_read_in_order = 0, max_bytes_before_external_sort = 200000000, "
    "output_format_parquet_parallel_encoding = 0, output_format_parquet_compression_method = 'zstd', "
    "output_format_parquet_row_group_size = 1000000, output_format_parquet_row_group_size_bytes = 4000000000, "
    "output_format_parquet_string_as_string = 1"
)
_JSON: Final = (
    "max_threads = 1, date_time_output_format = 'iso', output_format_json_quote_64bit_integers = 0, "
    "output_format_json_quote_denormals = 1, output_format_json_validate_utf8 = 1"
)

_BEGIN: Final = "fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')"
_END: Final = "fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')"
_AFTER: Final = "fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')"
_OURS: Final = "deployment IN ('', {deployment:String})"
# The hours are those of the order key: without them a range of times reads the whole deployment.
_OF_CALLS: Final = f"""deployment = {{deployment:String}} AND time >= {_BEGIN} AND time < {_END}
  AND toStartOfHour(time) >= toStartOfHour({_BEGIN}) AND toStartOfHour(time) <= toStartOfHour({_END})
  AND (principal IN {{principals:Array(String)}} OR {{anyone:Bool}})"""

EVENTS: Final = f"""SELECT * FROM events_kept
WHERE {_OF_CALLS}
ORDER BY time, event_id, principal"""  # noqa: S608 - constants of this file, as below

EVENTS_WITHOUT_TEXT: Final = EVENTS.replace("SELECT *", f"SELECT * EXCEPT ({', '.join(TEXTS)})", 1)

MINUTES: Final = f"""SELECT intDiv(toUnixTimestamp64Micro(time), {_MINUTE_US}) AS minute, count() AS calls,
       countIf(prompt IS NOT NULL OR output IS NOT NULL OR features NOT IN ('', '{{}}')) AS with_text,
       countIf(prompt IS NULL AND prompt_hash IS NOT NULL) AS gone,
       countIf(prompt IS NULL AND output IS NULL AND prompt_hash IS NULL AND features IN ('', '{{}}')) AS bare
FROM events_kept WHERE {_OF_CALLS}
GROUP BY minute ORDER BY minute"""  # noqa: S608

MINUTES_WITHOUT_TEXT: Final = f"""SELECT intDiv(toUnixTimestamp64Micro(time), {_MINUTE_US}) AS minute, count() AS calls,
       0 AS with_text, 0 AS gone, 0 AS bare
FROM events_kept WHERE {_OF_CALLS}
GROUP BY minute ORDER BY minute"""  # noqa: S608

PRINCIPALS: Final = f"""SELECT DISTINCT assumeNotNull(principal) AS who FROM events_kept
WHERE {_OF_CALLS} AND principal IS NOT NULL"""  # noqa: S608
"""Whose calls are exported: an erasure has to find the exports that somebody is in."""

SMALL: Final = {
    "findings": f"""SELECT * EXCEPT (stored_at), has({{known:Array(String)}}, finding_id) AS of_incident
FROM findings_kept
WHERE finding_id IN {{known:Array(String)}} AND deployment = {{deployment:String}} OR {_OF_CALLS}
ORDER BY time, finding_id""",  # noqa: S608
    "incident_revisions": """SELECT * EXCEPT (stored_at) FROM
(
  SELECT * FROM incident_revisions FINAL
  UNION ALL
  SELECT * EXCEPT (hold_id) REPLACE (toString(state) AS state, toString(severity) AS severity) FROM held_incidents FINAL
)
WHERE incident_id = {incident_id:String}
  OR (deployment = {deployment:String} AND JSONExtractString(body, 'merged_into') = {incident_id:String})
ORDER BY incident_id, revision
LIMIT 1 BY incident_id, revision""",
    "verdicts": """SELECT * FROM verdicts_kept
WHERE incident_id = {incident_id:String}
ORDER BY said_at, verdict""",
    "suppressions": f"""SELECT * FROM suppressions_kept
WHERE {_OURS} AND made_at < {_END} AND until >= {_BEGIN}
ORDER BY made_at, suppression_id""",  # noqa: S608
    "component_reports": f"""SELECT * EXCEPT (stored_at) FROM component_reports_kept
WHERE {_OURS} AND attested < {_AFTER}
ORDER BY attested, report_id, deployment""",  # noqa: S608
    "changes": f"""SELECT * EXCEPT (stored_at) FROM changes_kept
WHERE {_OURS} AND decided < {_AFTER}
ORDER BY decided, change_id, deployment""",  # noqa: S608
    "baselines": f"""SELECT * EXCEPT (stored_at) FROM baselines_kept
WHERE {_OURS} AND frozen < {_AFTER}
ORDER BY name""",  # noqa: S608
}
"""The tables that are exported as JSON too, by the names of their files."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A statement as it was run, with its values, and the file that holds what it gave."""

    file: str
    sql: str
    parameters: dict[str, Any]


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one file: from `from_us` to before `to_us`, as many as `calls`."""

    from_us: int
    to_us: int
    calls: int


def values_of(incident: Incident) -> dict[str, Any]:
    """What is asked for: the calls that the incident's blast radius names, and what belongs to its deployment."""
    radius = incident.plan.radius if incident.plan else None
    until_s = max(incident.last_s, radius.until_s if radius else 0.0)
    principals = list(radius.principals) if radius else []
    to_us = _micros(until_s) + 1
    return {
        "incident_id": incident.incident_id,
        "deployment": incident.deployment,
        "from_us": min(_micros(incident.onset_s), to_us),
        "to_us": to_us,
        "after_us": min(to_us + _AFTER_US, _LATEST_US),
        "principals": principals,
        "anyone": not principals,
        "known": sorted({*incident.known, *(each.finding_id for each in incident.cited)}),
    }


def parquet(file: str, sql: str, values: dict[str, Any]) -> Query:
    """The statement that gives a table as Parquet."""
    return _query(file, f"{sql}\nSETTINGS {_PARQUET}\nFORMAT Parquet", values)


def json_lines(file: str, sql: str, values: dict[str, Any]) -> Query:
    """The statement that gives a table as JSON, a row on a line."""
    return _query(file, f"{sql}\nSETTINGS {_JSON}\nFORMAT JSONEachRow", values)


def slices(minutes: list[tuple[int, int]], from_us: int, to_us: int) -> list[Slice]:
    """The files of `minutes` (a minute since 1970, its calls): whole minutes, until there are `SLICE_EVENTS`."""
    found: list[Slice] = []
    begun_us, calls = from_us, 0
    for minute, count in minutes:
        if calls and calls + count > SLICE_EVENTS:
            edge_us = minute * _MINUTE_US
            found.append(Slice(from_us=begun_us, to_us=edge_us, calls=calls))
            begun_us, calls = edge_us, 0
        calls += count
    return [*found, Slice(from_us=begun_us, to_us=to_us, calls=calls)]


def _query(file: str, sql: str, values: dict[str, Any]) -> Query:
    used = set(re.findall(r"\{([a-z_]+):", sql))
    return Query(file=file, sql=sql, parameters={name: value for name, value in values.items() if name in used})


def _micros(seconds: float) -> int:
    return min(max(int(seconds * 1_000_000), 0), _LATEST_US)
