"""An attestation as the report that is sent: what detectors and the store need of it, and none of its files."""

from __future__ import annotations

from collections import Counter

from detectors.types import Components
from streams.attesting.formats import Kind
from streams.attesting.report import MAX_SHOWN, Attestation, Concern, Level
from streams.components.provenance import ComponentReport
from streams.dlq import printable

MOST_RISKS = 1_000
MOST_TOOLS = 2_000
"""What of a tool list is sent one by one; a change of any other still changes the list's digest."""

_RISKS = {"packages": "tampered_package", "tools": "unsafe_tool", "code": "unsafe_code"}
_NAME_CHARS = 256


def report_of(attestation: Attestation, deployment: str, attested_s: float) -> ComponentReport:
    """What was found at `attested_s` (unix seconds) of what serves `deployment`. Raises `NoticeError`."""
    known = set(Components.__struct_fields__)
    return ComponentReport(
        deployment=deployment,
        subject=attestation.subject,
        source=printable(attestation.source)[:MAX_SHOWN],
        attested_s=attested_s,
        digest=attestation.digest,
        components={name: each for name, each in attestation.components.items() if name in known},
        risks=tuple(sorted({_risk(attestation, each) for each in attestation.concerns if each.level is Level.ALARM}))[
            :MOST_RISKS
        ],
        tools=tuple((tool.name, tool.digest) for tool in attestation.tools[:MOST_TOOLS]),
        abilities=dict(Counter(each.ability for each in attestation.abilities)),
    )


def _risk(attestation: Attestation, concern: Concern) -> str:
    """The kind of an alarming concern and its place; what of a model is dangerous to load is told apart."""
    kind = _RISKS.get(attestation.subject, "unsafe_file")
    if any(each.kind == Kind.PICKLE and concern.where.startswith(each.path) for each in attestation.files):
        kind = "unsafe_pickle"
    return f"{kind}:{concern.where}"[:_NAME_CHARS]
