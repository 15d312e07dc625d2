"""The key that signs evidence: Ed25519, in a file that only its owner may read.

The public half is no secret: whoever gets evidence should have its fingerprint from elsewhere, since a key that comes
with the evidence proves only that nothing was changed after somebody, whoever it was, signed it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from streams.settings import Settings, SettingsError

MOST_KEY_BYTES: Final = 10_000
SIGNATURE_BYTES: Final = 64
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm)


def key_path(settings: Settings) -> Path:
    """Where the key is: where the setting says, else beside the data."""
    return settings.evidence_key_path or settings.data_dir / "evidence.key"


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` is."""
    return path.with_name(f"{path.name}.pub")


def make(path: Path) -> Ed25519PublicKey:
    """A new key at `path` and its public half beside it. Raises `SettingsError` where one of both exists already."""
    public = public_path(path)
    for each in (path, public):
        if os.path.lexists(each):
            raise SettingsError(f"{each} exists and is not replaced: what it signed could not be checked any more")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(path, private, 0o600)
        _write_new(public, pem(key.public_key()), 0o644)
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {error.strerror}") from None
    return key.public_key()


def load(path: Path) -> Ed25519PrivateKey:
    """The key at `path`. Raises `SettingsError` where there is none, or where others may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MOST_KEY_BYTES)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no key to sign with; make one with `inferwatch evidence keygen`") from None
    except OSError as error:
        raise SettingsError(f"{path}: the key cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path}: others can read or write the key; chmod 600 it, or make a new one if they did")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path}: it holds no Ed25519 private key in PEM without a password")
    return key


def pem(key: Ed25519PublicKey) -> bytes:
    """The public key as a file."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key(data: bytes) -> Ed25519PublicKey | None:
    """The public key in `data`, which may be anything; `None` where there is none in exactly our form."""
    try:
        key = serialization.load_pem_public_key(data)
    except _UNREADABLE:
        return None
    return key if isinstance(key, Ed25519PublicKey) and pem(key) == data else None


def fingerprint(key: Ed25519PublicKey) -> str:
    """What people compare: SHA-256 of the key's SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def is_signed(data: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` is of `data` by `key`."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def named(text: str) -> Ed25519PublicKey | str:
    """The key a verifier names: its fingerprint, or what is in a file. Raises `SettingsError`."""
    if _FINGERPRINT.fullmatch(text.strip().lower()):
        return text.strip().lower()
    try:
        with Path(text).open("rb") as file:
            data = file.read(MOST_KEY_BYTES)
    except OSError as error:
        raise SettingsError(
            f"--signer: {error.strerror}; name a public key's file, or its fingerprint sha256:..."
        ) from None
    try:
        key = serialization.load_pem_public_key(data)
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(
            "--signer: the file holds no Ed25519 public key in PEM, as `evidence keygen` writes beside it"
        )
    return key


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """The whole file or none, never in the place of another."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
