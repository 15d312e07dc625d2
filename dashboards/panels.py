"""House style of every panel: it says what it shows, in which unit, and what its emptiness means.

Panels are Grafana's own JSON as plain dicts; these functions leave no way to forget a description, a
unit or the text shown instead of data. Times are UTC, colors of severities come from `SEVERITY_COLORS`
and grey means "no data", never "all quiet".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.queries import Query
from detectors.types import Severity

Json = dict[str, Any]

DATASOURCE_UID = "inferwatch-clickhouse"
DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": DATASOURCE_UID}
PLUGIN_VERSION = "4.20.0"
"""Of the ClickHouse data source whose query format this is; compose installs the same one."""

SCHEMA_VERSION = 41
GRID_COLUMNS = 24

GREEN, ORANGE, RED, BLUE, GREY = "#56A64B", "#FF9830", "#E02F44", "#5794F2", "#8E8E8E"
SEVERITY_COLORS = {
    Severity.INFO: "#B5C7F2",
    Severity.LOW: BLUE,
    Severity.MEDIUM: "#FADE2A",
    Severity.HIGH: ORANGE,
    Severity.CRITICAL: RED,
}

NEUTRAL = ((None, BLUE),)
"""Thresholds of a panel whose number is neither good nor bad."""

Steps = Sequence[tuple[float | None, str]]
Override = tuple[str, dict[str, Any]]
"""A column of the query, and the properties its field gets."""

DEPLOYMENT_LINK = (
    "/d/inferwatch-deployment?var-deployment=${__data.fields.deployment:percentencode}&${__url_time_range}"
)


def stat(
    title: str,
    query: Query,
    *,
    description: str,
    unit: str,
    no_value: str,
    steps: Steps,
    width: int,
    overrides: Sequence[Override] = (),
) -> Json:
    """One number a column, colored by thresholds; grey with `no_value` when there is none."""
    panel = _panel("stat", title, query, description, unit, no_value, steps, overrides)
    panel["fieldConfig"]["defaults"]["mappings"] = [
        {"type": "special", "options": {"match": "null+nan", "result": {"text": no_value, "color": GREY}}}
    ]
    panel["options"] = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "vertical",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return _sized(panel, width, 4)


def timeseries(  # noqa: PLR0913 - each is a thing the house style asks of a panel
    title: str,
    query: Query,
    *,
    description: str,
    unit: str,
    no_value: str,
    width: int,
    steps: Steps = NEUTRAL,
    floor: float | None = 0,
    stacked: bool = False,
    label: str | None = None,
    overrides: Sequence[Override] = (),
) -> Json:
    """Columns over time; a gap is a time without data.

    `label` names the string column that splits series; `floor` is the lowest value of the axis.
    """
    panel = _panel("timeseries", title, query, description, unit, no_value, steps, overrides)
    defaults = panel["fieldConfig"]["defaults"]
    defaults["color"] = {"mode": "palette-classic"}
    defaults["min"] = floor
    defaults["custom"] = {
        "drawStyle": "bars" if stacked else "line",
        "fillOpacity": 80 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "off" if len(steps) == 1 else "line"},
    }
    if label is not None:
        defaults["displayName"] = f"${{__field.labels.{label}}}"
    panel["options"] = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _sized(panel, width, 8)


def table(
    title: str,
    query: Query,
    *,
    description: str,
    no_value: str,
    width: int,
    height: int = 9,
    overrides: Sequence[Override] = (),
) -> Json:
    """Rows as text: cells are never rendered as markup, whatever a prompt or a model name says."""
    panel = _panel("table", title, query, description, "short", no_value, NEUTRAL, overrides)
    panel["fieldConfig"]["defaults"]["custom"] = {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "inspect": True,
        "filterable": True,
    }
    panel["options"] = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "fields": ""}}
    return _sized(panel, width, height)


def severity_cell(column: str) -> Override:
    """The severity of a row, as its word on its color."""
    options = {
        severity.value: {"index": index, "color": color, "text": severity.value}
        for index, (severity, color) in enumerate(SEVERITY_COLORS.items())
    }
    return column, {
        "mappings": [{"type": "value", "options": options}],
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
        "custom.width": 90,
    }


def severity_columns() -> list[Override]:
    """One color for each column that is named after a severity."""
    return [
        (severity.value, {"color": {"mode": "fixed", "fixedColor": color}})
        for severity, color in SEVERITY_COLORS.items()
    ]


def deployment_cell(column: str = "deployment") -> Override:
    """A deployment that leads to its own dashboard, with the time range kept."""
    return column, {"links": [{"title": "Open this deployment", "url": DEPLOYMENT_LINK, "targetBlank": False}]}


def row(title: str) -> Json:
    """A heading over the panels that follow."""
    return _sized({"type": "row", "title": title, "collapsed": False, "panels": []}, GRID_COLUMNS, 1)


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Sequence[Json],
    *,
    variables: Sequence[Json] = (),
    annotations: Sequence[Json] = (),
) -> Json:
    """A whole dashboard: panels get ids and places in reading order."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["inferwatch"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m"]},
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "type": "dashboards",
                "title": "inferwatch",
                "tags": ["inferwatch"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": list(annotations)},
        "templating": {"list": list(variables)},
        "panels": _placed(panels),
    }


def variable(name: str, label: str, description: str, query: Query) -> Json:
    """One choice out of what `query` returns, kept in the address of the page."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"refId": name, "editorType": "sql", "queryType": "sql", "rawSql": query.sql},
        "definition": query.sql,
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": [],
        "current": {},
    }


def annotation(name: str, color: str, query: Query) -> Json:
    """Marks on every graph. Grafana renders their text as markup: `query` must return nothing a user wrote."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": _target(query),
    }


def _panel(
    kind: str,
    title: str,
    query: Query,
    description: str,
    unit: str,
    no_value: str,
    steps: Steps,
    overrides: Sequence[Override],
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [_target(query)],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "noValue": no_value,
                "color": {"mode": "thresholds"},
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": color} for value, color in steps],
                },
            },
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": column},
                    "properties": [{"id": key, "value": value} for key, value in properties.items()],
                }
                for column, properties in overrides
            ],
        },
    }


def _target(query: Query) -> Json:
    return {
        "refId": "A",
        "datasource": DATASOURCE,
        "editorType": "sql",
        "queryType": query.shape,
        "format": 0 if query.shape == "timeseries" else 1,
        "pluginVersion": PLUGIN_VERSION,
        "rawSql": query.sql,
    }


def _sized(panel: Json, width: int, height: int) -> Json:
    panel["gridPos"] = {"w": width, "h": height}
    return panel


def _placed(panels: Sequence[Json]) -> list[Json]:
    """Panels from left to right, a new line where the grid is full; ids count up from 1."""
    placed = []
    x = y = line_height = 0
    for number, panel in enumerate(panels, start=1):
        width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
        if x + width > GRID_COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, line_height = x + width, max(line_height, height)
    return placed
