"""Who may listen in and who is let in: the TLS and SASL options of every connection, from the settings.

Certificates and host names are always checked, and there is no setting to switch that off: for a private
authority there is ``..._CA_PATH``. Every error is one line that names the setting.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from streams.settings import PREFIX, Settings, SettingsError

_KAFKA_FILES = ("kafka_ca_path", "kafka_certificate_path", "kafka_certificate_key_path")
_CLICKHOUSE_FILES = ("clickhouse_ca_path", "clickhouse_certificate_path", "clickhouse_certificate_key_path")


class Login(msgspec.Struct, frozen=True):
    """Who we are to Kafka: a SASL mechanism, and a name and password for it."""

    mechanism: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"Login({self.mechanism!r}, {self.user!r})"


def kafka_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for Kafka; `None` where the settings ask for plain text. Raises `SettingsError`."""
    if settings.kafka_security.endswith("SSL"):
        return _context(settings, *_KAFKA_FILES)
    _unused(settings, _KAFKA_FILES, f"{PREFIX}KAFKA_SECURITY={settings.kafka_security}")
    return None


def kafka_login(settings: Settings) -> Login | None:
    """Name and password for Kafka; `None` where the settings ask for none. Raises `SettingsError`."""
    user, password = settings.kafka_user, settings.kafka_password
    if not settings.kafka_security.startswith("SASL_"):
        _unused(settings, ("kafka_user", "kafka_password"), f"{PREFIX}KAFKA_SECURITY={settings.kafka_security}")
        return None
    if user is None or password is None:
        missing = "KAFKA_USER" if user is None else "KAFKA_PASSWORD"
        raise SettingsError(f"{PREFIX}{missing}: not set; {PREFIX}KAFKA_SECURITY={settings.kafka_security} needs it")
    return Login(settings.kafka_sasl_mechanism, user, password)


def kafka_python_options(settings: Settings) -> dict[str, Any]:
    """What kafka-python's clients take to connect as the settings say. Raises `SettingsError`."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security}
    context, login = kafka_context(settings), kafka_login(settings)
    if context is not None:
        options["ssl_context"] = context
    if login is not None:
        options["sasl_mechanism"] = login.mechanism
        options["sasl_plain_username"] = login.user
        options["sasl_plain_password"] = login.password
    return options


def clickhouse_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for ClickHouse; `None` where its address is not https. Raises `SettingsError`."""
    scheme = urlsplit(settings.clickhouse_url).scheme
    if scheme == "https":
        return _context(settings, *_CLICKHOUSE_FILES)
    _unused(settings, _CLICKHOUSE_FILES, f"an address that begins with {scheme}://")
    return None


def _context(settings: Settings, ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """A context that checks certificate and host name against the system's authorities, or against `ca` alone."""
    ca_path, certificate_path, key_path = (getattr(settings, name) for name in (ca, certificate, key))
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except (ssl.SSLError, OSError) as error:
        raise _unusable(ca, ca_path, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate_path is None and key_path is not None:
        raise SettingsError(f"{PREFIX}{certificate.upper()}: not set; {PREFIX}{key.upper()} needs it")
    if certificate_path is not None:
        try:
            # The empty passphrase keeps OpenSSL from asking a person at the terminal for one.
            context.load_cert_chain(certificate_path, key_path, password="")
        except (ssl.SSLError, OSError) as error:
            raise _unusable(certificate, certificate_path, error) from None
    return context


def _unusable(name: str, path: Path | None, error: OSError) -> SettingsError:
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    setting = PREFIX + name.upper()
    return SettingsError(f"{setting}: {path} cannot be used: {reason}; PEM without a passphrase is accepted")


def _unused(settings: Settings, names: tuple[str, ...], because: str) -> None:
    """Refuse what would silently do nothing: somebody believes to be protected by it."""
    given = next((name for name in names if getattr(settings, name) is not None), None)
    if given is not None:
        raise SettingsError(f"{PREFIX}{given.upper()}: has no effect with {because}")
