"""A lasting shift of a vector's mean against a frozen baseline, in any direction, from any start.

Rows are standardised robustly, freed of what one covariate explains, whitened and winsorised with the
baseline. Then an e-detector runs over blocks of rows: every block starts an e-process, the likelihood
of "the mean moved by N(0, shift)" over that of "it did not", where both allow for the error of the
baseline's own mean; the sum of the running processes passes ``arl`` by chance once in ``arl`` rows.
Source: Shin, Ramdas, Rinaldo, E-detectors (2023), theorem 2.4.

Cost: about 45 us a block. State: 16 dimensions take 6 KB.
"""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BLOCK = 6
"""Rows judged together: divides the cost by six and delays an alarm by three rows on average."""

_CLIP = 3.0
"""Robust standard deviations at which a value is winsorised."""

_DIRECTION_CLIP = 2.0
"""The same for a whitened direction: e-processes of a Gaussian mean need tails no heavier than Gaussian."""

_MIN_SPREAD = 0.5
"""Least spread of a winsorised value: what never varied in the baseline may still come, and in bursts."""

_FEW = 1e-3
_FLAT = 0.1
_RIDGE = 0.05

_LEADING = 4
"""Principal directions in which many values move together; they have a hypothesis of their own."""

_SHIFTS = np.array([[0.03, 0.03], [0.1, 0.1], [0.15, 0.0]])
"""Variance of the shift per direction under each alternative: (hypotheses, [leading, other] directions)."""

_LEVELS = 7
_SLOTS = 4
_STARTS = _LEVELS * _SLOTS
"""E-processes that run at once."""

_OLDEST = _SLOTS * 2 ** (_LEVELS - 1)
"""Blocks after which the last of them ends."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen baseline of `rows` rows of `width` values and one covariate.

    `center` and `scale` (width + 1,) standardise a row. `whitening` (width + 1, width) takes out how a
    value moves with the covariate and turns the rest to uncorrelated directions, strongest first, less
    their means `shift` (width,); `offset` and `unit` (width,) standardise those once more after they are
    winsorised. `mean` and `spread` (width,) are those of the standardised values.
    """

    rows: int
    center: np.ndarray
    scale: np.ndarray
    whitening: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    unit: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def whitened(self, table: Array) -> Array:
        """(rows, width) directions of mean 0 and variance 1 on the baseline; `table` as for `freeze`."""
        directions: Array = _standardised(table, self.center, self.scale) @ self.whitening
        directions -= self.shift
        _winsorise(directions, _DIRECTION_CLIP)
        directions -= self.offset
        directions /= self.unit
        return directions


def freeze(table: Array) -> Reference:
    """The baseline of `table` (rows, width + 1), whose last column is the covariate (NaN: unknown).

    Values are finite and of moderate size (squares do not overflow).
    """
    rows, width = table.shape[0], table.shape[1] - 1
    known = np.isfinite(table[:, width])
    whole = table.copy()
    whole[~known, width] = np.median(table[known, width]) if known.any() else 0.0
    center = np.median(whole, axis=0)
    robust = 1.4826 * np.median(np.abs(whole - center), axis=0)
    plain = whole.std(axis=0)
    scale = np.maximum(np.where(robust > _FLAT * plain, robust, plain), _FEW)
    scale[width] = max(float(plain[width]), _FLAT)
    standardised = _standardised(whole, center, scale)
    values, covariate = standardised[:, :width], standardised[:, width]
    around = covariate - covariate.mean()
    slope = around @ values / max(float(around @ around), _FLAT * rows)
    values = values - covariate[:, None] * slope
    mean = values.mean(axis=0)
    covariance = np.cov(values.T)
    spread = np.maximum(np.sqrt(np.diag(covariance)), _MIN_SPREAD)
    correlation = (1.0 - _RIDGE) * covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, 1.0)
    strengths, axes = np.linalg.eigh(correlation)
    basis = axes[:, ::-1] / np.sqrt(np.maximum(strengths[::-1], _RIDGE / 2)) / spread[:, None]
    directions = (values - mean) @ basis
    _winsorise(directions, _DIRECTION_CLIP)
    return Reference(
        rows=rows,
        center=center,
        scale=scale,
        whitening=np.vstack((basis, -slope @ basis)),
        shift=mean @ basis,
        offset=directions.mean(axis=0),
        unit=np.maximum(directions.std(axis=0), _MIN_SPREAD),
        mean=mean,
        spread=spread,
    )


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """What the weightiest running process says: how far the mean moved, over how many rows, since when.

    `deviations` (width,) are in standard deviations of the standardised values, `observed` and
    `expected` (width,) winsorised means in the values' own units; `length` is the size of the shift
    over all directions, in whitened standard deviations, less what chance alone would give.
    """

    start_s: float
    rows: int
    length: float
    deviations: np.ndarray
    observed: np.ndarray
    expected: np.ndarray


