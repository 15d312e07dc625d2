"""Every query in the provisioning files, found by walking them: one that is added is tested without being listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.dashboards.macros import Place

PROVISIONING = Path(__file__).resolve().parents[2] / "dashboards" / "provisioning"

LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")

Board = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A place that asks, what kind of frame it must get, and the columns it names.

    A node graph asks twice; `columns` may be in either frame. `board` is the file that its variables are in, `least_s`
    the smallest bucket its panel asks for.
    """

    place: str
    kind: str
    sqls: tuple[str, ...]
    columns: tuple[str, ...] = ()
    board: str = ""
    least_s: int = 0
    where: Place = "browser"

    @property
    def sql(self) -> str:
        """The first query: of most places the only one."""
        return self.sqls[0]


def dashboards(directory: Path = PROVISIONING) -> dict[str, Board]:
    """The dashboards by the names of their files."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((directory / "dashboards").glob("*.json"))}


def alert_files(directory: Path = PROVISIONING) -> dict[str, dict[str, Any]]:
    """What Grafana's alerting is provisioned with, by the names of the files."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((directory / "alerting").glob("*.yaml"))}


def every_query(directory: Path = PROVISIONING) -> list[Found]:
    """Of panels, variables, annotations and alert rules."""
    found = [query for name, board in dashboards(directory).items() for query in of_dashboard(name, board)]
    for file in alert_files(directory).values():
        found += of_alerts(file)
    return found


def every_panel(board: Board) -> Iterator[dict[str, Any]]:
    """Those inside collapsed rows included."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def of_dashboard(name: str, board: Board) -> Iterator[Found]:
    """Every place of a dashboard that asks."""
    for panel in every_panel(board):
        sqls = tuple(target["rawSql"] for target in panel.get("targets", []))
        if sqls:
            place = f"{name}: {panel['title']}"
            yield Found(place, kind_of(panel), sqls, named_columns(panel), name, least_s(panel))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            place = f"{name}: variable {variable['name']}"
            yield Found(place, "variable", (variable["query"]["rawSql"],), board=name)
    for annotation in board["annotations"]["list"]:
        target = annotation.get("target", {})
        if "rawSql" in target:
            yield Found(f"{name}: annotation {annotation['name']}", "annotation", (target["rawSql"],), board=name)


def kind_of(panel: dict[str, Any]) -> str:
    """What its frame must be like: a time series where it asks for one, else what the panel's type needs."""
    kind: str = panel["type"]
    shape: str = panel["targets"][0]["queryType"]
    return "timeseries" if shape == "timeseries" and kind != "heatmap" else kind


def least_s(panel: dict[str, Any]) -> int:
    """The smallest interval of a panel in seconds; 0 for none."""
    found = re.fullmatch(r">?(\d+)([smh])", panel.get("interval") or "0s")
    if found is None:
        raise ValueError(f"an interval that Grafana does not read: {panel['interval']!r}")
    return int(found.group(1)) * {"s": 1, "m": 60, "h": 3600}[found.group(2)]


def of_alerts(file: dict[str, Any]) -> Iterator[Found]:
    """Every rule's query. Grafana takes it as it is written: no environment, and no second dollar."""
    for group in file.get("groups", []):
        for rule in group["rules"]:
            sqls = tuple(step["model"]["rawSql"] for step in rule["data"] if "rawSql" in step["model"])
            yield Found(f"alert: {rule['title']}", "alert", sqls, alert_labels(rule), where="ruler")


def of_texts(rule: dict[str, Any]) -> list[str]:
    """What Grafana makes of the texts of a rule that it fills in: labels and title expanded, annotations as written."""
    return [text.replace("$$", "$") for text in (rule["title"], *rule["labels"].values())] + [
        *rule["annotations"].values()
    ]


def alert_labels(rule: dict[str, Any]) -> tuple[str, ...]:
    """Labels that the texts of a rule use, which must be columns of its query."""
    return tuple(sorted({name for text in of_texts(rule) for name in LABEL.findall(text)}))


def named_columns(panel: dict[str, Any]) -> tuple[str, ...]:
    """Columns that a panel's overrides, links, series labels and transformations name, as the query calls them."""
    config = panel["fieldConfig"]
    names = [name for override in config["overrides"] for name in _matched(override["matcher"])]
    names += re.findall(r"__field\.labels\.(\w+)", config["defaults"].get("displayName", ""))
    names += re.findall(r"__data\.fields\.(\w+)", json.dumps(config))
    names += [panel["options"]["xField"]] if "xField" in panel.get("options", {}) else []
    made: dict[str, str] = {}
    for step in panel.get("transformations", []):
        used, renamed = _transformed(step)
        names += used
        made |= renamed
    return tuple(dict.fromkeys(made.get(name, name) for name in names))


def _matched(matcher: dict[str, Any]) -> list[str]:
    if matcher["id"] == "byName":
        return [matcher["options"]]
    if matcher["id"] == "byNames":
        return list(matcher["options"]["names"])
    if matcher["id"] in {"byRegexp", "byType", "byFrameRefID"}:
        return []
    raise ValueError(f"an override by {matcher['id']}, which nothing here checks")


def _transformed(step: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Columns that a transformation names, and new names with the old ones behind them."""
    options = step["options"]
    if step["id"] == "organize":
        renamed = {new: old for old, new in options.get("renameByName", {}).items()}
        return [*options.get("excludeByName", {}), *options.get("indexByName", {}), *renamed.values()], renamed
    if step["id"] == "partitionByValues":
        return list(options["fields"]), {}
    if step["id"] == "prepareTimeSeries":
        return [], {}
    if step["id"] == "groupingToMatrix":
        return [options[key] for key in ("columnField", "rowField", "valueField")], {}
    if step["id"] == "rowsToFields":
        return [each["fieldName"] for each in options.get("mappings", [])], {}
    raise ValueError(f"a transformation {step['id']}, which nothing here checks")
