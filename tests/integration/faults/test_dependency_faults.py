"""A broker or a store that is away, slow, hanging or full, or whose answers are lost: what is not durable waits.

While a dependency is away the worker lives, says that it is not ready and why, and commits nothing that the
dependency would have had to make durable. Afterwards everything is there exactly once, and every detector has
learned what it would have learned.

An outage lasts `FAULTS_OUTAGE_S` seconds after the worker has noticed it; the long set gives a minute.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect
import msgspec
import pytest
from kafka.errors import KafkaError

from detectors.types import Observation
from streams import topics
from tests.conftest import LeaveOut
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.conftest import empty_database, new_prefix, served
from tests.integration.faults import checker
from tests.integration.faults.bench import Bench, bench_settings
from tests.integration.faults.proxy import PRODUCE, Stage, Trap, insert_into, kafka_request
from tests.integration.servers import HOST, free_port

OUTAGE_S = float(os.environ.get("FAULTS_OUTAGE_S", "2"))
pytestmark = pytest.mark.timeout(300 + 20 * OUTAGE_S)

SEED = 20261122
NOTICED_S = 90.0
TOKEN = "a token for the pages of this test"
PASSWORD = "of the worker"

INSERTED = ("inference_events", "dead_letters", "findings", "incidents", "detector_snapshots")
WATCHED = tuple(checker.WATCHED.values())

CONFIG = """\
<clickhouse>
  <users_config>{path}</users_config>
  <profiles><default/><worker>{profile}</worker></profiles>
  <quotas><default/></quotas>
  <users>
    <default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>
    <worker>
      <password>{password}</password><networks><ip>127.0.0.1</ip></networks><profile>worker</profile>
      {grants}
    </worker>
  </users>
</clickhouse>
"""


class GuardedClickHouse(ClickHouseServer):
    """A ClickHouse whose user `worker` is refused what a test likes; it reads its users when it starts."""

    def __init__(self, directory: Path) -> None:
        """Let the worker do everything."""
        self._path = directory / "config.xml"
        super().__init__(directory / "data", self._path)
        self.let()

    def let(self, password: str = PASSWORD, profile: str = "", grants: str = "") -> None:
        """From the next start on."""
        self._path.write_text(CONFIG.format(path=self._path, password=password, profile=profile, grants=grants))

    def revive(self) -> None:
        """As it was in the beginning."""
        self.let()
        super().revive()


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Iterator[ClickHouseServer]:
    """In the place of the one all tests share: a client of that one has no password to be wrong."""
    yield from served(GuardedClickHouse(tmp_path_factory.mktemp("guarded")), leave_out_integration)


class Watched:
    """A bench with one worker that must outlive everything here."""

    def __init__(self, bench: Bench) -> None:
        """Start the worker and wait until it works."""
        self.bench = bench
        self.worker: subprocess.Popen[bytes] = bench.start_worker()
        self.go_on()

    def go_on(self) -> None:
        """Wait until what is produced now is stored."""
        self.bench.produce(1)
        clients = self.bench.clients

        def caught_up() -> bool:
            try:
                return clients.committed(topics.INFERENCE_LOGS) == clients.ends(topics.INFERENCE_LOGS)
            except KafkaError:
                return False  # the broker has just come back

        self.bench.stack.wait_for("the worker has caught up", caught_up)
        self.bench.stack.wait_for("the worker is ready again", lambda: self.readiness() == "ready")

    def readiness(self) -> str:
        """What the worker says of itself."""
        assert self.worker.poll() is None, f"the worker ended with {self.worker.returncode}: {self.last_words()}"
        connection = http.client.HTTPConnection(self.bench.settings.health_address, timeout=10)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
            return connection.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def last_words(self) -> str:
        """The end of the worker's log."""
        return "\n".join(self.log().splitlines()[-40:])

    def log(self) -> str:
        """All the worker has logged."""
        return self.bench.stack.log_path.read_text(errors="replace")

    @contextmanager
    def endures(self, name: str, reason: str, held: tuple[str, ...] = (topics.INFERENCE_LOGS,)) -> Iterator[None]:
        """Enter when the outage is in force and leave when it is over: the body ends it.

        The worker says `reason` (a pattern) as long as it lasts, and of the topics `held` nothing new is committed.
        """
        ends = {topic: self.bench.clients.ends(topic) for topic in held}
        said = len(self.log())
        self.bench.produce(2)
        self.bench.stack.wait_for(
            f"not ready, {name}: {reason}", lambda: re.search(reason, self.readiness()) is not None, NOTICED_S
        )
        until_s = time.monotonic() + OUTAGE_S
        while time.monotonic() < until_s:
            self.bench.produce(1)
            assert re.search(reason, self.readiness()), f"ready while {name}: {self.readiness()}"
            time.sleep(0.5)
        assert re.search(f"not durable yet.*({reason})", self.log()[said:]), f"nothing logged while {name}"
        for topic, end in ends.items():
            for partition, offset in self.bench.clients.committed(topic).items():
                assert offset <= end[partition], f"{topic} {partition} was committed at {offset} while {name}"
        yield
        self.go_on()


