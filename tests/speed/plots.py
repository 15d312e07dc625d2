"""One picture for each thing that grows: processor time of an event against how much there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.quality.plots import STYLE


def draw(path: Path, of: str, points: Mapping[int, Sequence[float]]) -> None:
    """Write one: medians with their spread, from nothing on the vertical axis so that flat looks flat."""
    if not points:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = sorted(points)
    with mpl.rc_context(STYLE | {"axes.spines.left": True}):
        plt.switch_backend("svg")
        figure, axes = plt.subplots(figsize=(6.0, 2.6), layout="constrained")
        middles = [median(points[count]) for count in counts]
        low = [middle - min(points[count]) for middle, count in zip(middles, counts, strict=True)]
        high = [max(points[count]) - middle for middle, count in zip(middles, counts, strict=True)]
        axes.errorbar(counts, middles, yerr=[low, high], marker="o", color="#1f6feb", capsize=3)
        axes.set_xscale("log")
        axes.set_ylim(0.0, 1.2 * max(max(points[count]) for count in counts))
        axes.set_xlabel(of)
        axes.set_ylabel("microseconds an event")
        axes.grid(axis="y", alpha=0.25)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
