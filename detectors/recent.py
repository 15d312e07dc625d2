"""What was seen lately, in a bounded memory that forgets the oldest half at a time."""

from __future__ import annotations

import msgspec

_BITS = 131_072
_SHIFT = 17
_HELD = 12_000
"""Values in one of the two filters: with three probes one stranger in seventy is taken for known."""

_MASK = _BITS - 1


def _empty() -> bytearray:
    return bytearray(_BITS // 8)


class Recent(msgspec.Struct, kw_only=True):
    """Between 12,000 and 24,000 distinct values, in two Bloom filters that take turns: 32 KiB.

    Values are 64-bit hashes that nobody can choose. Source: Bloom, Space/time trade-offs in hash coding with
    allowable errors (1970).
    """

    held: int = 0
    young: bytearray = msgspec.field(default_factory=_empty)
    old: bytearray = msgspec.field(default_factory=_empty)

    def has(self, value: int) -> bool:
        """Whether `value` was seen lately; from now on it was."""
        young, old = self.young, self.old
        one, two, three = value & _MASK, (value >> _SHIFT) & _MASK, (value >> 2 * _SHIFT) & _MASK
        at, at_two, at_three = one >> 3, two >> 3, three >> 3
        bit, bit_two, bit_three = 1 << (one & 7), 1 << (two & 7), 1 << (three & 7)
        if young[at] & bit and young[at_two] & bit_two and young[at_three] & bit_three:
            return True
        known = old[at] & bit and old[at_two] & bit_two and old[at_three] & bit_three
        young[at] |= bit
        young[at_two] |= bit_two
        young[at_three] |= bit_three
        self.held += 1
        if self.held >= _HELD:
            self.held, self.old, self.young = 0, young, _empty()
        return bool(known)
