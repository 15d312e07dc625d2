"""A model silently replaced by another, noticed in the style of its answers to prompts in random order."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from river.anomaly import HalfSpaceTrees
from river.drift import ADWIN, KSWIN, PageHinkley

from detectors.catalog.output_drift import OutputDrift
from detectors.features import STYLE
from tests.quality.answers import EASY_AUC, Answer, answers, cosine, models, pairs, played, share
from tests.quality.results import median
from tests.quality.task import OURS, Figure, Target, Task

BASELINE = 300
FOUND_WITHIN = 300
GAP_S = 10.0
SIMPLE = 0.7

QUIET_MODELS = {
    "River ADWIN on each style feature": 8,
    "River PageHinkley on each style feature": 8,
    "River KSWIN on length": 2,
    "River HalfSpaceTrees on style": 2,
}
"""Unswapped streams that slow contenders see in one run, other ones in each; the others see all."""

Alarms = Callable[[Sequence[Answer]], list[int]]
"""Places (from 1) of the outputs after the baseline at which a contender alarms."""


def _ours(stream: Sequence[Answer], gap_s: float = GAP_S) -> list[int]:
    detector = OutputDrift(share=share())
    said = [detector.update(seen) for seen in played(stream, gap_s)]
    return [place for place, detection in enumerate(said[BASELINE:], 1) if detection is not None]


def _simple(stream: Sequence[Answer]) -> list[int]:
    """An answer's bag of words against the mean one of the baseline: similarity below 0.7."""
    usual = np.mean([answer.words for answer in stream[:BASELINE]], axis=0)
    return [place for place, answer in enumerate(stream[BASELINE:], 1) if cosine(answer.words, usual) < SIMPLE]


def _each(make: Callable[[], ADWIN | PageHinkley], stream: Sequence[Answer]) -> list[int]:
    """A detector with defaults on each style feature; any of them alarms."""
    detectors, found = [make() for _ in STYLE], []
    for place, answer in enumerate(stream, 1 - BASELINE):
        drifted = False
        for detector, value in zip(detectors, answer.seen.style or (), strict=False):
            detector.update(value)
            drifted = drifted or bool(detector.drift_detected)
        if drifted and place > 0:
            found.append(place)
    return found


def _kswin(stream: Sequence[Answer]) -> list[int]:
    """On length alone."""
    detector, found = KSWIN(seed=1), []
    for place, answer in enumerate(stream, 1 - BASELINE):
        detector.update((answer.seen.style or (0.0,))[0])
        if detector.drift_detected and place > 0:
            found.append(place)
    return found


