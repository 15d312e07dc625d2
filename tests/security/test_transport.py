"""From settings to TLS and SASL options: what is checked, what is refused, and that nothing is silently unprotected."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from streams.security import clickhouse_context, kafka_context, kafka_login, kafka_python_options
from streams.settings import Settings, SettingsError
from tests.conftest import LeaveOut
from tests.integration.pinned import UnavailableError
from tests.security.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, leave_out_integration: LeaveOut) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except UnavailableError as error:
        leave_out_integration(str(error))


def refusal(**settings: object) -> str:
    chosen = Settings(**settings)  # type: ignore[arg-type]  # each test gives fitting ones
    with pytest.raises(SettingsError) as caught:
        _ = kafka_python_options(chosen), clickhouse_context(chosen)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_by_default_nothing_is_encrypted_and_nobody_logs_in() -> None:
    assert kafka_python_options(Settings()) == {"security_protocol": "PLAINTEXT"}
    assert clickhouse_context(Settings()) is None


@pytest.mark.parametrize("security", ["SSL", "SASL_SSL"])
def test_certificate_and_host_name_are_checked_and_old_protocols_refused(security: str) -> None:
    context = kafka_context(Settings(kafka_security=security))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_without_an_authority_of_its_own_the_systems_are_trusted_and_with_one_only_that(authority: Authority) -> None:
    system = clickhouse_context(Settings(clickhouse_url="https://h"))
    own = clickhouse_context(Settings(clickhouse_url="https://h", clickhouse_ca_path=authority.path))
    assert own is not None and system is not None
    assert [each["subject"] for each in own.get_ca_certs()] == [((("commonName", "authority"),),)]
    default = ssl.create_default_context()
    assert system.cert_store_stats() == default.cert_store_stats()


def test_a_login_is_for_sasl_and_shows_no_password() -> None:
    settings = Settings(kafka_security="SASL_PLAINTEXT", kafka_user="u", kafka_password="hunter2")
    login = kafka_login(settings)
    assert login is not None
    assert (login.user, login.password, login.mechanism) == ("u", "hunter2", "SCRAM-SHA-512")
    assert "hunter2" not in f"{login} {login!r}"
    assert kafka_context(settings) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kafka_security": "SASL_SSL"}, "INFERWATCH_KAFKA_USER: not set"),
        ({"kafka_security": "SASL_SSL", "kafka_user": "u"}, "INFERWATCH_KAFKA_PASSWORD: not set"),
        ({"kafka_user": "u"}, "INFERWATCH_KAFKA_USER: has no effect with INFERWATCH_KAFKA_SECURITY=PLAINTEXT"),
        ({"kafka_security": "SSL", "kafka_password": "hunter2"}, "INFERWATCH_KAFKA_PASSWORD: has no effect"),
        ({"kafka_ca_path": Path(__file__)}, "INFERWATCH_KAFKA_CA_PATH: has no effect"),
        ({"clickhouse_ca_path": Path(__file__)}, "INFERWATCH_CLICKHOUSE_CA_PATH: has no effect"),
        (
            {"clickhouse_url": "chdb:///x", "clickhouse_certificate_path": Path(__file__)},
            "INFERWATCH_CLICKHOUSE_CERTIFICATE_PATH: has no effect",
        ),
        ({"kafka_security": "SSL", "kafka_ca_path": Path(__file__)}, "INFERWATCH_KAFKA_CA_PATH: "),
        ({"kafka_security": "SSL", "kafka_certificate_path": Path(__file__)}, "INFERWATCH_KAFKA_CERTIFICATE_PATH: "),
        (
            {"kafka_security": "SSL", "kafka_certificate_key_path": Path(__file__)},
            "INFERWATCH_KAFKA_CERTIFICATE_PATH: not set",
        ),
        (
            {"clickhouse_url": "https://h", "clickhouse_ca_path": Path("/no/such/file")},
            "INFERWATCH_CLICKHOUSE_CA_PATH: /no/such/file cannot be used",
        ),
    ],
)
def test_what_would_not_protect_is_refused_by_name(settings: dict[str, object], said: str) -> None:
    message = refusal(**settings)
    assert message.startswith(said)
    assert "hunter2" not in message


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_at_a_terminal(authority: Authority) -> None:
    certificate, key = authority.issue("locked")
    message = refusal(
        kafka_security="SSL",
        kafka_certificate_path=certificate,
        kafka_certificate_key_path=authority.locked(key, "hunter2"),
    )
    assert "without a passphrase" in message


def handshake(authority: Authority, client: ssl.SSLContext, server_name: str, address: str) -> str:
    """What comes of a connection: the name on the client's certificate, as the server saw it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.load_cert_chain(*authority.issue(server_name, address))
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 tells a refused client only at its first read
    inner, outer = socket.socketpair()
    seen: list[str] = []

    def serve() -> None:
        try:
            with context.wrap_socket(inner, server_side=True) as served:
                seen.append(str(served.getpeercert()))
        except OSError:
            inner.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(outer, server_hostname="127.0.0.1"):
            pass
    finally:
        outer.close()
        thread.join()
    return seen[0]


def test_our_certificate_is_shown_to_a_server_that_asks_for_it(authority: Authority) -> None:
    certificate, key = authority.issue("a-worker")
    context = kafka_context(
        Settings(
            kafka_security="SSL",
            kafka_ca_path=authority.path,
            kafka_certificate_path=certificate,
            kafka_certificate_key_path=key,
        )
    )
    assert context is not None
    assert "a-worker" in handshake(authority, context, "server", "IP:127.0.0.1")


@pytest.mark.parametrize("flaw", ["another name", "another authority"])
def test_a_server_that_is_not_who_it_says_is_refused(flaw: str, authority: Authority, tmp_path: Path) -> None:
    signer = Authority(tmp_path) if flaw == "another authority" else authority
    context = kafka_context(Settings(kafka_security="SSL", kafka_ca_path=authority.path))
    assert context is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(signer, context, "impostor", "IP:127.0.0.2" if flaw == "another name" else "IP:127.0.0.1")
