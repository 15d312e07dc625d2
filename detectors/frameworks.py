"""Names of MITRE ATLAS techniques, OWASP LLM risks and NIST AI RMF outcomes, from pinned copies of their ids.

A detector's metadata may only cite ids that exist here, so that a finding never points a responder at
a technique that was renumbered or never existed. The data files carry ids and names only; they are
read on the first question, never on import.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec


class UnknownIdError(KeyError):
    """The id is not in the pinned release of its framework."""

    def __init__(self, framework: str, version: str, identifier: str) -> None:
        """Say which id was asked of which release."""
        super().__init__(identifier)
        self.framework = framework
        self.version = version
        self.identifier = identifier

    def __str__(self) -> str:
        """A sentence, where `KeyError` would show the bare key."""
        return f"{self.identifier!r} is not in {self.framework} {self.version}"


class _Pinned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data file of `pinned/`."""

    framework: str
    version: str
    names: dict[str, str]

    def name(self, identifier: str) -> str:
        try:
            return self.names[identifier]
        except KeyError:
            raise UnknownIdError(self.framework, self.version, identifier) from None


@functools.cache
def _pinned(file_name: str) -> _Pinned:
    data = resources.files("detectors").joinpath("pinned", file_name).read_bytes()
    return msgspec.json.decode(data, type=_Pinned)


def atlas_name(identifier: str) -> str:
    """The name of an ATLAS technique, as ``Parent: Sub`` for a sub-technique.

    Raises `UnknownIdError` (a `KeyError`) for an id that the pinned release does not have.
    """
    return _pinned("atlas.json").name(identifier)


def owasp_name(identifier: str) -> str:
    """The name of an OWASP LLM risk such as ``LLM10:2025``.

    Raises `UnknownIdError` (a `KeyError`) for an id that the pinned release does not have.
    """
    return _pinned("owasp_llm.json").name(identifier)


def nist_outcome(identifier: str) -> str:
    """What a subcategory of the NIST AI RMF such as ``MANAGE 2.4`` asks for, one sentence or two; those we cite.

    Raises `UnknownIdError` (a `KeyError`) for an id that is not pinned.
    """
    return _pinned("nist_ai_rmf.json").name(identifier)


def versions() -> dict[str, str]:
    """The pinned release of each framework."""
    files = ("atlas.json", "owasp_llm.json", "nist_ai_rmf.json")
    return {data.framework: data.version for data in map(_pinned, files)}
