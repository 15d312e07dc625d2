"""Alerts through real Kafka and real processes: a receiver that is cut loses none and holds up no other."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaProducer

from detectors.types import Finding, Severity
from streams import topics
from streams.settings import Settings
from streams.webhook import verify
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.stack import Stack
from tests.test_webhook import SECRET, Listening, listening


@pytest.fixture
def port() -> int:
    """A port on which nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def up() -> Iterator[Listening]:
    with listening() as there:
        yield there


@pytest.fixture
def stack(
    kafka: KafkaServer,
    clickhouse: ClickHouseServer,
    topic_prefix: str,
    database: str,
    tmp_path: Path,
    up: Listening,
    port: int,
) -> Iterator[Stack]:
    targets = [
        {"name": "up", "severity": "medium", "webhook": up.url, "secret": SECRET},
        {"name": "cut", "severity": "medium", "webhook": f"http://127.0.0.1:{port}/", "secret": SECRET},
    ]
    settings = Settings(
        kafka_brokers=kafka.brokers,
        clickhouse_url=clickhouse.url,
        clickhouse_database=database,
        topic_prefix=topic_prefix,
        consumer_group=f"{topic_prefix}worker",
        partitions=2,
        data_dir=tmp_path,
        session_timeout_s=6.0,
        health_address="",
        alert_targets=msgspec.json.encode(targets).decode(),
        alert_private_addresses=True,
    )
    stack = Stack(settings, tmp_path / "worker.log")
    yield stack
    stack.close()


def found(number: int, severity: Severity) -> Finding:
    return Finding(
        finding_id=f"f{number}",
        detector="output_drift",
        version=1,
        scope="deployment",
        subject="chat",
        deployment="chat",
        time_s=1_790_000_000.0 + number,
        onset_s=1_790_000_000.0,
        severity=severity,
        summary="changed",
        score=2.0,
        threshold=1.0,
        budget_share=0.1,
        event_id=f"e{number}",
    )


def publish(settings: Settings, numbers: range, severity: Severity = Severity.HIGH) -> list[str]:
    with KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all") as producer:
        for number in numbers:
            value = msgspec.json.encode(found(number, severity))
            topic = topics.full_name(settings, topics.FINDINGS)
            producer.send(topic, value=value, partition=number % 2).get(timeout=30)
    return [f"f{number}" for number in numbers]


def test_a_receiver_that_is_cut_over_a_killed_worker_gets_every_alert_and_holds_up_nobody(
    stack: Stack, up: Listening, port: int
) -> None:
    expected = publish(stack.settings, range(3))  # before the targets have ever been there: they look back
    first = stack.start_worker("--roles", "notify")
    stack.wait_for("the receiver that is up has the first alerts", lambda: set(up.ids) == set(expected))
    first.kill()
    first.wait()
    publish(stack.settings, range(100, 110), Severity.LOW)
    expected += publish(stack.settings, range(3, 6))
    second = stack.start_worker("--roles", "triage,notify")
    stack.wait_for("the receiver that is up has all alerts", lambda: set(up.ids) == set(expected))
    with listening(port) as cut:
        stack.wait_for("the receiver that was cut has all alerts", lambda: set(cut.ids) == set(expected))
        _, headers, body = cut.requests[0]
        assert verify(SECRET, headers, body, float(headers["X-Inferwatch-Timestamp"]))
        assert cut.ids == list(dict.fromkeys(cut.ids))
        assert [each for each in cut.ids if int(each[1:]) % 2] == [each for each in expected if int(each[1:]) % 2]
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=10) == 0
    log = stack.log_path.read_text()
    assert "cut has not taken alert f0" in log
    assert SECRET not in log
    assert f"127.0.0.1:{port}" not in log


def test_a_worker_that_only_notifies_ends_at_once_while_a_receiver_is_away(stack: Stack, up: Listening) -> None:
    expected = publish(stack.settings, range(2))
    worker = stack.start_worker("--roles", "notify")
    stack.wait_for("alerts are told", lambda: set(up.ids) == set(expected))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
