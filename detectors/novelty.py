"""How far a row lies from a frozen baseline, and how often rows lie farther or nearer than they used to.

The distance is Mahalanobis' over robustly standardised columns, so a relation between columns that breaks shows
although no column changes by itself. What counts is its rank among the baseline's own distances, each measured
from the other folds of the baseline (Vovk's conformal idea: no shape of the distribution is assumed); the rates of
rows beyond a rank are then judged by `rate_shift`, with as much weight as their clustering in the baseline leaves.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.rate_shift import Rate

Array = npt.NDArray[np.float64]

RANKS = (0.1, 0.5, 0.9, 0.98)
"""The parts of the baseline that lie nearer: rates are those of rows nearer than the first, farther than the others."""

_CLIP = 8.0
"""Robust standard deviations at which a value is cut: one absurd value is far away, and no farther."""

_FEW = 1e-9
_RIDGE = 0.02
_FOLDS = 4
_FOLD_BLOCK = 8
"""Rows in a row that belong to one fold: neighbors are alike and must not vouch for one another."""

_CLUSTERS = (8, 32, 100)
_CLUSTERING_NOISE = 1.6


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """Mahalanobis' distance from rows as `measured` was given: center (width,), scale (width,), axes (width, width)."""

    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    def standardised(self, table: Array) -> Array:
        """(rows, width) in the baseline's robust standard deviations; what is unknown (NaN) counts as typical."""
        return standardised(table, self.center, self.scale)

    def of(self, rows: Array) -> Array:
        """The squared distance per column of each of (rows, width) that are standardised."""
        directions = (rows - self.mean).dot(self.axes)
        directions *= directions
        distances: Array = np.add.reduce(directions, axis=1)
        distances /= directions.shape[1]
        return distances


def standardised(table: Array, center: Array, scale: Array) -> Array:
    """In robust standard deviations, cut at `_CLIP`, finite."""
    result: Array = table - center
    result /= scale
    np.minimum(result, _CLIP, out=result)
    np.maximum(result, -_CLIP, out=result)
    unknown = np.isnan(result)
    if unknown.any():
        result[unknown] = 0.0
    return result


def robust_scale(table: Array) -> tuple[Array, Array]:
    """Median and robust standard deviation of each column of (rows, width); of one without values 0 and 1."""
    empty = np.isnan(table).all(axis=0)
    filled = np.where(empty, 0.0, table)
    center = np.nanmedian(filled, axis=0)
    robust = 1.4826 * np.nanmedian(np.abs(filled - center), axis=0)
    plain = np.nanstd(filled, axis=0)
    scale = np.where(robust > 0.1 * plain, robust, plain)
    # A column that never varied: any other value is far away, rounding errors are not.
    return center, np.where(scale > _FEW * (1.0 + np.abs(center)), scale, 0.01 * (1.0 + np.abs(center)))


def measured(table: Array) -> tuple[Distance, Array]:
    """The distance that (rows, width) of a baseline define, and the rows' own, measured from the other folds."""
    center, scale = robust_scale(table)
    rows = standardised(table, center, scale)
    fold = (np.arange(len(rows)) // _FOLD_BLOCK) % _FOLDS
    own = np.zeros(len(rows))
    for each in range(_FOLDS):
        mean, axes = _whitening(rows[fold != each])
        own[fold == each] = np.square((rows[fold == each] - mean) @ axes).mean(axis=1)
    mean, axes = _whitening(rows)
    return Distance(center=center, scale=scale, mean=mean, axes=axes), own


def _whitening(rows: Array) -> tuple[Array, Array]:
    mean = rows.mean(axis=0)
    covariance = np.atleast_2d(np.cov(rows.T))
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-4))
    correlation = covariance / np.outer(spread, spread)
    strengths, axes = np.linalg.eigh(correlation)
    return mean, axes / np.sqrt(np.maximum(strengths, 0.0) + _RIDGE) / spread[:, None]


def clustering(values: Array) -> Array:
    """How many rows of a cluster count as one, (width,), for each column of (rows, width) in order of time.

    The variance of the mean of rows in a row over that of rows at random, at its largest over three lengths, less what
    chance alone makes of it.
    """
    variance = np.maximum(values.var(axis=0), 1e-12)
    worst = np.ones(values.shape[1])
    for length in _CLUSTERS:
        count = len(values) // length
        if count < 4:  # noqa: PLR2004 - fewer tell nothing of a variance
            break
        means = values[: count * length].reshape(count, length, -1).mean(axis=1)
        noise = 1.0 + (_CLUSTERING_NOISE - 1.0) * np.sqrt(20.0 / count)
        worst = np.maximum(worst, means.var(axis=0) * length / variance / noise)
    return worst


class Novelty(msgspec.Struct, kw_only=True):
    """The frozen distance, the distances of `RANKS` in the baseline, and the rates beyond them."""

    distance: Distance
    edges: tuple[float, ...]
    rates: list[Rate]

    @property
    def streams(self) -> int:
        """How many walks share the run length between false alarms."""
        return sum(len(rate.up) + len(rate.down) for rate in self.rates)

    def update(self, rows: Array, time_s: float) -> float:
        """Judge (rows, width) that are standardised, the first of them at `time_s`; the highest level of evidence."""
        distances = sorted(self.distance.of(rows).tolist())
        count, top = len(distances), 0.0
        for index, (edge, rate) in enumerate(zip(self.edges, self.rates, strict=True)):
            within = bisect_right(distances, edge)
            top = max(top, rate.step(count - within if index else within, count, time_s))
        return top


def novelty(table: Array) -> Novelty:
    """What (rows, width) of a baseline, finite or NaN and in order of time, make of later rows."""
    distance, own = measured(table)
    edges = np.quantile(own, RANKS)
    beyond = own[:, None] > edges
    beyond[:, 0] = ~beyond[:, 0]
    weights = clustering(beyond.astype(float))
    rates = []
    for index in range(len(RANKS)):
        hits = beyond[:, index]
        rate = Rate(falls=index == 1, seen=len(hits), hits=int(hits.sum()))
        rate.freeze(float(weights[index]))
        rates.append(rate)
    return Novelty(distance=distance, edges=tuple(edges.tolist()), rates=rates)
