"""A directory of a model, or of code: every file hashed, looked at, and summed up in digests of its components."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from streams.attesting.abilities import MAX_SOURCE_BYTES, abilities
from streams.attesting.formats import component
from streams.attesting.inspecting import inspect
from streams.attesting.report import Ability, Attestation, Concern, File, Level, digest, shown
from streams.attesting.walking import ChangedError, Entry, leaves, opened, sha256, survey

_NOT_CODE = frozenset({b".git", b".venv", b"node_modules", b"__pycache__"})
_OTHER_CODE = (
    *(".js", ".mjs", ".cjs", ".ts", ".tsx", ".go", ".rs", ".rb", ".sh", ".java", ".c", ".cpp", ".so", ".pyd", ".dll"),
    *(".dylib", ".pyc", ".pyx", ".wasm", ".pl", ".php", ".ps1", ".bat", ".exe", ".jar"),
)
_CONFIGURATION_BYTES = 4_000_000

Advance = Callable[[int], None]
"""Told how many bytes were hashed since it was last told."""


def attest_model(root: Path, entries: list[Entry], advance: Advance) -> Attestation:
    """Hash and look at a surveyed directory. Raises nothing for what is in it: what cannot be read is a concern."""
    files: list[File] = []
    concerns: list[Concern] = []
    found: list[Ability] = []
    for entry in entries:
        if entry.target is not None:
            files.append(_link(root, entry, concerns))
            continue
        if entry.trouble:
            concerns.append(Concern(level=Level.ALARM, where=entry.path, text=entry.trouble))
            continue
        try:
            files.append(_file(root, entry, advance, concerns, found))
        except (OSError, ChangedError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            concerns.append(Concern(level=Level.ALARM, where=entry.path, text=f"was not hashed: {said}"))
            files.append(File(path=entry.path, size_bytes=entry.size_bytes))
    whole = not any(entry.trouble for entry in entries) and all(each.sha256 for each in files if each.link is None)
    if not entries:
        concerns.append(Concern(level=Level.WARN, where=str(root), text="is empty"))
    lines = _lines(entries, files) if whole else {}
    return Attestation(
        subject="model",
        source=shown(str(root)),
        digest=digest(b"".join(lines.values())) if whole and entries else None,
        components=_components(entries, lines),
        concerns=tuple(concerns),
        files=tuple(files),
        abilities=tuple(found),
    )


def attest_code(root: Path, entries: list[Entry], advance: Advance) -> Attestation:
    """Hash a surveyed directory of code and list what its Python can do."""
    concerns: list[Concern] = []
    found: list[Ability] = []
    hashes: dict[bytes, str] = {}
    unread: list[str] = []
    whole = bool(entries)
    for entry in entries:
        name = entry.path.lower()
        try:
            if entry.target is not None:
                _link(root, entry, concerns)
                hashes[b"/".join(entry.parts)] = f"link {entry.target.hex()}"
            elif entry.trouble:
                raise ChangedError(entry.trouble)  # noqa: TRY301 - as bad as one that changes
            else:
                with opened(root, entry) as descriptor:
                    hashes[b"/".join(entry.parts)] = sha256(descriptor, advance)
                    source = (
                        _beginning(descriptor, MAX_SOURCE_BYTES + 1) if name.endswith((".py", ".pyw", ".pth")) else b""
                    )
                able, about = abilities(entry.path, source)
                found += able
                concerns += about
        except (OSError, ChangedError) as error:
            whole = False
            said = error.strerror if isinstance(error, OSError) else str(error)
            concerns.append(Concern(level=Level.ALARM, where=entry.path, text=f"was not read: {said}"))
        if name.endswith(_OTHER_CODE):
            unread.append(entry.path)
    if unread:
        text = (
            f"{len(unread)} files are no Python source, and nothing is known of what they do: {', '.join(unread[:3])}"
        )
        concerns.append(Concern(level=Level.WARN, where=shown(str(root)), text=text))
    lines = b"".join(hashes[path].encode() + b"  " + _escaped(path) for path in sorted(hashes))
    return Attestation(
        subject="code",
        source=shown(str(root)),
        digest=digest(lines) if whole else None,
        concerns=tuple(concerns),
        abilities=tuple(found),
    )


def surveyed_code(root: Path) -> list[Entry]:
    """What `attest_code` reads of a directory: not its version control nor the environments in it."""
    return survey(root, _NOT_CODE)


def _file(root: Path, entry: Entry, advance: Advance, concerns: list[Concern], found: list[Ability]) -> File:
    with opened(root, entry) as descriptor:
        hashed = sha256(descriptor, advance)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            look = inspect(entry.path, source, entry.size_bytes)
        if entry.parts[-1] == b"config.json":
            look.concerns += _remote_code(entry.path, _beginning(descriptor, _CONFIGURATION_BYTES))
    concerns += look.concerns
    found += look.abilities
    return File(
        path=entry.path,
        size_bytes=entry.size_bytes,
        sha256=hashed,
        format=look.format,
        kind=look.kind,
        imports=look.imports[:50],
        tensors=look.header.tensors if look.header else None,
        parameters=look.header.parameters if look.header else None,
    )


def _link(root: Path, entry: Entry, concerns: list[Concern]) -> File:
    target = shown((entry.target or b"").decode("utf-8", "backslashreplace"))
    if leaves(root, entry):
        text = (
            f"points to {target}, which is outside or missing, and was not followed; attest the directory that holds it"
        )
        concerns.append(Concern(level=Level.ALARM, where=entry.path, text=text))
    return File(path=entry.path, size_bytes=0, link=target)


def _lines(entries: list[Entry], files: list[File]) -> dict[bytes, bytes]:
    """What is hashed, by path: the lines of ``sha256sum``, and for a link where it points."""
    lines = {}
    for entry, file in zip(entries, files, strict=True):
        path = b"/".join(entry.parts)
        said = f"link {entry.target.hex()}" if entry.target is not None else file.sha256 or ""
        lines[path] = said.encode() + b"  " + _escaped(path)
    return dict(sorted(lines.items()))


def _escaped(path: bytes) -> bytes:
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"


def _components(entries: list[Entry], lines: dict[bytes, bytes]) -> dict[str, str]:
    parts: dict[str, list[bytes]] = {}
    paths = {b"/".join(entry.parts): entry.path for entry in entries}
    for path, line in lines.items():
        if (name := component(paths[path])) is not None:
            parts.setdefault(name, []).append(line)
    return {name: digest(b"".join(each)) for name, each in sorted(parts.items())}


def _remote_code(path: str, data: bytes) -> list[Concern]:
    """A configuration that names classes of its own makes a loader run the directory's Python."""
    try:
        said: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return [Concern(level=Level.WARN, where=path, text="is no JSON")]
    if isinstance(said, dict) and said.get("auto_map"):
        text = "auto_map: loaders that trust remote code run Python that it names"
        return [Concern(level=Level.WARN, where=path, text=text)]
    return []


def _beginning(descriptor: int, size_bytes: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    pieces, left = [], size_bytes
    while left and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
