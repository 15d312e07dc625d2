"""The committed files are what the Python beside them builds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.__main__ import main
from dashboards.build import DASHBOARDS_IN_GRAFANA, PROVISIONING, provisioning_files, stale
from dashboards.panels import DATASOURCE_UID, TEXTS_UID

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_committed_files_are_fresh() -> None:
    assert stale(PROVISIONING) == [], "run `python -m dashboards build` and commit the result"


def test_a_build_in_another_process_with_another_hash_seed_is_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards", "build", "--to", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, env={"PYTHONHASHSEED": "77"}, check=True, capture_output=True)
    assert {name: (tmp_path / name).read_text() for name in provisioning_files()} == provisioning_files()


@pytest.mark.parametrize("damage", ["changed", "missing", "left over"])
def test_check_names_a_file_that_is(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--to", str(tmp_path)]) == 0
    assert main(["build", "--check", "--to", str(tmp_path)]) == 0
    name = "dashboards/overview.json"
    if damage == "changed":
        (tmp_path / name).write_text((tmp_path / name).read_text().replace("utc", "browser"))
    elif damage == "missing":
        (tmp_path / name).unlink()
    else:
        name = "dashboards/renamed.json"
        (tmp_path / name).write_text("{}")
    assert main(["build", "--check", "--to", str(tmp_path)]) == 1
    assert f"stale: {name}" in capsys.readouterr().err
    assert main(["build", "--to", str(tmp_path)]) == 0
    assert stale(tmp_path) == []


def test_every_file_is_read_by_a_plain_yaml_or_json_reader() -> None:
    for name, text in provisioning_files().items():
        assert json.loads(text) if name.endswith(".json") else yaml.safe_load(text), name


def test_panels_alerts_and_data_source_agree_on_one_uid() -> None:
    files = provisioning_files()
    assert yaml.safe_load(files["datasource.yaml"])["datasources"][0]["uid"] == DATASOURCE_UID
    for name in [name for name in files if name.startswith("dashboards/")]:
        board = json.loads(files[name])
        asked = [mark for mark in board["annotations"]["list"] if mark["datasource"]["type"] != "grafana"]
        items = (*board["panels"], *board["templating"]["list"], *asked)
        asking = {item["datasource"]["uid"] for item in items if "datasource" in item}
        assert asking - {TEXTS_UID} == {DATASOURCE_UID}, name
        for panel in board["panels"]:
            own = panel.get("datasource")
            assert all(each["datasource"] == own for each in panel.get("targets", [])), panel["title"]
    rules = all_rules()
    assert {step["datasourceUid"] for rule in rules for step in rule["data"]} == {DATASOURCE_UID, "__expr__"}


def all_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(provisioning_files()["alerting/rules.yaml"])["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_a_quiet_alert_is_good_and_a_broken_one_is_not_quiet() -> None:
    """Rules that count have no rows when all is well; those that measure always have one, unless nobody measures."""
    measuring = {"The pipeline stands still", "ClickHouse's disk is almost full"}
    for rule in all_rules():
        assert rule["noDataState"] == ("Alerting" if rule["title"] in measuring else "OK"), rule["title"]
        assert rule["execErrState"] == "Error"


def test_no_password_is_in_a_file() -> None:
    files = {name: text for name, text in provisioning_files().items() if name.startswith("datasource")}
    sources = {name: yaml.safe_load(text) for name, text in files.items()}
    secrets = {name: [each["secureJsonData"] for each in file["datasources"]] for name, file in sources.items()}
    assert secrets == {
        "datasource.yaml": [{"password": "$__file{/run/secrets/clickhouse_grafana_password}"}],
        "datasource-texts-on.yaml": [{"password": "$__file{/run/secrets/grafana_texts_password}"}],
        "datasource-texts.yaml": [],
    }


def test_where_texts_are_not_to_be_seen_any_more_grafana_is_told_to_forget_their_data_source() -> None:
    files = {name: yaml.safe_load(text) for name, text in provisioning_files().items() if "texts" in name}
    (source,) = files["datasource-texts-on.yaml"]["datasources"]
    assert (source["uid"], source["jsonData"]["username"], source["isDefault"]) == (TEXTS_UID, "grafana_texts", False)
    assert files["datasource-texts.yaml"]["deleteDatasources"] == [{"name": source["name"], "orgId": 1}]


def test_grafana_looks_for_dashboards_where_compose_puts_them() -> None:
    provider = yaml.safe_load(provisioning_files()["dashboards.yaml"])["providers"][0]
    grafana = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["grafana"]
    assert provider["options"]["path"] == DASHBOARDS_IN_GRAFANA
    assert f"./dashboards/provisioning/dashboards:{DASHBOARDS_IN_GRAFANA}:ro" in grafana["volumes"]
