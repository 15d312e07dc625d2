"""Words seen with an outcome of a call, and which of them were seen with it before: one byte of memory for each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

_CELLS = 65_536
_STAMP, _PATIENCE = 0xFC, 3
"""One byte for each word and outcome: the word of every two-hundredth call is met again in time. Two bits count the
times that a word must be seen again after it was turned away."""

_BATCH = 16
"""Calls whose words knock together: in arrays that costs a fifth."""

_PLACE_BITS, _STAMP_BITS = 20, 38
_MIX_ARRAY, _SALT_ARRAY = np.uint64(0x9E37_79B9_7F4A_7C15), np.uint64(0xC2B2_AE3D_27D4_EB4F)
_PLACE_ARRAY, _STAMP_ARRAY = np.uint64(_PLACE_BITS), np.uint64(_STAMP_BITS)
_LAST_CELL = _CELLS - 1


class Knocks(msgspec.Struct, kw_only=True):
    """Lets a word with an outcome in at its second sight; what is turned away has to knock four times more."""

    cells: bytearray = msgspec.field(default_factory=lambda: bytearray(_CELLS))
    waiting: list[tuple[bytes, list[int]]] = msgspec.field(default_factory=list)

    def knock(self, packed: bytes, outcomes: list[int]) -> list[tuple[int, int, int]]:
        """Every word of a call with every outcome of it; for whole batches those that were met before.

        Each is a word, an outcome and the name of both, of 64 bits.
        """
        self.waiting.append((packed, outcomes))
        return self._let_in() if len(self.waiting) >= _BATCH else []

    def turn_away(self, names: Iterable[int]) -> None:
        """Make them wait."""
        cells = self.cells
        for name in names:
            cells[(name >> _PLACE_BITS) & _LAST_CELL] = (name >> _STAMP_BITS) & _STAMP | _PATIENCE

    def _let_in(self) -> list[tuple[int, int, int]]:
        waiting, self.waiting = self.waiting, []
        endings: list[int] = []
        packed: list[bytes] = []
        sizes: list[int] = []
        for each, ended in waiting:
            count = len(ended)
            endings += ended
            packed += [each] * count
            sizes += [len(each) >> 2] * count
        salts = np.array(endings, dtype=np.uint64)
        salts *= _SALT_ARRAY
        words = np.frombuffer(b"".join(packed), dtype="<u4")
        names = words ^ salts.repeat(sizes)
        names *= _MIX_ARRAY
        places = (names >> _PLACE_ARRAY).astype(np.uint16)  # as many as there are cells
        stamps = (names >> _STAMP_ARRAY).astype(np.uint8)
        stamps &= _STAMP
        cells = np.frombuffer(self.cells, dtype=np.uint8)
        held = cells.take(places)
        # Where the stamp is the same, the times that are left to wait are what differs: 0 to 3.
        left = held ^ stamps
        known = (left == 0).nonzero()[0]
        left -= 1
        held -= 1
        cells[places] = np.where(left < _PATIENCE, held, stamps)
        if not known.size:
            return []
        owners = np.add.accumulate(sizes).searchsorted(known, "right").tolist()
        return list(zip(words[known].tolist(), [endings[at] for at in owners], names[known].tolist(), strict=True))
