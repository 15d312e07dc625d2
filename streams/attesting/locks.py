"""A lock file with hashes, in the form of pip's requirements: which versions may be installed."""

from __future__ import annotations

import re

import msgspec

from streams.attesting.report import AttestError

MAX_BYTES = 32_000_000

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,200})\s*(\[[^\]]*\])?\s*==\s*(?P<version>[^\s;,]{1,100})(?P<rest>.*)",
    re.DOTALL,
)
_HASH = re.compile(r"--hash[= ]\s*(sha256:[0-9a-f]{64})")


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a lock: `hashes` are those of the archives it may be installed from."""

    name: str
    version: str
    hashes: frozenset[str]
    conditional: bool


def normalized(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_lock(source: str, data: bytes) -> dict[str, Locked]:
    """Read a lock file. Raises `AttestError` for what is no lock: a line without a fixed version, or bytes."""
    if len(data) > MAX_BYTES:
        raise AttestError(f"{source}: {len(data)} bytes; a lock file has at most {MAX_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AttestError(f"{source}: no text") from None
    found: dict[str, Locked] = {}
    for number, line in enumerate(text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines(), 1):
        said = re.sub(r"(^|\s)#.*", "", line).strip()
        if not said or said.startswith(("--index-url", "--extra-index-url", "--find-links", "--require-hashes", "-i ")):
            continue
        match = _REQUIREMENT.fullmatch(said)
        if match is None:
            raise AttestError(f"{source}: requirement {number} fixes no version: {said[:80]!r}")
        name = normalized(match["name"])
        found[name] = Locked(
            name=name,
            version=match["version"],
            hashes=frozenset(_HASH.findall(match["rest"])),
            conditional=";" in match["rest"],
        )
    if not found:
        raise AttestError(f"{source}: names no packages")
    return found
