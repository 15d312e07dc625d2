"""Something that is dangerous to load, found on the serving side's disks: a report names it (`inferwatch attest`)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.alarms import DAY_S
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import brief, clean, sane
from detectors.types import REPORT, Detection, Evidence, Observation, Severity

_MOST_KNOWN = 128
_REMINDED_S = 30 * DAY_S
"""A risk that was not reported for so long and comes again is said again."""

_MOST_ROWS = 7
_MOST_NAMED = 3


class UnsafeArtifact(Detector):
    """Says each risk of a report once; `known` is when each was reported last, unix seconds."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Unsafe artifact on the serving side",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A report of the serving side that names something dangerous: a pickle that would run code, a package "
        "whose files were changed, hidden characters in a tool's description, code that no package brought",
        requires=("notice",),
        warm_up=0,
        score_unit="risks not reported before",
        atlas=("AML.T0011.000", "AML.T0018.002", "AML.T0115.001"),
        owasp=("LLM03:2025",),
        causes=(
            "A model was taken from a public hub in a format that runs code when it is loaded.",
            "An artifact was replaced by one that carries code, in the registry or on the machine.",
            "A package was changed after its installation, or files lie where imports find them.",
            "A tool server describes its tools with text that only a model reads.",
        ),
        false_positives=(
            "A pickle of a framework that is known and trusted, kept because no other format is there.",
            "A package that was patched by hand and on purpose.",
        ),
        known_gaps=(
            "It knows what `inferwatch attest` reports, when it reports; between two reports it sees nothing.",
            "Names of the first 32 risks of a report are seen; the table `component_reports` has all.",
            "A risk that is reported at least once a month is said once.",
        ),
        runbook=(
            "Read the whole report: `inferwatch attest` on the same place names file, import and line.",
            "Find out whether the artifact was loaded since it is there, and treat that machine as compromised if so.",
            "Compare the artifact with the registry's and its signature; keep a copy for analysis.",
            "Replace it by a safe format (safetensors) or a verified package, and attest again.",
            "Look for egress, unapproved_change and backdoor_trigger on this deployment since it came.",
        ),
        references=(
            "MITRE ATLAS AML.T0011.000, User Execution: Unsafe AI Artifacts",
            "Python documentation, pickle: never unpickle data from an untrusted source",
            "PEP 376 and PEP 627, recording installed distributions",
        ),
    )

    now_s: float = 0.0
    known: dict[str, float] = msgspec.field(default_factory=dict)

    def update(self, observation: Observation) -> Detection | None:
        """Take in a report."""
        notice = observation.notice
        if notice is None or notice.kind != REPORT or not notice.risks:
            return None
        self.now_s = sane(observation.time_s, self.now_s)
        risks = dict.fromkeys(clean(risk) for risk in notice.risks[:_MOST_KNOWN])
        fresh = [risk for risk in risks if abs(self.now_s - self.known.get(risk, -_REMINDED_S)) >= _REMINDED_S]
        for risk in risks:
            self.known.pop(risk, None)
            self.known[risk] = self.now_s
        while len(self.known) > _MOST_KNOWN:
            del self.known[next(iter(self.known))]
        return self._detection(fresh, clean(notice.reference)) if fresh else None

    def _detection(self, fresh: list[str], reference: str) -> Detection:
        named = ", ".join(map(brief, fresh[:_MOST_NAMED]))
        more = f" and {len(fresh) - _MOST_NAMED} more" if len(fresh) > _MOST_NAMED else ""
        place = f" of {brief(reference)}" if reference else ""
        rows = [Evidence(name=_kind(risk), observed=risk) for risk in fresh[:_MOST_ROWS]]
        return Detection(
            summary=f"A report{place} names what is unsafe to load or run: {named}{more}.",
            severity=Severity.HIGH,
            score=float(len(fresh)),
            threshold=1.0,
            onset_s=self.now_s,
            evidence=(*rows, Evidence(name="report", observed=reference or "unnamed")),
            fact=fresh[0],
        )


def _kind(risk: str) -> str:
    """What kind a risk ``kind:place`` is of, as a person reads it."""
    return risk.partition(":")[0].replace("_", " ").strip()[:40] or "risk"