def _trees(stream: Sequence[Answer]) -> list[int]:
    """Half-space trees on features scaled by the baseline; a score above every one of the baseline's alarms."""
    styles = np.array([answer.seen.style for answer in stream])
    low, high = styles[:BASELINE].min(axis=0), styles[:BASELINE].max(axis=0)
    scaled = np.clip((styles - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    trees, scores = HalfSpaceTrees(seed=1), []
    for row in scaled.tolist():
        named = dict(enumerate(row))
        scores.append(trees.score_one(named))
        trees.learn_one(named)
    limit = max(scores[:BASELINE])
    return [place for place, score in enumerate(scores[BASELINE:], 1) if score > limit]


CONTENDERS: dict[str, Alarms] = {
    OURS: _ours,
    "simple: similarity below 0.7": _simple,
    "River ADWIN on each style feature": functools.partial(_each, ADWIN),
    "River PageHinkley on each style feature": functools.partial(_each, PageHinkley),
    "River KSWIN on length": _kswin,
    "River HalfSpaceTrees on style": _trees,
}


def _shuffled(rows: Sequence[Answer], draw: np.random.Generator) -> list[Answer]:
    return [rows[index] for index in draw.permutation(len(rows))]


def swapped(data: Path, seed: int) -> list[list[Answer]]:
    """A stream for each pair: 300 outputs of one model, then 300 of the other."""
    draw = np.random.default_rng(seed)
    chosen = [pair for pair in pairs(data) if pair.auc >= EASY_AUC]
    return [
        [
            *_shuffled(answers(data, pair.base), draw)[:BASELINE],
            *_shuffled(answers(data, pair.swapped), draw)[:FOUND_WITHIN],
        ]
        for pair in chosen
    ]


def unswapped(data: Path, seed: int) -> list[list[Answer]]:
    """All outputs of every model, each once and in random order."""
    draw = np.random.default_rng((seed, 1))
    return [_shuffled(answers(data, model), draw) for model in models(data)]


def other_mix(data: Path, seed: int) -> list[list[Answer]]:
    """Of every model 300 outputs of which two kinds of prompts make three quarters, then 250 with the reverse mix."""
    draw = np.random.default_rng((seed, 2))
    streams = []
    for model in models(data):
        rows = answers(data, model)
        kinds = draw.permutation(sorted({answer.dataset for answer in rows})).tolist()
        sides = [[], []]  # type: list[list[Answer]]
        for answer in _shuffled(rows, draw):
            sides[answer.dataset in kinds[:2]].append(answer)
        many, few = (min(size, len(sides[1]) * size // 290, len(sides[0]) * size // 290) for size in (225, 75))
        first = [*sides[1][:many], *sides[0][:few]]
        later = [*sides[0][few : few + many], *sides[1][many : many + few]]
        short = BASELINE - len(first)
        if short <= 0:
            streams.append([*_shuffled(first, draw)[:BASELINE], *_shuffled(later, draw)])
    return streams


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """Pairs found within 300 outputs, the outputs it took, and false alarms in 10^4 outputs of unswapped streams."""
    streams, quiet = swapped(data, seed), unswapped(data, seed)
    for contender, alarms in CONTENDERS.items():
        places = [min(alarms(stream), default=math.inf) for stream in streams]
        yield Figure(
            contender=contender,
            metric="pairs found within 300 outputs",
            value=sum(place <= FOUND_WITHIN for place in places) / len(places),
        )
        yield Figure(contender=contender, metric="outputs to find, median", value=median(places))
        many = QUIET_MODELS.get(contender, len(quiet))
        start = seed * many % len(quiet)
        judged = [*quiet[start:], *quiet][:many]
        outputs = sum(len(stream) - BASELINE for stream in judged)
        false = sum(len(alarms(stream)) for stream in judged)
        yield Figure(contender=contender, metric="false alarms in 10^4 outputs", value=1e4 * false / outputs)
        if contender == OURS:
            mixes = other_mix(data, seed)
            flagged = sum(bool(alarms(stream)) for stream in mixes) / max(len(mixes), 1)
            yield Figure(contender=contender, metric="models flagged when the mix of prompts turns", value=flagged)


TASK = Task(
    title="Silent model swap",
    needs=("swap",),
    measure=measure,
    targets=(
        Target(metric="pairs found within 300 outputs", unit="share of pairs", must=0.95, averaged=True),
        Target(metric="outputs to find, median", unit="outputs", must=60.0, aim=25.0, less_is_better=True),
        Target(metric="false alarms in 10^4 outputs", unit="per 10^4", must=1.0, less_is_better=True, averaged=True),
        Target(
            metric="models flagged when the mix of prompts turns",
            unit="share of models",
            less_is_better=True,
            averaged=True,
        ),
    ),
    note=(
        "All pairs that a linear reader separates with an AUC of at least 0.65; a call every 10 s, prompts in "
        "random order, each answer once. Unswapped: all outputs of all models, each model's first 300 as its "
        "baseline. The mix of prompts turns when two of the five sources of prompts give three quarters of the "
        "baseline and one quarter of what follows. The limit of one false alarm in 1.3 million outputs is what the "
        "shipped budget asks for at this pace. The features of layout (paragraphs, bold, parentheses, first line) "
        "took the slowest pairs from 180 to 120 outputs. Tried without gain: hashed n-grams, function words, a prior "
        "of the directions in which models differ (learned on other families), other priors of the size of a shift, "
        "wider winsorising. The style of the prompt as a covariate would give 8 % more evidence an output."
    ),
)
