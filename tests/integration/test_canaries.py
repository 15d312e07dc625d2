"""A worker reads canaries in every text of every format, and nothing that it writes or says gives one away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from kafka import KafkaConsumer, TopicPartition

from streams import topics
from streams.pipeline import discover_codecs
from tests.integration.listening import ask
from tests.integration.servers import HOST, free_port
from tests.integration.stack import Stack, StackWith, batch
from tests.security.canaries import ALL, CANARIES, Planted, leaked, malformed

TOKEN = "canary-token-of-metrics"
KEY = "canary-key-" * 6
SECRETS = (TOKEN, KEY)

EVERY = 6
"""Of the planted records every so many: all of them are searched for in the quick test of the pure half."""

VERBS = (
    ("findings", "--json", "--since", "9999d"),
    ("findings", "--since", "9999d"),
    ("incidents", "list", "--since", "9999d"),
    ("incidents", "list", "--since", "9999d", "--json"),
    ("dead-letters", "list", "--since", "9999d", "--limit", "1000"),
    ("dead-letters", "list", "--since", "9999d", "--limit", "1000", "--json"),
    ("dead-letters", "list", "--since", "9999d", "--counts"),
    ("doctor",),
    ("doctor", "--json"),
    ("settings",),
    ("settings", "--json"),
    ("--debug", "findings"),
)


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(
        snapshot_interval_s=0.5,
        redact_ips=True,
        key=KEY,
        health_address=f"{HOST}:{free_port()}",
        metrics_token=TOKEN,
        log_level="DEBUG",
    )


def tables(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Every column of every row as ClickHouse has it, the bytes of saved state included."""
    with clickhouse_connect.get_client(
        dsn=stack.settings.clickhouse_url, database=stack.settings.clickhouse_database
    ) as client:
        for row in client.query("SHOW TABLES").result_rows:
            sql = "SELECT * FROM {name:Identifier}"
            yield f"table {row[0]}", client.raw_query(sql, parameters={"name": row[0]}, fmt="RowBinary")


def messages(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Keys, headers and values of our own topics; the values of dead letters are the records as they were sent."""
    consumer = KafkaConsumer(bootstrap_servers=stack.settings.kafka_brokers, auto_offset_reset="earliest")
    try:
        for topic in stack.topics:
            if topic.endswith(topics.INFERENCE_LOGS):
                continue
            partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            data = []
            while any(consumer.position(each) < ends[each] for each in partitions):
                for found in consumer.poll(timeout_ms=1_000).values():
                    for message in found:
                        value = b"" if topic.endswith(topics.DEAD_LETTERS) else message.value
                        data += [repr(message.headers).encode(), message.key or b"", value]
            yield f"topic {topic}", b"".join(data)
    finally:
        consumer.close()


def said(stack: Stack, tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """What people and machines are told."""
    yield "the worker's log", stack.log_path.read_bytes()
    for page in ("/livez", "/readyz", "/metrics"):
        yield page, repr(ask(stack.settings.health_address, page, TOKEN)).encode()
    settings = stack.settings
    environ = {
        "PATH": os.environ["PATH"],
        "INFERWATCH_KAFKA_BROKERS": settings.kafka_brokers,
        "INFERWATCH_CLICKHOUSE_URL": settings.clickhouse_url,
        "INFERWATCH_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "INFERWATCH_TOPIC_PREFIX": settings.topic_prefix,
        "INFERWATCH_KEY": KEY,
        "INFERWATCH_METRICS_TOKEN": TOKEN,
    }
    for verb in VERBS:
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *verb], env=environ, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        yield " ".join(verb), done.stdout + done.stderr


def test_no_canary_comes_out_of_a_worker(stack: Stack, tmp_path: Path) -> None:
    codecs = discover_codecs()
    planted = list(Planted(lambda text, _number: f"{text} {ALL}").records())[::EVERY]
    for at, (name, value) in enumerate(planted):
        stack.produce(at % 2, value, min(codecs[name].CONTENT_TYPES))
    for value in malformed():
        stack.produce(0, value, f"text/{ALL}")
        stack.produce(1, value)
    # A finding that quotes what was planted: the served model changes from one canary to another.
    for part in range(6):
        numbers = range(part * 100, part * 100 + 100)
        stack.produce(0, batch(numbers, deployment=f"d {ALL}", principal=ALL, served_model=f"one {ALL}"))
    stack.produce(0, batch(range(600, 620), deployment=f"d {ALL}", principal=ALL, served_model=f"two {ALL}"))
    last = stack.produce(0, batch([1], deployment="the-last"))
    stack.start_worker()
    stack.wait_for("all is stored", lambda: (*last, 0) in stack.stored())
    stack.wait_for("the finding is stored", lambda: bool(stack.store.query(_FOUND)))
    stack.wait_for("state is saved", lambda: stack.store.query(_SAVED)[0]["found"] > 1)

    sinks = dict([*tables(stack), *messages(stack), *said(stack, tmp_path)])
    assert {f"table {name}" for name in ("inference_events", "findings", "detector_snapshots")} <= set(sinks)
    assert {name: kinds for name, data in sinks.items() if (kinds := leaked(data))} == {}
    assert {name: secret for name, data in sinks.items() for secret in SECRETS if secret.encode() in data} == {}
    assert b"[card]" in sinks["table findings"] and b"[card]" in sinks["findings --json --since 9999d"]
    assert leaked(planted[0][1] + b"".join(malformed())) == list(CANARIES), "the search finds them where they are"


_FOUND = "SELECT 1 FROM findings_latest WHERE detector = 'served_model_change' AND summary LIKE '%two%'"
_SAVED = "SELECT uniqExact(scope) AS found FROM detector_snapshots"
