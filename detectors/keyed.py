"""Numbers in the place of texts, which nobody looks up without the key of the installation."""

from __future__ import annotations

import hashlib


def keyed_hash(value: bytes, key: bytes) -> int:
    """64 bits of BLAKE2b under `key` (at most 64 bytes), as a whole number."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8, key=key).digest(), "little")
