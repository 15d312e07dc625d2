"""Files that verbs write: whole or not at all, and for their owner only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from streams.settings import SettingsError


def check_place(path: Path, option: str = "--output") -> None:
    """Raises `SettingsError` where nothing could be written: before the work, not after."""
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{option}: there is no directory {path.absolute().parent}")
    if path.exists() and not path.is_file():
        raise SettingsError(f"{option}: {path} is a directory or a device; name a file")


def write_whole(path: Path, pieces: Iterable[bytes]) -> int:
    """Write all of `pieces` in the place of `path`, readable by nobody else, and give the size in bytes.

    What is written names who called and may hold what they wrote. Where `pieces` fails, `path` stays as it was.
    """
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=".inferwatch-")
    size_bytes = 0
    try:
        with os.fdopen(descriptor, "wb") as written:
            for piece in pieces:
                size_bytes += written.write(piece)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return size_bytes
