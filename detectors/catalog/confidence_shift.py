"""The distribution of a classic model's scores, over all and for each predicted label, against the frozen baseline.

The baseline's quantiles cut the scores into ranges; the share of scores below the low cuts and above the high ones
is a rate each. A model that gets unsure, sure of everything, or sure of one label only shows in one of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import numpy as np
from river.drift import ADWIN

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.crowd import Crowd
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted, recent_window, remember
from detectors.types import Detection, Evidence, Observation, Severity

WARM_UP = 500
LABEL_WARM_UP = 300
MAX_LABELS = 8
"""Labels with a baseline of their own, the first that come."""

_BATCH = 16
"""Scores judged together: each is in two distributions."""

_LOW, _HIGH = (0.05, 0.25), (0.75, 0.95)
_MAX_SCORE = 1e12
_MAX_LABEL_CHARS = 32
_FAMILIES = MAX_LABELS + 1


class Scores(msgspec.Struct, kw_only=True):
    """One distribution: its scores while warming, then the cuts and the rates beyond them.

    A score of exactly a cut is beyond neither a low nor a high one: scores that pile up at 1.0 do no harm.
    """

    size: int
    warming: list[float] = msgspec.field(default_factory=list)
    batch: list[float] = msgspec.field(default_factory=list)
    since_s: float = 0.0
    low: list[float] = msgspec.field(default_factory=list)
    high: list[float] = msgspec.field(default_factory=list)
    rates: Rates | None = None

    def see(self, score: float, time_s: float, share: float, pace: alarms.Rhythm) -> Shifted | None:
        """Learn one score."""
        rates = self.rates
        if rates is not None:
            batch = self.batch
            if not batch:
                self.since_s = time_s
            batch.append(score)
            if len(batch) < _BATCH:
                return None
            self.batch = []
            return rates.judge(self._beyond(batch), self.since_s, share, pace)
        self.warming.append(score)
        if len(self.warming) >= self.size:
            self.low = np.quantile(self.warming, _LOW).tolist()
            self.high = np.quantile(self.warming, _HIGH).tolist()
            self.rates = Rates(warm_up=self.size, rates=[Rate() for _ in (*_LOW, *_HIGH)], batch=_BATCH)
            for each in self.warming:
                self.rates.learn([index for index, beyond in enumerate(self._beyond([each])) if beyond])
            self.warming = []
        return None

    def _beyond(self, scores: list[float]) -> list[int]:
        """How many of `scores` are beyond each cut, low ones first."""
        ordered, count = sorted(scores), len(scores)
        below = [bisect_left(ordered, cut) for cut in self.low]
        return below + [count - bisect_right(ordered, cut) for cut in self.high]


class ConfidenceShift(Paced, kw_only=True):
    """See the module. State: up to 40 KB with eight labels; about 1.5 us an observation."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Scores of a classic model shifted",
        scope=DEPLOYMENT,
        severity=Severity.MEDIUM,
        sees="A lasting change of the distribution of scores (confidence, or the value of a regression), over all "
        "predictions or for one label",
        requires=("score",),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0031", "AML.T0018", "AML.T0015", "AML.T0043"),
        owasp=("LLM04:2025", "LLM03:2025"),
        causes=(
            "The model was replaced, retrained, quantized or calibrated anew.",
            "Inputs are unlike those it was trained on: see feature_drift.",
            "Somebody searches for inputs near the decision boundary: scores gather in the middle.",
            "A poisoned model is sure of one label.",
        ),
        false_positives=(
            "A new client application whose inputs are easier or harder.",
            "A planned retraining or calibration.",
        ),
        known_gaps=(
            "Labels after the eighth that comes have no baseline of their own.",
            "A change within the range between two of the baseline's quantiles is not seen.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Compare model, calibration and threshold versions before and after the onset.",
            "Check feature_drift and label_shift at the same time.",
            "Group the scores since the onset by principal: many near the boundary from one point at evasion.",
            "Score a stored sample of inputs again and compare with the stored scores.",
        ),
        references=(
            "Garg et al., Leveraging unlabeled data to predict out-of-distribution performance (2022)",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Bifet, Gavalda, Learning from time-changing data with adaptive windowing (2007)",
        ),
        rebaselined=True,  # another version is calibrated otherwise
    )

    crowd: Crowd = msgspec.field(default_factory=Crowd)
    overall: Scores = msgspec.field(default_factory=lambda: Scores(size=WARM_UP))
    labels: dict[str, Scores] = msgspec.field(default_factory=dict)
    recent: ADWIN = msgspec.field(default_factory=recent_window)

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn scores."""
        arriving, admits, recent = alarms.Arriving(self.pace), self.crowd.admits, self.recent
        share, overall, labels = self.share / _FAMILIES, self.overall, self.labels
        for observation in observations:
            score = observation.score
            if score is None or not -_MAX_SCORE <= score <= _MAX_SCORE:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            if not admits(observation.principal):
                continue
            remember(recent, score)
            shifted, about = overall.see(score, time_s, share, arriving), overall
            label = observation.prediction
            if label is not None:
                label = label[:_MAX_LABEL_CHARS]
                own = labels.get(label)
                if own is None and len(labels) < MAX_LABELS:
                    own = labels[label] = Scores(size=LABEL_WARM_UP)
                alone = None if own is None else own.see(score, time_s, share, arriving)
                if shifted is None and own is not None:
                    shifted, about = alone, own
            if shifted is not None:
                self._rearm()
                yield self._detection(shifted, about, None if about is overall else label)
        arriving.settle()

    def _rearm(self) -> None:
        """One change mostly shows in several distributions and is said once."""
        for scores in (self.overall, *self.labels.values()):
            if scores.rates is not None:
                scores.rates.rearm()

    def _detection(self, shifted: Shifted, about: Scores, label: str | None) -> Detection:
        cuts = [*about.low, *about.high]
        side = "below" if shifted.index < len(_LOW) else "above"
        what = f"scores {side} {cuts[shifted.index]:.4g}"
        if label is not None:
            what += " of label " + repr("".join(each if each.isprintable() else "?" for each in label))
        return Detection(
            summary=f"The share of {what} {'rose' if shifted.rose else 'fell'} from {shifted.before:.1%} (frozen "
            f"baseline of {about.size}) to {shifted.now:.1%} over the last {shifted.calls} predictions.",
            severity=Severity.MEDIUM,
            score=shifted.score,
            threshold=shifted.threshold,
            onset_s=shifted.since_s,
            evidence=(
                Evidence(name=what, observed=100.0 * shifted.now, expected=100.0 * shifted.before, unit="%"),
                Evidence(name="predictions since onset", observed=float(shifted.calls), unit="predictions"),
                Evidence(
                    name=f"mean score of the recent past, an adaptive window of {self.recent.width:.0f}",
                    observed=self.recent.estimation,
                    unit="score",
                ),
            ),
        )
