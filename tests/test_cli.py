"""Every verb as a person types it: help with an example, one line for an error, JSON where a machine reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detectors.bank import discover
from streams.cli import app
from streams.settings import Settings

FIXTURES = Path(__file__).parent / "fixtures"
KEY = "0123456789abcdef" * 4
NOBODY = {
    "INFERWATCH_KAFKA_BROKERS": "127.0.0.1:1",
    "INFERWATCH_CLICKHOUSE_URL": "http://127.0.0.1:1",
    "INFERWATCH_START_PATIENCE_S": "0",
}
VERBS = {
    ("demo",),
    ("worker",),
    ("send",),
    ("replay",),
    ("backtest",),
    ("findings",),
    ("detectors", "list"),
    ("detectors", "show"),
    ("detectors", "runbook"),
    ("migrate",),
    ("topics", "create"),
    ("doctor",),
    ("settings",),
    ("dead-letters", "list"),
    ("dead-letters", "show"),
    ("dead-letters", "requeue"),
    ("canary", "run"),
    *(("incidents", verb) for verb in ("list", "show", "follow", "verdict", "close", "assign", "precision")),
    *(("ask", verb) for verb in ("list", "show", "run")),
    *(("suppress", verb) for verb in ("add", "list", "end")),
    ("alerts", "test"),
    *(("changes", verb) for verb in ("approve", "reject", "list")),
    *(("baseline", verb) for verb in ("freeze", "approve", "list", "diff")),
    ("attest",),
    *(("dashboards", verb) for verb in ("push", "pull-diff", "check", "annotate", "smoke")),
    ("report",),
    *(("evidence", verb) for verb in ("export", "verify", "keygen")),
    *(("hold", verb) for verb in ("add", "list", "release")),
    ("access", "list"),
    ("erase",),
    ("export",),
}


def verbs(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all commands that are no groups of others."""
    inner: dict[str, object] | None = getattr(command, "commands", None)
    if inner is None:
        yield path
    for name, each in (inner or {}).items():
        yield from verbs(each, (*path, name))


ALL = tuple(verbs(typer.main.get_command(app)))


