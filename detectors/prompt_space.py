"""Where a prompt lies among what people ask: a bounded feature space of its writing, and how usual the place is.

Coordinates are shares of kinds of characters and of function words, whitened on prompts that people wrote, so that a
distance of one is about one person's spread. Nothing of a text's content can be read from them. A mixture of Gaussians
over the same prompts says how usual a place is: what a sweep of one kind of question crowds, people seldom visit.
The reference is fitted by `tests/quality/people.py`. Cost: about 7 us a prompt in a batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

DIMENSIONS = 12
STEPS = 31.0
"""Steps of one whitened unit: coordinates are kept within four units as whole numbers of -124 to 124."""

LOG_STEPS = 4.0
"""Steps of one nat of `usual`, which is kept within -30 and 30 nats."""

_UNITS = 4.0
_LEAST, _MOST = -30.0, 30.0
_MAX_BYTES = 1_024
_PART = 256
"""Prompts that are multiplied at once: for more OpenBLAS wakes threads, which spin longer than they work."""

_CHARACTERS = (
    b"abcdefghijklm",
    b"nopqrstuvwxyz",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"0123456789",
    b" \t",
    b"\r\n",
    b",",
    b".",
    b"?",
    b"!:;",
    b"'\"`",
    b"()[]{}",
    b"*#_|~<>=+/\\&%$@^",
    b"-",
    bytes(range(128, 256)),
)
_WORDS = (
    b"what which who where when why how whose",
    b"a an the",
    b"i me my we our us mine",
    b"you your",
    b"he she they his him her them their it its",
    b"is are was were be been am being",
    b"do does did have has had can could will would should may might must",
    b"of in on at for from to with by about into over between after before",
    b"and or but if then than so because while",
    b"write give make create explain generate list describe tell provide find identify name suggest please help show",
    b"many much more most each every all some any number total",
    b"not no never without",
)


def _character_table() -> bytes:
    """The kind of each byte; control characters are of the last kind."""
    table = bytearray([len(_CHARACTERS)] * 256)
    for kind, members in enumerate(_CHARACTERS):
        for each in members:
            table[each] = kind
    return bytes(table)


_TABLE = _character_table()
_KINDS = len(_CHARACTERS) + 1
_OTHER_WORD = len(_WORDS)
WORD_KINDS = len(_WORDS) + 1
"""Kinds of words, the last for all others."""

_KIND_OF = {
    word + mark: kind
    for kind, words in enumerate(_WORDS)
    for word in words.split()
    for mark in (b"", b",", b".", b"?", b"!", b":", b";")
}


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """How people write: `center` and `axes` whiten the raw features, the rest is a mixture of diagonal Gaussians."""

    center: list[float]
    axes: list[list[float]]
    weights: list[float]
    means: list[list[float]]
    variances: list[list[float]]


@functools.cache
def reference() -> Reference:
    """The shipped reference."""
    data = resources.files("detectors").joinpath("pinned", "people.json").read_bytes()
    return msgspec.json.decode(data, type=Reference)


def kind_of(word: bytes) -> int:
    """The kind of a case-folded word, 0 to `WORD_KINDS` - 1."""
    return _KIND_OF.get(word, _OTHER_WORD)


def raw(prompts: Sequence[str], kinds: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Shape (prompts, features): log size, and roots of shares of characters and of words by kind.

    `kinds` counts the first words of each prompt by kind. A root makes the noise of a share the same at any level.
    """
    encoded = [prompt[:_MAX_BYTES].encode("utf-8", "replace")[:_MAX_BYTES] for prompt in prompts]
    sizes = np.array([len(each) for each in encoded])
    characters = histograms(np.frombuffer(b"".join(encoded).translate(_TABLE), dtype=np.uint8), sizes, _KINDS)
    lengths = np.array([len(prompt) for prompt in prompts])
    return np.column_stack(
        [
            np.log1p(lengths),
            np.sqrt(characters / np.maximum(sizes, 1)[:, None]),
            np.sqrt(kinds / np.maximum(kinds.sum(axis=1), 1)[:, None]),
        ]
    )


def histograms(kinds: npt.NDArray[np.integer], sizes: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """(len(sizes), width) counts of consecutive stretches of `kinds`."""
    rows = np.repeat(np.arange(len(sizes)) * width, sizes)
    return np.bincount(rows + kinds, minlength=len(sizes) * width).reshape(len(sizes), width)


class _Arrays(NamedTuple):
    """A reference as arrays; `squares`, `lines` and `constants` of the mixture are for densities multiplied out."""

    center: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    lines: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    constants: npt.NDArray[np.float64]


def _arrays(people: Reference) -> _Arrays:
    variances, means = np.array(people.variances), np.array(people.means)
    precise = 1.0 / variances
    return _Arrays(
        center=np.array(people.center),
        axes=np.array(people.axes),
        squares=precise.T,
        lines=(means * precise).T,
        ends=(means * means * precise).sum(axis=1),
        constants=np.log(people.weights) - 0.5 * np.log(2.0 * math.pi * variances).sum(axis=1),
    )


@functools.cache
def _shipped() -> _Arrays:
    """The shipped reference, unpacked once a process."""
    return _arrays(reference())


def whitened(features: npt.NDArray[np.float64], people: Reference) -> npt.NDArray[np.float64]:
    """Raw features as coordinates within `_UNITS`: shape (prompts, DIMENSIONS)."""
    return _whitened(features, np.array(people.center), np.array(people.axes))


def _whitened(
    features: npt.NDArray[np.float64], center: npt.NDArray[np.float64], axes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    points: npt.NDArray[np.float64] = (features - center) @ axes
    return points.clip(-_UNITS, _UNITS)


def usual(points: npt.NDArray[np.float64], people: Reference) -> npt.NDArray[np.float64]:
    """The log density of people's prompts at each of `points`, nats."""
    return _usual(points, _arrays(people))


def _usual(points: npt.NDArray[np.float64], people: _Arrays) -> npt.NDArray[np.float64]:
    # (x - m)^2 / v, multiplied out: one matrix product each instead of an array of points by Gaussians by dimensions.
    squares = (points * points) @ people.squares - 2.0 * points @ people.lines + people.ends
    each = people.constants - 0.5 * squares
    highest = each.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(each - highest).sum(axis=1)) + highest[:, 0])


def places(prompts: Sequence[str], kinds: npt.NDArray[np.integer]) -> list[bytes]:
    """For each prompt its coordinates in steps and `usual` there in its steps: DIMENSIONS + 1 signed bytes.

    `kinds` are as for `raw`.
    """
    parts = range(0, len(prompts), _PART)
    return [place for at in parts for place in _places(prompts[at : at + _PART], kinds[at : at + _PART])]


def _places(prompts: Sequence[str], kinds: npt.NDArray[np.integer]) -> list[bytes]:
    people = _shipped()
    points = _whitened(raw(prompts, kinds), people.center, people.axes)
    width = DIMENSIONS + 1
    rows = np.empty((len(prompts), width))
    np.multiply(points, STEPS, out=rows[:, :DIMENSIONS])
    np.multiply(_usual(points, people).clip(_LEAST, _MOST), LOG_STEPS, out=rows[:, DIMENSIONS])
    steps = np.rint(rows).astype(np.int8).tobytes()
    return [steps[at : at + width] for at in range(0, len(steps), width)]
