# ruff: noqa: S608 - SQL is put together from constants of our own files only
"""Whether the watch itself gets on: what arrives, what waits, what fails, and how much room is left."""

from __future__ import annotations

from dashboards.queries import ARRIVALS_S, BUCKET_S, MINUTE_S, Query, minutes, shown

_NEWEST = """\
  SELECT worker, max(time) AS said, argMax(numbers, time) AS newest FROM worker_metrics
  WHERE time > now64(3, 'UTC') - toIntervalMinute(2) GROUP BY worker"""


def _all(prefix: str) -> str:
    """The sum of all numbers of a row whose names begin so."""
    return f"arraySum(mapValues(mapFilter((name, number) -> startsWith(name, '{prefix}'), newest)))"


LAST_REPORT = Query("""\
SELECT dateDiff('second', maxOrNull(time), now64(3, 'UTC')) AS age_s
FROM worker_metrics WHERE time > now64(3, 'UTC') - toIntervalDay(7)""")

READY = Query(f"""\
SELECT nullIf(count(), 0) AS workers, sumOrNull(1 - newest['inferwatch_ready']) AS waiting
FROM ({_NEWEST})""")

LAG = Query(f"""\
SELECT sumOrNull({_all("inferwatch_lag_records")}) AS behind
FROM ({_NEWEST})""")

RATE = Query("""\
SELECT nullIf(sum(events), 0) / 600 AS events_s
FROM arrivals WHERE bucket > now() - toIntervalSecond(900) AND bucket <= now() - toIntervalSecond(300)""")

SNAPSHOT_AGE = Query(f"""\
SELECT dateDiff('second', toDateTime(toUInt32(minOrNull(saved)), 'UTC'), now('UTC')) AS oldest_s
FROM
(
  SELECT arrayJoin(mapValues(mapFilter((name, number) -> startsWith(name, 'inferwatch_snapshot_timestamp_seconds')
    AND number > 0, newest))) AS saved
  FROM ({_NEWEST})
)""")

DISK_FREE = Query("""\
SELECT min(free_space / total_space) AS free FROM system.disks WHERE total_space > 0""")

THROUGHPUT = Query(
    f"""\
SELECT $__timeInterval(bucket) AS t, {shown("source", 40)} AS name, sum(events) / {BUCKET_S} AS events_s
FROM arrivals WHERE $__timeFilter(bucket)
GROUP BY t, name ORDER BY t, name""",
    "timeseries",
    ARRIVALS_S,
)


def _last(prefix: str, label: str, number: str = "argMax(number, time)") -> Query:
    """The newest of each worker in a bucket, added up by a label."""
    return minutes(f"""\
SELECT t, extract(name, '{label}=([^,}}]+)') AS label, sum(value) AS number
FROM
(
  SELECT $__timeInterval(time) AS t, worker, name, {number} AS value
  FROM worker_metrics ARRAY JOIN mapKeys(numbers) AS name, mapValues(numbers) AS number
  WHERE $__timeFilter(time) AND startsWith(name, '{prefix}')
  GROUP BY t, worker, name
)
GROUP BY t, label ORDER BY t, label""")


LAG_OVER_TIME = _last("inferwatch_lag_records", "topic")
LIVE_SUBJECTS = _last("inferwatch_live_subjects", "scope")
SNAPSHOT_AGES = minutes("""\
SELECT $__timeInterval(time) AS t, extract(name, 'scope=([^,}]+)') AS label,
  max(toUnixTimestamp64Milli(time) / 1000 - number) AS age_s
FROM worker_metrics ARRAY JOIN mapKeys(numbers) AS name, mapValues(numbers) AS number
WHERE $__timeFilter(time) AND startsWith(name, 'inferwatch_snapshot_timestamp_seconds') AND number > 0
GROUP BY t, label ORDER BY t, label""")

_INCREASES = """\
  SELECT time, name, greatest(number - lagInFrame(toNullable(number)) OVER
    (PARTITION BY worker, name ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), 0) AS more
  FROM worker_metrics ARRAY JOIN mapKeys(numbers) AS name, mapValues(numbers) AS number
  WHERE $__timeFilter(time) AND startsWith(name, '{prefix}')"""
"""What counters grew by since the row before; a worker that began anew counts from there."""

BATCH_SECONDS = minutes(f"""\
SELECT $__timeInterval(time) AS t, extract(name, 'role=([^,}}]+)') AS label,
  sumIf(more, startsWith(name, 'inferwatch_batch_seconds_sum'))
    / nullIf(sumIf(more, startsWith(name, 'inferwatch_batch_seconds_count')), 0) AS seconds
FROM
(
{_INCREASES.format(prefix="inferwatch_batch_seconds")}
)
GROUP BY t, label ORDER BY t, label""")

RETRIES = minutes(f"""\
SELECT $__timeInterval(time) AS t, extract(name, 'sink=([^,}}]+)') AS label, sum(ifNull(more, 0)) AS retries
FROM
(
{_INCREASES.format(prefix="inferwatch_retries_total")}
)
GROUP BY t, label ORDER BY t, label""")

ALERTS_TOLD = minutes(f"""\
SELECT $__timeInterval(time) AS t,
  concat(extract(name, 'target=([^,}}]+)'), ' ', extract(name, 'outcome=([^,}}]+)')) AS label,
  sum(ifNull(more, 0)) AS attempts
FROM
(
{_INCREASES.format(prefix="inferwatch_alerts_total")}
)
GROUP BY t, label ORDER BY t, label""")

MEMORY = minutes("""\
SELECT $__timeInterval(time) AS t, worker, max(numbers['inferwatch_process_resident_memory_bytes']) AS bytes
FROM worker_metrics WHERE $__timeFilter(time)
GROUP BY t, worker ORDER BY t, worker""")

WORKERS = Query(f"""\
SELECT worker, dateDiff('second', said, now64(3, 'UTC')) AS last_report_s, newest['inferwatch_ready'] AS ready,
  newest['inferwatch_events_total'] AS events, newest['inferwatch_dead_letters_total'] AS dead_letters,
  {_all("inferwatch_lag_records")} AS behind, {_all("inferwatch_retries_total")} AS retries,
  {_all("inferwatch_live_subjects")} AS live_subjects, newest['inferwatch_process_resident_memory_bytes'] AS memory
FROM ({_NEWEST}) ORDER BY worker LIMIT 100""")

DEAD_LETTERS = Query(
    f"""\
SELECT $__timeInterval(record_time) AS t, {shown("reason", 60)} AS why, count() AS dead_letters
FROM dead_letters_latest WHERE $__timeFilter(record_time)
GROUP BY t, why ORDER BY t, dead_letters DESC, why LIMIT 8 BY t""",
    "timeseries",
    MINUTE_S,
)

TABLES = Query("""\
SELECT table, sum(rows) AS stored_rows, count() AS parts, sum(bytes_on_disk) AS on_disk,
  sum(data_uncompressed_bytes) AS uncompressed, max(modification_time) AS last_written
FROM system.parts WHERE database = currentDatabase() AND active
GROUP BY table ORDER BY on_disk DESC, table""")

DISKS = Query("""\
SELECT name AS disk, free_space AS free, total_space AS size, free_space / total_space AS free_share
FROM system.disks WHERE total_space > 0 ORDER BY free_share, disk""")
