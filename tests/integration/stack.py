"""A worker as a process of its own against the real servers, and what is durable there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from streams import topics
from streams.clickhouse import Store, migrate
from streams.settings import Settings
from tests.integration.servers import LAST_LINES, TETHERED

Place = tuple[int, int, int]
"""Partition, offset and index of an event; index -1 is the whole record."""

PATIENCE_S = 90.0


class Stack:
    """Topics and tables of one test, a producer, and workers to start, kill and stop."""

    def __init__(self, settings: Settings, log_path: Path) -> None:
        """Make the topics and the schema."""
        self.settings = settings
        self.log_path = log_path
        self.topics = {topic.name: topic for topic in topics.create(settings)}
        migrate(settings)
        self.store = Store.connect(settings)
        self._producer = KafkaProducer(
            bootstrap_servers=settings.kafka_brokers, acks="all", linger_ms=0, max_request_size=32_000_000
        )
        self._workers: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """End what was started."""
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self._producer.close()
        self.store.close()

    def produce(self, partition: int, value: bytes, content_type: str | None = None) -> tuple[int, int]:
        """Send one record and return its partition and offset once it is durable."""
        headers = [("content-type", content_type.encode())] if content_type else []
        topic = topics.full_name(self.settings, topics.INFERENCE_LOGS)
        sent = self._producer.send(topic, value=value, partition=partition, headers=headers).get(timeout=30)
        return sent.partition, sent.offset

    def typed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb, as a person types it where these servers and this directory are set."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
        environment["COLUMNS"] = "200"
        for name in ("kafka_brokers", "clickhouse_url", "clickhouse_database", "topic_prefix", "data_dir"):
            environment[f"INFERWATCH_{name.upper()}"] = str(getattr(self.settings, name))
        command = [sys.executable, "-m", "streams.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def start_worker(
        self, *arguments: str, settings: Settings | None = None, module: str = "streams.cli"
    ) -> subprocess.Popen[bytes]:
        """Start a worker, with other settings where it should see other things than the test does.

        It may still be joining when this returns. `module` is run in the place of ours where it is to be a broken one.
        """
        settings = settings or self.settings
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
        for name in settings.__struct_fields__:
            value = getattr(settings, name)
            if value is not None and value != Settings.__struct_defaults__[settings.__struct_fields__.index(name)]:
                environment[f"INFERWATCH_{name.upper()}"] = str(value)
        command = [sys.executable, str(TETHERED), str(os.getpid()), sys.executable, "-m", module, "worker"]
        with self.log_path.open("ab") as log:
            worker = subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=log)
        self._workers.append(worker)
        return worker

    def bury(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL, and tell the broker that the member is gone, so that the next one need not wait out its session."""
        worker.kill()
        worker.wait()
        self.forget_members()

    def forget_members(self) -> None:
        """Remove every member from the consumer group; one that lives joins again."""
        with KafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers) as admin:
            try:
                members = [MemberToRemove(member_id=each) for each in self._members(admin)]
                if members:
                    admin.remove_group_members(self.settings.consumer_group, members)
            except KafkaError:
                pass  # there is no such group yet, or it is just changing: then its session runs out

    def members(self) -> int:
        """How many workers are in the consumer group."""
        with KafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers) as admin:
            return len(self._members(admin))

    def _members(self, admin: KafkaAdminClient) -> list[str]:
        # Its warnings that Faust's own member data is not read are of no interest.
        group = admin.describe_groups([self.settings.consumer_group])[self.settings.consumer_group]
        return [each["member_id"] for each in group["members"]]

    def counted(self) -> int:
        """The calls that the rollup of traffic has counted."""
        return int(self.store.query("SELECT sum(calls) AS calls FROM traffic")[0]["calls"])

    def stored(self) -> list[Place]:
        """The places of all stored events, deduplicated as readers see them."""
        sql = "SELECT partition, offset, event_index FROM events_latest"
        return [(row["partition"], row["offset"], row["event_index"]) for row in self.store.query(sql)]

    def dead(self) -> list[Place]:
        """The places of all dead letters, deduplicated as readers see them."""
        sql = "SELECT partition, offset, event_index FROM dead_letters_latest"
        return [(row["partition"], row["offset"], row["event_index"]) for row in self.store.query(sql)]

    def committed(self, topic: str) -> dict[int, int]:
        """The committed offset of each partition of one of our topics."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers)
        try:
            offsets = admin.list_group_offsets(self.settings.consumer_group)
        finally:
            admin.close()
        name = topics.full_name(self.settings, topic)
        return {where.partition: at.offset for where, at in _flat(offsets) if where.topic == name and at.offset >= 0}

    def wait_for(self, what: str, reached: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float:
        """Wait until `reached`, say how long it took in seconds; fail with the worker's last words."""
        began_s = time.monotonic()
        while not reached():
            if time.monotonic() - began_s > timeout_s:
                lines = self.log_path.read_text(errors="replace").splitlines()[-LAST_LINES:]
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n" + "\n".join(lines))
            time.sleep(0.1)
        return time.monotonic() - began_s


def _flat(offsets: object) -> Iterable[tuple[TopicPartition, object]]:
    if isinstance(offsets, dict):
        for key, value in offsets.items():
            if isinstance(key, TopicPartition):
                yield key, value
            else:
                yield from _flat(value)


def event(number: int, **fields: object) -> dict[str, object]:
    """A small native event whose prompt is its number."""
    return {
        "deployment": f"deployment-{number % 3}",
        "principal": f"principal-{number % 11}",
        "model": "m-1",
        "served_model": "m-1-2026",
        "time_s": time.time() - 3_600 + number,
        "latency_s": 1.0 + (number % 7) / 10,
        "input_tokens": 20,
        "output_tokens": 30,
        "input_messages": [{"role": "user", "content": f"question number {number}"}],
        "output_messages": [{"role": "assistant", "content": f"answer number {number}, at some length."}],
        **fields,
    }


def batch(numbers: Iterable[int], **fields: object) -> bytes:
    """A record with one event for each number."""
    return msgspec.json.encode([event(number, **fields) for number in numbers])


StackWith = Callable[..., Stack]
"""Settings by name, to a stack of them."""