def typed(*arguments: str, cwd: Path, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """What a shell shows; nothing of this process's INFERWATCH_ settings is inherited."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env={**inherited, "COLUMNS": "200", **environ},
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_verbs_are_those_that_are_documented() -> None:
    assert set(ALL) >= VERBS


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_verb_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.stdout
    assert f"inferwatch {' '.join(path)}" in result.stdout.split("Example: ")[1]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_an_option_that_does_not_exist_is_a_usage_error(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--no-such-option"])
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_what_talks_to_servers_is_imported_by_the_verbs_that_do() -> None:
    code = "import sys, streams.cli; print(*{'aiohttp', 'clickhouse_connect', 'faust', 'kafka'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_verb_is_the_help() -> None:
    result = CliRunner().invoke(app, [])
    assert "doctor" in result.output


def test_the_detectors_as_json_are_those_of_the_catalog_with_what_a_responder_needs() -> None:
    result = CliRunner().invoke(app, ["detectors", "list", "--json"])
    rows = json.loads(result.stdout)
    assert list(rows) == list(discover())
    assert all(row["runbook"] and row["title"] for row in rows.values())


@pytest.mark.parametrize("detector_id", list(discover()))
def test_a_detector_is_shown_as_a_page_and_as_json(detector_id: str) -> None:
    page = CliRunner().invoke(app, ["detectors", "show", detector_id])
    document = CliRunner().invoke(app, ["detectors", "show", detector_id, "--json"])
    assert page.exit_code == document.exit_code == 0
    assert "What to do" in page.stdout
    assert json.loads(document.stdout)["title"] in page.stdout.replace("\n", " ")


def test_settings_are_listed_masked_as_lines_and_as_json(tmp_path: Path) -> None:
    secrets = {"INFERWATCH_KEY": KEY, "INFERWATCH_CLICKHOUSE_PASSWORD": "hunter2"}
    lines = typed("settings", cwd=tmp_path, **secrets).stdout
    document = typed("settings", "--json", cwd=tmp_path, **secrets).stdout
    assert dict(line.split("=", 1) for line in lines.splitlines()).keys() == Settings().masked().keys()
    assert json.loads(document)["INFERWATCH_KEY"] == "(set)"
    for shown in (lines, document):
        assert KEY not in shown
        assert "hunter2" not in shown
    assert not list(tmp_path.iterdir())


def refused(result: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line on standard error of a run that failed as it should."""
    assert result.returncode == status, result.stderr
    assert result.stderr.startswith("inferwatch: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("verb", [["settings"], ["findings"], ["worker"], ["migrate"], ["replay", "-"]], ids=" ".join)
def test_a_wrong_setting_is_one_line_that_names_it_and_what_is_accepted(tmp_path: Path, verb: list[str]) -> None:
    said = refused(typed(*verb, cwd=tmp_path, INFERWATCH_PARTITIONS="many"), 2)
    assert said == "inferwatch: INFERWATCH_PARTITIONS: 'many' is not accepted; a whole number from 1 to 1024\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["findings", "--severity", "urgent"], "--severity: 'urgent' is not accepted; one of info, low"),
        (["findings", "--since", "yesterday"], "--since: 'yesterday' is not accepted; a number and"),
        (["worker", "--roles", "ingest,cook"], "--roles: 'cook' is not accepted; some of"),
        (["detectors", "show", "nothing"], "'nothing' is no detector; one of "),
        (["incidents", "list", "--severity", "urgent"], "--severity: 'urgent' is not accepted; one of info, low"),
        (["incidents", "show", "x;\x1b[2J"], "'x;\\x1b[2J' is no id of an incident; expected inc- and hex digits"),
        (["incidents", "close", "INC-1"], "'INC-1' is no id of an incident"),
        (["incidents", "assign", "inc-1", " "], "WHO: it is empty; a name or a team"),
        (["suppress", "add", "--reason", "x"], "give at least one of --deployment, --detector, --subject and --cause"),
        (["suppress", "add", "--reason", " ", "--detector", "canary"], "--reason: it is empty"),
        (["suppress", "add", "--reason", "x", "--cause", "luck"], "--cause: 'luck' is not accepted; one of weights_"),
        (["suppress", "add", "--reason", "x", "--cause", "load", "--for", "91d"], "--for: '91d' is not accepted"),
        (["suppress", "add", "--reason", "x", "--cause", "load", "--severity", "all"], "--severity: 'all' is not"),
        (["suppress", "end", "sup-\x1b[2J"], "'sup-\\x1b[2J' is no id of a suppression; expected sup- and hex digits"),
        (["incidents", "verdict", "inc-1", "maybe"], "'maybe' is no verdict; one of true, false, benign"),
        (["send", "x", "--format", "xml"], "--format: 'xml' is not accepted; one of azure"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_wrong_argument_is_one_line_that_names_what_is_accepted(
    tmp_path: Path, arguments: list[str], named: str
) -> None:
    assert named in refused(typed(*arguments, cwd=tmp_path, **NOBODY), 2)


def test_a_server_that_is_down_is_one_line(tmp_path: Path) -> None:
    said = refused(typed("findings", cwd=tmp_path, **NOBODY), 1)
    assert said.startswith("inferwatch: ClickHouse: ")
    assert "INFERWATCH_CLICKHOUSE_URL" in said


def test_a_broker_that_is_down_is_one_line(tmp_path: Path) -> None:
    said = refused(typed("topics", "create", cwd=tmp_path, **NOBODY), 1)
    assert said.startswith("inferwatch: Kafka at 127.0.0.1:1: ")


def test_the_traceback_is_a_flag_away(tmp_path: Path) -> None:
    result = typed("findings", "--debug", cwd=tmp_path, **NOBODY)
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "StoreError" in result.stderr


def test_the_doctor_without_servers_fails_with_what_to_do_as_lines_of_json(tmp_path: Path) -> None:
    result = typed("doctor", "--json", cwd=tmp_path, **NOBODY)
    assert result.returncode == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["name"], row["status"]) for row in rows] == [("Kafka", "fail"), ("ClickHouse", "fail")]
    assert all(row["advice"] for row in rows)
    assert result.stderr == ""


def swap(path: Path) -> Path:
    """A file in which the served model changes once."""
    with path.open("w") as file:
        for number in range(2_050):
            served = "m-2024" if number < 2_000 else "m-2025"
            event = {"deployment": "chat", "model": "m", "served_model": served, "time_s": 1_750_000_000 + number}
            file.write(json.dumps(event) + "\n")
    return path


def test_a_replay_shows_findings_and_a_summary(tmp_path: Path) -> None:
    result = typed("replay", str(swap(tmp_path / "log.ndjson")), cwd=tmp_path, INFERWATCH_KEY=KEY)
    assert result.returncode == 0, result.stderr
    found, *page, summary = result.stdout.splitlines()
    assert summary == "2050 events, 1 findings, 0 dead letters, 0 parts ignored, 1 incidents"
    assert found.split()[3] == "served_model_change"
    titles = ["What", "Since when", "Ranked causes", "Blast radius", "Next checks", "How to roll back"]
    assert [line for line in page if line in titles] == titles
    assert "  1. The provider updated the model silently  50% of the evidence" in page
    assert all(line == line.rstrip() for line in page)


def test_a_replay_for_machines_prints_findings_as_json_and_the_summary_aside(tmp_path: Path) -> None:
    result = typed("replay", "--json", str(swap(tmp_path / "log.ndjson")), cwd=tmp_path, INFERWATCH_KEY=KEY)
    assert result.returncode == 0, result.stderr
    found, incident = map(json.loads, result.stdout.splitlines())
    assert (found["detector"], found["subject"]) == ("served_model_change", "chat")
    assert incident["causes"][0]["finding_ids"] == [found["finding_id"]]
    assert "2050 events" in result.stderr


def test_a_replay_of_broken_input_says_why_with_escape_sequences_made_harmless(tmp_path: Path) -> None:
    content = b'{"deployment":"d","latency_s":-1}\n{"deployment":"d","\x1b[31m":1,"input_tokens":"\x1b"}\n'
    result = typed("replay", "-", cwd=tmp_path, stdin=content, INFERWATCH_KEY=KEY, INFERWATCH_INPUT_FORMAT="native")
    assert result.returncode == 0, result.stderr
    assert "0 events, 0 findings, 2 dead letters" in result.stdout
    assert "1 x latency_s: expected a finite number >= 0" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_replay_of_a_file_of_a_gateway_recognizes_its_format(tmp_path: Path) -> None:
    file = FIXTURES / "litellm" / "chat_with_tools_and_identities.input.json"
    result = typed("replay", str(file), cwd=tmp_path, INFERWATCH_KEY=KEY)
    assert result.stdout.startswith("1 events, 0 findings, 0 dead letters"), result.stdout + result.stderr


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    said = refused(typed("replay", "absent.ndjson", cwd=tmp_path, INFERWATCH_KEY=KEY), 1)
    assert said == "inferwatch: absent.ndjson: No such file or directory\n"


@pytest.mark.parametrize("verb", [["settings"], ["detectors", "list", "--json"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error_to_talk_about(tmp_path: Path, verb: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *verb],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr == b""


def test_the_verbs_of_a_store_work_on_an_engine_in_process(tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="the extra `local` is not installed")
    environ = {"INFERWATCH_CLICKHOUSE_URL": f"chdb://{tmp_path}/engine"}
    first, second = (typed("migrate", cwd=tmp_path, **environ) for _ in range(2))
    assert first.stdout.splitlines()[0] == "applied 0001 tables", first.stderr
    assert second.stdout == "the schema is up to date\n"
    nothing = typed("findings", cwd=tmp_path, **environ)
    assert "no findings match" in nothing.stdout
    assert typed("findings", "--json", cwd=tmp_path, **environ).stdout == ""
