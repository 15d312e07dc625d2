"""The rate of refused outputs against the frozen baseline, up and down.

A model that refuses less is the graver news: a guardrail is gone, a jailbreak works, other weights answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
from river.drift import ADWIN

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.crowd import Crowd
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted, recent_window, remember
from detectors.types import Detection, Evidence, Observation, Severity

WARM_UP = 400


class RefusalShift(Paced, kw_only=True):
    """Likelihood-ratio CUSUMs of refusals; no principal of several is more than a part of what they see."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Refusal rate shifted",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting rise or fall of the share of outputs that read as a refusal",
        requires=("refused",),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0054", "AML.T0018", "AML.T0031"),
        owasp=("LLM01:2025", "LLM04:2025", "LLM03:2025"),
        causes=(
            "Refusals fell: a guardrail or system prompt was removed, a jailbreak works, or weights were replaced.",
            "Refusals rose: a new safety setting, another model, or a sweep of harmful prompts by many accounts.",
        ),
        false_positives=(
            "A new application with another kind of prompt took a large part of the traffic.",
            "A planned change of model, system prompt or guardrail.",
        ),
        known_gaps=(
            "Refusals are recognized in English, by their opening words.",
            "A rate that was almost zero cannot fall noticeably: refused canary prompts tell more.",
            "One principal's jailbreak is not the deployment's rate: probing looks at principals.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Replay a few prompts that were refused before the onset, and compare.",
            "Compare guardrail, system prompt, model and weights versions before and after the onset.",
            "Group refusals since the onset by principal and prompt template.",
            "If the change was planned, approve it and learn a new baseline.",
        ),
        references=(
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Qi et al., Fine-tuning aligned language models compromises safety (2023)",
            "Bifet, Gavalda, Learning from time-changing data with adaptive windowing (2007)",
        ),
        rebaselined=True,  # another version refuses other things, and that is what was approved
    )

    crowd: Crowd = msgspec.field(default_factory=Crowd)
    rates: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=WARM_UP, rates=[Rate()]))
    recent: ADWIN = msgspec.field(default_factory=recent_window)

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn which outputs were refused."""
        arriving, admits = alarms.Arriving(self.pace), self.crowd.admits
        recent, rates = self.recent, self.rates
        for observation in observations:
            refused = observation.refused
            if refused is None or observation.failed:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            if not admits(observation.principal):
                continue
            remember(recent, 1.0 if refused else 0.0)
            shifted = rates.see((0,) if refused else (), time_s, self.share, arriving)
            if shifted is not None:
                yield self._detection(shifted)
        arriving.settle()

    def _detection(self, shifted: Shifted) -> Detection:
        verb = "rose" if shifted.rose else "fell"
        recent = self.recent
        return Detection(
            summary=f"The rate of refusals {verb} from {shifted.before:.1%} (frozen baseline of {WARM_UP} outputs) to "
            f"{shifted.now:.1%} over the last {shifted.calls} outputs.",
            severity=Severity.MEDIUM if shifted.rose else Severity.HIGH,
            score=shifted.score,
            threshold=shifted.threshold,
            onset_s=shifted.since_s,
            evidence=(
                Evidence(
                    name="rate of refusals", observed=100.0 * shifted.now, expected=100.0 * shifted.before, unit="%"
                ),
                Evidence(name="outputs since onset", observed=float(shifted.calls), unit="outputs"),
                Evidence(
                    name=f"rate in the recent past, an adaptive window of {recent.width:.0f} outputs",
                    observed=100.0 * recent.estimation,
                    expected=100.0 * shifted.before,
                    unit="%",
                ),
            ),
        )
