"""A worker and the verbs over encrypted connections, each as a user that may do its own work and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streams import topics
from streams.clickhouse import Store, StoreError, migrate
from streams.producer import RecordProducer
from streams.security import kafka_python_options
from streams.settings import SASL_MECHANISMS, SECRETS, Settings
from streams.topics import BrokerError
from tests.conftest import LeaveOut
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.clickhouse_users import (
    GRAFANA_PASSWORD,
    MIGRATOR_PASSWORD,
    OWN_PASSWORD,
    passwords,
    server_with_users,
)
from tests.integration.conftest import served
from tests.integration.pinned import UnavailableError
from tests.integration.secure_kafka import USER, SecureKafkaServer
from tests.integration.servers import HOST, free_port
from tests.integration.stack import Stack, batch
from tests.integration.tls_front import TlsFront
from tests.security.authority import Authority

pytestmark = pytest.mark.integration

KAFKA_PASSWORD = "canary of Kafka"
DATABASE = "inferwatch"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except UnavailableError as error:
        leave_out_integration(str(error))


@pytest.fixture(scope="module")
def secure_kafka(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut
) -> Iterator[SecureKafkaServer]:
    server = SecureKafkaServer(tmp_path_factory.mktemp("secure-kafka"), authority, KAFKA_PASSWORD)
    for started in served(server, leave_out_integration):
        started.add_users()
        yield started


@pytest.fixture(scope="module")
def clickhouse_with_users(
    tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut
) -> Iterator[ClickHouseServer]:
    with passwords():
        yield from served(server_with_users(tmp_path_factory.mktemp("users")), leave_out_integration)


@pytest.fixture(scope="module")
def front(authority: Authority, clickhouse_with_users: ClickHouseServer) -> Iterator[TlsFront]:
    with TlsFront(authority, clickhouse_with_users.port) as front:
        yield front


@pytest.fixture(scope="module")
def harness(secure_kafka: SecureKafkaServer, clickhouse_with_users: ClickHouseServer) -> Settings:
    """How the test itself looks into both servers: the listener and the user that only it uses."""
    migrate(
        Settings(
            clickhouse_url=clickhouse_with_users.url,
            clickhouse_user="migrator",
            clickhouse_password=MIGRATOR_PASSWORD,
        )
    )
    return Settings(
        kafka_brokers=secure_kafka.brokers, clickhouse_url=clickhouse_with_users.url, clickhouse_database=DATABASE
    )


def kafka_over(protocol: str, server: SecureKafkaServer, authority: Authority, mechanism: str = "PLAIN") -> Settings:
    """Settings for one way to come in."""
    settings = Settings(kafka_brokers=server.brokers_of[protocol], kafka_security=protocol)
    if protocol.startswith("SASL_"):
        settings = msgspec.structs.replace(
            settings, kafka_sasl_mechanism=mechanism, kafka_user=USER, kafka_password=KAFKA_PASSWORD
        )
    if protocol.endswith("SSL"):
        settings = msgspec.structs.replace(settings, kafka_ca_path=authority.path)
    if protocol == "SSL":
        certificate, key = authority.issue("client-of-kafka")
        settings = msgspec.structs.replace(settings, kafka_certificate_path=certificate, kafka_certificate_key_path=key)
    return settings


def clickhouse_over_tls(settings: Settings, front: TlsFront, authority: Authority) -> Settings:
    certificate, key = authority.issue("client-of-clickhouse")
    return msgspec.structs.replace(
        settings,
        clickhouse_url=f"https://{HOST}:{front.port}",
        clickhouse_database=DATABASE,
        clickhouse_ca_path=authority.path,
        clickhouse_certificate_path=certificate,
        clickhouse_certificate_key_path=key,
    )


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", SASL_MECHANISMS)
def test_verbs_and_applications_log_in_by_every_mechanism(
    protocol: str, mechanism: str, secure_kafka: SecureKafkaServer, authority: Authority, harness: Settings
) -> None:
    settings = kafka_over(protocol, secure_kafka, authority, mechanism)
    topics.create(settings)
    assert set(topics.describe(settings)) == set(topics.ALL)


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [
        ("SASL_SSL", {"kafka_password": "another"}),
        ("SASL_PLAINTEXT", {"kafka_password": "another", "kafka_sasl_mechanism": "SCRAM-SHA-256"}),
        ("SASL_SSL", {"kafka_ca_path": None}),
        (
            "SASL_SSL",
            {"kafka_security": "PLAINTEXT", "kafka_user": None, "kafka_password": None, "kafka_ca_path": None},
        ),
        ("SSL", {"kafka_certificate_path": None, "kafka_certificate_key_path": None}),
    ],
    ids=["password over TLS", "password", "authority of the system", "no security", "no certificate"],
)
def test_without_the_right_credentials_nobody_comes_in(
    protocol: str, changes: dict[str, object], secure_kafka: SecureKafkaServer, authority: Authority
) -> None:
    settings = msgspec.structs.replace(kafka_over(protocol, secure_kafka, authority), **changes)
    with pytest.raises(BrokerError) as caught:
        topics.describe(settings)
    assert "INFERWATCH_KAFKA_SECURITY" in str(caught.value)
    assert KAFKA_PASSWORD not in str(caught.value) and "another" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL"])
def test_a_worker_that_only_knows_encrypted_ways_and_may_only_insert_does_all_its_work(
    protocol: str,
    secure_kafka: SecureKafkaServer,
    front: TlsFront,
    authority: Authority,
    harness: Settings,
    tmp_path: Path,
) -> None:
    prefix = f"{protocol.lower()}-"
    stack_settings = msgspec.structs.replace(
        harness, topic_prefix=prefix, consumer_group=f"{prefix}worker", partitions=2, snapshot_interval_s=0.5
    )
    secure = clickhouse_over_tls(kafka_over(protocol, secure_kafka, authority, "SCRAM-SHA-512"), front, authority)
    secure = msgspec.structs.replace(
        secure,
        clickhouse_user="inferwatch",
        clickhouse_password=OWN_PASSWORD,
        topic_prefix=prefix,
        consumer_group=f"{prefix}worker",
        snapshot_interval_s=0.5,
        data_dir=tmp_path,
        health_address=f"{HOST}:{free_port()}",
        log_level="DEBUG",
    )
    stack = Stack(stack_settings, tmp_path / "worker.log")
    try:
        before = len(stack.stored())
        topic = prefix + topics.INFERENCE_LOGS
        with RecordProducer(secure.kafka_brokers, topic, **kafka_python_options(secure)) as sender:
            sender.send(batch(range(100), deployment=protocol, principal="p"))
        for part in range(1, 6):
            stack.produce(0, batch(range(part * 100, part * 100 + 100), deployment=protocol, principal="p"))
        stack.produce(0, b"no record of ours")
        worker = stack.start_worker(settings=secure)
        stack.wait_for("all is stored", lambda: len(stack.stored()) == before + 600)
        stack.wait_for("state is saved", lambda: stack.store.query(_SAVED, {"topic": f"{prefix}%"})[0]["found"] > 0)
        stack.produce(0, batch(range(600, 620), deployment=protocol, principal="p", served_model="m-1-2027"))
        stack.wait_for("a finding is stored", lambda: bool(stack.store.query(_FOUND, {"deployment": protocol})))
        assert worker.poll() is None
        log = stack.log_path.read_text()
        assert not [secret for secret in (KAFKA_PASSWORD, OWN_PASSWORD) if secret in log]
        command = Path(f"/proc/{worker.pid}/cmdline").read_text()
        assert not [secret for secret in (KAFKA_PASSWORD, OWN_PASSWORD) if secret in command]
    finally:
        stack.close()


_SAVED = "SELECT count() AS found FROM detector_snapshots WHERE topic LIKE {topic:String}"
_FOUND = "SELECT 1 FROM findings WHERE deployment = {deployment:String} AND detector = 'served_model_change'"


def test_verbs_read_over_tls_with_secrets_from_files(
    front: TlsFront, authority: Authority, harness: Settings, tmp_path: Path
) -> None:
    settings = clickhouse_over_tls(Settings(clickhouse_user="grafana"), front, authority)
    secret = tmp_path / "password"
    secret.write_text(f"{GRAFANA_PASSWORD}\n")
    environ = {
        "PATH": os.environ["PATH"],
        "INFERWATCH_CLICKHOUSE_PASSWORD_FILE": str(secret),
        **{
            f"INFERWATCH_{name.upper()}": str(getattr(settings, name))
            for name in settings.__struct_fields__
            if name.startswith("clickhouse_") and name not in SECRETS
        },
    }
    command = [sys.executable, "-m", "streams.cli", "findings", "--json"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_client_certificate_an_authority_and_the_right_name_are_all_needed_for_clickhouse(
    front: TlsFront, authority: Authority, clickhouse_with_users: ClickHouseServer, harness: Settings, tmp_path: Path
) -> None:
    good = clickhouse_over_tls(
        Settings(clickhouse_user="grafana", clickhouse_password=GRAFANA_PASSWORD), front, authority
    )
    store = Store.connect(good)
    assert store.query("SELECT currentUser() AS user") == [{"user": "grafana"}]
    store.close()
    nobody = msgspec.structs.replace(good, clickhouse_certificate_path=None, clickhouse_certificate_key_path=None)
    system = msgspec.structs.replace(good, clickhouse_ca_path=None)
    with TlsFront(authority, clickhouse_with_users.port, "DNS:elsewhere.example") as misnamed:
        renamed = msgspec.structs.replace(good, clickhouse_url=f"https://{HOST}:{misnamed.port}")
        for settings in (nobody, system, renamed):
            with pytest.raises(StoreError) as caught:
                Store.connect(settings)
            assert GRAFANA_PASSWORD not in str(caught.value)
    other = msgspec.structs.replace(good, clickhouse_password="another")
    with pytest.raises(StoreError, match="INFERWATCH_CLICKHOUSE_PASSWORD"):
        Store.connect(other)
