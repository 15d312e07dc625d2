"""Whether a directory of evidence is what was exported: a line for every file, with nothing but the directory.

The directory may come from anybody. Nothing is followed, loaded or run: names are looked up inside the directory only,
links and pipes are said and not opened, a file of another size than listed is not read, and no name out of a manifest
is opened unless an export could have given it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from streams.evidence import signing
from streams.evidence.manifest import (
    MANIFEST,
    MOST_BYTES,
    PUBLIC_KEY,
    SEAL,
    SIGNATURE,
    Listed,
    Manifest,
    ManifestError,
    decoded,
)

OK, CHANGED, TRUNCATED, REMOVED, ADDED, UNKNOWN = "ok", "changed", "truncated", "removed", "added", "unknown"
"""What became of a file; `UNKNOWN`: nothing can say what it was, because the manifest cannot be read."""

NAMED, INSIDE, ANOTHER, NO_KEY = "named", "inside", "another", "none"
"""Whose key it is: the one that the verifier named, merely the one in the directory, not the one that was named."""

MOST_STRAYS: Final = 1_000
"""Files that were added are listed up to so many; a directory from outside may hold any number."""

_PIECE_BYTES: Final = 1_048_576
_ENDS: Final = {".parquet": (b"PAR1",), ".json": (b"\n]\n", b"\n}\n"), ".md": (b"(end)\n",), "SHA256SUMS": (b"\n",)}
"""How a whole file of each kind ends: what makes a shorter one a cut one."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file, and how that shows."""

    path: str
    status: str
    said: str = ""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be said: `signed` is whether the signature is of this manifest by the key that counts.

    `key` says which key that is, `fingerprint` its own.
    """

    signed: bool
    key: str
    fingerprint: str | None
    manifest: Manifest | None
    lines: tuple[Line, ...]

    @property
    def intact(self) -> bool:
        """Whether everything is as it was when whoever has the key signed it."""
        return self.signed and self.key in {NAMED, INSIDE} and all(each.status == OK for each in self.lines)


def check(
    directory: Path, named: Ed25519PublicKey | str | None = None, progress: Callable[[int], None] = lambda _: None
) -> Checked:
    """Look at everything in `directory`; `progress` is told of bytes as they are read. Raises `OSError`."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Check(folder, progress).run(named)
    finally:
        os.close(folder)


