"""Charts as SVG, by matplotlib: the same values give the same bytes, and no text of them is anybody's but detectors'.

Names of series stand in the page beside a chart, not in it. A picture is drawn for a light and for a dark page; both
are put into `img` elements, in which a browser runs no script and fetches nothing.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from streams.dlq import printable
from streams.reporting.charts import Chart, Frame, Timeline
from streams.reporting.palette import NO_DATA, ONSET, SERIES, SEVERITIES

INSTALL = "inferwatch[plots]"
"""The extra that brings matplotlib."""

_WIDTH_IN, _HEIGHT_IN, _ROW_IN = 9.0, 2.1, 0.26
_MOST_ROWS, _MOST_ROW_CHARS = 25, 28
_SHAPES = "oD^s*"
"""By severity, from info on: for who does not see the colors."""

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "inferwatch",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "timezone": "UTC",
}
_OFFSETS = ["UTC", "%Y UTC", "%Y-%m UTC", "%Y-%m-%d UTC", "%Y-%m-%d UTC", "%Y-%m-%d %H:%M UTC"]
_UNTOLD = dict.fromkeys(("Creator", "Date", "Format", "Type"))


_INK, _GRID = "#424a53", "#d0d7de"
_DARK = {_INK: "#b1bac4", _GRID: "#30363d"}
"""What a dark page has in place of the two colors of a light one; those of the numbers are the same on both."""


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def drawn(picture: Chart | Timeline) -> bytes:
    """The picture as SVG for a light page, on no ground of its own."""
    with _style():
        return _timeline(picture) if isinstance(picture, Timeline) else _chart(picture)


def darkened(svg: bytes) -> bytes:
    """The same picture for a dark page."""
    for light, dark in _DARK.items():
        svg = svg.replace(light.encode(), dark.encode())
    return svg


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl  # noqa: PLC0415 - it is in the extra `plots`

    inks: tuple[Any, ...] = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, **dict.fromkeys(inks, _INK), "grid.color": _GRID})
        yield


def _axes(frame: Frame, height_in: float) -> tuple[Any, Any]:
    from matplotlib import dates  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes: Any = figure.add_subplot()  # its stubs know no times
    axes.set_xlim(_at(frame.since_s), _at(frame.until_s))
    locator = dates.AutoDateLocator(tz=UTC, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]  # so is the library
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC, offset_formats=_OFFSETS))  # type: ignore[no-untyped-call]  # as above
    axes.grid(visible=True, linewidth=0.6)
    axes.set_axisbelow(True)
    for begin_s, end_s in frame.blind:
        axes.axvspan(_at(begin_s), _at(end_s), color=NO_DATA, alpha=0.18, linewidth=0)
    for number, mark in enumerate(frame.marks):
        axes.axvline(_at(mark.time_s), color=ONSET, linewidth=1.1, linestyle=(0, (4, 2)))
        axes.annotate(
            mark.label,
            (_at(mark.time_s), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 1 + 9 * (number % 2)),
            textcoords="offset points",
            fontsize=7.5,
        )
    return figure, axes


def _chart(chart: Chart) -> bytes:
    figure, axes = _axes(chart.frame, _HEIGHT_IN)
    times = [_at(time_s) for time_s in chart.times_s]
    if chart.stacked:
        _stack(axes, chart)
    else:
        for number, line in enumerate(chart.lines):
            values = [math.nan if value is None else value for value in line.values]
            axes.plot(
                times,
                values,
                color=SERIES[number % len(SERIES)],
                linestyle=_DASHES[number % len(_DASHES)],
                linewidth=1.3,
                marker=".",
                markersize=2.5,
            )
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel(chart.unit)
    return _saved(figure)


def _stack(axes: Any, chart: Chart) -> None:
    width = chart.frame.step_s / 86_400.0
    floor = [0.0] * len(chart.times_s)
    days = [_day(time_s) for time_s in chart.times_s]
    for number, line in enumerate(chart.lines):
        heights = [value or 0.0 for value in line.values]
        color = SERIES[number % len(SERIES)] if line.severity is None else SEVERITIES[line.severity]
        bars = [bar for bar in zip(days, heights, floor, strict=True) if bar[1]]
        if bars:
            at, high, low = zip(*bars, strict=True)
            axes.bar(at, high, width, low, align="edge", color=color, edgecolor="#57606a", linewidth=0.3)
        floor = [below + height for below, height in zip(floor, heights, strict=True)]
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(0.0, max(1.0, *(1.08 * top for top in floor)) if floor else 1.0)


def _timeline(timeline: Timeline) -> bytes:
    rows = list(dict.fromkeys(dot.row for dot in timeline.dots))[:_MOST_ROWS]
    figure, axes = _axes(timeline.frame, 0.7 + _ROW_IN * max(len(rows), 1))
    places = {row: -number for number, row in enumerate(rows)}
    for severity, color in SEVERITIES.items():
        dots = [dot for dot in timeline.dots if dot.severity == severity and dot.row in places]
        axes.scatter(
            [_at(dot.time_s) for dot in dots],
            [places[dot.row] for dot in dots],
            color=color,
            marker=_SHAPES[severity.rank],
            s=38,
            edgecolors="#57606a",
            linewidths=0.5,
            zorder=3,
        )
    axes.set_yticks(list(places.values()), [_label(row) for row in rows])
    axes.set_ylim(-len(rows) + 0.3, 0.7)
    return _saved(figure)


def _label(row: str) -> str:
    """A detector's name; a store that was written to by others may hold any."""
    text = printable(row[:_MOST_ROW_CHARS])
    return text[:_MOST_ROW_CHARS] + ("…" if max(len(text), len(row)) > _MOST_ROW_CHARS else "")


def _saved(figure: Any) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="svg", transparent=True, metadata=_UNTOLD)
    return written.getvalue()


def _at(time_s: float) -> datetime:
    return datetime.fromtimestamp(min(max(time_s, 0.0), 32_503_680_000.0), UTC)


def _day(time_s: float) -> float:
    """Days since 1970, as matplotlib counts them."""
    return time_s / 86_400.0


def colors(picture: Chart) -> Sequence[str]:
    """What the style sheet calls the look of each line, in order."""
    return [
        f"series{number % len(SERIES)}" if line.severity is None else f"sev {line.severity.value}"
        for number, line in enumerate(picture.lines)
    ]
