"""The colors of reports: one for each severity, the same as on the dashboards, and a row of them for series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from detectors.types import Severity

SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.INFO: "#B5C7F2",
    Severity.LOW: "#5794F2",
    Severity.MEDIUM: "#FADE2A",
    Severity.HIGH: "#FF9830",
    Severity.CRITICAL: "#E02F44",
}
"""Never the only carrier of a meaning: the word stands beside the color, and charts have a shape for each."""

SERIES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart with any kind of color vision (Okabe and Ito, Color Universal Design)."""

NO_DATA: Final = "#8E8E8E"
"""Grey is "nothing arrived", never "all quiet"."""

ONSET: Final = "#E02F44"
