"""Swapped models that no reader of unpaired text can tell: canaries asked again, against natural variation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from river.drift import ADWIN, PageHinkley

from detectors.catalog.canary import Canary
from detectors.features import STYLE
from tests.quality.answers import EASY_AUC, Answer, Pair, answers, as_canaries, cosine, pairs, share
from tests.quality.task import OURS, Figure, Target, Task

CANARIES = 50
VARIATION = 100
"""Prompts, none of them a canary, that both hosts of the null pair answered: the natural variation."""

SIMPLE = 0.7

CHANGED = (
    "vicuna-7b to vicuna-7b-v1.3",
    "vicuna-7b-v1.3 to vicuna-7b-v1.5",
    "vicuna-13b to vicuna-13b-v1.3",
    "vicuna-13b-v1.3 to vicuna-13b-v1.5",
    "vicuna-7b-v1.5 to vicuna-13b-v1.5",
    "guanaco-7b to guanaco-13b",
    "guanaco-33b to guanaco-65b",
    "alpaca-7b to alpaca-7b_concise",
    "alpaca-7b to alpaca-7b_verbose",
    "Meta-Llama-3-8B-Instruct to Meta-Llama-3.1-8B-Instruct-Turbo",
    "Meta-Llama-3-70B-Instruct to Meta-Llama-3.1-70B-Instruct-Turbo",
    "Meta-Llama-3.1-8B-Instruct-Turbo to Meta-Llama-3.1-70B-Instruct-Turbo",
    "Meta-Llama-3.1-70B-Instruct-Turbo to Meta-Llama-3.1-405B-Instruct-Turbo",
    "Meta-Llama-3.1-405B-Instruct-Turbo to Meta-Llama-3.1-8B-Instruct-Turbo",
    "Llama-3-Instruct-8B-SimPO to Llama-3-Instruct-8B-SimPO-ExPO",
)
"""The pairs that are reported by name."""

Asked = tuple[list[Answer], list[Answer]]
Contender = Callable[[Asked, Asked], bool]


def _evidence(natural: Asked, canaries: Asked) -> tuple[bool, float]:
    """Whether our detector speaks, and the loss of similarity in standard deviations.

    The natural variation is played as two days of a deployment that answers from two hosts; then a swap.
    """
    detector = Canary(share=share())
    half = VARIATION // 2
    runs = [
        natural[0][:half],
        natural[1][:half],
        natural[0][half:],
        natural[1][half:],
        *canaries,
    ]
    found = [detector.update(seen) for number, run in enumerate(runs) for seen in as_canaries(run, number)]
    return any(found), detector.reading[0] if detector.reading else math.nan


def _ours(natural: Asked, canaries: Asked) -> bool:
    return _evidence(natural, canaries)[0]


def _similarities(asked: Asked) -> list[float]:
    return [cosine(one.words, other.words) for one, other in zip(*asked, strict=True)]


def _simple(natural: Asked, canaries: Asked) -> bool:
    """Mean similarity of bags of words below 0.7."""
    return float(np.mean(_similarities(canaries))) < SIMPLE


def _river(make: Callable[[], ADWIN | PageHinkley], natural: Asked, canaries: Asked) -> bool:
    """One detector over the similarity of answers, first the natural ones."""
    detector, found = make(), []
    for value in _similarities(natural):
        detector.update(value)
    for value in _similarities(canaries):
        detector.update(value)
        found.append(bool(detector.drift_detected))
    return any(found)


def _unpaired(natural: Asked, canaries: Asked) -> bool:
    """ADWIN on each style feature of the answers as they come, without knowing that the prompts are the same."""
    detectors, found = [ADWIN() for _ in STYLE], False
    for side in (0, 1):
        for answer in (*natural[side], *canaries[side]):
            for detector, value in zip(detectors, answer.seen.style or (), strict=False):
                detector.update(value)
                found = found or (side == 1 and bool(detector.drift_detected))
    return found


CONTENDERS: dict[str, Contender] = {
    OURS: _ours,
    "simple: mean similarity below 0.7": _simple,
    "River ADWIN on similarity": functools.partial(_river, ADWIN),
    "River PageHinkley on similarity": functools.partial(_river, PageHinkley),
    "River ADWIN on style, unpaired": _unpaired,
}


def drawn(data: Path, seed: int, pair: Pair, prompts: Sequence[int] | None = None) -> tuple[Asked, Asked]:
    """The answers that give natural variation, and those to the canaries; `prompts` may be asked, all if not said."""
    null = next(each for each in pairs(data) if each.null)
    sides = [{answer.prompt: answer for answer in answers(data, name)} for name in (null.base, null.swapped)]
    asked = [{answer.prompt: answer for answer in answers(data, name)} for name in (pair.base, pair.swapped)]
    common = set.intersection(*map(set, (*sides, *asked)), set(prompts) if prompts is not None else set(sides[0]))
    order = np.random.default_rng(seed).permutation(sorted(common)).tolist()
    chosen, rest = order[:CANARIES], order[CANARIES : CANARIES + VARIATION]
    natural = ([sides[0][each] for each in rest], [sides[1][each] for each in rest])
    canaries = ([asked[0][each] for each in chosen], [asked[1][each] for each in chosen])
    return natural, canaries


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """The null pair both ways round, how many of the other pairs were found, and each by name."""
    hard = [pair for pair in pairs(data) if pair.auc < EASY_AUC]
    (null,) = (pair for pair in hard if pair.null)
    back = Pair(null.kind, null.swapped, null.base, null.auc)
    played = {pair: drawn(data, seed, pair) for pair in (*hard, back)}
    flags = {
        pair: {name: contender(*answers) for name, contender in CONTENDERS.items()} for pair, answers in played.items()
    }
    changed = [pair for pair in hard if not pair.null]
    for contender in CONTENDERS:
        found = [flags[pair][contender] for pair in changed]
        both = [flags[pair][contender] for pair in (null, back)]
        yield Figure(contender=contender, metric="null pair flagged", value=float(both[0]))
        yield Figure(contender=contender, metric="null pair flagged, either way round", value=sum(both) / 2.0)
        yield Figure(contender=contender, metric="true changes found", value=sum(found) / len(found))
    for pair in changed:
        name = f"{pair.base} to {pair.swapped}"
        if name in CHANGED:
            yield Figure(contender=OURS, metric=f"evidence: {name}", value=_evidence(*played[pair])[1])


TASK = Task(
    title="Swap, hard pairs",
    needs=("swap",),
    measure=measure,
    targets=(
        Target(metric="null pair flagged", unit="runs", must=0.0, less_is_better=True),
        Target(metric="null pair flagged, either way round", unit="share of runs", less_is_better=True, averaged=True),
        Target(metric="true changes found", unit="share of pairs", aim=0.5, averaged=True),
        *(Target(metric=f"evidence: {name}", unit="sd of lost similarity") for name in CHANGED),
    ),
    note=(
        "50 canaries, asked once a day of the base and then of the swapped model. The natural variation is that of "
        "the null pair on 100 other prompts, played as two runs of a deployment that answers from two hosts in "
        "turn. The evidence of a pair is held against a limit of about 2.7. One answer to each prompt is all there "
        "is; a deployment that is asked three times gives each canary two stored answers and a variation of its "
        "own. Tried without gain: similarity of words, bigrams, trigrams, the first 16 to 200 words, whole "
        "answers, long or short words alone, differences of style: by all of them the larger Llama pairs and SimPO "
        "are as alike as the null pair. Counting very similar answers only up to the 90th percentile of natural "
        "similarity raised the pairs found from 4.00 to 5.68 of 15, all else equal."
    ),
)
