"""Compressed bytes to plain ones, up to a limit: a megabyte may inflate to gigabytes, and a sender chooses it."""

from __future__ import annotations

import struct

import cramjam
import msgspec

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
"""Kafka's numbers of the compressions of a record batch."""

_INTO = {GZIP: cramjam.gzip.decompress_into, LZ4: cramjam.lz4.decompress_into, ZSTD: cramjam.zstd.decompress_into}
_FULL = "failed to write whole buffer"
"""What cramjam says when there is more than fits; any other error means damage."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class InflateError(Exception):
    """Never will: the bytes are damaged, or of no compression that Kafka knows."""


class Inflated(msgspec.Struct, frozen=True):
    """The first bytes of what was compressed; `whole` when there are no more."""

    data: bytes
    whole: bool


def inflate(compression: int, data: bytes, limit: int) -> Inflated:
    """Inflate `data`, to at most `limit` bytes. Raises `InflateError`.

    Costs the bytes that come out; nothing beyond `limit` is ever held (zstd: and a window of up to 128 MB).
    """
    if compression == SNAPPY:
        return _snappy(data, limit)
    into = _INTO.get(compression)
    if into is None:
        raise InflateError(f"compression {compression} is not known")
    size = min(max(16 * len(data), 65_536), limit)
    while True:
        room = bytearray(size)
        try:
            written = into(data, room)
        except (cramjam.DecompressionError, ValueError, OSError) as error:
            if _FULL not in str(error):
                raise InflateError(f"damaged: {str(error)[:100]}") from None
            if size == limit:
                return Inflated(bytes(room), whole=False)
            size = min(16 * size, limit)
            continue
        return Inflated(bytes(memoryview(room)[:written]), whole=True)


def _snappy(data: bytes, limit: int) -> Inflated:
    """Raw, or in the blocks of xerial's stream; a block says how long it will be, so none is inflated in vain."""
    blocks = _xerial_blocks(data) if data.startswith(_XERIAL_MAGIC) else [data]
    out = bytearray()
    for block in blocks:
        try:
            if len(out) + cramjam.snappy.decompress_raw_len(block) > limit:
                return Inflated(bytes(out), whole=False)
            out += cramjam.snappy.decompress_raw(block)
        except (cramjam.DecompressionError, ValueError, OSError) as error:
            raise InflateError(f"damaged: {str(error)[:100]}") from None
    return Inflated(bytes(out), whole=True)


def _xerial_blocks(data: bytes) -> list[bytes]:
    blocks = []
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        if at + 4 > len(data):
            raise InflateError("damaged: a block without a length")
        (size,) = struct.unpack_from("!i", data, at)
        if size < 0 or at + 4 + size > len(data):
            raise InflateError("damaged: a block beyond the end")
        blocks.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return blocks
