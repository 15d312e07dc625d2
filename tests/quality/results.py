"""Raw figures to medians, intervals and the page that is committed.

The page is a function of the raw figures in ``results/`` alone, one file a task: running one task again rewrites its
section and leaves the others as they are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from tests.quality.task import OURS, Figure, Target, Task

RESAMPLES = 2_000
_CONFIDENCE = 0.95

_HEAD = """# How good the detectors are

Written by `make quality` from the raw figures in `results/`. Shipped detectors with shipped defaults ("inferwatch")
beside River's own detectors used naively and simple rules, on data that is not part of the repository. Figures are
medians over the seeds (means where it says so) with a bootstrap 95 % interval; `never` is what was not found within
the run, `none` what has no value. A row that is not reached stays, with its number. The same seeds on the same data
give the same page, but for the cost of the detectors, which is measured on the machine at hand.
"""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of one contender in one metric, in the order of the seeds."""

    contender: str
    metric: str
    values: tuple[float, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a task gave: enough to write its section and its plot without running it again."""

    name: str
    title: str
    note: str
    targets: tuple[Target, ...]
    seed: int
    runs: int
    series: tuple[Series, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The middle (median, or mean where the target says so) and its interval; `known` runs of all gave a value."""

    middle: float
    low: float
    high: float
    known: int


class FigureError(Exception):
    """A task gave figures that cannot be held against its targets."""


def checked(task: Task, figures: Iterable[Figure]) -> list[Figure]:
    """The figures of one run. Raises `FigureError` for one without a target, given twice, or that is no number."""
    known = {target.metric for target in task.targets}
    seen: set[tuple[str, str]] = set()
    found = list(figures)
    for figure in found:
        where = f"{figure.contender}, {figure.metric}"
        if figure.metric not in known:
            raise FigureError(f"{where}: no target has this metric; it knows {', '.join(sorted(known))}")
        if isinstance(figure.value, bool) or not isinstance(figure.value, (int, float)):
            raise FigureError(f"{where}: {figure.value!r} is no number")
        if (figure.contender, figure.metric) in seen:
            raise FigureError(f"{where}: given twice in one run")
        seen.add((figure.contender, figure.metric))
    asked = {target.metric for target in task.targets if target.must is not None or target.aim is not None}
    missing = asked - {metric for contender, metric in seen if contender == OURS}
    if missing:
        raise FigureError(f"{OURS} gave no figure for {', '.join(sorted(missing))}; nan says that it has none")
    return found


def gathered(name: str, task: Task, seed: int, runs: Sequence[Sequence[Figure]]) -> Outcome:
    """One outcome of the runs of a task, in the order of the seeds; ours first, the others as they came."""
    values: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for figure in run:
            values.setdefault((figure.contender, figure.metric), []).append(float(figure.value))
    order = [target.metric for target in task.targets]
    contenders = list(dict.fromkeys(contender for contender, _ in values))
    contenders.sort(key=lambda contender: contender != OURS)
    series = tuple(
        Series(contender=contender, metric=metric, values=tuple(values[contender, metric]))
        for metric in order
        for contender in contenders
        if (contender, metric) in values
    )
    return Outcome(
        name=name, title=task.title, note=task.note, targets=task.targets, seed=seed, runs=len(runs), series=series
    )


def median(values: Sequence[float]) -> float:
    """The median; halfway to infinity is infinity. NaN for no values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else (low + high) / 2.0


def summarize(target: Target, series: Series) -> Summary:
    """Middle and percentile bootstrap of the values that are known; deterministic, whatever else is summarized."""
    known = np.array([value for value in series.values if not math.isnan(value)])
    if len(known) == 0:
        return Summary(middle=math.nan, low=math.nan, high=math.nan, known=0)
    draw = np.random.default_rng(zlib.crc32(f"{series.contender}\0{series.metric}".encode()))
    picked = np.sort(known[draw.integers(0, len(known), (RESAMPLES, len(known)))], axis=1)
    if target.averaged:
        middle, middles = float(known.mean()), np.sort(picked.mean(axis=1))
    else:
        lower, upper = picked[:, (len(known) - 1) // 2], picked[:, len(known) // 2]
        middle, middles = median(known.tolist()), np.sort(np.where(lower == upper, lower, (lower + upper) / 2.0))
    tail = (1.0 - _CONFIDENCE) / 2.0
    low, high = middles[int(tail * RESAMPLES)], middles[min(int((1.0 - tail) * RESAMPLES), RESAMPLES - 1)]
    return Summary(middle=middle, low=float(low), high=float(high), known=len(known))


def number(value: float) -> str:
    """Three significant digits, as a person writes them."""
    if math.isnan(value):
        return "none"
    if math.isinf(value):
        return "never" if value > 0 else "-never"
    if value == 0.0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        return f"{value:.2e}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def verdict(target: Target, value: float, bound: float | None) -> str:
    """``reached``, ``not reached``, or nothing where there is no bound; a value that is none reaches nothing."""
    if bound is None:
        return ""
    return "reached" if target.reached(value, bound) else "**not reached**"


def save(folder: Path, outcome: Outcome) -> None:
    """Write the raw figures of one task."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = msgspec.to_builtins(outcome)
    for series in raw["series"]:
        series["values"] = [value if math.isfinite(value) else str(value) for value in series["values"]]
    text = msgspec.json.format(msgspec.json.encode(raw), indent=1)
    (folder / f"{outcome.name}.json").write_bytes(text + b"\n")


def load(folder: Path) -> list[Outcome]:
    """All outcomes there are, by name."""
    found = []
    for path in sorted(folder.glob("*.json")):
        raw = msgspec.json.decode(path.read_bytes())
        for series in raw["series"]:
            series["values"] = [float(value) for value in series["values"]]
        found.append(msgspec.convert(raw, Outcome))
    return found


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page."""
    return (
        "\n".join([_HEAD, *_overview(outcomes), *(line for each in outcomes for line in _section(each))]).rstrip()
        + "\n"
    )


def _overview(outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["| task | metric | inferwatch | must | | aim | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        ours = {series.metric: series for series in outcome.series if series.contender == OURS}
        for target in outcome.targets:
            if (target.must is None and target.aim is None) or target.metric not in ours:
                continue
            value = summarize(target, ours[target.metric]).middle
            task = f"[{_cell(outcome.title)}](#{_anchor(outcome.title)})"
            lines.append(
                f"| {task} | {_cell(target.metric)} | {_with(value, target)} "
                f"| {_bound(target, target.must)} | {verdict(target, value, target.must)} "
                f"| {_bound(target, target.aim)} | {verdict(target, value, target.aim)} |"
            )
    return [*lines, ""]


def _section(outcome: Outcome) -> list[str]:
    runs = "1 run" if outcome.runs == 1 else f"{outcome.runs} runs"
    seeds = (
        f"seed {outcome.seed}" if outcome.runs == 1 else f"seeds {outcome.seed} to {outcome.seed + outcome.runs - 1}"
    )
    lines = [f"## {outcome.title}", "", f"{' '.join(outcome.note.split())} ({runs}, {seeds}.)", ""]
    lines += [
        "| metric | contender | figure | 95 % interval | must | aim | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    targets = {target.metric: target for target in outcome.targets}
    lines += [_row(targets[series.metric], series) for series in outcome.series]
    return [*lines, "", f"![{outcome.title}](plots/{outcome.name}.svg)", ""]


def _row(target: Target, series: Series) -> str:
    got = summarize(target, series)
    interval = f"{number(got.low)} to {number(got.high)}" if got.known > 1 and got.low != got.high else ""
    if got.known < len(series.values):
        interval = f"{interval} ({got.known} of {len(series.values)} runs)".strip()
    must, aim, said = _bound(target, target.must), _bound(target, target.aim), ""
    metric = f"{_cell(series.metric)} (mean)" if target.averaged else _cell(series.metric)
    if series.contender == OURS:
        verdicts = (
            ("must", verdict(target, got.middle, target.must)),
            ("aim", verdict(target, got.middle, target.aim)),
        )
        said = ", ".join(f"{name} {text}" for name, text in verdicts if text)
    else:
        must = aim = ""
    return (
        f"| {metric} | {_cell(series.contender)} | {_with(got.middle, target)} | {interval} | {must} | {aim} | {said} |"
    )


def _with(value: float, target: Target) -> str:
    """A value with its unit, where it has either."""
    return f"{number(value)} {target.unit}".strip() if math.isfinite(value) else number(value)


def _bound(target: Target, bound: float | None) -> str:
    if bound is None:
        return ""
    return f"{'≤' if target.less_is_better else '≥'} {number(bound)}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _anchor(title: str) -> str:
    """As Markdown readers name the heading: lower case, letters, digits and hyphens."""
    return "".join(each for each in title.lower().replace(" ", "-") if each.isalnum() or each in "-_")
