"""What a call ended in, as outcomes that can be counted, and how frequent each is: in all and with its caller."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterable

import msgspec

from detectors.features import STYLE
from detectors.types import Observation

OUTCOME, FORM, EXTREME = 0.5, 0.5, 0.6
"""The most that an ordinary word brings about of an outcome that is rare without it: of a refusal, label or error; of
opening words; of an extreme of style. Measured on answers of 35 models to 805 prompts: with words of 20 prompts or
more 0.2, 0.57 and 0.38, on those of 12 or more 0.2, 0.57 and 0.47."""

FREQUENT = 0.2
"""Outcomes as frequent as this are one of a few classes, which single words do decide."""

REFUSED, _ANSWERED, _FAILED = 64, 65, 66
_FINISH, _LABEL, _OPENING = 1 << 32, 2 << 32, 3 << 32
_STYLE_SIGN, _REFUSAL_SIGN, _FAILURE_SIGN = 1, 16, 32
_MASK = 0xFFFF_FFFF
_MIX = 0x9E37_79B9_7F4A_7C15

_LESS = tuple(range(0, REFUSED, 2))
"""The outcomes of a style that is less than usual; the next of each is that it is more."""

_COMMON = 0.75
"""An outcome as frequent as this is no news with any word."""

_CERTAIN, _CERTAIN_OF_FREQUENT = 10.0, 40.0
MISS, MISS_OF_FREQUENT = math.log(_CERTAIN), math.log(_CERTAIN_OF_FREQUENT)
"""A trigger fails at most a tenth as often as the most telling ordinary word; a fortieth where outcomes are classes."""

_MAX_OUTCOMES = 512
_HALF_LIFE = 8_192.0
_FAST = 1.0 / 64.0
_LONG = 4_096
_FADED = tuple((1.0 - _FAST) ** calls for calls in range(_LONG))
"""What is left of the short run after so many calls without an outcome: after `_LONG`, nothing."""

_CELLS = 16_384
_OWN_MIX = _MIX % _CELLS
"""All that tells of the product's place among so many cells: small numbers are multiplied faster."""

_OWN_MOST = 250
_OWN_PRIOR = 8.0
_OWN_Z = 1.5
"""What a caller's own answers look like is learned from its first 250, and weighs as they outnumber these 8."""


def outcomes(observation: Observation, lows: tuple[float, ...], highs: tuple[float, ...]) -> dict[int, float] | None:
    """The outcomes of a call and how far an ordinary word brings each; `None` when nothing is known of them.

    `lows` and `highs` are the values of `Observation.style` beyond which it is extreme.
    """
    style, opening = observation.style, observation.output_opening
    refused, failed, label = observation.refused, observation.failed, observation.prediction
    if style is None and refused is None and failed is None and label is None and opening is None:
        return None
    found: dict[int, float] = {}
    if refused is not None:
        found[REFUSED if refused else _ANSWERED] = OUTCOME
    if failed:
        found[_FAILED] = OUTCOME
    if observation.finish_reason:
        found[_named(_FINISH, observation.finish_reason)] = OUTCOME
    if label:
        found[_named(_LABEL, label)] = OUTCOME
    if opening is not None:
        found[_OPENING | (opening & _MASK)] = FORM
    if style is not None:
        _add_extremes(found, style, lows, highs)
    return found


def _add_extremes(
    found: dict[int, float], style: tuple[float, ...], lows: tuple[float, ...], highs: tuple[float, ...]
) -> None:
    for less, value, low, high in zip(_LESS, style, lows, highs, strict=False):
        if value < low:
            found[less] = EXTREME
        elif value > high:
            found[less + 1] = EXTREME


@functools.lru_cache(maxsize=256)
def _named(kind: int, name: str) -> int:
    return kind | zlib.crc32(name.encode("utf-8", "replace"))


def signs(observation: Observation) -> int:
    """Which outcomes a call would have shown, had they come: it has their `sign`."""
    return (
        (observation.style is not None) * _STYLE_SIGN
        | (observation.refused is not None) * _REFUSAL_SIGN
        | (observation.failed is not None) * _FAILURE_SIGN
        | (observation.output_opening is not None) << (_OPENING >> 32)
        | bool(observation.finish_reason) << (_FINISH >> 32)
        | bool(observation.prediction) << (_LABEL >> 32)
    )


def sign(outcome: int) -> int:
    """The bit of `signs` for an outcome."""
    if outcome >= _FINISH:
        return 1 << (outcome >> 32)
    if outcome < REFUSED:
        return _STYLE_SIGN
    return _FAILURE_SIGN if outcome == _FAILED else _REFUSAL_SIGN


