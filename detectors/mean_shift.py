"""A lasting shift of a vector's mean against a frozen baseline, in any direction, from any start.

Rows are standardised robustly, freed of what one covariate explains, whitened and winsorised with the
baseline. Then an e-detector runs over blocks of rows: every block starts an e-process, the likelihood
of "the mean moved by N(0, shift)" over that of "it did not", where both allow for the error of the
baseline's own mean; the sum of the running processes passes ``arl`` by chance once in ``arl`` rows.
Source: Shin, Ramdas, Rinaldo, E-detectors (2023), theorem 2.4.

Cost: about 35 us for two blocks. State: 20 dimensions take 9 KB.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

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

_MOST_DESIGN = 3.0
"""Greatest design effect that is believed: two owners who differ would otherwise blind a direction."""

_LEADING = 4
"""Principal directions in which many values move together; they have a hypothesis of their own."""

_SHIFTS = np.array([[0.03, 0.03], [0.1, 0.1], [0.15, 0.0]])
"""Variance of the shift per direction under each alternative: (hypotheses, [leading, other] directions)."""

_PARTS = 2 * (1 + len(_SHIFTS))

_LEVELS = 7
_SLOTS = 4
_STARTS = _LEVELS * _SLOTS
"""E-processes that run at once."""

_CALM = 5.0
"""Log evidence below which only every second block is weighed, which halves the cost: far from any limit."""

_OLDEST = _SLOTS * 2 ** (_LEVELS - 1)
"""Blocks after which the last of them ends."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen baseline of `rows` rows of `width` values and one covariate.

    Values are winsorised at `low` and `high` (width + 1,). `weights` (width + 1, width) standardise them,
    take out how they move with the covariate and turn the rest to uncorrelated directions, strongest first,
    less their means `shift` (width,); `offset` and `unit` (width,) standardise those once more after they are
    winsorised, by as much more as rows of one owner are alike. `center` and `scale` (width,) are of the values,
    `mean` and `spread` (width,) of the standardised ones; `typical` is the covariate to give where it is unknown.
    """

    rows: int
    typical: float
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    unit: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def whitened(self, table: Array) -> Array:
        """(rows, width) directions of mean 0 and variance 1 on the baseline; `table` as for `MeanShift.update`."""
        directions = self._turned(table)
        directions -= self.offset
        directions /= self.unit
        return directions

    def block_sums(self, table: Array) -> Array:
        """(blocks, width) sums of what `whitened` makes of each `BLOCK` of the rows."""
        directions = self._turned(table)
        directions -= self.offset
        sums: Array = _blocks(len(table)).dot(directions)
        sums /= self.unit
        return sums

    def _turned(self, table: Array) -> Array:
        values = np.minimum(table, self.high)
        np.maximum(values, self.low, out=values)
        directions: Array = values.dot(self.weights)
        directions -= self.shift
        _winsorise(directions, _DIRECTION_CLIP)
        return directions


def freeze(
    table: Array, lowest: float = -math.inf, highest: float = math.inf, owners: Sequence[int] | None = None
) -> Reference:
    """The baseline of `table` (rows, width + 1), whose last column is the covariate (NaN: unknown).

    Values are finite and of moderate size (squares do not overflow), and lie between `lowest` and `highest`;
    later ones that do not are taken for these. `owners` (rows) says whose each row is: where rows of one owner are
    alike, the mean moves with who is there, and that much more is needed for a shift.
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
    varied = np.sqrt(np.diag(covariance))
    spread = np.maximum(varied, _MIN_SPREAD)
    correlation = (1.0 - _RIDGE) * covariance / np.outer(spread, spread)
    # What never varied is no leading direction; winsorised, it weighs as much when it comes.
    np.fill_diagonal(correlation, np.where(varied > _FLAT * _MIN_SPREAD, 1.0, _RIDGE))
    strengths, axes = np.linalg.eigh(correlation)
    basis = axes[:, ::-1] / np.sqrt(np.maximum(strengths[::-1], _RIDGE / 2)) / spread[:, None]
    directions = (values - mean) @ basis
    _winsorise(directions, _DIRECTION_CLIP)
    weights = np.vstack((basis, -slope @ basis)) / scale[:, None]
    unit = np.maximum(directions.std(axis=0), _MIN_SPREAD)
    if owners is not None:
        unit *= np.sqrt(_design_effect((directions - directions.mean(axis=0)) / unit, owners))
    return Reference(
        rows=rows,
        typical=float(center[width]),
        low=np.maximum(center - _CLIP * scale, lowest),
        high=np.minimum(center + _CLIP * scale, highest),
        weights=weights,
        shift=mean @ basis + center @ weights,
        offset=directions.mean(axis=0),
        unit=unit,
        center=center[:width],
        scale=scale[:width],
        mean=mean,
        spread=spread,
    )


