"""Apache Kafka and a listening ClickHouse on this machine, and installations of ours over them, one after the other."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError

from streams import topics
from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.servers import HOST, free_port
from tests.integration.stack import Stack
from tests.speed.machine import cpu_s

READ = (topics.INFERENCE_LOGS, topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL, topics.FINDINGS)
"""What is read on the way of an event; nothing waits there when all is done."""

JOIN_S = 120.0
_READY_POLL_S = 0.02


class Rig:
    """The two servers, and where files of the bench go."""

    def __init__(self, folder: Path) -> None:
        """Start nothing."""
        self.folder = folder
        self.kafka = KafkaServer(folder / "kafka")
        self.clickhouse = ClickHouseServer(folder / "clickhouse")

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Rig]:
        """Both servers, from now to the end."""
        with contextlib.ExitStack() as stack:
            rig = cls(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speed-"))).resolve())
            for server in (rig.kafka, rig.clickhouse):
                stack.callback(server.stop)
                server.start()
            yield rig

    def settings(self, **fields: Any) -> Settings:
        """An installation with topics and a database of its own."""
        name = f"speed_{secrets.token_hex(4)}"
        given = {
            "kafka_brokers": self.kafka.brokers,
            "clickhouse_url": self.clickhouse.url,
            "clickhouse_database": name,
            "topic_prefix": f"{name}.",
            "consumer_group": name,
            "data_dir": self.folder / name,
            "health_address": "",
            "metrics_token": uuid.uuid4().hex,
            "key": uuid.uuid4().hex,
            **fields,
        }
        return Settings(**given)

    @contextlib.contextmanager
    def installation(self, **fields: Any) -> Iterator[Installation]:
        """One installation; workers and tables are gone at the end."""
        settings = self.settings(**fields)
        settings.data_dir.mkdir()
        installation = Installation(settings, settings.data_dir / "worker.log")
        try:
            yield installation
        finally:
            installation.end()


class Installation:
    """Topics, tables and workers of one measurement."""

    def __init__(self, settings: Settings, log_path: Path) -> None:
        """Make topics and tables."""
        self.settings = settings
        self.stack = Stack(settings, log_path)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._pages: list[str] = []
        self._admin = KafkaAdminClient(bootstrap_servers=settings.kafka_brokers)

    def end(self) -> None:
        """Stop the workers and drop the tables."""
        self.stop()
        self.stack.store.query(f"DROP DATABASE `{self.settings.clickhouse_database}` SYNC")
        self._admin.close()
        self.stack.close()

    def stop(self) -> None:
        """Ask the workers to end, as a supervisor does."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.forget()

    def forget(self) -> None:
        """The workers were ended by somebody else."""
        self.workers.clear()
        self._pages.clear()

    def start(self, workers: int, module: str = "streams.cli", *arguments: str) -> None:
        """Start workers with all roles; they may still be joining when this returns."""
        for _ in range(workers):
            page = f"{HOST}:{free_port()}"
            settings = msgspec.structs.replace(self.settings, health_address=page)
            self.workers.append(self.stack.start_worker(*arguments, settings=settings, module=module))
            self._pages.append(page)

    def wait_ready(self) -> float:
        """Wait until every worker says it is ready; seconds that took."""
        began_s = time.monotonic()
        for worker, page in zip(self.workers, self._pages, strict=True):
            while not self._ready(page):
                if worker.poll() is not None or time.monotonic() - began_s > JOIN_S:
                    raise AssertionError(f"a worker is not ready; see {self.stack.log_path}:\n{self.last_words()}")
                time.sleep(_READY_POLL_S)
        return time.monotonic() - began_s

    def ready(self) -> bool:
        """Whether every worker says it is."""
        return all(map(self._ready, self._pages))

    def alive(self) -> bool:
        """True; raises `AssertionError` when a worker has ended."""
        if any(worker.poll() is not None for worker in self.workers):
            raise AssertionError(f"a worker has ended:\n{self.last_words()}")
        return True

    def last_words(self) -> str:
        """The end of the workers' log."""
        return "\n".join(self.stack.log_path.read_text(errors="replace").splitlines()[-20:])

    def produce(self, values: Iterable[bytes], content_type: str) -> int:
        """Send records to all partitions in turn and return how many, once all are durable."""
        topic = topics.full_name(self.settings, topics.INFERENCE_LOGS)
        producer = KafkaProducer(
            bootstrap_servers=self.settings.kafka_brokers,
            acks="all",
            linger_ms=20,
            batch_size=262_144,
            max_request_size=32_000_000,
        )
        count, failed = 0, []
        for value in values:
            sent = producer.send(
                topic,
                value=value,
                partition=count % self.settings.partitions,
                headers=[("content-type", content_type.encode())],
            )
            sent.add_errback(failed.append)
            count += 1
        producer.flush(timeout=120)
        producer.close()
        if failed:
            raise AssertionError(f"{len(failed)} records were not taken: {failed[0]}")
        return count

    def stored(self) -> int:
        """How many rows of events there are, those that came twice counted twice."""
        return int(self.stack.store.query("SELECT count() AS rows FROM inference_events")[0]["rows"])

    def settled(self) -> int:
        """The same once each, what came twice merged away: nothing that is counted on is merged away later."""
        self.stack.store.command("OPTIMIZE TABLE inference_events FINAL")
        return self.stored()

    def waiting(self, names: Iterable[str] = READ) -> int:
        """Records of our topics that are not acknowledged."""
        partitions = [
            TopicPartition(topics.full_name(self.settings, name), number)
            for name in names
            for number in range(self.settings.partitions)
        ]
        group = self.settings.consumer_group
        try:
            committed = self._admin.list_group_offsets({group: partitions})[group]
        except CoordinatorNotAvailableError:
            committed = {}  # a broker that never had a group makes its topic at the first question
        last = self._admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        done = {each: committed[each].offset if each in committed else 0 for each in partitions}
        return sum(last[each].offset - max(done[each], 0) for each in partitions)

    def worker_cpu_s(self) -> float:
        """Processor time of all workers so far."""
        return sum(cpu_s(worker.pid) for worker in self.workers)

    def _ready(self, page: str) -> bool:
        connection = http.client.HTTPConnection(page, timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self.settings.metrics_token}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
