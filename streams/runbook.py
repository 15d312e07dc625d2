"""The response plan as one document, generated from the metadata of the catalog: `streams/RUNBOOK.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from detectors import frameworks
from detectors.base import Detector, Metadata
from streams.cases.response import response_to

COMMAND = "inferwatch detectors runbook > streams/RUNBOOK.md"


def runbook(catalog: Mapping[str, type[Detector]]) -> str:
    """The whole document, Markdown; the same for the same catalog."""
    releases = "; ".join(f"{name} {version}" for name, version in frameworks.versions().items())
    head = [
        "# Response plan",
        "",
        f"Made by `{COMMAND}` from the detectors' metadata; edit that, not this. Ids are those of: {releases}.",
        "",
        "A page for each detector: what a finding means, how to confirm it, and then how to contain it,",
        "roll back, assess the damage and notify. Contain first when answers leave the house or money is spent by the",
        "minute. Do not delete: what is taken out of service is evidence.",
        "",
        *(f"- [`{name}`](#{name}): {kind.metadata.title}" for name, kind in catalog.items()),
    ]
    pages = [line for name, kind in catalog.items() for line in _page(name, kind.metadata)]
    return "\n".join([*head, *pages]) + "\n"


def _page(name: str, metadata: Metadata) -> Iterator[str]:
    response = response_to(metadata)
    yield from (
        "",
        f"## {name}",
        "",
        f"**{metadata.title}** (per {metadata.scope}, severity up to {metadata.severity})",
    )
    yield from ("", metadata.sees.rstrip(".") + ".")
    yield from _section("What it may mean", _listed(metadata.causes))
    yield from _section("Confirm", _numbered(metadata.runbook))
    yield from _section("What only looks like it", _listed(metadata.false_positives))
    yield from _section("Contain", _numbered(response.contain))
    yield from _section("Roll back", _numbered(response.roll_back))
    yield from _section("Assess the damage", _numbered(response.assess))
    yield from _section("Notify", _numbered(response.notify))
    ids = [f"`{each}` {frameworks.atlas_name(each)}" for each in metadata.atlas]
    ids += [f"`{each}` {frameworks.owasp_name(each)}" for each in metadata.owasp]
    ids += [f"`{each}` {frameworks.nist_outcome(each)}" for each in response.nist]
    yield from _section("Maps to", _listed(ids))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", f"### {title}", "", *lines)


def _listed(lines: Iterable[str]) -> Iterator[str]:
    return (f"- {line}" for line in lines)


def _numbered(lines: Iterable[str]) -> Iterator[str]:
    return (f"{number}. {line}" for number, line in enumerate(lines, 1))
