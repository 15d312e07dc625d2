"""Score and threshold of a detector over event time, drawn into a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.backtesting.backtest import GONE, SAME, Change, Curve
from streams.settings import SettingsError

FORMATS = (".svg", ".png")
MOST_PANELS = 6

_SCORE, _THRESHOLD, _NOW, _BEFORE = "#1f6feb", "#cf222e", "#cf222e", "#8b949e"


def check(path: Path) -> None:
    """Raises `SettingsError` where nothing could be drawn into `path`: before hours of work, not after."""
    if path.suffix not in FORMATS:
        raise SettingsError(f"--plot: {path} must end in {' or '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--plot: there is no directory {path.absolute().parent}")
    try:
        import matplotlib as _  # noqa: F401, ICN001, PLC0415 - it is in the extra `plots`
    except ImportError:
        raise SettingsError("--plot needs matplotlib: install inferwatch[plots]") from None


def draw(
    path: Path, title: str, curves: Mapping[str, Curve], eager: Mapping[str, Curve], changes: Sequence[Change]
) -> list[str]:
    """Write the picture; the subjects it shows, those with most that is said first.

    `curves` are of the candidate; `eager` of a copy that may alarm as often as any detector ever may, and so shows
    how near a detector came that keeps no running score.
    """
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    plt.switch_backend("agg")
    known = {**eager, **curves}
    said = {subject: [each for each in changes if each.finding.subject == subject] for subject in known}
    shown = sorted(known, key=lambda subject: (-len(said[subject]), -known[subject].seen))[:MOST_PANELS]
    figure, panels = plt.subplots(
        max(len(shown), 1), 1, figsize=(10.0, 1.0 + 2.4 * max(len(shown), 1)), squeeze=False, layout="constrained"
    )
    for axes, subject in zip(panels[:, 0], shown, strict=False):
        _line(axes, curves.get(subject, Curve()))
        _dots(axes, eager.get(subject, Curve()))
        _findings(axes, said[subject])
        axes.set_title(subject[:80], loc="left", fontsize=9)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=7)
        axes.grid(alpha=0.25)
    if not shown:
        panels[0, 0].text(0.5, 0.5, "no score was kept", ha="center", transform=panels[0, 0].transAxes)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)
    plt.close(figure)
    return shown


def _line(axes: Any, curve: Curve) -> None:
    points = sorted(zip(curve.times_s, curve.scores, curve.thresholds, strict=True))
    times = [datetime.fromtimestamp(time_s, UTC) for time_s, _, _ in points]
    axes.plot(times, [score for _, score, _ in points], color=_SCORE, linewidth=0.8, marker=".", ms=2, label="score")
    axes.plot(times, [limit for _, _, limit in points], color=_THRESHOLD, linewidth=0.8, ls="--", label="threshold")


def _dots(axes: Any, curve: Curve) -> None:
    times = [datetime.fromtimestamp(time_s, UTC) for time_s in curve.times_s]
    axes.scatter(times, curve.scores, color=_BEFORE, s=6, label="score of a copy that may alarm once in 1,000 calls")


def _findings(axes: Any, changes: Sequence[Change]) -> None:
    for change in changes:
        at = datetime.fromtimestamp(change.finding.time_s, UTC)
        color, style = (_BEFORE, ":") if change.kind == GONE else (_NOW, "-")
        axes.axvline(at, color=color, linestyle=style, linewidth=0.8, alpha=0.6)
        if change.kind != SAME:
            axes.annotate(change.kind, (at, 1.0), xycoords=("data", "axes fraction"), fontsize=7, rotation=90, va="top")
