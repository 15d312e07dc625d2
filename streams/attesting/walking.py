"""A directory as a bounded list of files, read without leaving it and without opening what is no plain file.

Every component of a path is opened with O_NOFOLLOW, beginning at the directory itself: who exchanges a folder for
a link while we read makes a file unreadable, and never makes us read another.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.attesting.report import AttestError, shown

MAX_ENTRIES = 200_000
"""A directory with more is no model; keeps a hostile archive that was unpacked from filling the memory."""

MAX_DEPTH = 64

_CHUNK = 1 << 20
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a directory: a plain file, a link (`target` is what it says), or what is never opened.

    `parts` are the names on the way to it, as bytes: a name need not be text.
    """

    parts: tuple[bytes, ...]
    size_bytes: int = 0
    target: bytes | None = None
    trouble: str = ""

    @property
    def path(self) -> str:
        """The path relative to the directory, for people."""
        return shown(b"/".join(self.parts).decode("utf-8", "backslashreplace"))


class ChangedError(Exception):
    """A file was written to while it was read, so its hash says nothing."""


def survey(root: Path, skip: frozenset[bytes] = frozenset()) -> list[Entry]:
    """Everything under a directory, by path; names in `skip` are left out. Raises `AttestError`."""
    entries: list[Entry] = []
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AttestError(f"{root}: cannot be read as a directory: {error.strerror}") from None
    try:
        for entry in _under(top, (), skip):
            entries.append(entry)
            if len(entries) > MAX_ENTRIES:
                raise AttestError(f"{root}: holds more than {MAX_ENTRIES} entries")
    finally:
        os.close(top)
    return sorted(entries, key=lambda entry: entry.parts)


def _under(directory: int, parts: tuple[bytes, ...], skip: frozenset[bytes]) -> Iterator[Entry]:
    for name in map(os.fsencode, os.listdir(directory)):
        if name in skip:
            continue
        here = (*parts, name)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                yield Entry(parts=here, target=os.readlink(name, dir_fd=directory))
            elif stat.S_ISREG(status.st_mode):
                yield Entry(parts=here, size_bytes=status.st_size)
            elif not stat.S_ISDIR(status.st_mode):
                yield Entry(parts=here, trouble="is no plain file (a device, pipe or socket) and was not opened")
            elif len(here) >= MAX_DEPTH:
                yield Entry(parts=here, trouble=f"lies more than {MAX_DEPTH} folders deep and was not entered")
            else:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                try:
                    yield from _under(inner, here, skip)
                finally:
                    os.close(inner)
        except OSError as error:
            yield Entry(parts=here, trouble=f"cannot be read: {error.strerror}")


@contextmanager
def opened(root: Path, entry: Entry) -> Iterator[int]:
    """A descriptor of a plain file; raises `ChangedError` when the file changes meanwhile, OSError when it is gone."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in entry.parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(entry.parts[-1], _PLAIN, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise ChangedError("became something else than a plain file")
        yield descriptor
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ChangedError("changed while it was read")
    finally:
        os.close(descriptor)


def sha256(descriptor: int, advance: Callable[[int], None]) -> str:
    """The hash of a file in hex, read in pieces from its beginning to the size it had; tells each piece's bytes."""
    left = os.fstat(descriptor).st_size
    hashing = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while left > 0:
        piece = os.read(descriptor, min(left, _CHUNK))
        if not piece:
            raise ChangedError("became shorter while it was read")
        hashing.update(piece)
        left -= len(piece)
        advance(len(piece))
    return hashing.hexdigest()


def leaves(root: Path, entry: Entry) -> bool:
    """Whether a link points out of the directory, or nowhere."""
    folder = Path(os.fsdecode(b"/".join(entry.parts[:-1])))
    try:
        target = (root / folder / os.fsdecode(entry.target or b"")).resolve(strict=True)
    except (OSError, RuntimeError):
        return True
    return not target.is_relative_to(root.resolve())
