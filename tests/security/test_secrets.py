"""A secret setting is in no output of any verb, in no traceback, and cannot be typed where other users see it."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer.main

from streams.cli import app
from streams.logs import SafeFormatter, clean_traceback, log_to, secrets_of
from streams.settings import PREFIX, SECRETS, Settings

HOOK = "https://127.0.0.1:1/alert_targets-canary"
SIGNING = "alert_targets-canary-0123456789abcdef-0123456789abcdef"
PLANTED = {field: f"{field}-canary-0123456789abcdef-0123456789abcdef" for field in sorted(SECRETS)} | {
    "alert_targets": json.dumps([{"name": "soc", "webhook": HOOK, "secret": SIGNING}])
}
SERVERS = {
    "INFERWATCH_KAFKA_BROKERS": "127.0.0.1:1",
    "INFERWATCH_KAFKA_SECURITY": "SASL_PLAINTEXT",
    "INFERWATCH_KAFKA_USER": "somebody",
    "INFERWATCH_CLICKHOUSE_URL": "http://127.0.0.1:1",
    "INFERWATCH_CLICKHOUSE_USER": "somebody",
    "INFERWATCH_LOG_LEVEL": "DEBUG",
    "INFERWATCH_START_PATIENCE_S": "0",
}
VERBS = (
    ("worker",),
    ("send", "-"),
    ("replay", "-"),
    ("findings",),
    ("migrate",),
    ("topics", "create"),
    ("dead-letters", "list"),
    ("dead-letters", "requeue", "--all"),
    ("doctor",),
    ("settings",),
    ("settings", "--json"),
    ("alerts", "test"),
)
"""Those that use settings; `demo` makes its own key and servers."""


def typed(verbs: Sequence[tuple[str, ...]], environ: dict[str, str], cwd: Path) -> dict[str, str]:
    """What each verb says; all at once, because most of them wait for a server that is not there."""
    running = {
        " ".join(verb): subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *verb],
            env={"PATH": os.environ["PATH"], **environ},
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for verb in verbs
    }
    return {verb: process.communicate(b"{}\n", timeout=200)[0].decode() for verb, process in running.items()}


def as_values() -> dict[str, str]:
    return {PREFIX + field.upper(): value for field, value in PLANTED.items()}


def as_files(tmp_path: Path) -> dict[str, str]:
    environ = {}
    for field, value in PLANTED.items():
        path = tmp_path / field
        path.write_text(f"{value}\n")
        path.chmod(0o600)
        environ[f"{PREFIX}{field.upper()}_FILE"] = str(path)
    return environ


def test_no_verb_says_a_secret_not_even_in_a_traceback(tmp_path: Path) -> None:
    said = typed([("--debug", *verb) for verb in VERBS], {**SERVERS, **as_values()}, tmp_path)
    assert "Traceback" in said["--debug migrate"] and "Traceback" in said["--debug worker"]
    assert [verb for verb, output in said.items() if "canary" in output or not output] == []


def test_nor_one_that_it_read_from_a_file(tmp_path: Path) -> None:
    said = typed([("--debug", "worker"), ("migrate",), ("settings",)], {**SERVERS, **as_files(tmp_path)}, tmp_path)
    assert [verb for verb, output in said.items() if "canary" in output or not output] == []


def test_settings_say_that_a_secret_is_set(tmp_path: Path) -> None:
    output = typed([("settings",)], as_values(), tmp_path)["settings"]
    assert [line for line in output.splitlines() if line.endswith("=(set)")] == [
        f"{PREFIX}{field.upper()}=(set)" for field in Settings.__struct_fields__ if field in SECRETS
    ]


def options(command: object) -> Iterator[str]:
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)
    for parameter in getattr(command, "params", []):
        yield from (*parameter.opts, parameter.name or "")


def test_no_option_takes_a_secret_because_every_user_of_a_machine_sees_arguments() -> None:
    names = set(options(typer.main.get_command(app)))
    assert "--limit" in names
    assert not [name for name in names for word in ("password", "token", "key", "secret") if word in name.lower()]


def test_a_traceback_shows_no_secret_that_an_exception_quotes() -> None:
    settings = Settings(kafka_password="hunter2-hunter2", previous_keys="a" * 40 + "," + "b" * 40)
    shaped = "AKIA" + "IOSFODNN7EXAMPLE"
    with pytest.raises(KeyError) as caught:
        _ = os.environ[f"{settings.kafka_password} nor {'b' * 40} nor {shaped}"]
    shown = clean_traceback(caught.value, settings)
    assert "Traceback (most recent call last)" in shown
    assert "KeyError: '(hidden) nor (hidden) nor [secret]'" in shown
    assert shaped not in clean_traceback(caught.value, None), "what has a shape is known without settings"


def test_every_secret_that_is_set_is_looked_for() -> None:
    looked_for = {*PLANTED.values(), HOOK, SIGNING} - {PLANTED["alert_targets"]}
    assert looked_for == set(secrets_of(Settings(**PLANTED)))  # type: ignore[arg-type]  # secrets are texts
    assert secrets_of(Settings()) == []


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for library in ("aiokafka", "asyncio", "clickhouse_connect", "faust", "mode", "urllib3", "kafka"):
        logging.getLogger(library).setLevel(logging.NOTSET)


def test_a_log_line_shows_no_secret_whoever_writes_it(restored_logging: None) -> None:
    stream = io.StringIO()
    log_to(stream, Settings(log_level="DEBUG", clickhouse_password="hunter2-hunter2"))
    logging.getLogger("somebody").debug("password %s of %s", "hunter2-hunter2", "bob@example.com")
    logging.getLogger("aiokafka.conn").debug("request with everything in it")
    logging.getLogger("kafka.conn").info("request with everything in it")
    assert stream.getvalue().endswith("DEBUG somebody: password (hidden) of [email]\n")
    assert "everything" not in stream.getvalue()


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_a_library_is_never_louder_than_the_setting(level: str, restored_logging: None) -> None:
    log_to(io.StringIO(), Settings(log_level=level))
    for library in ("kafka", "faust", "aiokafka"):
        assert logging.getLogger(library).getEffectiveLevel() >= logging.getLevelName(level)


def test_what_a_library_says_again_and_again_is_written_once_in_a_while(restored_logging: None) -> None:
    stream = io.StringIO()
    log_to(stream, Settings())
    for attempt in range(50):
        logging.getLogger("aiokafka").error("attempt %d: the broker is away", attempt)
        logging.getLogger("streams.sinks").warning("ours %d", attempt)
    logging.getLogger("aiokafka").error("another line of code")
    lines = stream.getvalue().splitlines()
    assert [line.partition("aiokafka: ")[2] for line in lines if "aiokafka" in line] == [
        "attempt 0: the broker is away",
        "another line of code",
    ]
    assert sum("ours" in line for line in lines) == 50


def test_the_longest_secret_is_taken_out_first() -> None:
    formatter = SafeFormatter("%(message)s", ["abcdef", "abcdefghij"])
    assert formatter.clean("x abcdefghij y") == "x (hidden) y"
