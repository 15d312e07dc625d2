from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.catalog.repetition_loop import RepetitionLoop
from detectors.features import style
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 300.0
START_S = 1_763_000_000.0
VOCABULARY = [
    "".join(np.random.default_rng(index).choice(list("etaoinshrdlucmfw"), size=2 + index % 8)) for index in range(3_000)
]


def text(draw: np.random.Generator, kind: str) -> str:
    """Prose with a natural share of repeated words (Zipf), or what degenerates."""
    words = [VOCABULARY[min(int(each), 2_999)] for each in draw.zipf(1.25, int(draw.integers(20, 400))) - 1]
    match kind:
        case "loop":
            return " ".join(words[:20] + words[20:26] * 80) if len(words) > 30 else " ".join(words[:4] * 60)
        case "one character":
            return " ".join(words[:10]) + "a" * 2_000
        case "noise":
            return bytes(draw.integers(33, 255, 1_500, dtype=np.uint8)).decode("latin-1")
    return ". ".join(" ".join(words[start : start + 12]) for start in range(0, len(words), 12))


def outputs(
    count: int, *, seed: int, kind: str = "prose", share: float = 0.0, principals: int = 40, first: int = 0
) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    texts = [text(draw, kind if draw.random() < share else "prose") for _ in range(count)]
    for index, row in enumerate(style(texts).tolist()):
        yield Observation(
            event_id=str(index),
            time_s=START_S + 10.0 * (first + index),
            deployment="d",
            principal=f"p{draw.integers(principals)}",
            style=tuple(row),
        )


def untold(count: int, *, seed: int, most: float = 0.02, first: int = 0) -> Iterator[Observation]:
    """Outputs of which only the number of tokens is known; a share `most` runs to the limit."""
    draw = np.random.default_rng(seed)
    for index in range(count):
        tokens = 1_024 if draw.random() < most else int(draw.integers(1, 800))
        yield Observation(
            event_id=str(index), time_s=START_S + 10.0 * (first + index), deployment="d", output_tokens=tokens
        )


def said(detector: RepetitionLoop, observations: Iterator[Observation]) -> list[tuple[int, Detection]]:
    found = ((index, detector.update(observation)) for index, observation in enumerate(observations))
    return [(index, detection) for index, detection in found if detection is not None]


def watched(seed: int = 1) -> RepetitionLoop:
    detector = RepetitionLoop(share=SHARE)
    assert said(detector, outputs(500, seed=seed)) == []
    return detector


@pytest.mark.parametrize("kind", ["loop", "one character", "noise"])
@pytest.mark.parametrize("seed", range(3))
def test_degenerate_outputs_are_found_when_they_become_a_fifth(kind: str, seed: int) -> None:
    index, detection = said(watched(seed), outputs(300, seed=seed + 5, kind=kind, share=0.2, first=500))[0]
    assert index < 120
    assert detection.severity is Severity.HIGH
    assert detection.summary.startswith("The share of degenerate outputs rose from ")


def test_longer_outputs_repeat_more_words_and_are_no_loops() -> None:
    detector = RepetitionLoop(share=SHARE)
    draw = np.random.default_rng(3)
    short = [row for row in outputs(2_000, seed=4) if row.style is not None and row.style[1] < 5.2]
    long = [row for row in outputs(4_000, seed=5) if row.style is not None and row.style[1] >= 5.2]
    mixed = [short[int(draw.integers(len(short)))] if draw.random() < 0.8 else long[index] for index in range(600)]
    assert said(detector, iter(mixed)) == []
    assert said(detector, iter(long)) == []


def test_one_principal_that_loops_is_not_the_deployment() -> None:
    assert said(watched(), outputs(60, seed=6, kind="loop", share=1.0, principals=1, first=500)) == []
    assert said(watched(), outputs(60, seed=6, kind="loop", share=1.0, first=500)) != []


def test_without_text_outputs_at_the_most_tokens_are_found() -> None:
    detector = RepetitionLoop(share=SHARE)
    assert said(detector, untold(1_000, seed=7)) == []
    found = said(detector, untold(200, seed=8, most=0.4, first=1_000))
    assert "at the most tokens" in found[0][1].summary


def test_10_000_quiet_outputs_are_quiet() -> None:
    detector = RepetitionLoop(share=SHARE)
    assert said(detector, outputs(10_000, seed=9)) == []
    assert said(detector, untold(10_000, seed=10)) == []
