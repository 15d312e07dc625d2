"""Real answers of many models to the same prompts, as observations: what the tasks about swapped models share."""

from __future__ import annotations

import csv
import functools
import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.alarms import Budget
from detectors.bank import discover
from detectors.base import DEPLOYMENT
from detectors.features import observe
from detectors.types import InferenceEvent, Message, Observation

KEY = b"0123456789abcdef"
START_S = 1_790_000_000.0
EASY_AUC = 0.65
"""Separability by a linear reader from which a pair belongs to the row of silent swaps; below it is a hard one."""

BAG = 512


class Pair(msgspec.Struct, frozen=True):
    """A model and the one that takes its place; `null` when the weights are the same."""

    kind: str
    base: str
    swapped: str
    auc: float

    @property
    def null(self) -> bool:
        """Whether nothing was changed but the host."""
        return self.kind.startswith("same weights")


class Answer(msgspec.Struct, frozen=True):
    """One answer: what a detector sees of it, the kind of its prompt, and its words counted in `BAG` bins."""

    prompt: int
    dataset: str
    seen: Observation
    words: npt.NDArray[np.float64]


@functools.cache
def pairs(data: Path) -> tuple[Pair, ...]:
    """The labelled pairs, in the order of the file."""
    with (data / "swap" / "PAIRS.csv").open(encoding="utf-8") as lines:
        return tuple(
            Pair(row["kind"], row["base"], row["swapped"], float(row["linear_auc"])) for row in csv.DictReader(lines)
        )


def models(data: Path) -> list[str]:
    """All models there are answers of."""
    names = (path.name.removesuffix(".jsonl.gz") for path in sorted((data / "swap").glob("*.jsonl.gz")))
    return [name for name in names if name != "prompts"]


@functools.cache
def answers(data: Path, model: str) -> tuple[Answer, ...]:
    """What a model answered, in the order of prompts; empty answers are left out."""
    datasets = {row["prompt_id"]: row["dataset"] for row in _rows(data, "prompts")}
    rows = [row for row in _rows(data, model) if row["output"]]
    events = [
        InferenceEvent(
            deployment="chat",
            event_id=str(row["prompt_id"]),
            time_s=START_S,
            operation="chat",
            model="model",
            temperature=0.7,
            input_messages=(Message(role="user", content=row["instruction"]),),
            output_messages=(Message(role="assistant", content=row["output"]),),
        )
        for row in rows
    ]
    return tuple(
        Answer(row["prompt_id"], datasets[row["prompt_id"]], seen, _bag(row["output"]))
        for row, seen in zip(rows, observe(events, KEY), strict=True)
    )


def played(stream: Iterable[Answer], gap_s: float, first: int = 0) -> list[Observation]:
    """The answers as calls of one deployment, one every `gap_s` seconds."""
    return [
        msgspec.structs.replace(answer.seen, time_s=START_S + gap_s * index, event_id=str(index))
        for index, answer in enumerate(stream, first)
    ]


def as_canaries(stream: Sequence[Answer], run: int, gap_s: float = 10.0) -> list[Observation]:
    """The answers as one run of canaries, run number `run`, one run a day."""
    return [
        msgspec.structs.replace(
            answer.seen, time_s=START_S + 86_400.0 * run + gap_s * index, canary=True, temperature=0.0
        )
        for index, answer in enumerate(stream)
    ]


@functools.cache
def share() -> float:
    """Of the shipped alarm budget, that of one detector for one deployment."""
    return Budget().share(DEPLOYMENT, len(discover()))


def _rows(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(data / "swap" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _bag(text: str) -> npt.NDArray[np.float64]:
    bins = [zlib.crc32(word) % BAG for word in text.casefold().encode("utf-8", "replace").split()]
    return np.bincount(bins, minlength=BAG).astype(float)


def cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Cosine similarity of two bags of words; 0 where one is empty."""
    sizes = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / sizes if sizes else 0.0
