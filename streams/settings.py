"""Everything an operator can set, and the only reader of the environment."""

from __future__ import annotations

import math
import pkgutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from streams import codecs
from streams.alerting.owners import owners_of
from streams.alerting.targets import read_targets

PREFIX = "INFERWATCH_"
CONTENT_MODES = ("full", "redacted", "features")
KAFKA_SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line that names it and what is accepted."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one process of inferwatch behaves.

    `alarm_budget` is false alarms a day of the installation, shared over `expected_deployments` and
    `expected_principals`. `batch_records` and `batch_wait_s` bound a batch; what came since the last save,
    `snapshot_interval_s` ago, is replayed after a crash. Pauses of a source below `silence_minimum_s` are no
    findings; an incident closes after `incident_quiet_s` without one, is told again within `incident_cool_down_s`
    only if it is worse, and names its deployment's of `owners` (``chat=team-a,*=on-call``). A worker that says
    nothing for `session_timeout_s` loses its partitions, one that does nothing for `stall_s` while work waits ends,
    one that starts waits `start_patience_s` for Kafka and ClickHouse. Records above `max_record_bytes` are dead
    letters; more than `dead_letter_ratio` of the last records, or `dead_letter_run` in a row, stop the worker
    (`dlq.LimitPolicy`). `snapshot_key` signs detector state in the place of `key`; `previous_keys` are accepted too.
    """

    kafka_brokers: str = "127.0.0.1:9092"
    kafka_security: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_user: str | None = None
    kafka_password: str | None = None
    kafka_ca_path: Path | None = None
    kafka_certificate_path: Path | None = None
    kafka_certificate_key_path: Path | None = None
    topic_prefix: str = ""
    partitions: int = 8
    replication: int = 1
    consumer_group: str = "inferwatch"
    input_format: str = "auto"

    clickhouse_url: str = "http://127.0.0.1:8123"
    clickhouse_database: str = "inferwatch"
    clickhouse_user: str | None = None
    clickhouse_password: str | None = None
    clickhouse_ca_path: Path | None = None
    clickhouse_certificate_path: Path | None = None
    clickhouse_certificate_key_path: Path | None = None
    retention_days: int = 90

    data_dir: Path = Path(".inferwatch")
    key: str | None = None
    snapshot_key: str | None = None
    previous_keys: str | None = None
    content_mode: str = "redacted"
    redact_ips: bool = False

    alarm_budget: float = 2.0
    expected_deployments: int = 10
    expected_principals: int = 1_000

    batch_records: int = 64
    batch_wait_s: float = 0.25
    snapshot_interval_s: float = 2.0
    silence_minimum_s: float = 900.0
    incident_quiet_s: float = 21_600.0
    incident_cool_down_s: float = 86_400.0
    owners: str | None = None
    max_live_principals: int = 100_000
    max_live_deployments: int = 1_000
    session_timeout_s: float = 15.0
    start_patience_s: float = 120.0
    stall_s: float = 120.0
    max_record_bytes: int = 4_000_000
    dead_letter_ratio: float = 0.9
    dead_letter_run: int = 1_000

    health_address: str = "127.0.0.1:8686"
    metrics_token: str | None = None
    canary_api_key: str | None = None
    alert_targets: str | None = None
    alert_private_addresses: bool = False
    dashboard_url: str | None = None
    grafana_url: str | None = None
    grafana_token: str | None = None
    grafana_user: str | None = None
    grafana_password: str | None = None
    grafana_ca_path: Path | None = None
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in ``INFERWATCH_*``; a name with ``_FILE`` behind it reads the value from that file.

        Raises `SettingsError` for an unknown name, a value out of range or a file that cannot be read.
        """
        given: dict[str, Any] = {}
        for name, text in environ.items():
            if not name.startswith(PREFIX) or name.removesuffix("_FILE") in _ELSEWHERE:
                continue
            field = name.removeprefix(PREFIX).lower()
            if field.endswith("_file") and field.removesuffix("_file") in _READERS:
                field = field.removesuffix("_file")
                text = _read_file(name, text)  # noqa: PLW2901 - from here on the content is the value
            reader = _READERS.get(field)
            if reader is None:
                raise SettingsError(f"{name}: unknown setting; `inferwatch settings` lists them")
            if field in given:
                raise SettingsError(f"{name}: given twice, as a value and as a file")
            try:
                given[field] = reader(text)
            except ValueError as error:
                shown = "(hidden)" if field in SECRETS or "@" in text else repr(text[:80])
                raise SettingsError(f"{name}: {shown} is not accepted; {error}") from None
        return cls(**given)

    def __repr__(self) -> str:
        """As `masked`: a value that ends up in a log line or in a traceback gives no secret away."""
        return f"Settings({self.masked()})"

    def masked(self) -> dict[str, object]:
        """All settings by environment name, secrets as ``(set)`` or ``(not set)``."""
        rows: dict[str, object] = {}
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if field in SECRETS:
                value = "(not set)" if value is None else "(set)"
            elif field == "clickhouse_url":
                value = _without_password(value)
            rows[PREFIX + field.upper()] = str(value) if isinstance(value, Path) else value
        return rows


