"""Installed packages against a lock, and every file against the RECORD of the package that brought it.

A RECORD is written by the installer beside the files: who can change files can change it too. Therefore each package
has a digest over the hashes of its files that does not depend on where it was installed: compare it with that of a
clean installation.
"""

from __future__ import annotations

import base64
import binascii
import csv
import importlib.metadata
import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from streams.attesting.abilities import abilities
from streams.attesting.locks import Locked, normalized
from streams.attesting.report import Attestation, AttestError, Concern, Level, Package, digest, shown
from streams.attesting.walking import ChangedError, Entry, opened, sha256, survey

MAX_RECORD_BYTES = 64_000_000

_INSTALLERS = frozenset({"pip", "setuptools", "wheel", "uv"})
_OWN_OF_INSTALLER = ("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json", "/uv_cache.json", "/uv_build.json")
_IMPORTED = (".py", ".so", ".pth", ".pyd", ".pyc", ".dylib", ".dll")
_AT_START = ("sitecustomize.py", "usercustomize.py")

Advance = Callable[[int], None]


class _Recorded(msgspec.Struct, frozen=True):
    """A line of a RECORD: path relative to the directory, and SHA-256 in hex, or none."""

    path: str
    sha256: str


def attest_packages(site: Path, locked: dict[str, Locked], entries: list[Entry], advance: Advance) -> Attestation:
    """Check a surveyed directory of installed packages. Raises `AttestError` when there are none."""
    present = {posixpath.join(*map(os.fsdecode, entry.parts)): entry for entry in entries}
    concerns: list[Concern] = []
    packages: dict[str, Package] = {}
    installed: list[tuple[str, str, list[_Recorded]]] = []
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        said = distribution.metadata["Name"]
        if not said:
            concerns.append(Concern(level=Level.ALARM, where=str(site), text="a package without a name is installed"))
            continue
        name = normalized(shown(said))
        concerns += _compared(name, distribution.version, distribution.read_text("direct_url.json"), locked)
        installed.append((name, distribution.version, list(_recorded(name, distribution, concerns))))
    owners = {each.path: name for name, _, recorded in installed for each in recorded}
    disk = _Disk(
        site, present, {(each.path, each.sha256): name for name, _, those in installed for each in those}, advance
    )
    for name, version, recorded in installed:
        if name in packages:
            concerns.append(
                Concern(level=Level.ALARM, where=name, text="is installed twice; which is imported is open")
            )
        for each in recorded:
            concerns += disk.check(name, each)
        packages[name] = _package(name, version, recorded, disk.hashes)
    if not packages:
        raise AttestError(f"{site}: no packages are installed there")
    for name, lock in locked.items():
        if name not in packages and not lock.conditional:
            concerns.append(Concern(level=Level.WARN, where=name, text=f"{lock.version} is locked and not installed"))
    concerns += _unowned(present, owners)
    concerns += _run_at_start(site, present, owners)
    lines = "".join(f"{each.name}=={each.version} {each.digest}\n" for _, each in sorted(packages.items()))
    return Attestation(
        subject="packages",
        source=shown(str(site)),
        digest=digest(lines.encode()),
        components={"package_set": digest(lines.encode())},
        concerns=tuple(concerns),
        packages=tuple(each for _, each in sorted(packages.items())),
    )


def surveyed_packages(site: Path) -> list[Entry]:
    """What lies in a directory of installed packages, without the bytecode that Python itself caches."""
    return survey(site, frozenset({b"__pycache__"}))


def _package(name: str, version: str, recorded: list[_Recorded], hashes: dict[str, str]) -> Package:
    """A package with a digest over what its files are now, not over what its RECORD says of them."""
    lasting = sorted(
        f"{hashes.get(each.path, 'unread')}  {each.path}\n"
        for each in recorded
        if each.sha256 and not each.path.startswith(("..", "/")) and not each.path.endswith(_OWN_OF_INSTALLER)
    )
    said = "".join(lasting).encode("utf-8", "backslashreplace")
    return Package(name=name, version=shown(version), files=len(recorded), digest=digest(said))


def _recorded(name: str, distribution: importlib.metadata.Distribution, concerns: list[Concern]) -> Iterator[_Recorded]:
    text = distribution.read_text("RECORD")
    if text is None or len(text) > MAX_RECORD_BYTES:
        concerns.append(
            Concern(level=Level.WARN, where=name, text="has no RECORD that can be read: nothing to check by")
        )
        return
    try:
        for row in csv.reader(text.splitlines()):
            if row:
                yield _Recorded(posixpath.normpath(row[0].replace("\\", "/")), _hex(row[1] if len(row) > 1 else ""))
    except (csv.Error, ValueError, binascii.Error):
        concerns.append(Concern(level=Level.ALARM, where=name, text="its RECORD is damaged"))


def _hex(said: str) -> str:
    """The hash of a RECORD, which is urlsafe base64 without padding, in hex; other algorithms than SHA-256 are none."""
    algorithm, _, value = said.partition("=")
    if algorithm != "sha256":
        return ""
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()


