"""Record batches made by hand, as no decent client makes them, and a socket that sends them."""

from __future__ import annotations

import gzip
import socket
import struct
import zlib
from collections.abc import Iterator, Sequence

import cramjam
import crc32c

from streams.inflating import GZIP, LZ4, SNAPPY, ZSTD

Header = tuple[bytes, bytes]

COMPRESS = {
    GZIP: gzip.compress,
    SNAPPY: lambda data: bytes(cramjam.snappy.compress_raw(data)),
    LZ4: lambda data: bytes(cramjam.lz4.compress(data)),
    ZSTD: lambda data: bytes(cramjam.zstd.compress(data)),
}
NAMES = {0: "plain", GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}


def varint(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def record(offset_delta: int, value: bytes, headers: Sequence[Header] = ()) -> bytes:
    body = b"\0" + varint(0) + varint(offset_delta) + varint(-1) + varint(len(value)) + value + varint(len(headers))
    for name, held in headers:
        body += varint(len(name)) + name + varint(len(held)) + held
    return varint(len(body)) + body


def batch(payload: bytes, count: int, compression: int = 0, base_offset: int = 0, last: int | None = None) -> bytes:
    """A batch around an inflated or compressed `payload`; `last` is the offset delta it claims to end at."""
    claimed = count - 1 if last is None else last
    after = struct.pack("!hiqqqhii", compression, claimed, 1_763_000_000_000, 1_763_000_000_000, -1, -1, -1, count)
    after += payload
    inner = struct.pack("!ibI", -1, 2, crc32c.crc32c(after)) + after
    return struct.pack("!qi", base_offset, len(inner)) + inner


def compressed(records: Sequence[bytes], compression: int, base_offset: int = 0) -> bytes:
    payload = b"".join(records)
    packed = COMPRESS[compression](payload) if compression else payload
    return batch(packed, len(records), compression, base_offset)


def bomb(size_bytes: int, compression: int = GZIP) -> bytes:
    """One record whose value is `size_bytes` of zeros, and which was never anywhere in full."""
    value_size = varint(size_bytes)
    body_size = 4 + len(value_size) + size_bytes + 1
    first = varint(body_size) + b"\0" + varint(0) + varint(0) + varint(-1) + value_size
    if compression == GZIP:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
        out = squeeze.compress(first)
        for size in _pieces(size_bytes + 1):
            out += squeeze.compress(bytes(size))
        return batch(out + squeeze.flush(), 1, GZIP)
    return batch(_zstd(first, size_bytes + 1), 1, ZSTD)


def _zstd(first: bytes, zeros: int) -> bytes:
    """A frame of run-length blocks: 4 bytes for 128 KiB."""
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x38" + (len(first) << 3).to_bytes(3, "little") + first
    sizes = list(_pieces(zeros, 128 * 1024))
    for number, size in enumerate(sizes):
        frame += (size << 3 | 2 | (number == len(sizes) - 1)).to_bytes(3, "little") + b"\0"
    return frame


def _pieces(total: int, most: int = 1 << 20) -> Iterator[int]:
    while total > 0:
        yield min(total, most)
        total -= most


def send(broker: str, topic: str, partition: int, raw: bytes) -> int:
    """Produce a batch as it is and return its base offset; raises when the broker refuses it."""
    name = topic.encode()
    body = struct.pack("!hhih", 0, 7, 1, 4) + b"test" + struct.pack("!hhi", -1, -1, 30_000)
    body += struct.pack("!ih", 1, len(name)) + name + struct.pack("!iii", 1, partition, len(raw)) + raw
    host, _, port = broker.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(struct.pack("!i", len(body)) + body)
        answer = _exactly(connection, struct.unpack("!i", _exactly(connection, 4))[0])
    at = 4 + 4 + 2 + len(name) + 4
    _, error, offset = struct.unpack_from("!ihq", answer, at)
    if error:
        raise OSError(f"the broker refuses the batch with error {error}")
    return int(offset)


def _exactly(connection: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = connection.recv(size - len(out))
        if not part:
            raise OSError("the broker hung up")
        out += part
    return out
