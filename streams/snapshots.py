"""A signed, versioned envelope around one subject's detector state.

Layout: ``IWS1``, 8 bytes of key id, 32 bytes of HMAC-SHA256 over all that follows, then msgpack of
`_Body`. Nothing behind the signature is parsed before it is verified: restoring state runs an unpickler,
and a flipped bit in a pickle mostly loads without an error.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable, Mapping

import msgspec

_MAGIC = b"IWS1"
_KEY_ID_BYTES = 8
_MAC_BYTES = 32


class SnapshotRefusedError(Exception):
    """The envelope is not one to trust here; the message says why, for the finding about a cold start."""


class SnapshotOutdatedError(SnapshotRefusedError):
    """It is of another key, release or library, as many others will be: one finding for all of them."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose state it is, where it was learned (the topic and partition of its observations) and how far."""

    topic_id: str
    topic: str
    partition: int
    scope: str
    subject: str
    next_offset: int


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    origin: Origin
    libraries: dict[str, str]
    state: bytes


@functools.lru_cache(maxsize=8)
def key_id(key: bytes) -> bytes:
    """A public name for a key, so that rotation can tell which one signed."""
    return hashlib.blake2b(key, digest_size=_KEY_ID_BYTES, person=b"inferwatch-keyid").digest()


def _signature(key: bytes, body: bytes) -> bytes:
    signing = _signer(key).copy()
    signing.update(body)
    return signing.digest()


@functools.lru_cache(maxsize=8)
def _signer(key: bytes) -> hmac.HMAC:
    """What signs with a key, to be copied: to begin with the key takes longer than to sign a small state."""
    return hmac.new(key, digestmod="sha256")


def seal(origin: Origin, state: bytes, libraries: Mapping[str, str], key: bytes) -> bytes:
    """The envelope of `state`, signed with `key`; `libraries` are the versions that wrote it."""
    body = msgspec.msgpack.encode(_Body(origin=origin, libraries=dict(libraries), state=state))
    return _MAGIC + key_id(key) + _signature(key, body) + body


def unseal(envelope: bytes, origin: Origin, libraries: Mapping[str, str], keys: tuple[bytes, ...]) -> bytes:
    """The state inside, once it is proven to be `origin`'s and written by the same `libraries`.

    `keys` are all accepted keys. Raises `SnapshotRefusedError`.
    """
    start = len(_MAGIC) + _KEY_ID_BYTES
    if len(envelope) < start + _MAC_BYTES or not envelope.startswith(_MAGIC):
        raise SnapshotRefusedError("it is truncated or of another format")
    signer = envelope[len(_MAGIC) : start]
    key = next((each for each in keys if hmac.compare_digest(key_id(each), signer)), None)
    if key is None:
        raise SnapshotOutdatedError("it was signed with a key that is not accepted here")
    mac, body = envelope[start : start + _MAC_BYTES], envelope[start + _MAC_BYTES :]
    if not hmac.compare_digest(_signature(key, body), mac):
        raise SnapshotRefusedError("its signature does not match its content")
    try:
        content = msgspec.msgpack.decode(body, type=_Body)
    except msgspec.MsgspecError:
        raise SnapshotOutdatedError("it has another layout than this release writes") from None
    if content.origin != origin:
        raise SnapshotRefusedError("it belongs to another subject, partition or offset")
    if content.libraries != dict(libraries):
        changed = sorted(
            name for name in {*content.libraries, *libraries} if content.libraries.get(name) != libraries.get(name)
        )
        raise SnapshotOutdatedError(f"it was written by other versions of {', '.join(changed)}")
    return content.state


def resealed(envelope: bytes, change: Callable[[bytes], bytes], keys: tuple[bytes, ...]) -> bytes | None:
    """The envelope with its content changed by `change` and signed again, by the key that had signed it.

    `None` where none of `keys` did: what nobody here vouches for is not to be vouched for now. A change that keeps the
    length of what it replaces keeps the layout.
    """
    start = len(_MAGIC) + _KEY_ID_BYTES
    mac, body = envelope[start : start + _MAC_BYTES], envelope[start + _MAC_BYTES :]
    for key in keys:
        if hmac.compare_digest(envelope[:start], _MAGIC + key_id(key)):
            if not hmac.compare_digest(_signature(key, body), mac):
                return None
            changed = change(body)
            return envelope[:start] + _signature(key, changed) + changed
    return None
