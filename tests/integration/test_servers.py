"""The servers of the integration tests are real, keep what they acknowledged, and are never silently left out."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.pinned import REPOSITORY, TamperedError, UnavailableError, check_directory, fetched_once, sha256
from tests.integration.servers import TETHERED, Server, ServerFailedError

if TYPE_CHECKING:
    from tests.integration.apache_kafka import KafkaServer

PATIENCE_MS = 30_000

ANALYST = """\
<clickhouse>
  <users_config>{path}</users_config>
  <users>
    <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>
    <analyst>
      <password>of the day</password><networks><ip>127.0.0.1</ip></networks><profile>readonly</profile>
    </analyst>
  </users>
  <profiles><default/><readonly><readonly>1</readonly></readonly></profiles>
</clickhouse>
"""


def create_topic(kafka: KafkaServer, topic: str) -> None:
    with KafkaAdminClient(bootstrap_servers=kafka.brokers) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])


def send(kafka: KafkaServer, topic: str, values: list[bytes]) -> None:
    """Return when the broker has acknowledged every value."""
    producer = KafkaProducer(bootstrap_servers=kafka.brokers, acks="all")
    for sent in [producer.send(topic, value) for value in values]:
        sent.get(PATIENCE_MS / 1000)
    producer.close()


def read(kafka: KafkaServer, topic: str, count: int) -> list[bytes]:
    """The first `count` values of a topic, fewer if no more come."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka.brokers, auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE_MS
    )
    values = [record.value for record in itertools.islice(consumer, count)]
    consumer.close()
    return values


def test_what_is_produced_to_apache_kafka_is_consumed_in_order(kafka: KafkaServer, topic_prefix: str) -> None:
    topic = topic_prefix + "logs"
    values = [str(number).encode() for number in range(100)]
    create_topic(kafka, topic)
    send(kafka, topic, values)
    assert read(kafka, topic, len(values)) == values


def test_a_killed_broker_keeps_what_it_acknowledged(kafka: KafkaServer, topic_prefix: str) -> None:
    topic = topic_prefix + "logs"
    brokers, pid = kafka.brokers, kafka.pid
    create_topic(kafka, topic)
    send(kafka, topic, [b"kept"])
    kafka.kill()
    assert not kafka.answers()
    kafka.restart()
    assert (kafka.brokers, kafka.pid == pid) == (brokers, False)
    assert read(kafka, topic, 1) == [b"kept"]


def test_a_paused_server_exists_and_answers_again_when_resumed(clickhouse: ClickHouseServer) -> None:
    clickhouse.pause()
    assert clickhouse.running
    assert not clickhouse.answers()
    clickhouse.resume()
    assert clickhouse.answers()


def test_a_server_that_a_test_left_dead_or_paused_is_revived_where_it_was(clickhouse: ClickHouseServer) -> None:
    url = clickhouse.url
    for harm in (clickhouse.kill, clickhouse.pause, clickhouse.stop):
        harm()
        assert not clickhouse.answers()
        clickhouse.revive()
        assert clickhouse.answers()
    assert clickhouse.url == url


def test_a_killed_clickhouse_keeps_the_rows_it_acknowledged(clickhouse: ClickHouseServer, database: str) -> None:
    dsn = f"{clickhouse.url}/{database}"
    with clickhouse_connect.get_client(dsn=dsn) as client:
        client.command("CREATE TABLE rows (id UInt64) ENGINE = MergeTree ORDER BY id")
        client.insert("rows", [[number] for number in range(1000)], column_names=["id"])
    clickhouse.kill()
    assert not clickhouse.answers()
    clickhouse.restart()
    with clickhouse_connect.get_client(dsn=dsn) as client:
        assert client.query("SELECT count(), sum(id) FROM rows").result_rows == [(1000, 499_500)]


@pytest.mark.parametrize("source", ["prompts", "prompts FINAL"])
def test_a_token_search_reads_only_what_the_text_index_points_at(
    clickhouse: ClickHouseServer, database: str, source: str
) -> None:
    with clickhouse_connect.get_client(dsn=f"{clickhouse.url}/{database}") as client:
        client.command(
            "CREATE TABLE prompts (id UInt64, prompt String CODEC(ZSTD(3)), "
            "INDEX prompt_tokens prompt TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(prompt))) "
            "ENGINE = ReplacingMergeTree ORDER BY id"
        )
        client.command("INSERT INTO prompts SELECT number, concat('Ignore rule-', number) FROM numbers(100_000)")
        search = f"FROM {source} WHERE hasAllTokens(prompt, ['rule', '777'])"
        assert client.query(f"SELECT id {search}").result_rows == [(777,)]
        plan = "\n".join(row[0] for row in client.query(f"EXPLAIN indexes = 1 SELECT id {search}").result_rows)
        of_index = plan.split("Name: prompt_tokens")[1]
        read, total = map(int, re.findall(r"Granules: (\d+)/(\d+)", of_index)[0])
        assert read == 1 < total, plan


def test_a_configuration_file_brings_users_with_their_limits(tmp_path: Path, clickhouse: ClickHouseServer) -> None:
    assert clickhouse.running, "shared, and not disturbed by a second one"
    users = tmp_path / "users.xml"
    users.write_text(ANALYST.format(path=users))
    server = ClickHouseServer(tmp_path / "data", users)
    server.start()
    try:
        with clickhouse_connect.get_client(dsn=server.url, username="analyst", password="of the day") as client:
            assert client.command("SELECT currentUser()") == "analyst"
            with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="readonly"):
                client.command("CREATE DATABASE forbidden")
    finally:
        server.stop()


