"""A served model that never answered for a requested model before.

Only equality is looked at. Values seen while a requested model is learned are legitimate, several of them too (a
router, a canary rollout); later a value that was never seen is said once, and values already seen may take turns.
Another family than was asked for is said by `served_model_mismatch`, digests of components by `unapproved_change`.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import SERVED
from detectors.served_models import Routes
from detectors.sightings import WARM_UP_QUIET
from detectors.types import Detection, Evidence, Observation, Severity


class ServedModelChange(Detector):
    """Says a served model once, when it is new for the deployment and the requested model."""

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Served model changed",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A served model name never seen before for the same requested model and approved by nobody",
        requires=(),
        any_of=("served_model", "notice"),
        warm_up=WARM_UP_QUIET,
        score_unit="new values",
        atlas=("AML.T0010.003", "AML.T0109", "AML.T0074", "AML.T0018"),
        owasp=("LLM03:2025", "LLM04:2025"),
        causes=(
            "A vendor moved an alias to another model version.",
            "A rollout of another model version that nobody announced with `inferwatch changes approve`.",
            "A compromised registry, gateway or pipeline serves another model for the same request.",
            "A gateway fell back to another model because the first was down or out of quota.",
        ),
        false_positives=(
            "An approved rollout that was not announced to this installation, or only after it had begun.",
            "A fallback route that is used rarely and was not seen during the warm-up.",
            "A source that began to write the same model's name in another way.",
        ),
        known_gaps=(
            "It believes what the serving side reports; a swap that keeps all names is for output_drift.",
            "A change in place during the warm-up, or a return to a value seen earlier, is not said.",
            "A requested model with 8 or more served names during its warm-up is not judged.",
            "After six new names for one requested model, further ones are said once a week.",
            "At most 16 requested models per deployment and 12 served names of each are remembered.",
        ),
        runbook=(
            "Find who rolled out what at the onset: deployment log, registry events, vendor's change notes.",
            "Ask the deployment known prompts and compare with stored answers; look for output_drift since the onset.",
            "If it is legitimate, say so: `inferwatch changes approve`; what compares answers then begins afresh.",
            "If nobody owns the change, route traffic back to the old version and keep the new artifact for analysis.",
        ),
        references=(
            "MITRE ATLAS, AI Supply Chain Compromise (2021)",
            "SLSA, Supply-chain Levels for Software Artifacts 1.0 (2023)",
            "Chen, Zaharia, Zou, How is ChatGPT's behavior changing over time? (2023)",
        ),
    )

    routes: Routes = msgspec.field(default_factory=Routes)

    def update(self, observation: Observation) -> Detection | None:
        """Compare what answered one call with what answered such calls before."""
        change = self.routes.see(observation)
        if change is None or change.mismatched:
            return None
        asked = repr(change.asked) if change.asked else "an unnamed model"
        return Detection(
            summary=f"A request for {asked} is now answered by {change.now!r}, before by {change.before!r}; never seen "
            f"in {change.calls} calls before.",
            severity=Severity.HIGH,
            score=1.0,
            threshold=1.0,
            onset_s=self.routes.now_s,
            evidence=(Evidence(name=SERVED, observed=change.now, expected=change.before),),
            fact=change.now,
        )