def _compared(name: str, version: str, direct: str | None, locked: dict[str, Locked]) -> Iterator[Concern]:
    """An installed version against the lock."""
    lock = locked.get(name)
    if lock is None:
        level = Level.WARN if name in _INSTALLERS else Level.ALARM
        yield Concern(level=level, where=name, text=f"{shown(version)} is installed and not in the lock")
        return
    if lock.version != version:
        yield Concern(level=Level.ALARM, where=name, text=f"{shown(version)} is installed, {lock.version} is locked")
    if not lock.hashes:
        yield Concern(level=Level.WARN, where=name, text="the lock has no hash of it")
    if direct is not None:
        try:
            said = msgspec.json.decode(direct)
            value = said.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        except (msgspec.DecodeError, AttributeError, RecursionError):
            said, value = {}, ""
        if f"sha256:{value}" not in lock.hashes:
            yield Concern(level=Level.ALARM, where=name, text="was installed from an address of its own, not as locked")


class _Disk:
    """The files as they are: `hashes` are those that were read, by path; `brought` says who recorded which hash."""

    def __init__(
        self, site: Path, present: dict[str, Entry], brought: dict[tuple[str, str], str], advance: Advance
    ) -> None:
        self._site = site
        self._present = present
        self._brought = brought
        self._advance = advance
        self.hashes: dict[str, str] = {}

    def check(self, name: str, recorded: _Recorded) -> Iterator[Concern]:
        """One recorded file: is it there, and is it still what was installed?"""
        where = shown(f"{name}: {recorded.path}")
        root, entry = self._site, self._present.get(recorded.path)
        if "__pycache__" in recorded.path.split("/"):
            return
        if recorded.path.startswith(("..", "/")):
            root, entry = _beside(self._site, recorded.path)
            if entry is None:
                yield Concern(level=Level.WARN, where=where, text="lies outside the environment and was not checked")
                return
        if entry is None:
            yield Concern(level=Level.WARN, where=where, text="was installed and is gone")
        elif entry.target is not None or entry.trouble:
            yield Concern(level=Level.ALARM, where=where, text=entry.trouble or "is now a link, which was not followed")
        elif recorded.sha256:
            yield from self._compare(where, root, entry, recorded)

    def _compare(self, where: str, root: Path, entry: Entry, recorded: _Recorded) -> Iterator[Concern]:
        try:
            with opened(root, entry) as descriptor:
                found = sha256(descriptor, self._advance)
        except FileNotFoundError:
            yield Concern(level=Level.WARN, where=where, text="was installed and is gone")
            return
        except (OSError, ChangedError) as error:
            yield Concern(level=Level.ALARM, where=where, text=f"cannot be read: {shown(str(error))}")
            return
        self.hashes[recorded.path] = found
        if found != recorded.sha256:
            other = self._brought.get((recorded.path, found))
            text = f"was overwritten by {other}" if other else "is not what was installed"
            yield Concern(level=Level.ALARM, where=where, text=text)


def _beside(site: Path, path: str) -> tuple[Path, Entry | None]:
    """A file beside the packages (``../../../bin/tool``), where it lies in the same virtual environment."""
    prefix = site.resolve().parents[2] if len(site.resolve().parents) > 2 else site  # noqa: PLR2004 - lib/pythonX/site-packages
    absolute = posixpath.normpath(posixpath.join(str(site.resolve()), path))
    if not (prefix / "pyvenv.cfg").is_file() or not absolute.startswith(f"{prefix}/"):
        return site, None
    return prefix, Entry(parts=tuple(os.fsencode(each) for each in absolute[len(str(prefix)) + 1 :].split("/")))


def _unowned(present: dict[str, Entry], owners: dict[str, str]) -> Iterator[Concern]:
    """Files that no package brought."""
    for path, entry in sorted(present.items()):
        if path not in owners and path.endswith(_IMPORTED):
            yield Concern(level=Level.ALARM, where=entry.path, text="can be imported and belongs to no package")


def _run_at_start(site: Path, present: dict[str, Entry], owners: dict[str, str]) -> Iterator[Concern]:
    """What every start of Python runs: lines of .pth files that begin with import, and two modules of fixed names."""
    for path, entry in sorted(present.items()):
        if "/" in path or not path.endswith((".pth", *_AT_START)) or entry.target is not None or entry.trouble:
            continue
        by = owners.get(path, "no package")
        if path in _AT_START:
            yield Concern(level=Level.WARN, where=entry.path, text=f"runs at every start of Python; brought by {by}")
            continue
        try:
            with opened(site, entry) as descriptor:
                lines = os.read(descriptor, 1 << 20).splitlines()
        except (OSError, ChangedError):
            lines = []
        for line in lines:
            if line.startswith((b"import ", b"import\t")):
                able, about = abilities(entry.path, line)
                what = ", ".join(sorted({each.ability for each in able})) or "imports only"
                text = f"runs at every start of Python ({what}); brought by {by}"
                yield Concern(level=Level.WARN, where=entry.path, text=text)
                yield from about
