"""The look at the store: what it reads there, what it sends, and what it leaves to say to the store's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from detectors.types import Finding, InferenceEvent, Observation
from streams.clickhouse import Store, migrate
from streams.dlq import WHOLE_RECORD, Record, dead_letter
from streams.lookout import Lookout, Progress, Watermark
from streams.pipeline import Stored
from streams.settings import Settings
from streams.silence import CHANGED, REFUSED, SILENT
from streams.sinks import Message, Sender, Writer
from streams.topics import BrokerError, Topic
from tests.chdb_directory import chdb_url

pytest.importorskip("chdb", reason="the extra `local` is not installed")

MINIMUM_S = 10.0


class Sent:
    """Kafka as a list, and triage: what is sent is stored."""

    def __init__(self, store: Store) -> None:
        self.findings: list[Finding] = []
        self._store = store

    async def send(self, _topic: str, message: Message) -> None:
        finding = msgspec.json.decode(message.value, type=Finding)
        self.findings.append(finding)
        self._store.insert_findings([finding])


class Site:
    """A store of its own, and lookouts over it as workers would have them, one after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sent = Sent(store)
        self.now_s = float(store.query("SELECT toFloat64(now64(3)) AS now_s")[0]["now_s"])
        self.progress: Progress | BrokerError = {0: (10, 10)}
        self._number = 0

    def arrive(self, deployment: str, times: list[float], source: str = "native") -> None:
        self.store.insert_events([self._row(deployment, time_s, source) for time_s in times])

    def bury(self, count: int, time_s: float) -> None:
        letters = [
            dead_letter(
                Record(topic="logs", partition=0, offset=index, time_s=time_s, value=b"?"),
                "0" * 32,
                "no format",
                WHOLE_RECORD,
                lambda _head: "",
            )
            for index in range(count)
        ]
        self.store.insert_dead_letters(letters)

    def lookout(self, clock_s: float | None = None) -> Lookout:
        return Lookout(
            writer=Writer(self.store),
            findings=Sender(self.sent, Topic("findings", 2, "0" * 32)),
            source="logs",
            progress=self._progress,
            minimum_s=MINIMUM_S,
            clock=lambda: self.now_s if clock_s is None else clock_s,
        )

    def _progress(self) -> Progress:
        if isinstance(self.progress, BrokerError):
            raise self.progress
        return self.progress

    def _row(self, deployment: str, time_s: float, source: str) -> Stored:
        self._number += 1
        event_id = f"t:0:{self._number}"
        return Stored(
            event=InferenceEvent(deployment=deployment, time_s=time_s, event_id=event_id, source=source),
            observation=Observation(event_id=event_id, time_s=time_s, deployment=deployment),
            topic="logs",
            partition=0,
            offset=self._number,
            index=0,
            record_time_s=time_s,
        )


@pytest.fixture
def site() -> Iterator[Site]:
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database="test_lookout")
    migrate(settings)
    store = Store.connect(settings)
    yield Site(store)
    store._client.command("DROP DATABASE test_lookout")
    store.close()


def minutes(site: Site, begins: float, ends: float) -> list[float]:
    """One arrival a second between so many minutes ago."""
    return [site.now_s - 60.0 * begins + second for second in range(int(60.0 * (begins - ends)))]


def test_of_two_deployments_the_one_that_stopped_is_said_once_by_whoever_looks(site: Site) -> None:
    site.arrive("stopped", minutes(site, 20, 18))
    site.arrive("lives", minutes(site, 20, 0))
    lookout = site.lookout()
    for _ in range(3):
        asyncio.run(lookout.look())
    asyncio.run(site.lookout().look())
    (finding,) = site.sent.findings
    assert (finding.detector, finding.deployment) == (SILENT, "stopped")
    assert finding.time_s <= site.now_s


def test_a_silence_behind_our_own_backlog_is_none(site: Site) -> None:
    site.arrive("behind", minutes(site, 20, 18))
    lookout = site.lookout()
    for progress in (BrokerError("down"), {0: (900, 100)}, {0: (950, 500)}):
        site.progress = progress
        asyncio.run(lookout.look())
    assert site.sent.findings == []
    site.progress = {0: (2_000, 900)}  # what had arrived when it was first asked is stored by now
    asyncio.run(lookout.look())
    assert [finding.deployment for finding in site.sent.findings] == ["behind"]


def test_a_clock_that_is_an_hour_ahead_makes_no_silence(site: Site) -> None:
    site.arrive("lives", minutes(site, 20, 0))
    asyncio.run(site.lookout(clock_s=site.now_s + 3_600.0).look())
    assert site.sent.findings == []


def test_an_empty_store_is_looked_at_without_a_word(site: Site) -> None:
    asyncio.run(site.lookout().look())
    assert site.sent.findings == []


def test_a_change_of_format_and_a_rise_of_dead_letters_are_findings(site: Site) -> None:
    site.arrive("moves", minutes(site, 60, 0), source="litellm")
    site.arrive("moves", minutes(site, 5, 0), source="otlp")
    site.bury(300, site.now_s - 60.0)
    for _ in range(2):
        asyncio.run(site.lookout().look())
    assert sorted(finding.detector for finding in site.sent.findings) == sorted((CHANGED, REFUSED))


def test_the_coverage_says_which_share_of_the_events_has_a_field(site: Site) -> None:
    site.arrive("bare", minutes(site, 5, 0))
    rows = site.store.query(
        "SELECT deployment, sum(events) AS n, max(latency_s) AS share FROM coverage GROUP BY deployment"
    )
    assert rows == [{"deployment": "bare", "n": 300, "share": 0.0}]


def test_a_topic_that_is_always_written_to_is_done_up_to_the_moment_that_was_asked_about() -> None:
    mark = Watermark()
    mark.see({0: (100, 50), 1: (5, 5)}, 1.0)
    assert mark.until_s == float("-inf")
    mark.see({0: (200, 98), 1: (9, 5)}, 2.0)
    assert mark.until_s == float("-inf")
    mark.see({0: (300, 150), 1: (9, 6)}, 3.0)
    assert mark.until_s == 1.0
    mark.see({0: (400, 300), 1: (9, 9)}, 4.0)
    assert mark.until_s == 3.0


def test_a_topic_that_is_read_to_its_end_is_done_now() -> None:
    mark = Watermark()
    mark.see({0: (100, 100), 1: (0, 0)}, 7.0)
    assert mark.until_s == 7.0
