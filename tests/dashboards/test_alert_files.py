"""Alerting is provisioned with files that Grafana reads, whose names lead somewhere and whose dollars it expands."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.dashboards.extraction import PROVISIONING, alert_files, dashboards, every_panel, of_alerts
from tests.dashboards.macros import MacroError, Screen, expand

SCHEMA = Path(__file__).with_name("alerting.schema.json")
VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))
FILES = alert_files()
PANELS = {(board["uid"], str(panel["id"])) for board in dashboards().values() for panel in every_panel(board)}
DEFAULT_RECEIVERS = {"grafana-default-email"}

File = dict[str, Any]


def complaints(file: File, files: dict[str, File] = FILES) -> list[str]:
    """What is wrong with a file among others, in sentences."""
    return [error.message for error in VALIDATOR.iter_errors(file)] or [*_of_rules(file), *_of_names(file, files)]


def _of_rules(file: File) -> Iterator[str]:
    for group in file.get("groups", []):
        for rule in group["rules"]:
            yield from _of_rule(rule)
    for found in of_alerts(file):
        for sql in found.sqls:
            try:
                expand(sql, Screen(0, 1), "ruler")
            except MacroError as error:
                yield f"{found.place}: {error}"


def _of_rule(rule: dict[str, Any]) -> Iterator[str]:
    steps = {step["refId"] for step in rule["data"]}
    if rule["condition"] not in steps:
        yield f"{rule['title']}: the condition is no step"
    for step in rule["data"]:
        if step["refId"] != step["model"]["refId"]:
            yield f"{rule['title']}: a step has two names"
        if step["model"].get("type") in {"threshold", "reduce"} and step["model"]["expression"] not in steps:
            yield f"{rule['title']}: an expression of no step"
    place = (rule["annotations"].get("__dashboardUid__"), rule["annotations"].get("__panelId__"))
    if place not in PANELS:
        yield f"{rule['title']}: leads to no panel: {place}"


def _of_names(file: File, files: dict[str, File]) -> Iterator[str]:
    receivers = {point["name"] for each in files.values() for point in each.get("contactPoints", [])}
    intervals = {time["name"] for each in files.values() for time in each.get("muteTimes", [])}
    for policy in file.get("policies", []):
        for route in _routes(policy):
            if route.get("receiver", "grafana-default-email") not in receivers | DEFAULT_RECEIVERS:
                yield f"no contact point {route['receiver']}"
            for name in (*route.get("mute_time_intervals", []), *route.get("active_time_intervals", [])):
                if name not in intervals:
                    yield f"no mute timing {name}"


def _routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for child in route.get("routes", []):
        yield from _routes(child)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_as_grafana_reads_it(name: str) -> None:
    assert complaints(FILES[name]) == []


def test_no_two_rules_have_one_uid_or_one_title() -> None:
    rules = [rule for file in FILES.values() for group in file.get("groups", []) for rule in group["rules"]]
    for key in ("uid", "title"):
        assert len({rule[key] for rule in rules}) == len(rules)


def test_the_schema_is_a_schema_and_reads_the_files_as_they_lie() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA)]
    files = sorted(map(str, (PROVISIONING / "alerting").glob("*.yaml")))
    done = subprocess.run([*command, *files], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--check-metaschema", str(SCHEMA)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


EXAMPLE: File = {
    "apiVersion": 1,
    "contactPoints": [
        {
            "orgId": 1,
            "name": "on call",
            "receivers": [{"uid": "a", "type": "email", "settings": {"addresses": "a@b.c"}}],
        }
    ],
    "policies": [
        {
            "orgId": 1,
            "receiver": "on call",
            "group_by": ["alertname"],
            "routes": [
                {
                    "receiver": "on call",
                    "object_matchers": [["severity", "=", "critical"]],
                    "mute_time_intervals": ["nights"],
                }
            ],
        }
    ],
    "muteTimes": [
        {
            "orgId": 1,
            "name": "nights",
            "time_intervals": [
                {
                    "times": [{"start_time": "22:00", "end_time": "24:00"}],
                    "weekdays": ["monday:friday"],
                    "location": "Europe/Berlin",
                }
            ],
        }
    ],
}


def test_contact_points_policies_and_mute_timings_are_read() -> None:
    assert complaints(EXAMPLE, {"example": EXAMPLE}) == []


def rule_of(file: File) -> dict[str, Any]:
    return file["groups"][0]["rules"][0]


def model_of(file: File) -> dict[str, Any]:
    return rule_of(file)["data"][0]["model"]


Change = Callable[[File], Any]

OF_RULES: dict[str, tuple[Change, str]] = {
    "a dollar of a label that is expanded": (
        lambda file: rule_of(file)["labels"].update(x="{{ $labels.x }}"),
        "does not match",
    ),
    "a dollar of a title that is expanded": (lambda file: rule_of(file).update(title="$labels"), "does not match"),
    "a dollar of an annotation that stays doubled": (
        lambda file: rule_of(file)["annotations"].update(summary="{{ $$labels.x }}"),
        "does not match",
    ),
    "a dollar of a query that stays doubled": (
        lambda file: model_of(file).update(rawSql="SELECT $$__fromTime"),
        "does not match",
    ),
    "a variable, which the ruler has not": (
        lambda file: model_of(file).update(rawSql="SELECT ${deployment}"),
        "does not match",
    ),
    "a variable without braces": (lambda file: model_of(file).update(rawSql="SELECT '$deployment'"), "not expanded"),
    "a macro of the browser": (
        lambda file: model_of(file).update(rawSql="SELECT $__conditionalAll(a, b)"),
        "a browser only",
    ),
    "a filter of the browser": (
        lambda file: model_of(file).update(rawSql="SELECT 1 SETTINGS $__adHocFilters('x')"),
        "a browser only",
    ),
    "a macro that does not exist": (lambda file: model_of(file).update(rawSql="SELECT $__now"), "unknown macro"),
    "a panel that does not exist": (
        lambda file: rule_of(file)["annotations"].update(__panelId__="7"),
        "leads to no panel",
    ),
    "a dashboard without its panel": (lambda file: rule_of(file)["annotations"].pop("__panelId__"), "dependency"),
    "a condition that is no step": (lambda file: rule_of(file).update(condition="Z"), "the condition is no step"),
    "a state that does not exist": (lambda file: rule_of(file).update(noDataState="Ok"), "is not one of"),
    "a duration without a unit": (lambda file: rule_of(file).update({"for": "5"}), "does not match"),
    "a key that Grafana passes over": (lambda file: rule_of(file).update(severity="high"), "Additional properties"),
    "another data source": (lambda file: rule_of(file)["data"][0].update(datasourceUid="postgres"), "was expected"),
    "a query as a time series": (lambda file: model_of(file).update(format=0), "1 was expected"),
    "a rule without a summary": (lambda file: rule_of(file)["annotations"].pop("summary"), "required"),
    "a rule without a uid": (lambda file: rule_of(file).pop("uid"), "required"),
    "a group without a folder": (lambda file: file["groups"][0].pop("folder"), "required"),
}

OF_ROUTES: dict[str, tuple[Change, str]] = {
    "a contact point that does not exist": (lambda file: file["policies"][0].update(receiver="x"), "no contact point"),
    "a mute timing that does not exist": (lambda file: file["muteTimes"][0].update(name="x"), "no mute timing"),
    "a root policy that matches": (
        lambda file: file["policies"][0].update(object_matchers=[["a", "=", "b"]]),
        "should not be valid",
    ),
    "a receiver without a uid": (lambda file: file["contactPoints"][0]["receivers"][0].pop("uid"), "required"),
    "a receiver of no kind": (
        lambda file: file["contactPoints"][0]["receivers"][0].update(type="pigeon"),
        "is not one of",
    ),
    "a time that no clock shows": (
        lambda file: file["muteTimes"][0]["time_intervals"][0]["times"][0].update(end_time="25:00"),
        "does not match",
    ),
    "a day that no week has": (
        lambda file: file["muteTimes"][0]["time_intervals"][0].update(weekdays=["caturday"]),
        "does not match",
    ),
}


@pytest.mark.parametrize("mutation", OF_RULES)
def test_the_check_of_rules_sees(mutation: str) -> None:
    change, complaint = OF_RULES[mutation]
    file = copy.deepcopy(next(file for file in FILES.values() if file.get("groups")))
    change(file)
    found = complaints(file)
    assert any(complaint in problem for problem in found), found


@pytest.mark.parametrize("mutation", OF_ROUTES)
def test_the_check_of_routes_sees(mutation: str) -> None:
    change, complaint = OF_ROUTES[mutation]
    file = copy.deepcopy(EXAMPLE)
    change(file)
    found = complaints(file, {"example": file})
    assert any(complaint in problem for problem in found), found
