"""An evenly spaced sample of rows of bounded size, which spans longer when asked to."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.novelty import robust_scale

Array = npt.NDArray[np.float64]

ROWS = 504
"""Rows of a full sample."""

_HEAD = 36
"""Rows after which a provisional scale is known and rows are packed as half floats of it."""

_PACKED = "<f2"
_MAX_PACKED = 2_000.0

_UNKNOWN = -9e99
"""Stands for NaN while rows wait; beyond any number of `tabular`."""


class RowSample(msgspec.Struct, kw_only=True):
    """Every `stride`-th row, up to `ROWS`. State: 2 bytes a value, so 32 KB at 32 columns."""

    stride: int = 1
    passed: int = 0
    count: int = 0
    head: list[list[float]] = msgspec.field(default_factory=list)
    center: np.ndarray | None = None
    scale: np.ndarray | None = None
    packed: bytes = b""

    @property
    def full(self) -> bool:
        """Whether no further row is taken."""
        return self.count >= ROWS

    def add(self, table: Array) -> None:
        """Take rows of (rows, width), each finite or NaN, in order."""
        taken = []
        for index in range(len(table)):
            if self.passed == 0 and not self.full:
                taken.append(index)
                self.count += 1
            self.passed = (self.passed + 1) % self.stride
        if not taken:
            return
        rows = table[taken]
        if self.center is None or self.scale is None:
            # A NaN is no state that can be compared.
            self.head += np.where(np.isnan(rows), _UNKNOWN, rows).tolist()
            if len(self.head) < _HEAD:
                return
            rows = np.array(self.head)
            rows[rows == _UNKNOWN] = np.nan
            self.head = []
            self.center, self.scale = robust_scale(rows)
        self.packed += np.clip((rows - self.center) / self.scale, -_MAX_PACKED, _MAX_PACKED).astype(_PACKED).tobytes()

    def table(self) -> Array:
        """The rows of a full sample, (ROWS, width)."""
        if self.center is None or self.scale is None:
            return np.zeros((0, 0))
        rows = np.frombuffer(self.packed, dtype=_PACKED).astype(float).reshape(self.count, len(self.center))
        table: Array = rows * self.scale + self.center
        return table

    def thin(self) -> None:
        """Drop every second row, and take only every second of those that would have come."""
        if self.center is None:
            return
        rows = np.frombuffer(self.packed, dtype=_PACKED).reshape(self.count, len(self.center))
        self.packed = rows[::2].tobytes()
        self.count = (self.count + 1) // 2
        self.stride *= 2
        self.passed = 0