@pytest.fixture(scope="module")
def one_worker(
    kafka: KafkaServer, clickhouse: GuardedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """It outlives all tests here: what one of them did to it, the checks of the next would see."""
    place = tmp_path_factory.mktemp("watched")
    with empty_database(clickhouse) as database:
        settings = bench_settings(
            *(kafka, clickhouse, new_prefix(), database, place),
            clickhouse_user="worker",
            clickhouse_password=PASSWORD,
            health_address=f"{HOST}:{free_port()}",
            metrics_token=TOKEN,
        )
        with closing(Bench(kafka, clickhouse, settings, place / "worker.log", SEED)) as bench:
            yield Watched(bench)


@pytest.fixture
def watched(one_worker: Watched) -> Watched:
    one_worker.bench.kafka.clear()
    one_worker.bench.clickhouse.clear()
    one_worker.go_on()
    return one_worker


class Outage(NamedTuple):
    """What is done to a store, how it is undone, what the worker then says, and which topics must wait."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    reason: str
    held: tuple[str, ...] = (topics.INFERENCE_LOGS,)


def outages(bench: Bench, server: GuardedClickHouse) -> list[Outage]:
    """Every way in which a store does not take rows."""
    database, proxy = bench.settings.clickhouse_database, bench.clickhouse

    def refusal(name: str, reason: str, held: tuple[str, ...] = (topics.INFERENCE_LOGS,), **rights: str) -> Outage:
        def begin() -> None:
            server.let(**rights)
            server.restart()

        def end() -> None:
            server.let()
            server.restart()

        return Outage(name, begin, end, reason, held)

    def rename(old: str, new: str) -> Callable[[], None]:
        def rename_it() -> None:
            with clickhouse_connect.get_client(dsn=server.url, database=database) as owner:
                owner.command(f"RENAME TABLE {old} TO {new}")

        return rename_it

    others = "".join(f"<query>GRANT INSERT ON {database}.{table}</query>" for table in INSERTED[:-1])
    return [
        Outage("it is dead", server.kill, server.start, "ClickHouse: Operational"),
        Outage("connections are reset", proxy.refuse, proxy.clear, "ClickHouse: Operational"),
        Outage("it hangs", proxy.blackhole, proxy.clear, "clickhouse has not answered|ClickHouse: "),
        Outage(
            "a table is missing",
            rename("inference_events", "elsewhere"),
            rename("elsewhere", "inference_events"),
            "UNKNOWN_TABLE",
        ),
        refusal("the password is wrong", "AUTHENTICATION_FAILED", password="another"),
        refusal("it is read-only", "READONLY", profile="<readonly>2</readonly>"),
        refusal(
            "memory is short",
            "MEMORY_LIMIT_EXCEEDED",
            profile="<max_memory_usage>1000</max_memory_usage><max_untracked_memory>0</max_untracked_memory>",
        ),
        refusal(
            "only the snapshot store is full",
            "ACCESS_DENIED",
            held=WATCHED,
            grants=f"<grants><query>GRANT SELECT ON *.*</query>{others}</grants>",
        ),
    ]


def test_whatever_keeps_the_store_away_the_worker_waits_and_then_stores_everything_once(
    watched: Watched, clickhouse: GuardedClickHouse
) -> None:
    waiting = outages(watched.bench, clickhouse)
    random.Random(SEED).shuffle(waiting)
    for outage in waiting:
        outage.begin()
        with watched.endures(outage.name, outage.reason, outage.held):
            if outage.held == WATCHED:
                stored = len(watched.bench.stack.stored())
                watched.bench.produce(1)
                watched.bench.stack.wait_for(
                    "events are stored although states are not",
                    lambda before=stored: len(watched.bench.stack.stored()) > before,
                )
            outage.end()
    watched.bench.check()


def test_while_the_broker_is_away_the_worker_waits_and_then_everything_is_there_once(
    watched: Watched, kafka: KafkaServer
) -> None:
    bench = watched.bench

    def sending() -> Trap:
        """Hold a message on its way, so that one is in flight when the broker goes."""
        trap = bench.kafka.trap(kafka_request(PRODUCE, topic), Stage.BEFORE)
        bench.produce(1)
        bench.stack.wait_for("a message is on its way", lambda: trap.sprung)
        return trap

    topic = topics.full_name(bench.settings, topics.BY_DEPLOYMENT).encode()
    for name, change in (("it is out of reach", bench.kafka.refuse), ("it hangs", bench.kafka.blackhole)):
        trap = sending()
        change()
        trap.cut()
        with watched.endures(name, "kafka has not answered|Kafka: |no partitions"):
            bench.kafka.clear()
    trap = sending()
    kafka.stop()
    trap.cut()
    time.sleep(OUTAGE_S)
    kafka.start()
    watched.go_on()
    bench.check()


def test_what_was_done_and_never_answered_is_done_twice_and_counts_once(watched: Watched) -> None:
    bench, decoder = watched.bench, msgspec.msgpack.Decoder(list[Observation])

    def repeated(topic: str) -> set[str]:
        sent = Counter(
            each.event_id for record in checker.log(bench.settings, topic) for each in decoder.decode(record.value)
        )
        return {event_id for event_id, times in sent.items() if times > 1}

    before = {name: repeated(name) for name in WATCHED}
    sent_to = [
        topics.full_name(bench.settings, name)
        for name in (*WATCHED, topics.DEAD_LETTERS, topics.FINDINGS, topics.INCIDENTS)
    ]
    lost = [(table, bench.clickhouse, insert_into(table)) for table in INSERTED]
    lost += [(topic, bench.kafka, kafka_request(PRODUCE, topic.encode())) for topic in sent_to]
    for what, proxy, matches in lost:
        trap = proxy.trap(matches, Stage.AFTER)
        trap.cut()

        def sprung(trap: Trap = trap) -> bool:
            bench.stack.produce(0, b"broken")
            bench.produce(1)
            return trap.wait(1.0)

        bench.stack.wait_for(f"an answer is lost: {what}", sprung)
    watched.go_on()
    bench.check()
    for name in WATCHED:
        assert repeated(name) - before[name], f"no observation is twice in {name}: nothing was proven"


def test_slow_narrow_and_torn_connections_cost_time_and_nothing_else(watched: Watched) -> None:
    bench, rng = watched.bench, random.Random(SEED)
    for proxy in (bench.kafka, bench.clickhouse):
        for change in (lambda proxy=proxy: proxy.delay(0.3), lambda proxy=proxy: proxy.throttle(50_000)):
            change()
            bench.produce(2)
            time.sleep(OUTAGE_S)
            proxy.clear()
    until_s = time.monotonic() + 3 * OUTAGE_S
    while time.monotonic() < until_s:
        rng.choice((bench.kafka, bench.clickhouse)).reset()
        bench.produce(1)
        time.sleep(rng.uniform(0.05, 0.8))
    watched.go_on()
    bench.check()
