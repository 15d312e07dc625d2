"""The verbs of dead letters on the real servers: listed, shown, and requeued once each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streams import topics
from streams.requeuing import letters
from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.stack import Stack, batch


@pytest.fixture
def stack(
    kafka: KafkaServer, clickhouse: ClickHouseServer, topic_prefix: str, database: str, tmp_path: Path
) -> Iterator[Stack]:
    settings = Settings(
        kafka_brokers=kafka.brokers,
        clickhouse_url=clickhouse.url,
        clickhouse_database=database,
        topic_prefix=topic_prefix,
        consumer_group=f"{topic_prefix}worker",
        partitions=2,
        data_dir=tmp_path,
        session_timeout_s=6.0,
        batch_records=8,
        health_address="",
    )
    stack = Stack(settings, tmp_path / "worker.log")
    yield stack
    stack.close()


def typed(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = stack.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    for name in ("kafka_brokers", "clickhouse_url", "clickhouse_database", "topic_prefix", "data_dir"):
        environment[f"INFERWATCH_{name.upper()}"] = str(getattr(settings, name))
    command = [sys.executable, "-m", "streams.cli", "dead-letters", *arguments]
    return subprocess.run(command, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True, check=False)


def test_letters_are_listed_shown_and_requeued_once_after_the_setting_is_right(stack: Stack) -> None:
    wrong = msgspec.structs.replace(stack.settings, input_format="bedrock")
    worker = stack.start_worker(settings=wrong)
    native = "application/vnd.inferwatch.event+json"
    misread = [stack.produce(number % 2, batch([number])) for number in range(5)]
    partial = stack.produce(0, batch([10, 11])[:-1] + b',{"deployment":7},{"deployment":""}]', native)
    large = stack.produce(1, b'\x1b[2J{"deployment": "' + b"x" * 5_000_000 + b'"}', native)
    stack.wait_for("all are read", lambda: (len(stack.dead()), len(stack.stored())) == (8, 2))
    worker.terminate()
    worker.wait()

    listed = typed(stack, "list", "--json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    logs = topics.full_name(stack.settings, topics.INFERENCE_LOGS)
    ids = {f"{logs}:{partition}:{offset}:{index}" for partition, offset, index in stack.dead()}
    assert {row["id"] for row in rows} == ids
    counted = typed(stack, "list", "--reason", "MODELID", "--counts", "--json").stdout.splitlines()
    assert sum(json.loads(line)["letters"] for line in counted) == 5
    people = typed(stack, "list")
    assert "5000022 bytes" in people.stdout and "5 x modelId" in people.stdout

    shown = typed(stack, "show", f"{logs}:{large[0]}:{large[1]}:-1")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout and "more than 4000000 are not read" in shown.stdout
    assert typed(stack, "show", f"{logs}:{partial[0]}:{partial[1]}").stdout.count("sha256") == 2
    assert typed(stack, "show", f"{logs}:0:999999").returncode == 2

    tried = typed(stack, "requeue", "--reason", "modelId", "--dry-run")
    assert tried.stdout == "would requeue 5 of 5 dead letters\n"
    assert len(list(letters(stack.settings))) == 7
    done = typed(stack, "requeue", "--reason", "modelId", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"matched": 5, "sent": 5, "already": 0, "truncated": 0, "of_our_own": 0}
    stack.start_worker()
    stack.wait_for("what was misread is stored", lambda: len(stack.stored()) == 7)
    again = typed(stack, "requeue", "--all")
    assert again.returncode == 1
    assert "requeued 1 of 7 dead letters" in again.stdout
    assert "5 were requeued before" in again.stdout
    assert "1 are refused: too large" in again.stdout
    stack.wait_for("the bad events, and they alone, are dead again", lambda: len(stack.dead()) == 10)
    assert len(stack.stored()) == 7
    assert [index for *place, index in sorted(stack.dead()) if index > 0] == [2, 3, 2, 3]
    twice = typed(stack, "requeue", f"{logs}:{misread[0][0]}:{misread[0][1]}", "--again", "--json")
    assert json.loads(twice.stdout)["sent"] == 1
    stack.wait_for("it is stored once more, as another record", lambda: len(stack.stored()) == 8)
