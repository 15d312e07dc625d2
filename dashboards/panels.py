"""House style of every panel: it says what it shows, in which unit, and what its emptiness means.

Panels are Grafana's own JSON as plain dicts; these functions leave no way to forget a description, a unit or the text
shown instead of data. What reaches a panel from a sender is text: nothing here renders markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.cells import BLUE, NEUTRAL, Override, Steps, nothing
from dashboards.queries import Query

Json = dict[str, Any]

DATASOURCE_UID = "inferwatch-clickhouse"
DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": DATASOURCE_UID}
TEXTS_UID = "inferwatch-clickhouse-texts"
TEXTS_DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": TEXTS_UID}
"""Another user of the same database, who may read what was asked and answered; there only where that is wanted."""

PLUGIN_VERSION = "4.20.0"
"""Of the ClickHouse data source whose query format this is; compose installs the same one."""

GRID_COLUMNS = 24

_NEEDS_TEXTS = "Needs the data source `inferwatch texts`, which is there only where texts may be seen here."
_LEGEND = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}


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
    panel["fieldConfig"]["defaults"]["mappings"] = [nothing(no_value)]
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
    points: bool = False,
    label: str | None = None,
    overrides: Sequence[Override] = (),
) -> Json:
    """Columns over time; a gap is a time without data.

    `label` names the string column that splits series; `floor` is the lowest value of the axis; `points` are not
    joined by lines, because nothing is known of the time between them.
    """
    panel = _panel("timeseries", title, query, description, unit, no_value, steps, overrides)
    defaults = panel["fieldConfig"]["defaults"]
    defaults["color"] = {"mode": "palette-classic"}
    if floor is not None:
        defaults["min"] = floor
    defaults["custom"] = {
        "drawStyle": "bars" if stacked else "points" if points else "line",
        "fillOpacity": 80 if stacked else 8,
        "lineWidth": 1,
        "pointSize": 7 if points else 4,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "off" if len(steps) == 1 else "line"},
    }
    if label is not None:
        defaults["displayName"] = f"${{__field.labels.{label}}}"
    panel["options"] = {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _sized(panel, width, 8)


def table(
    title: str,
    query: Query,
    *,
    description: str,
    no_value: str,
    width: int,
    height: int = 9,
    unit: str = "short",
    overrides: Sequence[Override] = (),
) -> Json:
    """Rows as text: cells are never rendered as markup, whatever a prompt or a model name says."""
    panel = _panel("table", title, query, description, unit, no_value, NEUTRAL, overrides)
    panel["fieldConfig"]["defaults"]["custom"] = {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "inspect": True,
        "filterable": True,
    }
    panel["options"] = {"showHeader": True, "cellHeight": "sm"}
    return _sized(panel, width, height)


def heatmap(title: str, query: Query, *, description: str, unit: str, no_value: str, width: int) -> Json:
    """How many fell where over time: one column a bucket, named after its upper end in `unit`, lowest first."""
    panel = _panel("heatmap", title, query, description, "short", no_value, NEUTRAL, ())
    panel["fieldConfig"]["defaults"]["custom"] = {"scaleDistribution": {"type": "linear"}}
    panel["options"] = {
        "calculate": False,
        "rowsFrame": {"layout": "le"},
        "yAxis": {"unit": unit, "axisPlacement": "left", "reverse": False},
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 32, "reverse": False, "exponent": 0.5, "fill": BLUE},
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "legend": {"show": True},
        "exemplars": {"color": BLUE},
    }
    return _sized(panel, width, 8)


def state_timeline(title: str, query: Query, *, description: str, no_value: str, width: int) -> Json:
    """What was the case over time: one column of text a line, another color for another text."""
    panel = _panel("state-timeline", title, query, description, "none", no_value, NEUTRAL, ())
    panel["fieldConfig"]["defaults"]["color"] = {"mode": "palette-classic"}
    panel["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 70, "lineWidth": 0}
    panel["options"] = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "legend": {**_LEGEND, "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _sized(panel, width, 8)


def bars(
    title: str,
    query: Query,
    *,
    across: str,
    description: str,
    unit: str,
    no_value: str,
    width: int,
    overrides: Sequence[Override] = (),
) -> Json:
    """One stack of bars a row, named by the column `across`."""
    panel = _panel("barchart", title, query, description, unit, no_value, NEUTRAL, overrides)
    panel["fieldConfig"]["defaults"]["color"] = {"mode": "palette-classic"}
    panel["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    panel["options"] = {
        "xField": across,
        "orientation": "auto",
        "stacking": "normal",
        "showValue": "auto",
        "groupWidth": 0.7,
        "barWidth": 0.97,
        "barRadius": 0,
        "fullHighlight": False,
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 0,
        "legend": _LEGEND,
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _sized(panel, width, 8)


def node_graph(title: str, nodes: Query, edges: Query, *, description: str, no_value: str, width: int) -> Json:
    """Who shares what with whom: `nodes` have an id, `edges` a source and a target among them."""
    panel = _panel("nodeGraph", title, nodes, description, "short", no_value, NEUTRAL, ())
    panel["targets"] = [target(nodes, "nodes"), target(edges, "edges")]
    panel["options"] = {"zoomMode": "cooperative", "nodes": {}, "edges": {}}
    return _sized(panel, width, 12)


def row(title: str) -> Json:
    """A heading over the panels that follow."""
    return _sized({"type": "row", "title": title, "collapsed": False, "panels": []}, GRID_COLUMNS, 1)


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
    panel: Json = {
        "type": kind,
        "title": title,
        "description": f"{description} {_NEEDS_TEXTS}" if query.texts else description,
        "datasource": source_of(query),
        "targets": [target(query)],
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
            "overrides": [_override(column, properties) for column, properties in overrides],
        },
    }
    if query.least_s:
        panel["interval"] = f"{query.least_s}s"
    return panel


def _override(column: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def source_of(query: Query) -> Json:
    """The data source that a query is for."""
    return TEXTS_DATASOURCE if query.texts else DATASOURCE


def target(query: Query, reference: str = "A") -> Json:
    """A query as the data source wants it, in a panel or behind an annotation."""
    return {
        "refId": reference,
        "datasource": source_of(query),
        "editorType": "sql",
        "queryType": query.shape,
        "format": 0 if query.shape == "timeseries" else 1,
        "pluginVersion": PLUGIN_VERSION,
        "rawSql": query.sql,
    }


def _sized(panel: Json, width: int, height: int) -> Json:
    panel["gridPos"] = {"w": width, "h": height}
    return panel