class _Check:
    def __init__(self, folder: int, progress: Callable[[int], None]) -> None:
        self._folder = folder
        self._progress = progress

    def run(self, named: Ed25519PublicKey | str | None) -> Checked:
        seal = {name: self._small(name, most) for name, most in zip(SEAL, (MOST_BYTES, 1_000, 10_000), strict=True)}
        inside = signing.public_key(seal[PUBLIC_KEY] or b"")
        counts, key = _which(inside, named)
        data, signature = seal[MANIFEST], seal[SIGNATURE] or b""
        signed = counts is not None and data is not None and signing.is_signed(data, signature, counts)
        manifest, why = None, ""
        try:
            manifest = None if data is None else decoded(data)
        except ManifestError as error:
            why = str(error)
        lines = [self._seal_line(name) for name in SEAL]
        _blame(lines, manifest, inside, why, signed=signed, signature=signature)
        listed = () if manifest is None else manifest.files
        lines += [self._line(each) for each in listed]
        lines += self._strays({*SEAL, *(each.path for each in listed)}, known=manifest is not None)
        return Checked(
            signed=signed,
            key=key,
            fingerprint=None if counts is None else signing.fingerprint(counts),
            manifest=manifest,
            lines=tuple(lines),
        )

    def _open(self, name: str) -> tuple[int, os.stat_result] | str:
        """A regular file of this directory, or what is in its place."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return ""
        except OSError as error:
            try:
                is_link = stat.S_ISLNK(os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode)
            except OSError:
                is_link = False
            return "a link is in its place; it was not followed" if is_link else f"it cannot be read: {error.strerror}"
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            return "in its place is no regular file"
        return descriptor, state

    def _small(self, name: str, most_bytes: int) -> bytes | None:
        opened = self._open(name)
        if isinstance(opened, str):
            return None
        with os.fdopen(opened[0], "rb") as file:
            data = file.read(most_bytes + 1)
        return data if len(data) <= most_bytes else b""

    def _seal_line(self, name: str) -> Line:
        opened = self._open(name)
        if isinstance(opened, str):
            return Line(path=name, status=CHANGED if opened else REMOVED, said=opened)
        os.close(opened[0])
        return Line(path=name, status=OK)

    def _line(self, listed: Listed) -> Line:
        opened = self._open(listed.path)
        if isinstance(opened, str):
            return Line(path=listed.path, status=CHANGED if opened else REMOVED, said=opened)
        with os.fdopen(opened[0], "rb") as file:
            size_bytes = opened[1].st_size
            if size_bytes != listed.size_bytes:
                sizes = f"{size_bytes:,} bytes of {listed.size_bytes:,}"
                if size_bytes > listed.size_bytes:
                    return Line(path=listed.path, status=CHANGED, said=f"longer: {sizes}")
                file.seek(max(size_bytes - 8, 0))
                ends = next((ends for suffix, ends in _ENDS.items() if listed.path.endswith(suffix)), ())
                cut = not file.read(8).endswith(ends)
                return Line(path=listed.path, status=TRUNCATED if cut else CHANGED, said=f"shorter: {sizes}")
            digest = hashlib.sha256()
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                self._progress(len(piece))
        if digest.hexdigest() != listed.sha256:
            return Line(path=listed.path, status=CHANGED, said="of the same size, with another content")
        rows = "" if listed.rows is None else f"{listed.rows:,} rows, "
        return Line(path=listed.path, status=OK, said=f"{rows}{listed.size_bytes:,} bytes")

    def _strays(self, known_names: set[str], *, known: bool) -> list[Line]:
        strays: list[Line] = []
        more = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name in known_names:
                    continue
                if len(strays) >= MOST_STRAYS:
                    more += 1
                    continue
                kind = "a link" if entry.is_symlink() else "a directory" if entry.is_dir(follow_symlinks=False) else ""
                strays.append(Line(path=entry.name, status=ADDED if known else UNKNOWN, said=kind))
        strays.sort(key=lambda line: line.path)
        if more:
            strays.append(Line(path="...", status=ADDED if known else UNKNOWN, said=f"and {more:,} more"))
        return strays


def _which(
    inside: Ed25519PublicKey | None, named: Ed25519PublicKey | str | None
) -> tuple[Ed25519PublicKey | None, str]:
    """The key that counts, and what it is to the verifier."""
    if named is None:
        return inside, NO_KEY if inside is None else INSIDE
    wanted = named if isinstance(named, str) else signing.fingerprint(named)
    if inside is not None and signing.fingerprint(inside) == wanted:
        return inside, NAMED
    if isinstance(named, str):
        return inside, NO_KEY if inside is None else ANOTHER
    return named, NAMED


def _blame(
    lines: list[Line],
    manifest: Manifest | None,
    inside: Ed25519PublicKey | None,
    why: str,
    *,
    signed: bool,
    signature: bytes,
) -> None:
    """Say of the files of the seal which of them was edited, as far as they give each other away."""

    def say(name: str, said: str) -> None:
        place = SEAL.index(name)
        if lines[place].status == OK:
            lines[place] = Line(path=name, status=CHANGED, said=said)

    if why:
        say(MANIFEST, why)
    if inside is None:
        say(PUBLIC_KEY, "it holds no public key in the form in which it was written")
    elif manifest is not None and signing.fingerprint(inside) != manifest.signed_by:
        say(PUBLIC_KEY, "it is not the key that the manifest names")
    if len(signature) != signing.SIGNATURE_BYTES:
        say(SIGNATURE, f"{len(signature)} bytes; a signature has {signing.SIGNATURE_BYTES}")
    if not signed and all(line.status == OK for line in lines):
        say(SIGNATURE, f"it is no signature of this {MANIFEST} by this key: one of both was replaced")
