"""Everything an operator can set, and the only reader of the environment."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from streams import accepting
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

    `alarm_budget` is false alarms a day, shared over `expected_deployments` and `expected_principals`.
    `batch_records`, 8 MB and `batch_wait_s` bound a batch; what came since the last save, `snapshot_interval_s` ago, is
    replayed after a crash. Pauses of a source below `silence_minimum_s` are no findings; an incident closes after
    `incident_quiet_s` without one, is told again within `incident_cool_down_s` only if it is worse, and names its
    deployment's of `owners` (``chat=team-a,*=on-call``). A worker that says nothing for `session_timeout_s` loses its
    partitions, one that does nothing for `stall_s` while work waits ends, one that starts waits `start_patience_s`
    for Kafka and ClickHouse. Records above `max_record_bytes` are dead letters; more than `dead_letter_ratio` of the
    last records, or `dead_letter_run` in a row, stop the worker (`dlq.LimitPolicy`). `snapshot_key` signs detector
    state in the place of `key`; `previous_keys` are accepted too. Texts of calls and dead letters are kept for
    `text_retention_days`, findings, incidents and what people said for `case_retention_days`; without them, and all
    else, for `retention_days`. Events move to `clickhouse_cold_volume` of `clickhouse_storage_policy` after
    `clickhouse_cold_days`.
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
    clickhouse_cluster: str | None = None
    clickhouse_storage_policy: str | None = None
    clickhouse_cold_volume: str | None = None
    clickhouse_cold_days: int = 30
    retention_days: int = 90
    text_retention_days: int | None = None
    case_retention_days: int | None = None

    data_dir: Path = Path(".inferwatch")
    key: str | None = None
    snapshot_key: str | None = None
    previous_keys: str | None = None
    content_mode: str = "redacted"
    evidence_key_path: Path | None = None
    redact_ips: bool = False

    alarm_budget: float = 2.0
    expected_deployments: int = 10
    expected_principals: int = 1_000

    batch_records: int = 512
    batch_wait_s: float = 0.25
    snapshot_interval_s: float = 5.0
    silence_minimum_s: float = 900.0
    incident_quiet_s: float = 21_600.0
    incident_cool_down_s: float = 86_400.0
    owners: str | None = None
    max_live_principals: int = 50_000
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
    "kafka_brokers": accepting.brokers,
    "kafka_security": accepting.one_of(*KAFKA_SECURITY),
    "kafka_sasl_mechanism": accepting.one_of(*SASL_MECHANISMS),
    "kafka_user": accepting.secret,
    "kafka_password": accepting.secret,
    "kafka_ca_path": accepting.existing_file,
    "kafka_certificate_path": accepting.existing_file,
    "kafka_certificate_key_path": accepting.existing_file,
    "topic_prefix": lambda text: accepting.word(text) if text else "",
    "partitions": accepting.whole(1, 1_024),
    "replication": accepting.whole(1, 9),
    "consumer_group": accepting.word,
    "input_format": accepting.input_format,
    "clickhouse_url": accepting.clickhouse_url,
    "clickhouse_database": accepting.word,
    "clickhouse_user": accepting.secret,
    "clickhouse_password": accepting.secret,
    "clickhouse_ca_path": accepting.existing_file,
    "clickhouse_certificate_path": accepting.existing_file,
    "clickhouse_certificate_key_path": accepting.existing_file,
    "clickhouse_cluster": accepting.word,
    "clickhouse_storage_policy": accepting.word,
    "clickhouse_cold_volume": accepting.word,
    "clickhouse_cold_days": accepting.whole(1, accepting.MOST_DAYS),
    "retention_days": accepting.whole(1, accepting.MOST_DAYS),
    "text_retention_days": accepting.whole(1, accepting.MOST_DAYS),
    "case_retention_days": accepting.whole(1, accepting.MOST_DAYS),
    "data_dir": Path,
    "key": accepting.key,
    "snapshot_key": accepting.key,
    "previous_keys": accepting.keys,
    "content_mode": accepting.one_of(*CONTENT_MODES),
    "evidence_key_path": lambda text: Path(accepting.secret(text)),
    "redact_ips": accepting.switch,
    "alarm_budget": accepting.number(0.001, 10_000),
    "expected_deployments": accepting.whole(1, 1_000_000),
    "expected_principals": accepting.whole(1, 1_000_000_000),
    "batch_records": accepting.whole(1, 4_096),
    "batch_wait_s": accepting.number(0.01, 60),
    "snapshot_interval_s": accepting.number(0.1, 600),
    "silence_minimum_s": accepting.number(0.5, 604_800),
    "incident_quiet_s": accepting.number(1, 604_800),
    "incident_cool_down_s": accepting.number(0, 604_800),
    "owners": accepting.passed(owners_of),
    "max_live_principals": accepting.whole(1_000, 100_000_000),
    "max_live_deployments": accepting.whole(100, 1_000_000),
    "session_timeout_s": accepting.number(6, 300),
    "start_patience_s": accepting.number(0, 86_400),
    "stall_s": accepting.number(5, 86_400),
    "max_record_bytes": accepting.whole(1_000, 1_000_000_000),
    "dead_letter_ratio": accepting.number(0.01, 1.0),
    "dead_letter_run": accepting.whole(0, 1_000_000_000),
    "health_address": accepting.listen_address,
    "metrics_token": accepting.token,
    "canary_api_key": accepting.header,
    "alert_targets": accepting.passed(read_targets),
    "alert_private_addresses": accepting.switch,
    "dashboard_url": accepting.web_address,
    "grafana_url": accepting.web_address,
    "grafana_token": accepting.header,
    "grafana_user": accepting.secret,
    "grafana_password": accepting.secret,
    "grafana_ca_path": accepting.existing_file,
    "log_level": accepting.one_of("DEBUG", "INFO", "WARNING", "ERROR"),
}