_MAX_PORT = 65_535
_ADDRESSES = "http://host:port, https://host:port or chdb:///directory"
SECRETS = frozenset(
    {
        "clickhouse_password",
        "kafka_password",
        "key",
        "snapshot_key",
        "previous_keys",
        "metrics_token",
        "canary_api_key",
        "alert_targets",
        "grafana_token",
        "grafana_password",
    }
)
_KEY_FILES = frozenset({"KEY", "SNAPSHOT_KEY", "PREVIOUS_KEYS"})
"""Settings whose file nobody else may read: who knows a key can forge detector state."""
_ELSEWHERE = frozenset({"INFERWATCH_ENGINE_PASSWORD", "INFERWATCH_TEST_CACHE"})


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def _switch(text: str) -> bool:
    if text.lower() not in {"0", "1", "false", "true", "no", "yes"}:
        raise ValueError("one of 0, 1, false, true, no, yes")
    return text.lower() in {"1", "true", "yes"}


def _word(text: str) -> str:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    if not text or not set(text) <= allowed:
        raise ValueError("letters, digits, dot, underscore and hyphen, at least one")
    return text


def _optional_word(text: str) -> str:
    return _word(text) if text else ""


def _input_format(text: str) -> str:
    formats = [module.name for module in pkgutil.iter_modules(codecs.__path__) if not module.name.startswith("_")]
    return _one_of("auto", *sorted(formats))(text)


def _brokers(text: str) -> str:
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not (port.isdecimal() and 0 < int(port) <= _MAX_PORT):
            raise ValueError("host:port, several separated by commas")
    return text


def _clickhouse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(_ADDRESSES) from None
    if parts.scheme == "chdb" and parts.path:
        return text
    if not is_address:
        raise ValueError(_ADDRESSES)
    if parts.username is not None:
        raise ValueError(
            "no user or password in the address; set INFERWATCH_CLICKHOUSE_USER and INFERWATCH_CLICKHOUSE_PASSWORD "
            "or ..._PASSWORD_FILE"
        )
    return text