class MeanShift(msgspec.Struct, kw_only=True):
    """The running e-processes against one reference.

    `sums` (starts, width) and `ages` (starts,) are the whitened rows since each start, `starts_s`
    (starts,) when that was, `weights` (starts,) the relative e-value of each after the last block.
    """

    reference: Reference
    blocks: int = 0
    sums: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((_STARTS, 0)))
    ages: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_STARTS))
    starts_s: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_STARTS))
    weights: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_STARTS))

    def update(self, table: Array, start_s: float) -> float:
        """Take in one block of `BLOCK` rows that began at `start_s`; the log of the sum of all processes.

        Block number j starts the process whose level is the count of j's trailing zeros. A level has
        four places, and each process is ended by the one that takes its place: which ends when is
        fixed beforehand, as validity asks for.
        """
        number = self.blocks
        if number == 0:
            self.sums = np.zeros((_STARTS, table.shape[1] - 1))
            self.ages = np.zeros(_STARTS)
            self.starts_s = np.full(_STARTS, start_s)
        top = _LEVELS - 1
        level = min((number & -number).bit_length() - 1, top) if number else top
        slot = level * _SLOTS + (number >> min(level + 1, top)) % _SLOTS
        self.sums[slot] = 0.0
        self.ages[slot] = 0.0
        self.starts_s[slot] = start_s
        self.blocks += 1
        self.sums += self.reference.whitened(table).sum(axis=0)
        self.ages += BLOCK
        return self._weigh()

    def restart(self) -> None:
        """Forget the evidence, keep the baseline."""
        self.blocks = 0

    def shift(self) -> Shift:
        """The process that weighs most."""
        reference = self.reference
        start = int(self.weights.argmax())
        count = int(self.ages[start])
        direction = self.sums[start] / count
        moved = np.linalg.solve(reference.whitening[:-1].T, direction * reference.unit)
        scale = reference.scale[:-1]
        expected = reference.center[:-1] + reference.mean * scale
        return Shift(
            start_s=float(self.starts_s[start]),
            rows=count,
            length=math.sqrt(max(float(direction @ direction) - len(direction) / count, 0.0)),
            deviations=moved / reference.spread,
            observed=expected + moved * scale,
            expected=expected,
        )

    def _weigh(self) -> float:
        """Log of the sum over processes, each the mean of its alternatives."""
        rows = self.reference.rows
        nulls, alternatives, costs = _odds(rows, self.sums.shape[1])
        blocks = (self.ages / BLOCK).astype(np.intp)
        parts = np.add.reduceat(np.square(self.sums / self.ages[:, None]), (0, _LEADING), axis=1)
        null = parts.sum(axis=1) * nulls[blocks]
        alternative = (alternatives[blocks] @ parts[:, :, None])[:, :, 0]
        alternative += 1.0
        evidence = np.log((null[:, None] + 1.0) / alternative)
        evidence *= 0.5 * rows
        evidence -= costs[blocks]
        peak = float(evidence.max())
        evidence -= peak
        self.weights = np.exp(evidence, out=evidence).sum(axis=1)
        return peak + math.log(float(self.weights.sum()) * BLOCK / len(_SHIFTS))


@functools.cache
def _odds(rows: int, width: int) -> tuple[Array, Array, Array]:
    """What the log likelihood ratio of a process makes of its age, 0 .. 256 blocks.

    Factors of the squared mean directions under the null (ages,) and under the alternatives (ages,
    hypotheses, [leading, other]), and costs (ages, hypotheses). The error of the baseline's mean adds to
    that of the process's, and the covariance is estimated from `rows` rows, which makes Gaussian
    likelihoods those of Student's distribution.
    """
    ages = np.maximum(np.arange(_OLDEST + 1) * float(BLOCK), _FEW)
    size = 1.0 / (1.0 / ages + 1.0 / rows)
    grown = 1.0 + size[:, None, None] * _SHIFTS
    costs = 0.5 * (np.log(grown) * np.array([_LEADING, width - _LEADING])).sum(axis=2)
    return size / rows, size[:, None, None] / grown / rows, costs


def _standardised(table: Array, center: Array, scale: Array) -> Array:
    """A copy in robust standard deviations, winsorised; an unknown covariate counts as typical."""
    result = table - center
    result /= scale
    _winsorise(result, _CLIP)
    unknown = np.isnan(result[:, -1])
    if unknown.any():
        result[unknown, -1] = 0.0
    return result


def _winsorise(values: Array, limit: float) -> None:
    np.minimum(values, limit, out=values)
    np.maximum(values, -limit, out=values)
