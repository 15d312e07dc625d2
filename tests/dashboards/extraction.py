"""Every query in the provisioning files, found by walking them: one that is added is tested without being listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path(__file__).resolve().parents[2] / "dashboards" / "provisioning"
SINGLE_DOLLAR = re.compile(r"(?<!\$)\$(?!\$)")


@dataclass(frozen=True, slots=True)
class Found:
    """A query, where it stands, what kind of frame it must return and the columns its panel names."""

    place: str
    kind: str
    sql: str
    columns: tuple[str, ...] = ()


def dashboards(directory: Path = PROVISIONING) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((directory / "dashboards").glob("*.json"))}


def every_query(directory: Path = PROVISIONING) -> list[Found]:
    """Of panels, variables, annotations and alert rules."""
    found = [query for name, board in dashboards(directory).items() for query in of_dashboard(name, board)]
    for path in sorted((directory / "alerting").glob("*.yaml")):
        found += of_alerts(path)
    return found


def of_dashboard(name: str, board: dict[str, Any]) -> Iterator[Found]:
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            kind = "stat" if panel["type"] == "stat" else target["queryType"]
            yield Found(f"{name}: {panel['title']}", kind, target["rawSql"], named_columns(panel))
    for variable in board["templating"]["list"]:
        yield Found(f"{name}: variable {variable['name']}", "variable", variable["query"]["rawSql"])
    for annotation in board["annotations"]["list"]:
        yield Found(f"{name}: annotation {annotation['name']}", "annotation", annotation["target"]["rawSql"])


def of_alerts(path: Path) -> Iterator[Found]:
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            for step in rule["data"]:
                if "rawSql" in step["model"]:
                    sql = as_grafana_provisions(step["model"]["rawSql"])
                    yield Found(f"alert: {rule['title']}", "alert", sql, alert_labels(rule))


def as_grafana_provisions(text: str) -> str:
    """Grafana expands ``$NAME`` in provisioning files from its environment; ``$$`` stays a dollar."""
    if SINGLE_DOLLAR.search(text):
        raise ValueError(f"Grafana would expand a dollar of {text[:60]!r} from its environment")
    return text.replace("$$", "$")


def alert_labels(rule: dict[str, Any]) -> tuple[str, ...]:
    """Labels that the texts of a rule use, which must be columns of its query."""
    texts = [as_grafana_provisions(text) for text in (*rule["labels"].values(), *rule["annotations"].values())]
    return tuple(sorted({name for text in texts for name in re.findall(r"\$labels\.(\w+)", text)}))


def named_columns(panel: dict[str, Any]) -> tuple[str, ...]:
    """Columns that a panel's overrides, links and series labels name."""
    config = panel["fieldConfig"]
    names = [override["matcher"]["options"] for override in config["overrides"]]
    names += re.findall(r"__field\.labels\.(\w+)", config["defaults"].get("displayName", ""))
    names += re.findall(r"__data\.fields\.(\w+)", json.dumps(config))
    return tuple(dict.fromkeys(names))