def _secret(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text.strip()


def _header(text: str) -> str:
    if not text.strip() or not text.strip().isascii() or not text.strip().isprintable():
        raise ValueError("ASCII characters on one line, at least one")
    return text.strip()


def _owners(text: str) -> str:
    owners_of(text)
    return text


def _token(text: str) -> str:
    if len(text.strip()) < 16 or not text.strip().isascii():  # noqa: PLR2004 - nobody guesses that over a network
        raise ValueError("at least 16 ASCII characters")
    return text.strip()


def _targets(text: str) -> str:
    read_targets(text)
    return text.strip()


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment or not text.isprintable():
        raise ValueError("https://host/path, without user, query and fragment")
    return text.rstrip("/")


def _existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("a file that exists")
    return path


def _listen_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and (not host or not (port.isdecimal() and 0 < int(port) <= _MAX_PORT)):
        raise ValueError("host:port, or nothing for off")
    return text


def _key(text: str) -> str:
    if len(text.strip()) < 32:  # noqa: PLR2004 - 128 bits as hex
        raise ValueError("at least 32 characters")
    return text.strip()


def _keys(text: str) -> str:
    parts = text.replace(",", "\n").split()
    if not parts or any(len(part) < 32 for part in parts):  # noqa: PLR2004 - as for the key
        raise ValueError("keys of at least 32 characters each, several separated by commas or lines")
    return ",".join(parts)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def _read_file(name: str, path: str) -> str:
    try:
        file = Path(path)
        mode = file.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and name.removeprefix(PREFIX).removesuffix("_FILE") in _KEY_FILES:
            raise SettingsError(f"{name}: {path} can be read by others; chmod 600 it")
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read {_shown_path(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}: cannot read {_shown_path(path)}: it is not UTF-8 text") from None


def _shown_path(path: str) -> str:
    """A path is shown where its directory exists: what is no path may be the secret itself, put in the wrong place."""
    return path if "/" in path and Path(path).parent.is_dir() else "(hidden)"


_READERS: dict[str, Callable[[str], Any]] = {
    "kafka_brokers": _brokers,
    "kafka_security": _one_of(*KAFKA_SECURITY),
    "kafka_sasl_mechanism": _one_of(*SASL_MECHANISMS),
    "kafka_user": _secret,
    "kafka_password": _secret,
    "kafka_ca_path": _existing_file,
    "kafka_certificate_path": _existing_file,
    "kafka_certificate_key_path": _existing_file,
    "topic_prefix": _optional_word,
    "partitions": _whole(1, 1_024),
    "replication": _whole(1, 9),
    "consumer_group": _word,
    "input_format": _input_format,
    "clickhouse_url": _clickhouse_url,
    "clickhouse_database": _word,
    "clickhouse_user": _secret,
    "clickhouse_password": _secret,
    "clickhouse_ca_path": _existing_file,
    "clickhouse_certificate_path": _existing_file,
    "clickhouse_certificate_key_path": _existing_file,
    "retention_days": _whole(1, 36_500),
    "data_dir": Path,
    "key": _key,
    "snapshot_key": _key,
    "previous_keys": _keys,
    "content_mode": _one_of(*CONTENT_MODES),
    "redact_ips": _switch,
    "alarm_budget": _number(0.001, 10_000),
    "expected_deployments": _whole(1, 1_000_000),
    "expected_principals": _whole(1, 1_000_000_000),
    "batch_records": _whole(1, 4_096),
    "batch_wait_s": _number(0.01, 60),
    "snapshot_interval_s": _number(0.1, 600),
    "silence_minimum_s": _number(0.5, 604_800),
    "incident_quiet_s": _number(1, 604_800),
    "incident_cool_down_s": _number(0, 604_800),
    "owners": _owners,
    "max_live_principals": _whole(1_000, 100_000_000),
    "max_live_deployments": _whole(100, 1_000_000),
    "session_timeout_s": _number(6, 300),
    "start_patience_s": _number(0, 86_400),
    "stall_s": _number(5, 86_400),
    "max_record_bytes": _whole(1_000, 1_000_000_000),
    "dead_letter_ratio": _number(0.01, 1.0),
    "dead_letter_run": _whole(0, 1_000_000_000),
    "health_address": _listen_address,
    "metrics_token": _token,
    "canary_api_key": _header,
    "alert_targets": _targets,
    "alert_private_addresses": _switch,
    "dashboard_url": _web_address,
    "grafana_url": _web_address,
    "grafana_token": _header,
    "grafana_user": _secret,
    "grafana_password": _secret,
    "grafana_ca_path": _existing_file,
    "log_level": _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
}
