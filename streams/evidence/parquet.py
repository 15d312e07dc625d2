"""How many rows a Parquet file has, by its own footer: a count that belongs to the very bytes that were written."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_MARK: Final = b"PAR1"
_TAIL_BYTES: Final = 8
_ROWS: Final = 3
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS: Final = frozenset({4, 5, 6})
_LONG_LIST: Final = 15


class ParquetError(Exception):
    """The file is no whole Parquet file."""


def rows_in(path: Path) -> int:
    """The number of rows of a file that a server of ours wrote. Raises `ParquetError` where it is not whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 2 * _TAIL_BYTES:
            raise ParquetError(f"{path.name}: too short")
        file.seek(size - _TAIL_BYTES)
        length, mark = struct.unpack("<I4s", file.read(_TAIL_BYTES))
        if mark != _MARK or length > size - _TAIL_BYTES:
            raise ParquetError(f"{path.name}: it was cut")
        file.seek(size - _TAIL_BYTES - length)
        footer = file.read(length)
    try:
        return _Reader(footer).rows()
    except IndexError:
        raise ParquetError(f"{path.name}: its footer was cut") from None


class _Reader:
    """As much of Thrift's compact protocol as lies before the number of rows (parquet.thrift, FileMetaData)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def rows(self) -> int:
        field = 0
        while True:
            head = self._byte()
            if head == _STOP:
                raise ParquetError("its footer has no number of rows")
            field = field + (head >> 4) if head >> 4 else self._number()
            if field == _ROWS:
                return self._number()
            self._skip(head & 0x0F)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
                return value
            shift += 7

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, *, inside: bool = False) -> None:  # noqa: C901 - a case for each type of the protocol
        if kind in {_TRUE, _FALSE}:
            self._at += inside  # as a field its value is its type
        elif kind == _BYTE:
            self._at += 1
        elif kind in _NUMBERS:
            self._varint()
        elif kind == _DOUBLE:
            self._at += 8
        elif kind == _BINARY:
            length = self._varint()
            self._at += length
        elif kind in {_LIST, _SET}:
            head = self._byte()
            count = self._varint() if head >> 4 == _LONG_LIST else head >> 4
            for _ in range(count):
                self._skip(head & 0x0F, inside=True)
        elif kind == _STRUCT:
            while head := self._byte():
                if not head >> 4:
                    self._number()
                self._skip(head & 0x0F)
        else:
            raise ParquetError("its footer is of a form that we do not know")
