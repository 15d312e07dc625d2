"""A dashboard around its panels: variables, annotations, links, and the one place where it gets its identities."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from dashboards.panels import DATASOURCE, GRID_COLUMNS, Json, target
from dashboards.queries import Query

SCHEMA_VERSION = 41
TAG = "inferwatch"

STALE_KEYS = frozenset(
    {"__elements", "__inputs", "__requires", "gnetId", "id", "iteration", "meta", "style", "version"}
)
"""What Grafana adds to a dashboard that is exported or saved, and what older versions wrote."""

_MOST_IDS = 2_000_000_000
"""Grafana keeps the id of a panel in 32 bits."""


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Sequence[Json],
    *,
    variables: Sequence[Json] = (),
    annotations: Sequence[Json] = (),
) -> Json:
    """A whole dashboard, finalized."""
    return finalize(
        {
            "uid": uid,
            "title": title,
            "description": description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "timezone": "utc",
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m"]},
            "fiscalYearStartMonth": 0,
            "links": [_links()],
            "annotations": {"list": list(annotations)},
            "templating": {"list": list(variables)},
            "panels": placed(panels),
        }
    )


def finalize(board: Json) -> Json:
    """The board with an id for every panel and row, and without what Grafana or an older version left behind.

    An id follows from the title, so that a panel that is added or moved changes no link, bookmark or alert that leads
    to another. Raises `ValueError` for two panels of one title. What was finalized stays as it is.
    """
    panels = [{**panel, "id": panel_id(panel["title"])} for panel in board["panels"]]
    titles = [panel["title"] for panel in panels]
    twice = {title for title in titles if titles.count(title) > 1}
    if twice or len({panel["id"] for panel in panels}) < len(panels):
        raise ValueError(f"{board['uid']}: two panels cannot be told apart: {sorted(twice or titles)}")
    return {key: value for key, value in board.items() if key not in STALE_KEYS} | {"panels": panels}


def panel_id(title: str) -> int:
    """The id of the panel or row of this title."""
    return zlib.crc32(title.encode()) % _MOST_IDS + 1


def placed(panels: Sequence[Json]) -> list[Json]:
    """Panels from left to right, a new line where the grid is full."""
    result = []
    x = y = line_height = 0
    for panel in panels:
        width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
        if x + width > GRID_COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        result.append({**panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, line_height = x + width, max(line_height, height)
    return result


def variable(name: str, label: str, description: str, query: Query) -> Json:
    """One choice out of what `query` returns, kept in the address of the page."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"refId": name, "editorType": "sql", "queryType": "sql", "rawSql": query.sql},
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": [],
        "current": {"text": "", "value": ""},
    }


def typed(name: str, label: str, description: str) -> Json:
    """A variable that a person types."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "textbox",
        "query": "",
        "hide": 0,
        "options": [],
        "current": {"text": "", "value": ""},
    }


def annotation(name: str, color: str, query: Query) -> Json:
    """Marks on every graph. Grafana renders their text as markup: `query` must return nothing a user wrote."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": target(query),
    }


def marked(name: str, color: str, *tags: str) -> Json:
    """Marks that `inferwatch dashboards annotate` puts into Grafana, those that have all of `tags`."""
    return {
        "name": name,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": {"type": "tags", "tags": [TAG, *tags], "matchAny": False, "limit": 100},
    }


def _links() -> Json:
    """To all other screens, with time and variables kept."""
    return {
        "type": "dashboards",
        "title": "inferwatch",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