class Failing(Server):
    """Says why it cannot, and ends."""

    name = "Failing"

    def prepare(self) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('port 9092 is taken')"]

    def answers(self) -> bool:
        return False


def test_a_server_that_ends_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailedError, match="port 9092 is taken"):
        Failing(tmp_path).start()


@pytest.mark.timeout(20)
def test_a_server_ends_when_the_test_process_is_killed() -> None:
    # The grandchild holds the write end of the pipe: the end of the file is the end of its process.
    start = f"import os, subprocess, sys; subprocess.run([sys.executable, {str(TETHERED)!r}, str(os.getpid()), 'cat'])"
    with subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(b"alive\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"alive\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == b""


def test_two_runs_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERWATCH_TEST_CACHE", str(tmp_path))
    fetches: list[Path] = []
    both = threading.Barrier(2)

    def fetch(directory: Path) -> None:
        fetches.append(directory)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # the other one is let in here if it can get in at all
        (directory / "file").write_text("whole")

    def run(_: int) -> str:
        return (fetched_once("thing", fetch) / "file").read_text()

    with ThreadPoolExecutor(2) as runs:
        assert list(runs.map(run, range(2))) == ["whole", "whole"]
    assert len(fetches) == 1


def test_a_fetch_that_fails_leaves_nothing_that_looks_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERWATCH_TEST_CACHE", str(tmp_path))

    def fetch(directory: Path) -> None:
        (directory / "half").touch()
        raise TamperedError("not as pinned")

    with pytest.raises(TamperedError):
        fetched_once("thing", fetch)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]


@pytest.mark.parametrize("change", ["differs", "is missing", "is too many"])
def test_a_file_that_is_not_as_pinned_is_refused_if_it(tmp_path: Path, change: str) -> None:
    directory = tmp_path / "jars"
    directory.mkdir()
    jar = directory / "one.jar"
    jar.write_bytes(b"classes")
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{sha256(jar)}  one.jar\n")
    check_directory(directory, sums)
    if change == "differs":
        jar.write_bytes(b"other classes")
    elif change == "is missing":
        jar.unlink()
    else:
        (directory / "two.jar").write_bytes(b"more classes")
    with pytest.raises(TamperedError, match="SHA256SUMS"):
        check_directory(directory, sums)


@pytest.mark.parametrize(
    ("npm", "error"),
    [("echo other > package.tgz", TamperedError), ("echo npm error code ENOTFOUND; exit 1", UnavailableError)],
    ids=["a package that is not as pinned", "a registry that cannot be reached"],
)
def test_the_fetch_tells_apart(
    npm: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{npm}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("INFERWATCH_TEST_CACHE", str(tmp_path / "cache"))
    with pytest.raises(error, match=r"not as pinned|npm could not fetch: npm error code ENOTFOUND"):
        ClickHouseServer(tmp_path / "data").start()


def run_without_tools(tmp_path: Path, present: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Three of the tests above, in a run of their own with an empty cache and only `present` on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in present:
        (programs / name).symlink_to(sys.executable)
    tests = [
        test_what_is_produced_to_apache_kafka_is_consumed_in_order,
        test_a_killed_broker_keeps_what_it_acknowledged,
        test_a_killed_clickhouse_keeps_the_rows_it_acknowledged,
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(f"{__file__}::{test.__name__}" for test in tests)],
        cwd=REPOSITORY,
        env={"PATH": str(programs), "HOME": str(tmp_path), "INFERWATCH_TEST_CACHE": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("present", "kafka_reason"), [([], "java is not on PATH"), (["java"], "mvn is not on PATH")], ids=["java", "mvn"]
)
def test_without_a_tool_the_tests_are_left_out_by_name_with_the_reason_and_a_count(
    tmp_path: Path, present: list[str], kafka_reason: str
) -> None:
    run = run_without_tools(tmp_path, present)
    assert run.returncode == pytest.ExitCode.OK, run.stdout
    assert f"2 integration tests left out: Apache Kafka: {kafka_reason}\n  tests/integration/" in run.stdout
    assert "1 integration tests left out: ClickHouse: npm is not on PATH\n  tests/integration/" in run.stdout
    assert run.stdout.count("\n  tests/integration/test_servers.py::test_") == 3


def test_without_a_tool_the_tests_fail_where_ci_is_true(tmp_path: Path) -> None:
    run = run_without_tools(tmp_path, ["java"], CI="true")
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "CI=true and integration test left out: Apache Kafka: mvn is not on PATH" in run.stdout
    assert "CI=true and integration test left out: ClickHouse: npm is not on PATH" in run.stdout
    assert "skipped" not in run.stdout


@pytest.mark.parametrize(("present", "outcome"), [(True, "1 passed"), (False, "1 skipped")], ids=["there", "absent"])
def test_shared_data_is_counted_where_absent_and_never_a_failure(
    tmp_path: Path, *, present: bool, outcome: str
) -> None:
    tests = tmp_path / "repository" / "tests"
    tests.mkdir(parents=True)
    if present:
        (tmp_path / "shared" / "data").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tests)
    (tests / "test_traces.py").write_text("def test_traces(shared_data): assert shared_data.is_dir()")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tests.parent), str(tests)],
        cwd=tests.parent,
        env={"CI": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.OK, run.stdout
    assert outcome in run.stdout
    assert ("1 tests left out: shared data absent\n  tests/test_traces.py::test_traces" in run.stdout) is not present
