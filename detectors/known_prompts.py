"""Prompts that were asked before: their stored answers, how those vary by themselves, and a round of new ones."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.features import STYLE
from detectors.sketches import BYTES, similarity

Array = npt.NDArray[np.float64]

WIDTH = len(STYLE)

_ANSWERS = 2
_PACKED = "<f4"
_MAX_STYLE = 40.0  # the widest domain in STYLE

_PRIOR = 4.0
_PRIOR_SIMILARITY = 0.3
"""What is assumed of this many repeats: answers at temperature 0 that were all equal may still differ once."""

_TOP = 0.9
"""Quantile of the natural similarities above which one counts as this: a few answers are repeated nearly word by
word, and how many of them a round holds says little."""

_ENOUGH = 8
"""Repeats beyond the first of a prompt from which variation between prompts is told from that within one."""

_MOST_SD = 3.0
"""Standard deviations that one answer may count, so that few of them decide nothing."""

_DIFFERENT_SD = 1.645
DIFFERENT_SHARE = 0.05
"""Part of unchanged answers that count as different, at so many standard deviations below what is expected."""


class Known(msgspec.Struct, kw_only=True, array_like=True):
    """A known prompt: `answers` are up to two stored sketches, `style` their mean style as floats of four bytes.

    `likes` are the similarities of its repeats to the stored ones while natural variation is learned; then
    `alike` is the mean of `repeats` of them. `asked` is whether a canary run asked it, `owner` a hash of who
    brought it otherwise.
    """

    answers: bytes
    style: bytes
    asked: bool
    owner: int
    last_s: float
    likes: list[float] = []
    repeats: int = 0
    alike: float = 0.0

    def likeness(self, sketch: bytes) -> float:
        """Mean similarity of an answer to the stored ones."""
        new = int.from_bytes(sketch, "little")
        stored = [self.answers[start : start + BYTES] for start in range(0, len(self.answers), BYTES)]
        return sum(similarity(new, int.from_bytes(one, "little")) for one in stored) / len(stored)

    def learn(self, sketch: bytes, style: Array) -> Array:
        """Take in one repeat; the move of its style from the stored one."""
        self.likes.append(self.likeness(sketch))
        stored = unpacked(self.style)
        if len(self.answers) < _ANSWERS * BYTES:
            self.answers += sketch
            self.style = packed((stored + style) / 2.0)
        return np.clip(style, 0.0, _MAX_STYLE) - stored


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen natural variation of similarity: `mean`, `variance`, and the part of it that lies `between` prompts.

    Similarities count up to `top`. `prompts` and `repeats` are how much it rests on, `moves` (WIDTH,) the mean
    square by which style moves from one answer to the next.
    """

    top: float
    mean: float
    variance: float
    between: float
    prompts: int
    repeats: int
    moves: np.ndarray

    @classmethod
    def of(cls, known: list[Known], moves: Array) -> Variation:
        """Of all repeats of `known`, which forget them, with the part between prompts by analysis of variance.

        Where no prompt came three times the parts cannot be told apart, and half is taken to lie between them.
        """
        top = float(np.quantile([like for one in known for like in one.likes], _TOP))
        within = 0.0
        for one in known:
            likes = np.minimum(one.likes, top)
            one.repeats, one.alike, one.likes = len(likes), float(likes.mean()), []
            within += float(((likes - one.alike) ** 2).sum())
        repeats = sum(one.repeats for one in known)
        total = sum(one.repeats * one.alike for one in known)
        squares = within + sum(one.repeats * one.alike**2 for one in known)
        prior = min(_PRIOR_SIMILARITY, top)
        mean = (total + _PRIOR * prior) / (repeats + _PRIOR)
        variance = max((squares + _PRIOR * prior**2) / (repeats + _PRIOR) - mean * mean, 1e-4)
        freedom = repeats - len(known)
        between = 1.0 - within / freedom / variance if freedom >= _ENOUGH else 0.5
        return cls(
            top=top,
            mean=mean,
            variance=variance,
            between=min(max(between, 0.05), 0.9),
            prompts=len(known),
            repeats=repeats,
            moves=np.maximum(moves, 1e-6),
        )


class Round(msgspec.Struct, kw_only=True):
    """A running test: sums over its prompts.

    `seen` sums similarity, `expected` what was expected, `lost` the winsorised difference, `variance` its variance.
    `borrowed` sums the weights with which expectations rest on the mean over all prompts, whose error they share;
    `moved` and `squares` (WIDTH,) sum the signed moves of style. `crowd` counts answers by hashed principal.
    """

    start_s: float = 0.0
    keys: dict[int, bool] = {}
    seen: float = 0.0
    expected: float = 0.0
    lost: float = 0.0
    variance: float = 0.0
    borrowed: float = 0.0
    different: int = 0
    moved: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(WIDTH))
    squares: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(WIDTH))
    crowd: dict[int, int] = {}

    def add(self, key: int, variation: Variation, known: Known, sketch: bytes, style: Array) -> None:
        """Take in the answer to one more prompt.

        What is expected of a prompt lies between its own mean and that of all, weighed by how much prompts differ
        (an empirical Bayes estimate); the variance is that of the answer plus the error of the estimate.
        """
        alike = min(known.likeness(sketch), variation.top)
        inside = 1.0 - variation.between
        borrowed = inside / (known.repeats * variation.between + inside)
        expected = borrowed * variation.mean + (1.0 - borrowed) * known.alike
        noise = inside + borrowed**2 * variation.between
        if known.repeats:
            noise += inside * (1.0 - borrowed) ** 2 / known.repeats
        variance = variation.variance * noise
        move = np.maximum(np.minimum(style, _MAX_STYLE), 0.0)
        move -= np.frombuffer(known.style, dtype=_PACKED)
        self.keys[key] = True
        lost = min(max((expected - alike) / math.sqrt(variance), -_MOST_SD), _MOST_SD)
        self.seen += alike
        self.expected += expected
        self.lost += lost * math.sqrt(variance)
        self.variance += variance
        self.borrowed += borrowed
        self.different += alike < expected - _DIFFERENT_SD * math.sqrt(variance)
        self.moved += move
        move *= move
        self.squares += move

    def fallen(self, variation: Variation) -> float:
        """How far similarity fell short of what was expected, in standard deviations of the round."""
        shared = self.borrowed**2 * variation.variance / variation.prompts
        return self.lost / math.sqrt(self.variance + shared)

    def moves(self, variation: Variation) -> Array:
        """(WIDTH,) how far each feature of style moved, in standard deviations.

        Whichever is larger of the round's own spread and the natural one: the first keeps the tails of a sum of
        values that are as likely up as down no heavier than Gaussian, whatever their distribution.
        """
        spread: Array = np.sqrt(np.maximum(self.squares, len(self.keys) * variation.moves))
        return self.moved / spread


def packed(style: Array) -> bytes:
    """A style as floats of four bytes."""
    return np.clip(style, 0.0, _MAX_STYLE).astype(_PACKED).tobytes()


def unpacked(style: bytes) -> Array:
    """What `packed` packed."""
    return np.frombuffer(style, dtype=_PACKED).astype(float)
