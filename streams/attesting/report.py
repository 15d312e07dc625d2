"""What an attestation says: digests of components, what they are made of, and what a person must look at."""

from __future__ import annotations

import enum
import hashlib

import msgspec

MAX_SHOWN = 300
"""Characters of a name or a text from outside that a report repeats."""


class AttestError(Exception):
    """What was to be attested cannot be read at all. The message is one line."""


class Level(enum.StrEnum):
    """How bad a concern is: only `ALARM` makes the verb end with status 1."""

    NOTE = "note"
    WARN = "warn"
    ALARM = "alarm"


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a person should know: `where` is a path, a package or the name of a tool."""

    level: Level
    where: str
    text: str


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a model: `kind` says what loading it does (``formats.Kind``), `sha256` is hex."""

    path: str
    size_bytes: int
    sha256: str | None = None
    format: str = ""
    kind: str = ""
    link: str | None = None
    imports: tuple[str, ...] = ()
    tensors: int | None = None
    parameters: int | None = None


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """An installed distribution: `digest` is that of its files as they are, wherever they are installed."""

    name: str
    version: str
    files: int
    digest: str


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as its server describes it: digests of everything said about it, and of the two parts a model reads."""

    name: str
    digest: str
    description: str
    schemas: str


class Ability(msgspec.Struct, frozen=True, kw_only=True):
    """Something that code can do: what it calls, in which line, and whether importing it is enough."""

    path: str
    line: int
    ability: str
    call: str
    within: str
    on_import: bool


class Attestation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All about one model directory, package set, tool list or directory of code.

    `digest` is `None` where not all of it could be read: a digest of a part would look like one of the whole.
    `components` are digests under the names of `detectors.types.Components`.
    """

    subject: str
    source: str
    digest: str | None
    components: dict[str, str] = {}
    concerns: tuple[Concern, ...] = ()
    files: tuple[File, ...] = ()
    packages: tuple[Package, ...] = ()
    tools: tuple[Tool, ...] = ()
    abilities: tuple[Ability, ...] = ()

    @property
    def alarming(self) -> bool:
        """Whether a person must look before this is used."""
        return any(concern.level is Level.ALARM for concern in self.concerns)


def digest(data: bytes) -> str:
    """SHA-256 in the form that events carry digests in."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def shown(text: str) -> str:
    """Text from outside, cut, and fit for JSON: what is no character is written out."""
    return text.encode("utf-8", "backslashreplace").decode()[:MAX_SHOWN]
