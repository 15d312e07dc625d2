"""What is durable, asked straight from the servers: clients that are made once and again after an error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from detectors.base import DEPLOYMENT, PRINCIPAL
from streams import topics
from streams.dlq import Record
from streams.settings import Settings

WATCHED = {DEPLOYMENT: topics.BY_DEPLOYMENT, PRINCIPAL: topics.BY_PRINCIPAL}
"""The topic of each scope's observations."""

LOOK_UP_S = 5
_PATIENCE = {"request_timeout_ms": LOOK_UP_S * 1_000, "bootstrap_timeout_ms": LOOK_UP_S * 1_000}


def log(settings: Settings, topic: str) -> Iterator[Record]:
    """All records of a topic as they are on the broker, partition by partition in offset order."""
    name = topics.full_name(settings, topic)
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_brokers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        for partition in sorted(consumer.partitions_for_topic(name) or ()):
            where = TopicPartition(name, partition)
            consumer.assign([where])
            consumer.seek_to_beginning(where)
            (end,) = consumer.end_offsets([where]).values()
            while consumer.position(where) < end:
                for records in consumer.poll(timeout_ms=1_000).values():
                    for record in records:
                        yield Record(
                            topic=record.topic,
                            partition=record.partition,
                            offset=record.offset,
                            time_s=record.timestamp / 1_000.0,
                            value=record.value or b"",
                            key=record.key,
                            headers=tuple(record.headers or ()),
                        )
    finally:
        consumer.close()


class Clients:
    """Connections of one bench straight to its servers, made when first used and again after an error.

    One thread at a time: making a client costs more than what it is asked.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        self.lock = threading.RLock()
        self._consumer: KafkaConsumer | None = None
        self._admin: KafkaAdminClient | None = None
        self._store: Client | None = None

    def close(self) -> None:
        """Give all connections back; they are made again when needed."""
        with self.lock:
            for client in (self._consumer, self._admin, self._store):
                if client is not None:
                    client.close()
            self._consumer = self._admin = self._store = None

    @contextlib.contextmanager
    def _fresh_after_error(self) -> Iterator[None]:
        with self.lock:
            try:
                yield
            except (ClickHouseError, KafkaError, OSError):
                self.close()
                raise

    def committed(self, topic: str) -> dict[int, int]:
        """The committed offset of each partition that has one."""
        name = topics.full_name(self.settings, topic)
        with self._fresh_after_error():
            self._admin = self._admin or KafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers, **_PATIENCE)
            groups = self._admin.list_group_offsets(self.settings.consumer_group)
        offsets = groups.get(self.settings.consumer_group, groups)
        return {where.partition: at.offset for where, at in offsets.items() if where.topic == name and at.offset >= 0}

    def ends(self, topic: str) -> dict[int, int]:
        """The end offset of each partition."""
        name = topics.full_name(self.settings, topic)
        with self._fresh_after_error():
            self._consumer = self._consumer or KafkaConsumer(
                bootstrap_servers=self.settings.kafka_brokers, enable_auto_commit=False, **_PATIENCE
            )
            partitions = [TopicPartition(name, each) for each in range(self.settings.partitions)]
            return {where.partition: end for where, end in self._consumer.end_offsets(partitions).items()}

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        column_formats: dict[str, str | dict[str, str]] | None = None,
    ) -> list[list[Any]]:
        """What ClickHouse answers."""
        with self._fresh_after_error():
            self._store = self._store or clickhouse_connect.get_client(
                dsn=self.settings.clickhouse_url,
                database=self.settings.clickhouse_database,
                autogenerate_session_id=False,
                connect_timeout=LOOK_UP_S,
                send_receive_timeout=LOOK_UP_S,
                query_retries=0,
            )
            result = self._store.query(sql, parameters=dict(parameters or {}), column_formats=column_formats)
        return [list(row) for row in result.result_rows]
