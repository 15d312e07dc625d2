"""``inferwatch dashboards ...`` as a person types it, against a Grafana that is not there but for its HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from dashboards.grafana import GrafanaError
from dashboards.verbs import Verbs
from streams.cli import app
from streams.settings import Settings
from tests.dashboards.extraction import dashboards, every_panel
from tests.dashboards.fake_grafana import PASSWORD, TOKEN, USER, FakeGrafana


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGrafana]:
    """A Grafana that the environment names, with a token in a file."""
    for name in [name for name in os.environ if name.startswith("INFERWATCH_")]:
        monkeypatch.delenv(name)
    fake = FakeGrafana()
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("INFERWATCH_GRAFANA_URL", fake.url)
    monkeypatch.setenv("INFERWATCH_GRAFANA_TOKEN_FILE", str(token))
    yield fake
    fake.stop()
    assert fake.mistakes == []


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dashboards", *arguments])


def test_push_says_what_it_wrote_and_then_that_there_is_nothing_to_write(server: FakeGrafana) -> None:
    first, second = typed("push"), typed("push")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert {line.rpartition(": ")[2] for line in first.stdout.splitlines()} == {"written"}
    assert {line.rpartition(": ")[2] for line in second.stdout.splitlines()} == {"as built"}
    assert TOKEN not in first.stdout + second.stdout


def test_check_is_content_with_what_was_pushed_and_names_what_is_not(server: FakeGrafana) -> None:
    assert typed("check").exit_code == 1
    typed("push")
    assert typed("check").exit_code == 0
    server.saved_by_hand("inferwatch-overview", who="mallory\x1b[31m", title="x")
    server.boards.pop("inferwatch-deployment")
    server.sources.clear()
    found = typed("check")
    assert found.exit_code == 1
    assert "dashboard inferwatch-overview: edited: saved by mallory [31m" in found.stdout
    assert "dashboard inferwatch-deployment: missing" in found.stdout
    assert "data source: missing" in found.stdout
    document = json.loads(typed("check", "--json").stdout)
    assert document["things"]["dashboard inferwatch-deployment"] == "missing"


def test_pull_diff_is_empty_after_a_push_and_shows_what_was_edited(server: FakeGrafana) -> None:
    typed("push")
    clean = typed("pull-diff")
    assert (clean.exit_code, clean.stdout) == (0, "")
    server.saved_by_hand("inferwatch-overview", description="\x1b[31mmine")
    differing = typed("pull-diff")
    assert differing.exit_code == 1
    assert '-    "description": "\\u001b[31mmine"' in differing.stdout


@pytest.mark.parametrize("status", [400, 207])
def test_smoke_asks_for_every_panel_and_says_which_one_fails(status: int, server: FakeGrafana) -> None:
    """Grafana tells an error of one query of several by a status of its own, beside the answers of the others."""
    server.broken_status = status
    server.sources.add("inferwatch-clickhouse-texts")
    typed("push")
    found = typed("smoke")
    assert found.exit_code == 0, found.stdout
    panels = [panel for board in dashboards().values() for panel in every_panel(board) if panel.get("targets")]
    asked = [request for request in server.requests if request.path == "/ds/query"]
    assert len(asked) >= len(panels)
    assert {panel["title"] for panel in panels} <= {line.partition(": ")[2] for line in found.stdout.splitlines()}
    server.broken_sql = panels[0]["targets"][0]["rawSql"][-60:]
    failing = typed("smoke")
    assert failing.exit_code == 1
    (line,) = [line for line in failing.stdout.splitlines() if line.startswith("FAIL")]
    why = f"{server.url}: status 400: code: 47" if status == 400 else "code: 47"
    assert line.endswith(f".json: {panels[0]['title']}: {why}")


def test_smoke_leaves_panels_of_texts_out_where_no_texts_are_to_be_seen(server: FakeGrafana) -> None:
    typed("push")
    found = typed("smoke")
    assert (found.exit_code, server.mistakes) == (0, []), found.stdout
    assert "ok dashboards/forensics.json: Texts (left out: texts are not to be seen in this Grafana)" in found.stdout
    assert len([line for line in found.stdout.splitlines() if "left out" in line]) < 12


def test_smoke_fails_on_an_empty_grafana(server: FakeGrafana) -> None:
    found = typed("smoke")
    assert found.exit_code == 1
    assert "ok health" in found.stdout
    assert "there is no dashboard inferwatch-overview" in found.stdout
    assert "FAIL alert rules" in found.stdout


def test_a_password_serves_as_well_as_a_token(server: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFERWATCH_GRAFANA_TOKEN_FILE")
    monkeypatch.setenv("INFERWATCH_GRAFANA_USER", USER)
    monkeypatch.setenv("INFERWATCH_GRAFANA_PASSWORD", PASSWORD)
    assert typed("push").exit_code == 0


def test_no_verb_takes_a_secret_as_an_argument() -> None:
    for verb in ("push", "pull-diff", "check", "annotate", "smoke"):
        words = typed(verb, "--help").stdout.lower()
        assert "--token" not in words
        assert "--password" not in words


class Store:
    """What the console script gives, with a store that is empty."""

    def settings(self) -> Settings:
        return Settings.from_env(os.environ)

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
        yield lambda _: []


def test_following_goes_on_after_a_grafana_that_was_not_there(
    server: FakeGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    answers = iter([GrafanaError("nobody there"), None, None])

    def put_all(*_: object) -> dict[str, int]:
        answer = next(answers)
        if answer is not None:
            raise answer
        return {"added": 1, "changed": 0, "removed": 0, "kept": 0}

    monkeypatch.setattr("time.sleep", pause)
    monkeypatch.setattr("dashboards.annotations.put_all", put_all)
    with pytest.raises(KeyboardInterrupt):
        Verbs(Store()).annotate(follow=True, every_s=7.0)
    shown = capsys.readouterr()
    assert shown.err == "not now: nobody there\n"
    assert shown.out.count("1 added") == 2
    assert pauses == [7.0, 7.0, 7.0]


def test_the_smoke_script_names_what_compose_has() -> None:
    """It needs Docker to run; its shell, and the names in it, need none."""
    root = Path(__file__).resolve().parents[2]
    script = root / "docker" / "smoke.sh"
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
    assert os.access(script, os.X_OK)
    text = script.read_text()
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    assert {"worker", "grafana"} <= set(compose["services"])
    assert "worker dashboards smoke" in text
    assert "http://grafana:3000" in text
    assert "GRAFANA_ADMIN_PASSWORD" in json.dumps(compose["secrets"])
    assert "PASSWORD=$" in text
    assert "--password" not in text.lower()
