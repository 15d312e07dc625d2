"""Alerts through real Kafka and real processes: a receiver that is cut loses none and holds up no other."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from detectors.types import Severity
from streams import topics
from streams.alerting.webhook import verify
from streams.settings import Settings
from tests.alerting.test_webhook import SECRET, Listening, listening
from tests.findings import found
from tests.incidents import incident
from tests.integration.stack import Stack, StackWith


@pytest.fixture
def port() -> int:
    """A port on which nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def up() -> Iterator[Listening]:
    with listening() as there:
        yield there


@pytest.fixture(params=["cut"])
def stack(request: pytest.FixtureRequest, tmp_path: Path, up: Listening, port: int, stack_with: StackWith) -> Stack:
    there = {"severity": "medium", "webhook": f"http://127.0.0.1:{port}/", "secret": SECRET}
    targets = [
        {"name": "up", "severity": "medium", "webhook": up.url, "secret": SECRET},
        {"name": request.param, **there, **({"hourly": 2} if request.param == "few" else {})},
        {"name": "siem", "ocsf": f"file:{tmp_path / 'ocsf.json'}"},
    ]
    return stack_with(
        session_timeout_s=6.0,
        health_address="",
        alert_targets=msgspec.json.encode(targets).decode(),
        alert_private_addresses=True,
    )


def publish(settings: Settings, numbers: range, severity: Severity = Severity.HIGH) -> list[str]:
    """The first news of so many incidents, and what their alerts are known by."""
    with KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all") as producer:
        for number in numbers:
            value = msgspec.json.encode(incident(number, severity))
            topic = topics.full_name(settings, topics.INCIDENTS)
            producer.send(topic, value=value, partition=number % 2).get(timeout=30)
    return [news_id(number) for number in numbers]


def news_id(number: int) -> str:
    return incident(number).news_id or ""


def test_a_receiver_that_is_cut_over_a_killed_worker_gets_every_alert_and_holds_up_nobody(
    stack: Stack, up: Listening, port: int, tmp_path: Path
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
        assert [each for each in cut.ids if each in expected[1::2]] == expected[1::2]
    file = tmp_path / "ocsf.json"
    stack.wait_for("the file has all incidents", lambda: file.exists() and file.read_bytes().count(b"\n") >= 16)
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=10) == 0
    uids = [msgspec.json.decode(line)["metadata"]["correlation_uid"] for line in file.read_bytes().splitlines()]
    assert set(uids) == {incident(number).incident_id for number in (*range(6), *range(100, 110))}
    log = stack.log_path.read_text()
    assert any(f"cut has not taken alert {each}" in log for each in expected)
    assert SECRET not in log
    assert f"127.0.0.1:{port}" not in log


@pytest.mark.parametrize("stack", ["few"], indirect=True)
def test_a_worker_that_is_killed_while_it_holds_alerts_back_loses_none(stack: Stack, up: Listening, port: int) -> None:
    first = stack.start_worker("--roles", "notify")
    with listening(port) as few:
        expected = publish(stack.settings, range(4))
        stack.wait_for("two are told and two are held", lambda: set(up.ids) == set(expected) and len(few.ids) == 2)
        first.kill()
        first.wait()
        told = set(few.ids)
        held = publish(stack.settings, range(4, 6)) + [each for each in expected if each not in told]
        expected += held[:2]
        critical = [incident(each, Severity.CRITICAL).news_id for each in range(6, 7)]
        stack.start_worker("--roles", "notify")
        publish(stack.settings, range(6, 7), Severity.CRITICAL)
        stack.wait_for("what is critical is told", lambda: set(few.ids) >= set(critical))
        stack.wait_for("the other target has all", lambda: set(up.ids) == {*expected, *critical})
        assert set(few.ids) == {*told, *critical}  # over the crash the hour's limit holds, and nothing is told twice
        assert len(few.ids) == 3
        group, topic = f"{stack.settings.consumer_group}-notify-few", topics.full_name(stack.settings, topics.INCIDENTS)
        assert sum(committed(stack.settings, group, topic)) < 7


def committed(settings: Settings, group: str, topic: str) -> list[int]:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_brokers)
    try:
        places = [TopicPartition(topic, partition) for partition in range(2)]
        return [at.offset for at in admin.list_group_offsets({group: places})[group].values()]
    finally:
        admin.close()


def test_a_siem_reads_findings_and_incidents_from_a_topic(stack: Stack) -> None:
    settings = stack.settings
    name = f"{settings.topic_prefix}ocsf"
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_brokers)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    publish(settings, range(3))
    with KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all") as producer:
        value = msgspec.json.encode(found("output_drift", finding_id="f"))
        producer.send(topics.full_name(settings, topics.FINDINGS), value=value, partition=0).get(timeout=30)
    target = msgspec.json.encode([{"name": "siem", "ocsf": f"topic:{name}"}]).decode()
    stack.start_worker("--roles", "notify", settings=msgspec.structs.replace(settings, alert_targets=target))
    consumer = KafkaConsumer(name, bootstrap_servers=settings.kafka_brokers, auto_offset_reset="earliest")
    events: list[dict[str, Any]] = []

    def read() -> bool:
        for records in consumer.poll(200).values():
            events.extend(msgspec.json.decode(record.value) for record in records)
        return len(events) >= 4

    stack.wait_for("the topic has all events", read)
    consumer.close()
    assert {event["metadata"].get("correlation_uid") for event in events if event["class_uid"] == 2005} == {
        incident(number).incident_id for number in range(3)
    }
    assert [event["metadata"]["uid"] for event in events if event["class_uid"] == 2004] == ["f"]


def test_a_worker_that_only_notifies_ends_at_once_while_a_receiver_is_away(stack: Stack, up: Listening) -> None:
    expected = publish(stack.settings, range(2))
    worker = stack.start_worker("--roles", "notify")
    stack.wait_for("alerts are told", lambda: set(up.ids) == set(expected))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