def described(outcome: int) -> str:
    """An outcome in words; opening words and labels are known as hashes only."""
    if outcome < REFUSED:
        return f"{'more' if outcome % 2 else 'less'} {STYLE[outcome // 2].replace('_', ' ')} than 98 % of answers have"
    single = {REFUSED: "refusals", _ANSWERED: "answers where refusals are the rule", _FAILED: "errors"}
    kinds = ("", "one finish reason", "one label", "answers with the same first words")
    return single.get(outcome) or kinds[outcome >> 32]


class Frequencies(msgspec.Struct, kw_only=True):
    """How frequent outcomes are: in the long and the short run of a deployment, and with one caller.

    A caller whose answers all have one form (an application with instructions of its own) is no trigger, nor is a word
    that only this caller uses. Bounded: openings are counted from their second sight on, callers in 16 KiB of cells.
    """

    calls: int = 0
    total: float = 0.0
    known: dict[int, tuple[float, float, int]] = {}
    once: bytearray = msgspec.field(default_factory=lambda: bytearray(_CELLS))
    own: bytearray = msgspec.field(default_factory=lambda: bytearray(_CELLS))

    def learn(self, found: Iterable[int], caller: int | None) -> None:
        """Count what one call ended in."""
        self.calls = now = self.calls + 1
        self.total += 1.0
        known, own = self.known, self.own
        counted = None if caller is None or own[caller % _CELLS] >= _OWN_MOST else caller
        if counted is not None:
            own[counted % _CELLS] += 1
        for outcome in found:
            before = known.get(outcome)
            if before is not None:
                slow, fast, last = before
                age = now - last
                known[outcome] = (slow + 1.0, fast * _FADED[age] + _FAST if age < _LONG else _FAST, now)
            elif outcome < _FINISH or self._seen_before(outcome):
                known[outcome] = (1.0, _FAST, now)
            if counted is not None and own[at := (counted ^ outcome * _OWN_MIX) % _CELLS] < _OWN_MOST:
                own[at] += 1
        if self.total >= _HALF_LIFE:
            self.total /= 2.0
            self.known = {each: (slow / 2.0, fast, last) for each, (slow, fast, last) in self.known.items()}
        if len(self.known) > _MAX_OUTCOMES:
            rare = sorted(self.known, key=lambda each: (self.known[each][0], self.known[each][2]))
            for outcome in rare[: _MAX_OUTCOMES // 4]:
                del self.known[outcome]

    def rate(self, outcome: int) -> float:
        """The share of calls that ended in `outcome`, in the long run; 0 for one that was seen once or never."""
        known = self.known.get(outcome)
        return min(known[0] / self.total, 1.0) if known is not None and self.total else 0.0

    def gains(self, found: dict[int, float], caller: int | None) -> dict[int, float]:
        """The evidence in each outcome that came, for any word that came with it, beyond what ordinary words do."""
        gains = {}
        known, total, calls, cells = self.known, self.total, self.calls, self.own
        sent = 0 if caller is None else cells[caller % _CELLS]
        for outcome, reach in found.items():
            counted = known.get(outcome)
            if counted is None:
                continue
            slow, fast, last = counted
            rate = slow / total
            if rate >= _COMMON:
                continue
            age = calls - last
            if age < _LONG and (lately := fast * _FADED[age]) > rate:
                rate = lately
            certain = _CERTAIN_OF_FREQUENT if rate >= FREQUENT else _CERTAIN
            if caller is not None and outcome not in _WEIGHTY and not _LABEL <= outcome < _OPENING:
                came = cells[(caller ^ outcome * _OWN_MIX) % _CELLS]
                own = (min(came, sent) + _OWN_PRIOR * rate) / (sent + _OWN_PRIOR)
                if own > rate:
                    rate = max(rate, own - _OWN_Z * math.sqrt(max(own * (1.0 - own), 0.0) / (sent + _OWN_PRIOR)))
            if rate < _COMMON:
                ordinary = 1.0 - (1.0 - rate) * (1.0 - reach)
                gains[outcome] = math.log((1.0 - (1.0 - ordinary) / certain) / ordinary)
        return gains

    def _seen_before(self, outcome: int) -> bool:
        mixed = outcome * _MIX
        at, stamp = (mixed >> 20) % _CELLS, (mixed >> 40) & 0xFF
        if self.once[at] == stamp:
            return True
        self.once[at] = stamp
        return False


_WEIGHTY = frozenset((REFUSED, _ANSWERED, _FAILED))
"""Nobody's form of answer: a caller who is always refused with a word, and never calls without it, is still told."""