def _design_effect(directions: Array, owners: Sequence[int]) -> Array:
    """By how much the variance of a sum exceeds that of independent rows, per direction, since owners differ.

    Between 1 and `_MOST_DESIGN`. Source: Kish, Survey Sampling (1965), chapter 5; the cluster-robust variance.
    """
    _, which = np.unique(np.asarray(owners), return_inverse=True)
    sums = np.zeros((int(which.max()) + 1, directions.shape[1]))
    np.add.at(sums, which, directions)
    effect: Array = np.square(sums).sum(axis=0) / len(directions)
    return np.clip(effect, 1.0, _MOST_DESIGN)


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

    `sums` (starts, width) are the whitened rows of the `ages` (starts,) blocks since each start, `starts_s`
    (starts,) when that was; `score` is the log of the sum of all after the last block that was weighed.
    """

    reference: Reference
    blocks: int = 0
    sums: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((_STARTS, 0)))
    ages: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_STARTS, dtype=np.int64))
    starts_s: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_STARTS))
    score: float = 0.0

    @property
    def wanted(self) -> int:
        """How many blocks it will weigh at once, 1 or 2: to give them one by one costs more and tells nothing."""
        return 1 if self.score >= _CALM or self.blocks % 2 else 2

    def update(self, table: Array, starts_s: Sequence[float]) -> float:
        """Take in blocks of `BLOCK` rows that began at `starts_s`; the log of the sum of all processes.

        Rows are as for `freeze`, an unknown covariate is `typical`. After several blocks it is the highest of those
        that were weighed. Block number j starts the process whose level is the count of j's trailing zeros. A level
        has four places, and each process is ended by the one that takes its place: which ends when is fixed
        beforehand, as validity asks for.
        """
        top = -math.inf
        for block, start_s in zip(self.reference.block_sums(table), starts_s, strict=True):
            self._begin(start_s, len(block))
            self.sums += block
            self.ages += 1
            if self.score >= _CALM or self.blocks % 2 == 0:
                self.score = self._weigh()
                top = max(top, self.score)
        return top

    def restart(self) -> None:
        """Forget the evidence, keep the baseline."""
        self.blocks = 0
        self.score = 0.0

    def shift(self) -> Shift:
        """The process that weighs most."""
        reference = self.reference
        start = int(np.exp(self._evidence()).sum(axis=1).argmax())
        count = int(self.ages[start]) * BLOCK
        direction = self.sums[start] / count
        whitening = reference.weights[:-1] * reference.scale[:, None]
        moved = np.linalg.solve(whitening.T, direction * reference.unit)
        expected = reference.center + reference.mean * reference.scale
        return Shift(
            start_s=float(self.starts_s[start]),
            rows=count,
            length=math.sqrt(max(float(direction @ direction) - len(direction) / count, 0.0)),
            deviations=moved / reference.spread,
            observed=expected + moved * reference.scale,
            expected=expected,
        )

    def _begin(self, start_s: float, width: int) -> None:
        """Start the process that the next block starts."""
        number = self.blocks
        if number == 0:
            self.sums = np.zeros((_STARTS, width))
            self.ages = np.zeros(_STARTS, dtype=np.int64)
            self.starts_s = np.full(_STARTS, start_s)
        top = _LEVELS - 1
        level = min((number & -number).bit_length() - 1, top) if number else top
        slot = level * _SLOTS + (number >> min(level + 1, top)) % _SLOTS
        self.sums[slot] = 0.0
        self.ages[slot] = 0
        self.starts_s[slot] = start_s
        self.blocks += 1

    def _weigh(self) -> float:
        """Log of the sum over processes, each the mean of its alternatives."""
        evidence = self._evidence()
        peak = float(evidence.item(evidence.argmax()))
        evidence -= peak
        return peak + math.log(float(np.add.reduce(np.exp(evidence, out=evidence), axis=None)) * BLOCK / len(_SHIFTS))

    def _evidence(self) -> Array:
        """Log likelihood ratio of each process and alternative, (starts, hypotheses)."""
        rows = self.reference.rows
        selection, odds = _odds(rows, self.sums.shape[1])
        factors = odds.take(self.ages, axis=0)
        parts = np.square(self.sums).dot(selection)
        parts *= factors[:, :_PARTS]
        logs = np.log1p(parts[:, : _PARTS // 2] + parts[:, _PARTS // 2 :])
        evidence: Array = logs[:, :1] - logs[:, 1:]
        evidence *= 0.5 * rows
        evidence -= factors[:, _PARTS:]
        return evidence


@functools.cache
def _blocks(rows: int) -> Array:
    """(blocks, rows) 1 where a row belongs to a block: as a product a sum over few rows is cheapest."""
    return np.repeat(np.eye(rows // BLOCK), BLOCK, axis=1)


@functools.cache
def _odds(rows: int, width: int) -> tuple[Array, Array]:
    """What the log likelihood ratio of a process makes of its sums, at each age of 0 .. 256 blocks.

    The first (width, 8) sums squares over [leading, other] directions, once for the null and for each alternative.
    The second (ages, 8 + 3) has the factors of those sums, then the costs of the alternatives. The error of the
    baseline's mean adds to that of the process's, and the covariance is estimated from `rows` rows, which makes
    Gaussian likelihoods those of Student's distribution.
    """
    ages = np.maximum(np.arange(_OLDEST + 1) * float(BLOCK), _FEW)
    size = 1.0 / (1.0 / ages + 1.0 / rows)
    grown = 1.0 + size[:, None, None] * _SHIFTS
    costs = 0.5 * (np.log(grown) * np.array([_LEADING, width - _LEADING])).sum(axis=2)
    null = np.repeat((size / rows)[:, None, None], 2, axis=2)
    factors = np.concatenate((null, size[:, None, None] / grown / rows), axis=1) / np.square(ages)[:, None, None]
    selection = np.zeros((width, _PARTS))
    selection[:_LEADING, : _PARTS // 2] = 1.0
    selection[_LEADING:, _PARTS // 2 :] = 1.0
    return selection, np.hstack((factors[:, :, 0], factors[:, :, 1], costs))


def _standardised(table: Array, center: Array, scale: Array) -> Array:
    """A copy in robust standard deviations, winsorised."""
    result = table - center
    result /= scale
    _winsorise(result, _CLIP)
    return result


def _winsorise(values: Array, limit: float) -> None:
    np.minimum(values, limit, out=values)
    np.maximum(values, -limit, out=values)
