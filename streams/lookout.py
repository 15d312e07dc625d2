"""Looks at the store now and then for what no event can tell: sources that fell silent, changed or cannot be read.

One worker looks, the one with the first partition of the findings. The order of one look:
    1. read which sources arrived and when last, and for those that are quiet their past;
    2. where a silence is due, ask Kafka whether everything that arrived before this moment is stored: a silence
       behind our own backlog is none;
    3. leave out what is in the store already, and send the rest to the findings.
A crash before 3 is done repeats it: the findings have the same identities.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from detectors.types import Finding
from streams.clickhouse import Store
from streams.pipeline import partition_of
from streams.silence import (
    BUCKET_S,
    LOOK_BACK_S,
    WEEK_S,
    Bucket,
    Silences,
    Source,
    dead_letter_rise,
    format_changes,
)
from streams.sinks import Message, Sender, Writer
from streams.topics import BrokerError

_log = logging.getLogger(__name__)

MOST_SOURCES = 1_000
"""Sources that are looked at, latest first: a sender who invents deployments must not stop the clock for others."""

_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S = 60.0, 0.5

_NOW = "SELECT toFloat64(now64(3)) AS now_s"

_SOURCES = f"""
SELECT deployment, source, toFloat64(min(first)) AS first_s, toFloat64(max(last)) AS last_s,
       sum(arrivals.events) AS events
FROM arrivals WHERE bucket >= fromUnixTimestamp({{since_s:Int64}})
GROUP BY deployment, source ORDER BY last_s DESC LIMIT {MOST_SOURCES}
"""  # noqa: S608 - a constant of this file

_BUCKETS = """
SELECT toFloat64(min(first)) AS first_s, toFloat64(max(last)) AS last_s FROM arrivals
WHERE deployment = {deployment:String} AND source = {source:String} AND bucket >= fromUnixTimestamp({since_s:Int64})
GROUP BY bucket ORDER BY bucket
"""

_LETTERS = """
SELECT toFloat64(start_s) AS start_s, sum(stored) AS events, sum(buried) AS dead
FROM
(
    SELECT toUnixTimestamp(bucket) AS start_s, sum(arrivals.events) AS stored, 0 AS buried
    FROM arrivals WHERE bucket >= fromUnixTimestamp({since_s:Int64}) GROUP BY start_s
    UNION ALL
    SELECT toUnixTimestamp(toStartOfFiveMinutes(record_time)) AS start_s, 0 AS stored, count() AS buried
    FROM dead_letters_latest
    WHERE topic = {topic:String} AND record_time >= fromUnixTimestamp({since_s:Int64}) GROUP BY start_s
)
GROUP BY start_s
"""

_STORED = "SELECT DISTINCT finding_id FROM findings WHERE finding_id IN {ids:Array(String)}"

Progress = Mapping[int, tuple[int, int]]
"""By partition, the end of the log and the next offset that is not done."""


class Watermark:
    """Until when everything that had arrived is stored, in seconds; minus infinity while that is not known.

    A topic that is written to all the time is never read to its end, so ends are remembered and waited for.
    """

    def __init__(self) -> None:
        """Nothing is known."""
        self.until_s = float("-inf")
        self._ends: dict[int, int] = {}
        self._at_s = 0.0

    def see(self, progress: Progress, now_s: float) -> None:
        """Learn how far the workers are."""
        if self._ends and self._passed(progress):
            self.until_s, self._ends = self._at_s, {}
        if not self._ends:
            self._ends, self._at_s = {partition: end for partition, (end, _) in progress.items()}, now_s
            if self._passed(progress):
                self.until_s, self._ends = now_s, {}

    def _passed(self, progress: Progress) -> bool:
        """Whether what is remembered is done; the last offset may be a transaction's marker, which nobody commits."""
        return all(partition in progress and progress[partition][1] >= end - 1 for partition, end in self._ends.items())


class Lookout:
    """The periodic look; stateless but for what was said, which the store knows too."""

    def __init__(
        self,
        *,
        writer: Writer,
        findings: Sender,
        source: str,
        progress: Callable[[], Progress],
        minimum_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`source` is the topic of the logs, `progress` asks Kafka for it; `minimum_s` the shortest silence told."""
        self._writer = writer
        self._findings = findings
        self._source = source
        self._progress = progress
        self._minimum_s = minimum_s
        self._clock = clock
        self._silences = Silences(minimum_s)
        self._watermark = Watermark()
        self._said: set[str] = set()

    async def look_regularly(self, is_ours: Callable[[], bool]) -> None:
        """Look for ever, while `is_ours` says that it is this worker's turn."""
        while True:
            await asyncio.sleep(min(max(self._minimum_s / 4.0, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S))
            if is_ours():
                await self.look()

    async def look(self) -> None:
        """Steps 1 to 3."""
        # Either clock may be ahead, and then every source would seem silent: the one behind is right enough.
        now_s = min(self._clock(), await self._writer.run(lambda store: float(store.query(_NOW)[0]["now_s"])))
        sources = await self._writer.run(lambda store: read_sources(store, now_s))
        for suspect in self._silences.suspects(sources, now_s):
            buckets = await self._writer.run(lambda store, suspect=suspect: read_buckets(store, suspect))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            self._silences.learn(suspect, buckets)
        letters = await self._writer.run(lambda store: _read_letters(store, self._source, now_s))
        found = format_changes(sources, now_s, self._minimum_s) + dead_letter_rise(self._source, letters, now_s)
        if self._fresh(self._silences.due(now_s)):
            found += self._silences.due(await self._stored_until(now_s))
        await self._say(self._fresh(found))

    async def _stored_until(self, now_s: float) -> float:
        try:
            self._watermark.see(await asyncio.to_thread(self._progress), now_s)
        except BrokerError as error:
            _log.info("cannot tell silence from our own backlog: %s", error)
            return float("-inf")
        return self._watermark.until_s

    def _fresh(self, findings: Sequence[Finding]) -> list[Finding]:
        return [finding for finding in findings if finding.finding_id not in self._said]

    async def _say(self, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        ids = [finding.finding_id for finding in findings]
        rows = await self._writer.run(lambda store: store.query(_STORED, {"ids": ids}))
        known = {row["finding_id"] for row in rows}
        await self._findings.send(
            Message(
                partition=partition_of(finding.deployment, self._findings.topic.partitions),
                key=finding.deployment.encode(),
                value=msgspec.json.encode(finding),
            )
            for finding in findings
            if finding.finding_id not in known
        )
        self._said.update(ids)


def read_sources(store: Store, now_s: float) -> list[Source]:
    """All sources of the last three weeks. Raises `StoreError`."""
    rows = store.query(_SOURCES, {"since_s": int(now_s - LOOK_BACK_S)})
    return [Source(**row) for row in rows]


def read_buckets(store: Store, source: Source) -> list[Bucket]:
    """When a source arrived in the three weeks up to its last arrival. Raises `StoreError`."""
    since_s = int((source.last_s - LOOK_BACK_S) // BUCKET_S * BUCKET_S)
    where = {"deployment": source.deployment, "source": source.source, "since_s": since_s}
    return [(row["first_s"], row["last_s"]) for row in store.query(_BUCKETS, where)]


def _read_letters(store: Store, topic: str, now_s: float) -> dict[float, tuple[int, int]]:
    rows = store.query(_LETTERS, {"topic": topic, "since_s": int(now_s - WEEK_S)})
    return {row["start_s"]: (row["events"], row["dead"]) for row in rows}
