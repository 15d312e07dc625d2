"""What an application imports to send its inference events: batches, never in the way of a request.

from streams.producer import EventProducer

with EventProducer("kafka.internal:9092") as producer:
    producer.send(InferenceEvent(deployment="support-chat", model="gpt-4o", latency_s=1.2, ...))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from detectors.types import InferenceEvent
from streams.topics import INFERENCE_LOGS, BrokerError

CONTENT_TYPE = "application/vnd.inferwatch.event+json"


class RecordProducer:
    """Sends records to one topic and waits for none of them; `flush` says whether all are durable."""

    def __init__(self, brokers: str, topic: str = INFERENCE_LOGS, **options: Any) -> None:
        """Connect to `brokers` (``host:port``, several with commas); `options` are kafka-python's.

        Raises `BrokerError`.
        """
        configured: dict[str, Any] = {
            "acks": "all",
            "linger_ms": 20,
            "batch_size": 262_144,
            "max_request_size": 16_000_000,
            "bootstrap_timeout_ms": 10_000,
            "client_id": "inferwatch-producer",
            **options,
        }
        self._topic = topic
        self._failed: list[Exception] = []
        try:
            self._producer = KafkaProducer(bootstrap_servers=brokers.split(","), **configured)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka at {brokers}: {type(error).__name__}; check that it runs") from error

    def send(
        self,
        value: bytes,
        content_type: str | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        topic: str | None = None,
        key: bytes | None = None,
    ) -> None:
        """Hand over one record; blocks only while the client's buffer is full. Raises `BrokerError`.

        `topic` is another one than this producer's, by its full name; what has one `key` stays in order.
        """
        said = [("content-type", content_type.encode())] if content_type else []
        to = topic or self._topic
        try:
            sent = self._producer.send(to, value=value, key=key, headers=[*said, *headers])
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka: {type(error).__name__} while sending to {to}") from error
        sent.add_errback(self._failed.append)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Return when all that was handed over is durable; raises `BrokerError` when some of it is not."""
        try:
            self._producer.flush(timeout=timeout_s)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka: {type(error).__name__} while flushing to {self._topic}") from error
        if self._failed:
            lost, self._failed = self._failed, []
            raise BrokerError(f"Kafka refused {len(lost)} records: {type(lost[0]).__name__}")

    def close(self) -> None:
        """Flush and disconnect."""
        try:
            self.flush()
        finally:
            self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EventProducer:
    """Collects events into records of up to `per_record` events or `linger_s` seconds; thread-safe."""

    def __init__(
        self,
        brokers: str,
        topic: str = INFERENCE_LOGS,
        per_record: int = 50,
        linger_s: float = 1.0,
        **options: Any,
    ) -> None:
        """Connect to `brokers`; `options` are kafka-python's, for TLS and SASL. Raises `BrokerError`."""
        self._records = RecordProducer(brokers, topic, **options)
        self._per_record = per_record
        self._linger_s = linger_s
        self._lock = threading.Lock()
        self._waiting: list[InferenceEvent] = []
        self._closed = threading.Event()
        self._timer = threading.Thread(target=self._linger, name="inferwatch-producer", daemon=True)
        self._timer.start()

    def send(self, event: InferenceEvent) -> None:
        """Take one event; one without `time_s` is stamped with now."""
        if event.time_s is None:
            event = msgspec.structs.replace(event, time_s=time.time())
        with self._lock:
            self._waiting.append(event)
            if len(self._waiting) >= self._per_record:
                self._hand_over()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Return when every event is durable. Raises `BrokerError`."""
        with self._lock:
            self._hand_over()
        self._records.flush(timeout_s)

    def close(self) -> None:
        """Flush and disconnect."""
        self._closed.set()
        self._timer.join()
        with self._lock:
            self._hand_over()
        self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_over(self) -> None:
        if self._waiting:
            record, self._waiting = msgspec.json.encode(self._waiting), []
            self._records.send(record, CONTENT_TYPE)

    def _linger(self) -> None:
        while not self._closed.wait(self._linger_s):
            with self._lock:
                self._hand_over()
