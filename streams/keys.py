"""The installation's key, and the keys that are derived from it."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path

import msgspec

from streams.settings import Settings, SettingsError

_log = logging.getLogger(__name__)

_LEAST_KEY_CHARS = 32


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """One key a purpose, 32 bytes each: knowing one gives none of the others away."""

    pseudonyms: bytes
    hashes: bytes
    snapshots: bytes


def load_keys(settings: Settings) -> Keys:
    """The keys of `settings`, or those of a key file that is made once next to the data, with a warning.

    Raises `OSError` when the file cannot be read or made, `SettingsError` when it holds no key or others may read it.
    """
    keys = derive(settings.key or _own_key(settings.data_dir / "key"))
    if settings.snapshot_key is None:
        return keys
    return msgspec.structs.replace(keys, snapshots=derive(settings.snapshot_key).snapshots)


def present_keys(settings: Settings) -> Keys | None:
    """The keys of `settings` or of the key file; `None`, and no file made, where there are none to be read."""
    try:
        return derive(settings.key or _read(settings.data_dir / "key"))
    except (OSError, SettingsError):
        return None


def snapshot_keys(settings: Settings, keys: Keys) -> tuple[bytes, ...]:
    """The key that signs snapshots, then all others whose signatures are still accepted."""
    previous = [key for key in (settings.previous_keys or "").split(",") if key]
    return keys.snapshots, *(derive(key).snapshots for key in previous)


def derive(key: str) -> Keys:
    """All keys from the installation's."""

    def for_purpose(purpose: bytes) -> bytes:
        root = hashlib.sha256(key.encode()).digest()
        return hashlib.blake2b(b"", digest_size=32, key=root, person=purpose).digest()

    return Keys(
        pseudonyms=for_purpose(b"iw-pseudonyms"),
        hashes=for_purpose(b"iw-hashes"),
        snapshots=for_purpose(b"iw-snapshots"),
    )


def _read(path: Path) -> str:
    """The key in a file; a file cut short by a crash must not become a key that anybody can guess."""
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path}: it can be read or written by others; chmod 600 it, or delete it for a new key")
    text = path.read_bytes().decode("ascii", "replace").strip()
    if len(text) < _LEAST_KEY_CHARS:
        raise SettingsError(
            f"{path}: it holds no key of {_LEAST_KEY_CHARS} characters or more; restore it or delete it"
        )
    return text


def _own_key(path: Path) -> str:
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(32)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask took away
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
        _log.warning("no key is set: made one in %s; back it up, pseudonyms cannot be linked without it", path)
    except FileExistsError:
        made = _read(path)
    finally:
        draft.unlink()
    return made
