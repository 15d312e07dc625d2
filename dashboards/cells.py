"""Colors, thresholds, and what single columns of a panel look like: one palette for all screens.

Severities are words on their color, grey is "no data" and never "all quiet". Links carry what a row says
percent-encoded, so that no name of a deployment can leave its place in an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.types import Severity

GREEN, ORANGE, RED, BLUE, GREY = "#56A64B", "#FF9830", "#E02F44", "#5794F2", "#8E8E8E"
SEVERITY_COLORS = {
    Severity.INFO: "#B5C7F2",
    Severity.LOW: BLUE,
    Severity.MEDIUM: "#FADE2A",
    Severity.HIGH: ORANGE,
    Severity.CRITICAL: RED,
}

Steps = Sequence[tuple[float | None, str]]
Override = tuple[str, dict[str, Any]]
"""A column of the query, and the properties its field gets."""

NEUTRAL: Steps = ((None, BLUE),)
"""Thresholds of a panel whose number is neither good nor bad."""

NONE_IS_GOOD: Steps = ((None, GREEN), (1, RED))
AGE: Steps = ((None, GREEN), (120, ORANGE), (600, RED))
"""Of the newest event or report, in seconds."""


def severity_cell(column: str = "severity") -> Override:
    """The severity of a row, as its word on its color."""
    words = {severity.value: (severity.value, color) for severity, color in SEVERITY_COLORS.items()}
    return column, {
        "mappings": [_values(words)],
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
        "custom.width": 90,
    }


def severity_columns() -> list[Override]:
    """One color for each column that is named after a severity."""
    return [fixed(severity.value, color) for severity, color in SEVERITY_COLORS.items()]


def severity_rank(column: str, no_value: str) -> Override:
    """A severity that arrives as its rank, as a stat has numbers only."""
    words = {str(severity.rank): (severity.value, color) for severity, color in SEVERITY_COLORS.items()}
    return column, {"mappings": [_values(words), nothing(no_value)]}


def state_rank(column: str, no_value: str) -> Override:
    """The state of an incident that arrives as its number."""
    words = {"0": ("open", RED), "1": ("closed", GREEN), "2": ("merged into another", BLUE)}
    return column, {"mappings": [_values(words), nothing(no_value)]}


def zero_is(text: str, no_value: str) -> dict[str, Any]:
    """Properties of a stat whose 0 means that there is none: said in words, green."""
    return {"mappings": [_values({"0": (text, GREEN)}), nothing(no_value)]}


def nothing(text: str) -> dict[str, Any]:
    """The mapping that shows `text` in grey where there is no data."""
    return {"type": "special", "options": {"match": "null+nan", "result": {"text": text, "color": GREY}}}


def fixed(column: str, color: str, **properties: Any) -> Override:
    """A column with a color of its own."""
    return column, {"color": {"mode": "fixed", "fixedColor": color}, **properties}


def dashed(column: str, color: str = GREY) -> Override:
    """A line to compare with: dashed."""
    return fixed(column, color, **{"custom.lineStyle": {"fill": "dash", "dash": [8, 8]}, "custom.fillOpacity": 0})


def unit(column: str, name: str) -> Override:
    """A column in another unit than its panel."""
    return column, {"unit": name}


def wide(column: str, pixels: int = 480) -> Override:
    """A column of text."""
    return column, {"custom.width": pixels}


def hidden(column: str) -> Override:
    """A column that is there for links only."""
    return column, {"custom.hideFrom.viz": True}


def deployment_cell(column: str = "deployment") -> Override:
    """A deployment that leads to its own screen, with the time range kept."""
    return _link(column, "Open this deployment", "inferwatch-deployment", {"deployment": column})


def principal_cell(column: str = "principal") -> Override:
    """A caller that leads to its own screen; the row has to name the deployment too."""
    return _link(
        column, "Open this principal", "inferwatch-principal", {"deployment": "deployment", "principal": column}
    )


def cohort_cell(column: str = "cohort") -> Override:
    """A cohort that leads to its screen; the row has to name the deployment too."""
    return _link(column, "Open this cohort", "inferwatch-principal", {"deployment": "deployment", "cohort": column})


def incident_cell(column: str = "incident") -> Override:
    """An incident that leads to its page."""
    return _link(column, "Open this incident", "inferwatch-incident", {"incident": column})


def incident_at_its_time(column: str = "incident", start: str = "from_ms", end: str = "until_ms") -> Override:
    """An incident that leads to its page at its own time; the row has the edges in hidden columns of text."""
    url = f"/d/inferwatch-incident?var-incident={_field(column)}&from={_field(start)}&to={_field(end)}"
    return column, {"links": [{"title": "Open this incident at its time", "url": url, "targetBlank": False}]}


def event_cell(column: str = "event_id") -> Override:
    """An event that leads to what is stored of it."""
    return _link(column, "Open this event", "inferwatch-forensics", {"event": column})


def _link(column: str, title: str, board: str, variables: Mapping[str, str]) -> Override:
    given = "&".join(f"var-{name}={_field(source)}" for name, source in variables.items())
    url = f"/d/{board}?{given}&${{__url_time_range}}"
    return column, {"links": [{"title": title, "url": url, "targetBlank": False}]}


def _field(column: str) -> str:
    return f"${{__data.fields.{column}:percentencode}}"


def _values(words: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    options = {
        value: {"index": index, "color": color, "text": text}
        for index, (value, (text, color)) in enumerate(words.items())
    }
    return {"type": "value", "options": options}
