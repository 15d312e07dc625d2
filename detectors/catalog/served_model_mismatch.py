"""Another model than the one that was asked for, or that was approved: its name is of another family.

Names are compared without what is no part of a family: prefixes of providers, dates, editions. A requested model whose
name never agreed with what answers (an alias, a router) is not judged by its name, only by what was approved for it.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import SERVED
from detectors.served_models import Routes
from detectors.sightings import WARM_UP_QUIET
from detectors.types import Detection, Evidence, Observation, Severity


class ServedModelMismatch(Detector):
    """Says a served model once, when it is of another family than was asked for or approved."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Another model answers than was asked for",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A served model of another family than the requested one, where the two used to agree, or than the one "
        "that was approved",
        requires=(),
        any_of=("served_model", "notice"),
        warm_up=WARM_UP_QUIET,
        score_unit="new values",
        atlas=("AML.T0010.003", "AML.T0109", "AML.T0031"),
        owasp=("LLM03:2025", "LLM04:2025"),
        causes=(
            "A provider or reseller answers with a smaller or cheaper model than is paid for.",
            "A gateway falls back to another model because the first is down or out of quota.",
            "A route was changed, by mistake or by somebody who wants other answers given.",
            "A compromised gateway sends prompts to a model of the attacker.",
        ),
        false_positives=(
            "A fallback that was not seen before and is meant.",
            "A vendor that gives a model a new name that shares no words with the old one.",
            "A change to another family that was not announced with `inferwatch changes approve`.",
        ),
        known_gaps=(
            "It believes the name in the answer; a provider that lies about it is for output_drift and canary.",
            "A requested model that is an alias (its name agrees with no answer) is held only against approvals.",
            "What is a size or a tier is told by a list of words; a tier with a new name counts as an edition.",
            "What answered during the first 50 calls counts as meant.",
        ),
        runbook=(
            "See whether the gateway has a fallback or routing rule for the requested model, and since when.",
            "Ask the provider directly, past the gateway, and compare the name in its answer.",
            "Count what was answered by the other model since the onset: quality, price and data terms may differ.",
            "Pin the model version in the request or at the gateway; refuse answers of another model there.",
            "If the other model is meant, say so: `inferwatch changes approve` with component served_model.",
        ),
        references=(
            "Gao, Liang, Guestrin: Model Equality Testing, which model is this API serving? (2024)",
            "Cai, Shi, Zhao: Are you getting what you pay for? Auditing model substitution in LLM APIs (2025)",
            "MITRE ATLAS, AI Supply Chain Compromise (2021)",
        ),
    )

    routes: Routes = msgspec.field(default_factory=Routes)

    def update(self, observation: Observation) -> Detection | None:
        """Hold what answered one call against what was asked for and approved."""
        change = self.routes.see(observation)
        if change is None or not change.mismatched:
            return None
        asked = repr(change.asked) if change.asked else "an unnamed model"
        rows = [
            Evidence(name=SERVED, observed=change.now, expected=change.before or change.promised),
            Evidence(name="asked for", observed=change.asked or "unnamed"),
        ]
        if change.promised is None:
            against = f"such requests were answered by {change.before!r}, {change.calls} calls before"
        else:
            against = f"approved is {change.promised!r}"
            rows.append(Evidence(name="approved", observed=change.promised))
        return Detection(
            summary=f"A request for {asked} was answered by {change.now!r}, another model; {against}.",
            severity=Severity.HIGH,
            score=1.0,
            threshold=1.0,
            onset_s=self.routes.now_s,
            evidence=tuple(rows),
            fact=change.now,
        )
