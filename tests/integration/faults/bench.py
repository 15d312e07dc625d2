"""Workers that see Kafka and ClickHouse only through proxies, traffic, and the check at the end."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import msgspec

from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.faults import checker
from tests.integration.faults.proxy import Proxy, kafka_frames
from tests.integration.faults.traffic import Sender
from tests.integration.servers import HOST
from tests.integration.stack import Stack

PARTITIONS = 3
REST_S = 120.0


def bench_settings(
    kafka: KafkaServer, clickhouse: ClickHouseServer, prefix: str, database: str, data_dir: Path, **fields: object
) -> Settings:
    """Short intervals, a fixed key, and the servers' own addresses; `fields` win."""
    given: dict[str, object] = {
        "kafka_brokers": kafka.brokers,
        "clickhouse_url": clickhouse.url,
        "clickhouse_database": database,
        "topic_prefix": prefix,
        "consumer_group": f"{prefix}worker",
        "partitions": PARTITIONS,
        "data_dir": data_dir,
        "key": "one key for the worker and for the oracle",
        "session_timeout_s": 6.0,
        "stall_s": 45.0,
        "snapshot_interval_s": 0.5,
        "batch_records": 8,
    }
    return Settings(**given | fields)  # type: ignore[arg-type]


class Bench:
    """One stack with a proxy before each dependency (`kafka`, `clickhouse`), seeded senders and a checker.

    `settings` reach the servers directly, the workers' go through the proxies. `sender(partition)` makes traffic;
    `produce(n)` spreads records over the partitions; `start_worker`, `kill`; `check` waits for rest and checks.
    """

    def __init__(
        self,
        kafka: KafkaServer,
        clickhouse: ClickHouseServer,
        settings: Settings,
        log_path: Path,
        seed: int,
        *,
        shared: bool = False,
    ) -> None:
        """`settings` with the servers' own addresses; `shared` subjects are sent about from every partition."""
        self.settings = settings
        self.shared = shared
        self.stack = Stack(settings, log_path)
        self.kafka = Proxy(kafka.behind_proxy_port, split=kafka_frames, port=kafka.proxy_port)
        self.clickhouse = Proxy(clickhouse.port)
        self.kafka.start()
        self.clickhouse.start()
        self.clients = checker.Clients(settings)
        self.trace = checker.CommitTrace(self.clients, self.kafka)
        self.senders = [Sender(partition, seed, shared=shared) for partition in range(settings.partitions)]
        self._workers: list[subprocess.Popen[bytes]] = []
        self._worker_settings = msgspec.structs.replace(
            settings, kafka_brokers=kafka.proxied_brokers, clickhouse_url=f"http://{HOST}:{self.clickhouse.port}"
        )

    def close(self) -> None:
        """End what was started."""
        self.stack.close()
        self.kafka.stop()
        self.clickhouse.stop()
        self.clients.close()

    def produce(self, records: int) -> None:
        """That many records to each partition."""
        for _ in range(records):
            for partition, sender in enumerate(self.senders):
                self.stack.produce(partition, sender.record())

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A worker behind the proxies; it may still be joining when this returns."""
        worker = self.stack.start_worker(*arguments, settings=self._worker_settings)
        self._workers.append(worker)
        return worker

    def living(self) -> list[subprocess.Popen[bytes]]:
        """The workers that run, frozen ones too."""
        return [worker for worker in self._workers if worker.poll() is None]

    def revive(self) -> subprocess.Popen[bytes]:
        """A worker that runs; a new one if none is left."""
        living = self.living()
        return living[0] if living else self.start_worker()

    def at_work(self) -> subprocess.Popen[bytes]:
        """A worker that runs, once something new is stored: it is in the middle of it."""
        worker, before = self.revive(), len(self.stack.stored())
        self.produce(1)
        self.stack.wait_for("a worker is at work", lambda: len(self.stack.stored()) > before, REST_S)
        return worker

    def wait_for_rest(self, timeout_s: float = REST_S) -> float:
        """Wait until everything that was produced is committed; how long it took in seconds.

        A worker that has ended is started again, as its supervisor would.
        """
        began_s = time.monotonic()
        last: list[str] = []

        def rested() -> bool:
            self.revive()
            last[:] = checker.unsettled(self.clients)
            return not last

        try:
            self.stack.wait_for("everything is committed", rested, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"still on its way: {last}\n{error}") from None
        return time.monotonic() - began_s

    def check(self) -> None:
        """Wait for rest, then assert that every promise was kept."""
        self.wait_for_rest()
        self.check_now()

    def check_now(self) -> None:
        """Assert that every promise was kept."""
        expected = checker.oracle(self.clients)
        broken = [
            *checker.delivery(self.clients, expected),
            *checker.commits(self.clients, expected, self.trace),
        ]
        if not self.shared:
            broken += checker.learning(self.clients, expected)
        assert not broken, "\n".join(broken)
