"""The manifest of exported evidence: what was exported, and the SHA-256 of every file. Pure, and strict on reading.

Its bytes are canonical: keys in order, no blanks, printable ASCII, whole numbers only. So the same evidence has the
same manifest, and a manifest in any other form was written by somebody else. No time of an export is in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import msgspec

from streams import strict_json

FORMAT: Final = "inferwatch evidence"
VERSION: Final = 1

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
PUBLIC_KEY: Final = "public_key.pem"
SEAL: Final = (MANIFEST, SIGNATURE, PUBLIC_KEY)
"""The files that vouch for all others."""

MOST_BYTES: Final = 16_000_000
"""Of a manifest that is read: a directory from outside may hold one of any size."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}(\.[a-z0-9]{1,10}){0,2}|README\.md|SHA256SUMS")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ITSELF: Final = "manifest_sha256"


class ManifestError(Exception):
    """It is no manifest of ours as it was written; the message is one line that says why."""


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file: `rows` only of a table."""

    path: str
    sha256: str
    size_bytes: int
    rows: int | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The incident, and when the calls were that were exported with it: microseconds since 1970, before `to_us`."""

    incident_id: str
    revision: int
    state: str
    deployment: str
    from_us: int
    to_us: int


class Texts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether texts of calls were exported, and of how many.

    `gone`: a prompt was seen, whose hash is stored, and is not stored itself. `bare`: neither text nor hash is stored.
    """

    exported: bool
    content_mode: str
    calls: int
    with_text: int
    gone: int
    bare: int
    said: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is signed. `signed_by` is the fingerprint of the key, `schema` the number of the last migration."""

    case: Case
    texts: Texts
    files: tuple[Listed, ...]
    signed_by: str
    product: str
    engine: str
    schema: int
    format: str = FORMAT
    version: int = VERSION

    @property
    def digest(self) -> str:
        """What two exports of the same evidence have in common."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def encoded(self) -> bytes:
        """Its bytes, with the digest of all else in them."""
        rows = msgspec.to_builtins(self)
        return canonical({**rows, _ITSELF: hashlib.sha256(canonical(rows)).hexdigest()}) + b"\n"


def canonical(value: object) -> bytes:
    """JSON in one form only: keys in order, no blanks, printable ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def decoded(data: bytes) -> Manifest:
    """The manifest in `data`. Raises `ManifestError`: it may come from anybody."""
    rows = _strictly(data)
    claimed = rows.pop(_ITSELF, None)
    if claimed != hashlib.sha256(canonical(rows)).hexdigest():
        raise ManifestError("it was edited: it is not what it says it is")
    try:
        manifest = msgspec.convert(rows, Manifest)
    except msgspec.ValidationError as error:
        raise ManifestError(f"it is no manifest of version {VERSION}: {error}") from None
    if manifest.encoded() != data:
        raise ManifestError("it was edited: it is not in the form in which it was written")
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise ManifestError("it is of another format or version; check it with the inferwatch that wrote it")
    _check(manifest.files)
    return manifest


def _strictly(data: bytes) -> dict[str, Any]:
    try:
        rows = strict_json.loads(data.decode("ascii"))
    except ValueError as error:
        raise ManifestError(f"it is not as it was written: {error}") from None
    if not isinstance(rows, dict):
        raise ManifestError("it cannot be read: it is no object")
    return rows


def _check(files: tuple[Listed, ...]) -> None:
    names = [each.path for each in files]
    if len(set(names)) != len(names):
        raise ManifestError("it lists a file twice")
    for each in files:
        # A name from outside is never opened: no directory, no link and no file of the seal.
        if not _NAME.fullmatch(each.path) or each.path in SEAL:
            raise ManifestError("it lists a file under a name that no export gives")
        if not _DIGEST.fullmatch(each.sha256) or each.size_bytes < 0 or (each.rows or 0) < 0:
            raise ManifestError("it lists a file with an impossible digest or size")
