"""One kind of prompt within all that a principal sends: where it is, how compact, and how much better it explains.

A sweep draws from one generator, so its prompts crowd one part of the space of writing (`prompt_space`). A mode is
one Gaussian there with a share of the principal's prompts; what it does not explain is left to people's own density.

Spots are columns: a one and then the coordinates, so that sums of `products` of spots are count, mean and scatter at
once, and one inverse of their matrix is a Gaussian's whole density. It keeps a batch to a few calls of numpy.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.prompt_space import DIMENSIONS, STEPS

_PRIOR_PROMPTS, _PRIOR_VARIANCE = 8.0, 0.5
"""A mode of few prompts is taken for as wide as if eight more had been seen that spread as people's do, nearly."""

_MEMORY = 200.0
"""Prompts of a mode that count; older ones fade."""

_ROUNDS = 4
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.95
_LEAST_COUNT = 1e-9
_CAPPED_NATS = 6.0
"""One prompt cannot speak for more: places where people hardly write at all are no evidence of a crowd."""

Rows = npt.NDArray[np.float64]
_LOG_TWO_PI = DIMENSIONS * math.log(2.0 * math.pi)
_SIDE = DIMENSIONS + 1
_WIDE = np.diag([0.0] + [_PRIOR_PROMPTS * _PRIOR_VARIANCE] * DIMENSIONS)
_FIRST, _SECOND = np.triu_indices(_SIDE)
_TRIANGLE = _FIRST * _SIDE + _SECOND
"""Where the packed upper triangle of a symmetric matrix stands in the whole one, and, next, the other way round."""

_WHOLE = np.zeros((_SIDE, _SIDE), dtype=np.intp)
_WHOLE[_FIRST, _SECOND] = _WHOLE[_SECOND, _FIRST] = np.arange(len(_FIRST))
_HALVES = np.where(_FIRST == _SECOND, -0.5, -1.0)


class Mode(msgspec.Struct, kw_only=True, array_like=True):
    """A Gaussian by its `moments`, the sum of `products` of its prompts, and the share of prompts it takes.

    They are kept in single precision, which halves their state.
    """

    share: float
    moments: np.ndarray

    @property
    def count(self) -> float:
        """Prompts it is made of; those that belong to it in part count in part."""
        return float(self.moments[0])

    @property
    def center(self) -> Rows:
        """Where it is: the mean of its prompts."""
        return np.asarray(self.moments[1:_SIDE].astype(float) / self.count)

    @property
    def scatter(self) -> Rows:
        """The sum of outer products of what its prompts are off the center."""
        whole = self.moments.astype(float)[_WHOLE]
        return np.asarray(whole[1:, 1:] - self.count * np.outer(self.center, self.center))

    def gains(self, squares: Rows, usual: Rows) -> tuple[Rows, Rows]:
        """The nats by which people and this mode explain each spot better than people alone, and its membership.

        A membership is the probability that the spot belongs to the mode.
        """
        lifted = _lifted(self.moments.astype(float), self.share, squares, usual)
        whole = lifted + (1.0 - self.share)
        return np.log(whole), lifted / whole

    def learn(self, squares: Rows, members: Rows) -> None:
        """Move towards the spots with these `products`, each as far as it is a member."""
        added = squares @ members
        weight, new, count = float(added[0]), len(members), self.count
        self.share += (weight / new - self.share) * min(new / (count + new), 0.2)
        self.share = min(max(self.share, _LEAST_SHARE), _MOST_SHARE)
        added += self.moments * (min(count, _MEMORY - weight) / count)
        self.moments = added.astype(np.float32)

    def volume(self) -> float:
        """The log of its volume, nats: 0 for one as wide as people's prompts."""
        covariance = self.scatter / max(self.count, 1.0) + 0.1 * np.eye(DIMENSIONS)
        return float(np.log(np.linalg.cholesky(covariance).diagonal()).sum())


def spots(entries: npt.NDArray[np.int8] | Rows) -> Rows:
    """Places in steps, one a row, as the columns that the other functions take: shape (DIMENSIONS + 1, rows)."""
    found = np.ones((_SIDE, len(entries)))
    np.divide(entries.T[:DIMENSIONS], STEPS, out=found[1:])
    return found


def products(spots: Rows) -> Rows:
    """Products of all pairs of a spot's numbers, packed: the first is one, the next are the coordinates."""
    return np.asarray(spots.take(_FIRST, axis=0) * spots.take(_SECOND, axis=0))


def background(spots: Rows, usual: Rows, own: Rows) -> Rows:
    """How well people explain `spots`, with one who writes about `own` as widely as people do for another.

    Somebody far from all others, in another language say, is then no crowd.
    """
    off = spots[1:] - own[:, None]
    near = -0.5 * (np.einsum("ij,ij->j", off, off) + _LOG_TWO_PI)
    return np.asarray(np.logaddexp(usual, near) - math.log(2.0))


def crowded(spots: Rows, usual: Rows) -> Mode:
    """The mode that explains `spots` best, from where neighbors are nearest for how usual the place is."""
    points = spots[1:]
    lengths = np.einsum("ij,ij->j", points, points)
    apart = points.T @ points
    apart *= -2.0
    apart += lengths
    apart += lengths[:, None]
    near = max(len(lengths) // 5, 8)
    radius = np.partition(apart, near, axis=1)[:, near]
    dense = -0.5 * DIMENSIONS * np.log(np.maximum(radius, 1e-6)) - usual
    members = np.zeros(len(lengths))
    members[np.argpartition(apart[int(dense.argmax())], near)[: near + 1]] = 1.0
    squares = products(spots)
    moments, share = _around(squares, members)
    for _ in range(_ROUNDS):
        lifted = _lifted(moments, share, squares, usual)
        moments, share = _around(squares, lifted / (lifted + (1.0 - share)))
    return Mode(share=share, moments=moments.astype(np.float32))


def _around(squares: Rows, members: Rows) -> tuple[Rows, float]:
    """Moments and share of the mode that has these members."""
    moments = squares @ members
    moments[0] = count = max(float(moments[0]), _LEAST_COUNT)
    return moments, min(max(count / len(members), _LEAST_SHARE), _MOST_SHARE)


def _lifted(moments: Rows, share: float, squares: Rows, usual: Rows) -> Rows:
    """Density of a mode in each spot, times its share, over how `usual` the spot is.

    With a matrix of moments M about the origin, z' M^-1 z is 1 / count plus what the scatter's inverse makes of z off
    the center, and det M is count times the scatter's.
    """
    count = float(moments[0])
    matrix = moments.take(_WHOLE) + _WIDE
    spread = count + _PRIOR_PROMPTS
    volume = math.log(float(np.linalg.det(matrix)) / count) - DIMENSIONS * math.log(spread)
    better = (np.linalg.inv(matrix).take(_TRIANGLE) * _HALVES) @ squares
    better *= spread
    better += 0.5 * (spread / count - volume - _LOG_TWO_PI)
    better -= usual
    np.minimum(better, _CAPPED_NATS, out=better)
    return np.asarray(np.exp(better) * share)
