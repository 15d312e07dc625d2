"""The header of a safetensors file, read with the suspicion that its format asks for.

Eight bytes of length, so much JSON, then numbers. Everything that the format forbids is refused by name: a loader that
is more lenient than another would read other weights from the same file.
"""

from __future__ import annotations

from typing import IO, Any

import msgspec

from streams import strict_json

MAX_HEADER_BYTES = 25_000_000
"""The format allows 100 MB; headers of the largest models have a few, and JSON takes ten times its size in memory."""

_SIZES = {
    4: ("F4",),
    6: ("F6_E2M3", "F6_E3M2"),
    8: ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"),
    16: ("U16", "I16", "F16", "BF16"),
    32: ("U32", "I32", "F32"),
    64: ("U64", "I64", "F64", "C64"),
}
_BITS = {dtype: bits for bits, dtypes in _SIZES.items() for dtype in dtypes}
_LENGTH_BYTES = 8


class HeaderError(ValueError):
    """Not what the format allows. The message is one line."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself: `parameters` counts all numbers, `metadata` is free text of whoever wrote it."""

    tensors: int
    parameters: int
    dtypes: tuple[str, ...]
    metadata: dict[str, str]


def read_header(source: IO[bytes], size_bytes: int) -> Header:
    """Read and check the header of a file of that size. Raises `HeaderError`."""
    start = source.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH_BYTES or length > size_bytes - _LENGTH_BYTES:
        raise HeaderError("the header is said to be longer than the file")
    if length > MAX_HEADER_BYTES:
        raise HeaderError(f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are read")
    text = source.read(length)
    if not text.startswith(b"{"):
        raise HeaderError("the header is no JSON object")
    try:
        said = strict_json.loads(text.decode())
    except ValueError as error:
        raise HeaderError(f"the header is no JSON that all readers read alike: {error}") from None
    return _checked(said, size_bytes - _LENGTH_BYTES - length)


def _checked(said: dict[str, Any], data_bytes: int) -> Header:
    metadata = said.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise HeaderError("__metadata__ is no map of texts")
    spans, parameters, dtypes = [], 0, set()
    for name, tensor in said.items():
        begin, end, count = _span(name, tensor)
        spans.append((begin, end))
        parameters += count
        dtypes.add(tensor["dtype"])
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise HeaderError("tensors overlap or leave a hole, in which anything can be hidden")
        reached = end
    if reached != data_bytes:
        raise HeaderError(f"tensors end at byte {reached} of {data_bytes}")
    return Header(tensors=len(said), parameters=parameters, dtypes=tuple(sorted(dtypes)), metadata=metadata)


def _span(name: str, tensor: Any) -> tuple[int, int, int]:
    """Where a tensor lies and how many numbers it has."""
    where = f"tensor {name[:100]!r}"
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"{where} is not described by dtype, shape and data_offsets")
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    if not isinstance(tensor["dtype"], str) or tensor["dtype"] not in _BITS:
        raise HeaderError(f"{where} has an unknown dtype")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004 - begin and end
        raise HeaderError(f"{where} has a shape or offsets that are no counts")
    count = 1
    for each in shape:
        count *= each
        if count >= 1 << 63:
            raise HeaderError(f"{where} is larger than any file")
    begin, end = offsets
    if (end - begin) * 8 != count * _BITS[tensor["dtype"]]:
        raise HeaderError(f"{where} has a shape that does not fit its bytes")
    return begin, end, count


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(each) is int and 0 <= each < 1 << 63 for each in values)
