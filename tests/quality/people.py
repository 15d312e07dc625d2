"""Fits `detectors/pinned/people.json`, how people write prompts, on the benign sets of the data folder.

Run it as ``python -m tests.quality.people ../shared/data``. The file holds a whitening and sixteen Gaussians, no text.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import prompt_space, prompt_words
from detectors.prompt_space import DIMENSIONS, Reference
from tests.quality import prompts

GAUSSIANS = 16
_ROUNDS = 40
_RIDGE = 0.15
"""Added to the variances of principal axes: the small ones are noise and must not be blown up."""

_PRIOR_CALLS, _PRIOR_VARIANCE = 10.0, 0.3
_LEAST_SPREAD = 0.02
SETS = (*prompts.BENIGN, prompts.FURTHER)


def fit(data: Path, sets: Sequence[str] = SETS) -> Reference:
    """The reference of some benign sets; each counts as much as it has prompts."""
    texts = [text for name in sets for text in prompts.texts(data, name)]
    features = prompt_space.raw(texts, prompt_words.kinds_of(texts))
    center, spread = features.mean(axis=0), features.std(axis=0) + _LEAST_SPREAD
    values, vectors = np.linalg.eigh(np.cov(((features - center) / spread).T))
    first = np.argsort(-values)[:DIMENSIONS]
    axes = vectors[:, first] / np.sqrt(values[first] + _RIDGE) / spread[:, None]
    whitening = Reference(center=_rounded(center), axes=_rounded(axes), weights=[], means=[], variances=[])
    weights, means, variances = _mixture(prompt_space.whitened(features, whitening))
    return msgspec.structs.replace(
        whitening, weights=_rounded(weights), means=_rounded(means), variances=_rounded(variances)
    )


def _rounded(values: npt.NDArray[np.float64]) -> Any:
    return np.round(values, 4).tolist()


def _mixture(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Weights, means and variances by expectation maximisation from spread-out starts."""
    rng = np.random.default_rng(0)
    means = points[rng.choice(len(points), GAUSSIANS, replace=False)]
    variances = np.ones_like(means)
    weights = np.full(GAUSSIANS, 1.0 / GAUSSIANS)
    for _ in range(_ROUNDS):
        squares = ((points[:, None] - means) ** 2 / variances + np.log(variances)).sum(axis=2)
        scores = np.log(weights) - 0.5 * squares
        members = np.exp(scores - scores.max(axis=1, keepdims=True))
        members /= members.sum(axis=1, keepdims=True)
        sizes = members.sum(axis=0)
        means = (members.T @ points) / (sizes[:, None] + 1e-9)
        variances = (members.T @ points**2) / (sizes[:, None] + 1e-9) - means**2
        variances = (variances * sizes[:, None] + _PRIOR_CALLS * _PRIOR_VARIANCE) / (sizes[:, None] + _PRIOR_CALLS)
        weights = (sizes + 1.0) / (len(points) + GAUSSIANS)
    return weights, means, variances


if __name__ == "__main__":
    target = Path(prompt_space.__file__).with_name("pinned") / "people.json"
    target.write_bytes(msgspec.json.encode(fit(Path(sys.argv[1]))) + b"\n")
