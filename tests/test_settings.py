"""What an operator may set, and what is said where it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.settings import PREFIX, SECRETS, Settings, SettingsError

KEY = "0123456789abcdef" * 4

REFUSED = {
    "KAFKA_BROKERS": (
        ("", "kafka", "kafka:", ":9092", "kafka:port", "kafka:0", "kafka:65536", "a:1,,b:2"),
        "host:port",
    ),
    "TOPIC_PREFIX": (("a/b", "a b", "ä"), "letters, digits"),
    "PARTITIONS": (("0", "1025", "8.5", "many", ""), "a whole number from 1 to 1024"),
    "REPLICATION": (("0", "10"), "a whole number from 1 to 9"),
    "CONSUMER_GROUP": (("", "a b"), "letters, digits"),
    "INPUT_FORMAT": (("", "nativ", "_json", "NATIVE"), "one of auto, azure, bedrock, litellm, native, otlp"),
    "CLICKHOUSE_URL": (
        ("", "clickhouse:8123", "ftp://host", "http://", "http://[::1", "http://host:99999", "http://host:x", "chdb:"),
        "http://host:port, https://host:port or chdb:///directory",
    ),
    "KAFKA_SECURITY": (("", "ssl", "TLS"), "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    "KAFKA_SASL_MECHANISM": (("", "GSSAPI"), "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    "KAFKA_USER": (("", " "), "it is empty"),
    "KAFKA_PASSWORD": (("", " "), "it is empty"),
    **{
        f"{server}_{file}_PATH": (("", "/no/such/file.pem", "/"), "a file that exists")
        for server in ("KAFKA", "CLICKHOUSE")
        for file in ("CA", "CERTIFICATE", "CERTIFICATE_KEY")
    },
    "HEALTH_ADDRESS": ((":8686", "8686", "127.0.0.1", "a:0", "a:65536", "a:x"), "host:port, or nothing for off"),
    "CANARY_API_KEY": (("", "two\nlines", "caf\u00e9"), "ASCII characters on one line"),
    "ALERT_TARGETS": (
        ("", "{}", '[{"name": "a b", "apprise": "slack://x"}]', '[{"name": "a"}]', '[{"name": "a", "x": 1}]'),
        "",
    ),
    "ALERT_PRIVATE_ADDRESSES": (("", "on"), "one of 0, 1, false, true, no, yes"),
    "DASHBOARD_URL": (("", "grafana:3000", "ftp://g", "https://u:p@g", "https://g/?a=1"), "https://host/path"),
    "GRAFANA_URL": (("", "grafana:3000", "https://u:p@g", "https://g/?verify=false"), "https://host/path"),
    "GRAFANA_TOKEN": (("", "two\nlines", "caf\u00e9"), "ASCII characters on one line"),
    "GRAFANA_USER": (("", " "), "it is empty"),
    "GRAFANA_PASSWORD": (("", "\n"), "it is empty"),
    "GRAFANA_CA_PATH": (("", "/no/such/file.pem", "/"), "a file that exists"),
    "METRICS_TOKEN": (("", "0123456789abcde", "0123456789abcde\u00e9"), "at least 16 ASCII characters"),
    "CLICKHOUSE_DATABASE": (("", "a`b", "a;b"), "letters, digits"),
    "CLICKHOUSE_USER": (("", " "), "it is empty"),
    "CLICKHOUSE_PASSWORD": (("", "\n"), "it is empty"),
    **{
        f"{name}_DAYS": (("0", "10001", "36500", "-1"), "a whole number from 1 to 10000")
        for name in ("RETENTION", "TEXT_RETENTION", "CASE_RETENTION", "CLICKHOUSE_COLD")
    },
    **{
        f"CLICKHOUSE_{name}": (("", "a`b", "a'b", "a b"), "letters, digits")
        for name in ("CLUSTER", "STORAGE_POLICY", "COLD_VOLUME")
    },
    "KEY": (("", "short", "x" * 31), "at least 32 characters"),
    "SNAPSHOT_KEY": (("", "short", "x" * 31), "at least 32 characters"),
    "PREVIOUS_KEYS": (("", ",", "short", f"{KEY},short"), "keys of at least 32 characters each"),
    "EVIDENCE_KEY_PATH": (("", " "), "it is empty"),
    "CONTENT_MODE": (("", "FULL", "none"), "one of full, redacted, features"),
    "REDACT_IPS": (("", "on", "2"), "one of 0, 1, false, true, no, yes"),
    "ALARM_BUDGET": (("0", "-1", "nan", "inf", "two"), "a number from 0.001 to 10000"),
    "EXPECTED_DEPLOYMENTS": (("0", "1000001"), "a whole number from 1 to 1000000"),
    "EXPECTED_PRINCIPALS": (("0", "1e6"), "a whole number from 1 to 1000000000"),
    "BATCH_RECORDS": (("0", "4097"), "a whole number from 1 to 4096"),
    "BATCH_WAIT_S": (("0", "61", "nan"), "a number from 0.01 to 60"),
    "SNAPSHOT_INTERVAL_S": (("0", "601"), "a number from 0.1 to 600"),
    "MAX_LIVE_PRINCIPALS": (("0", "999"), "a whole number from 1000 to 100000000"),
    "MAX_LIVE_DEPLOYMENTS": (("0", "99"), "a whole number from 100 to 1000000"),
    "SILENCE_MINIMUM_S": (("0.4", "604801"), "a number from 0.5 to 604800"),
    "STALL_S": (("4", "86401", "nan"), "a number from 5 to 86400"),
    "INCIDENT_QUIET_S": (("0", "604801", "nan"), "a number from 1 to 604800"),
    "INCIDENT_COOL_DOWN_S": (("-1", "604801", "nan"), "a number from 0 to 604800"),
    "OWNERS": (("", "chat", "chat=", "=team", "a=b,,c=d"), "deployment=owner, several separated by commas"),
    "SESSION_TIMEOUT_S": (("1", "301"), "a number from 6 to 300"),
    "START_PATIENCE_S": (("-1", "86401"), "a number from 0 to 86400"),
    "MAX_RECORD_BYTES": (("999", "1000000001"), "a whole number from 1000 to"),
    "DEAD_LETTER_RATIO": (("0", "1.1", "nan"), "a number from 0.01 to 1"),
    "DEAD_LETTER_RUN": (("-1", "1000000001"), "a whole number from 0 to"),
    "LOG_LEVEL": (("", "info", "TRACE"), "one of DEBUG, INFO, WARNING, ERROR"),
}
"""For each setting, values that are not accepted and what the error says is."""

ACCEPTED: Mapping[str, tuple[str, object]] = {
    "KAFKA_BROKERS": ("a:9092, [::1]:9093", "a:9092, [::1]:9093"),
    "TOPIC_PREFIX": ("", ""),
    "PARTITIONS": ("1024", 1_024),
    "REPLICATION": ("3", 3),
    "CONSUMER_GROUP": ("team-a", "team-a"),
    "INPUT_FORMAT": ("otlp", "otlp"),
    "CLICKHOUSE_URL": ("https://clickhouse.internal:8443", "https://clickhouse.internal:8443"),
    "KAFKA_SECURITY": ("SASL_SSL", "SASL_SSL"),
    "KAFKA_SASL_MECHANISM": ("PLAIN", "PLAIN"),
    "KAFKA_USER": ("watcher", "watcher"),
    "KAFKA_PASSWORD": (" pa@ss ", "pa@ss"),
    **{
        f"{server}_{file}_PATH": (__file__, Path(__file__))
        for server in ("KAFKA", "CLICKHOUSE")
        for file in ("CA", "CERTIFICATE", "CERTIFICATE_KEY")
    },
    "HEALTH_ADDRESS": ("[::1]:65535", "[::1]:65535"),
    "CANARY_API_KEY": ("sk-1\n", "sk-1"),
    "ALERT_TARGETS": ('[{"name": "a", "apprise": "slack://x"}]\n', '[{"name": "a", "apprise": "slack://x"}]'),
    "ALERT_PRIVATE_ADDRESSES": ("yes", True),
    "DASHBOARD_URL": ("https://grafana.internal/g/", "https://grafana.internal/g"),
    "GRAFANA_URL": ("https://grafana.internal/g/", "https://grafana.internal/g"),
    "GRAFANA_TOKEN": ("glsa_1\n", "glsa_1"),
    "GRAFANA_USER": ("ada", "ada"),
    "GRAFANA_PASSWORD": (" pa@ss ", "pa@ss"),
    "GRAFANA_CA_PATH": (__file__, Path(__file__)),
    "METRICS_TOKEN": ("0123456789abcdef\n", "0123456789abcdef"),
    "CLICKHOUSE_DATABASE": ("watch", "watch"),
    "CLICKHOUSE_USER": ("writer", "writer"),
    "CLICKHOUSE_PASSWORD": (" pa@ss ", "pa@ss"),
    **{f"{name}_DAYS": ("1", 1) for name in ("RETENTION", "TEXT_RETENTION", "CASE_RETENTION", "CLICKHOUSE_COLD")},
    **{f"CLICKHOUSE_{name}": ("of-ours_1", "of-ours_1") for name in ("CLUSTER", "STORAGE_POLICY", "COLD_VOLUME")},
    "DATA_DIR": ("var/lib", Path("var/lib")),
    "KEY": (KEY, KEY),
    "SNAPSHOT_KEY": (KEY, KEY),
    "PREVIOUS_KEYS": (f"{KEY}, {KEY[::-1]}\n", f"{KEY},{KEY[::-1]}"),
    "EVIDENCE_KEY_PATH": ("keys/evidence.key", Path("keys/evidence.key")),
    "CONTENT_MODE": ("features", "features"),
    "REDACT_IPS": ("Yes", True),
    "ALARM_BUDGET": ("0.5", 0.5),
    "EXPECTED_DEPLOYMENTS": ("1", 1),
    "EXPECTED_PRINCIPALS": ("1000000000", 1_000_000_000),
    "BATCH_RECORDS": ("1", 1),
    "BATCH_WAIT_S": ("0.01", 0.01),
    "SNAPSHOT_INTERVAL_S": ("600", 600.0),
    "MAX_LIVE_PRINCIPALS": ("5000", 5_000),
    "MAX_LIVE_DEPLOYMENTS": ("100", 100),
    "SILENCE_MINIMUM_S": ("60", 60.0),
    "STALL_S": ("45", 45.0),
    "INCIDENT_QUIET_S": ("3600", 3_600.0),
    "INCIDENT_COOL_DOWN_S": ("0", 0.0),
    "OWNERS": ("chat=team a, *=on-call", "chat=team a, *=on-call"),
    "SESSION_TIMEOUT_S": ("6", 6.0),
    "START_PATIENCE_S": ("0", 0.0),
    "MAX_RECORD_BYTES": ("1000", 1_000),
    "DEAD_LETTER_RATIO": ("1", 1.0),
    "DEAD_LETTER_RUN": ("0", 0),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
}


def refusal(environ: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_setting_has_an_accepted_value_here_and_all_but_the_directory_a_refused_one() -> None:
    names = {field.upper() for field in Settings.__struct_fields__}
    assert set(ACCEPTED) == names
    assert set(REFUSED) == names - {"DATA_DIR"}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_value_at_the_edge_of_what_is_accepted_is_read(name: str) -> None:
    text, value = ACCEPTED[name]
    read = getattr(Settings.from_env({PREFIX + name: text}), name.lower())
    assert read == value
    assert type(read) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, (texts, _) in REFUSED.items() for text in texts])
def test_a_bad_value_gives_one_line_with_its_name_and_what_is_accepted(name: str, text: str) -> None:
    said = refusal({PREFIX + name: text})
    assert said.startswith(f"{PREFIX}{name}: ")
    assert REFUSED[name][1] in said


def test_nothing_set_is_the_defaults() -> None:
    assert Settings.from_env({"PATH": "/bin", "OTHER_KEY": "x"}) == Settings()


def test_an_unknown_name_is_refused_because_a_typo_would_silently_do_nothing() -> None:
    assert refusal({"INFERWATCH_PARTITION": "8"}).startswith("INFERWATCH_PARTITION: unknown setting")


def test_a_value_of_ten_thousand_characters_is_shown_cut() -> None:
    assert len(refusal({"INFERWATCH_CONTENT_MODE": "x" * 10_000})) < 200


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_refused_secret_is_not_shown(name: str) -> None:
    said = refusal({PREFIX + name.upper(): "hunter2"} if name == "key" else {PREFIX + name.upper(): " "})
    assert "(hidden)" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "address", ["http://user:hunter2@host", "https://user:hunter2@host:8443/x", "http://:hunter2@h"]
)
def test_a_password_in_the_address_is_refused_without_being_shown(address: str) -> None:
    said = refusal({"INFERWATCH_CLICKHOUSE_URL": address})
    assert "INFERWATCH_CLICKHOUSE_PASSWORD" in said
    assert "hunter2" not in said


def test_a_user_in_the_address_is_refused_because_it_would_be_ignored() -> None:
    assert "INFERWATCH_CLICKHOUSE_USER" in refusal({"INFERWATCH_CLICKHOUSE_URL": "http://user@host:8123"})


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    assert Settings.from_env({"INFERWATCH_CLICKHOUSE_PASSWORD_FILE": str(file)}).clickhouse_password == "s3cret"


def test_any_setting_is_read_from_a_file_with_a_line_end(tmp_path: Path) -> None:
    file = tmp_path / "mode"
    file.write_text("full\n")
    assert Settings.from_env({"INFERWATCH_CONTENT_MODE_FILE": str(file)}).content_mode == "full"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o640)
    said = refusal({"INFERWATCH_KEY_FILE": str(file)})
    assert "chmod 600" in said
    assert KEY not in said
    file.chmod(0o600)
    assert Settings.from_env({"INFERWATCH_KEY_FILE": str(file)}).key == KEY


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "absent")
    said = refusal({"INFERWATCH_KEY_FILE": path})
    assert said == f"INFERWATCH_KEY_FILE: cannot read {path}: No such file or directory"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal({"INFERWATCH_CLICKHOUSE_PASSWORD_FILE": str(file)})


def test_a_setting_given_as_value_and_as_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "user"
    file.write_text("writer")
    environ = {"INFERWATCH_CLICKHOUSE_USER": "writer", "INFERWATCH_CLICKHOUSE_USER_FILE": str(file)}
    assert "given twice" in refusal(environ)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_that_is_given_where_a_file_is_expected_is_not_shown(name: str) -> None:
    for secret in ("hunter2-hunter2-hunter2-hunter2-hunter2", "hunter2/+base64+hunter2/hunter2==", "x" * 5_000):
        said = refusal({f"{PREFIX}{name.upper()}_FILE": secret})
        assert "(hidden)" in said
        assert secret not in said


def test_settings_in_a_log_line_or_a_traceback_give_no_secret_away() -> None:
    settings = Settings(**dict.fromkeys(SECRETS, "hunter2"))  # type: ignore[arg-type]  # secrets are texts
    assert "hunter2" not in f"{settings} {settings!r}"
    assert "(set)" in repr(settings)


def test_masked_settings_name_every_setting_and_hide_the_secrets() -> None:
    settings = Settings.from_env({"INFERWATCH_KEY": KEY, "INFERWATCH_CLICKHOUSE_PASSWORD": "hunter2"})
    masked = settings.masked()
    assert set(masked) == {PREFIX + field.upper() for field in Settings.__struct_fields__}
    assert masked["INFERWATCH_KEY"] == masked["INFERWATCH_CLICKHOUSE_PASSWORD"] == "(set)"
    assert Settings().masked()["INFERWATCH_KEY"] == "(not set)"
    assert KEY not in str(masked)
    assert "hunter2" not in str(masked)


def test_masked_settings_hide_a_password_that_got_into_the_address() -> None:
    masked = Settings(clickhouse_url="http://user:hunter2@host").masked()
    assert masked["INFERWATCH_CLICKHOUSE_URL"] == "http://user:***@host"
