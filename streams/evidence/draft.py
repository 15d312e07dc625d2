"""A directory that appears whole or not at all: it is made beside its place, under another name, and moved there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.evidence.manifest import Listed
from streams.settings import SettingsError


class Draft:
    """The files as they are written, each listed with the SHA-256 of what was meant to be in it."""

    def __init__(self, path: Path) -> None:
        """`path` is a directory that exists and is empty."""
        self.path = path
        self.files: list[Listed] = []

    def write(self, name: str, pieces: Iterable[bytes], count: Callable[[Path], int] | None = None) -> Listed:
        """A file of `pieces` that is durable when this returns; `count` says how many rows it has."""
        digest, size_bytes = hashlib.sha256(), 0
        file_path = self.path / name
        with os.fdopen(os.open(file_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in pieces:
                digest.update(piece)
                size_bytes += len(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        rows = None if count is None else count(file_path)
        listed = Listed(path=name, sha256=digest.hexdigest(), size_bytes=size_bytes, rows=rows)
        self.files.append(listed)
        return listed


@contextmanager
def drafted(place: Path) -> Iterator[Draft]:
    """A draft that becomes `place` when all went well, and is gone otherwise. Raises `SettingsError`."""
    refuse_taken(place)
    try:
        made = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.partial-"))
    except OSError as error:
        raise SettingsError(f"--output: nothing can be written to {place.parent}: {error.strerror}") from None
    try:
        yield Draft(made)
        _sync(made)
        refuse_taken(place)
        made.rename(place)
        _sync(place.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def refuse_taken(place: Path) -> None:
    """Raises `SettingsError` where `place` cannot become a directory of ours."""
    if os.path.lexists(place):
        raise SettingsError(f"--output: {place} exists; an export is never mixed into one: name another directory")
    if not place.parent.is_dir():
        raise SettingsError(f"--output: there is no directory {place.parent}")


def left_over(place: Path) -> list[Path]:
    """What exports to `place` that were killed have left beside it."""
    return sorted(each for each in place.parent.iterdir() if each.name.startswith(f".{place.name}.partial-"))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
