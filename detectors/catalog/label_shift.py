"""The mix of labels that a classic model predicts, against the frozen baseline: every label up and down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.crowd import Crowd
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted
from detectors.types import Detection, Evidence, Observation, Severity

WARM_UP = 500
MAX_LABELS = 16
"""Labels told apart, the most frequent of the warm-up; the others are one."""

_LIKE_NUMBERS = WARM_UP // 4
"""Distinct predictions of a warm-up from which they are numbers and have no mix."""

_MAX_LABEL_CHARS = 32
_NEW = "any other label"


class LabelShift(Paced, kw_only=True):
    """Likelihood-ratio CUSUMs of each label; no principal of several is more than a part of what they see."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Predicted labels shifted",
        scope=DEPLOYMENT,
        severity=Severity.MEDIUM,
        sees="A lasting change of the share of a label among a classic model's predictions, new labels included",
        requires=("prediction",),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0031", "AML.T0018", "AML.T0015", "AML.T0020"),
        owasp=("LLM04:2025", "LLM03:2025"),
        causes=(
            "The model was replaced, retrained on poisoned data, or its decision threshold was moved.",
            "Inputs changed: another population, a broken feature pipeline, or evasion by many accounts.",
        ),
        false_positives=(
            "A real change in the world: a fraud wave, a season, a new client application.",
            "A planned retraining.",
        ),
        known_gaps=(
            "Labels beyond the 16 most frequent of the warm-up are one.",
            "Predictions that are numbers have no mix: confidence_shift looks at scores.",
            "A change that swaps the same share in both directions between two labels keeps the mix.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Compare model and threshold versions before and after the onset.",
            "Check feature_drift: if inputs moved at the same time, look at the pipeline first.",
            "Group the predictions since the onset by principal.",
            "Score a labelled sample from after the onset and compare accuracy for this label.",
        ),
        references=(
            "Lipton, Wang, Smola, Detecting and correcting for label shift with black box predictors (2018)",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
        ),
        rebaselined=True,  # another version of a classifier has other shares
    )

    crowd: Crowd = msgspec.field(default_factory=Crowd)
    warming: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    rates: Rates | None = None

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn predictions."""
        arriving, admits = alarms.Arriving(self.pace), self.crowd.admits
        for observation in observations:
            label = observation.prediction
            if label is None:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            if not admits(observation.principal):
                continue
            label = label[:_MAX_LABEL_CHARS]
            rates, labels = self.rates, self.labels
            if rates is None:
                self.warming.append(label)
                if len(self.warming) >= WARM_UP:
                    self._freeze()
            elif labels:
                shifted = rates.see((labels.get(label, len(labels)),), time_s, self.share, arriving)
                if shifted is not None:
                    yield self._detection(shifted)
        arriving.settle()

    def _freeze(self) -> None:
        counts = Counter(self.warming)
        if len(counts) < _LIKE_NUMBERS:
            self.labels = {label: index for index, (label, _) in enumerate(counts.most_common(MAX_LABELS))}
        self.rates = Rates(warm_up=WARM_UP, rates=[Rate() for _ in range(len(self.labels) + 1)])
        for label in self.warming:
            self.rates.see((self.labels.get(label, len(self.labels)),), self.now_s, self.share, self.pace)
        self.warming = []

    def _detection(self, shifted: Shifted) -> Detection:
        names = [*self.labels, _NEW]
        name = names[shifted.index]
        shown = _NEW if name == _NEW else f"label {_printable(name)!r}"
        return Detection(
            summary=f"The share of {shown} among predictions {'rose' if shifted.rose else 'fell'} from "
            f"{shifted.before:.1%} (frozen baseline of {WARM_UP}) to {shifted.now:.1%} over the last "
            f"{shifted.calls} predictions.",
            severity=Severity.MEDIUM,
            score=shifted.score,
            threshold=shifted.threshold,
            onset_s=shifted.since_s,
            evidence=(
                Evidence(
                    name=f"share of {shown}", observed=100.0 * shifted.now, expected=100.0 * shifted.before, unit="%"
                ),
                Evidence(name="predictions since onset", observed=float(shifted.calls), unit="predictions"),
                Evidence(name="labels in the baseline", observed=float(len(self.labels)), unit="labels"),
            ),
        )


def _printable(label: str) -> str:
    """A label comes from the model's owner, but a hostile log may hold anything."""
    return "".join(each if each.isprintable() else "?" for each in label)
