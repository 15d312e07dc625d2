"""One picture a task: every contender's figure and interval against the lines that must and should be reached."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.quality.results import Outcome, Summary, number, summarize
from tests.quality.task import OURS, Target

STYLE = {
    "svg.hashsalt": "inferwatch",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
_OURS, _OTHERS, _MUST, _AIM = "#1f6feb", "#8b949e", "#cf222e", "#2da44e"
_WIDE = 30.0
"""A metric whose figures span more than this factor is drawn on a logarithmic axis."""

_ROW_IN, _HEAD_IN, _WIDTH_IN = 0.26, 1.0, 8.0


def draw(outcome: Outcome, folder: Path) -> Path:
    """Write ``<task>.svg``; the same outcome gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        target.metric: [
            (series.contender, summarize(target, series)) for series in outcome.series if series.metric == target.metric
        ]
        for target in outcome.targets
    }
    shown = [target for target in outcome.targets if rows[target.metric]]
    heights = [_HEAD_IN + _ROW_IN * len(rows[target.metric]) for target in shown]
    with mpl.rc_context(STYLE):
        plt.switch_backend("svg")
        figure, panels = plt.subplots(
            len(shown),
            1,
            figsize=(_WIDTH_IN, sum(heights) + 0.3),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        for axes, target in zip(panels[:, 0], shown, strict=True):
            _panel(axes, target, rows[target.metric])
        figure.suptitle(outcome.title, fontsize=11)
        path = folder / f"{outcome.name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return path


def _panel(axes: Any, target: Target, rows: list[tuple[str, Summary]]) -> None:
    finite = [value for _, got in rows for value in (got.middle, got.low, got.high) if math.isfinite(value)]
    bounds = [bound for bound in (target.must, target.aim) if bound is not None]
    known = [*finite, *bounds] or [0.0, 1.0]
    is_wide = min(known) > 0.0 and max(known) > _WIDE * min(known)
    if is_wide:
        axes.set_xscale("log")
        low, high = min(known) / 1.5, max(known) * 1.5
    else:
        margin = 0.06 * ((max(known) - min(known)) or abs(max(known)) or 1.0)
        low, high = min(known) - margin, max(known) + margin
    axes.set_xlim(low, high)
    for position, (contender, got) in enumerate(rows):
        color = _OURS if contender == OURS else _OTHERS
        if math.isnan(got.middle):
            axes.text(low, position, " none", va="center", color=color)
            continue
        ends = [min(max(value, low), high) for value in (got.low, got.high)]
        axes.plot(ends, [position, position], color=color, linewidth=2.0, solid_capstyle="butt")
        if math.isinf(got.middle):
            axes.plot(high, position, marker=">", color=color, clip_on=False)
        else:
            axes.plot(got.middle, position, marker="o", color=color)
        axes.annotate(
            number(got.middle), (min(max(got.middle, low), high), position), (0, 4), textcoords="offset points",
            ha="right" if math.isinf(got.middle) else "center", fontsize=7, color=color,
        )  # fmt: skip
    for bound, color, style, name in ((target.must, _MUST, "-", "must"), (target.aim, _AIM, "--", "aim")):
        if bound is not None:
            axes.axvline(bound, color=color, linestyle=style, linewidth=1.0, label=f"{name} {number(bound)}")
    axes.set_yticks(range(len(rows)), [contender for contender, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    better = "less is better" if target.less_is_better else "more is better"
    unit = f", {target.unit}" if target.unit else ""
    axes.set_title(f"{target.metric}{unit} ({better})", loc="left", fontsize=9)
    if bounds:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=7)
