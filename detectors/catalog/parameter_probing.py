"""A principal that reads the model's output layer through logit bias and log-probabilities."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from detectors.alarms import Pace, average_run_length, e_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_CEILING = 60.0
"""Nats that can be banked: more would delay the return to calm."""

_BRIEF_TOKENS = 2
_RING = 16
"""Latest prompts that a repetition is looked for in: one sweep often goes round a few prompts."""

_LEAST = 9
"""Probing calls before anything is said: a developer tries a bias on one prompt some times."""

_REPEATED, _FRESH = math.log(0.98 / 0.15), math.log(0.02 / 0.85)
"""A call under logit bias that asks a prompt of the latest ones again: of a sweep nearly all do, of the work of
classifiers and constrained answers, whose label tokens are biased, few do."""

_SCORED_REPEATED, _SCORED_FRESH = math.log(0.98 / 0.6), math.log(0.02 / 0.4)
"""The same for log-probabilities without a bias: evaluations ask one question for each choice, samplers repeat."""

_BRIEF, _LONG = math.log(0.95 / 0.5), math.log(0.05 / 0.5)
"""One token or two are what a probe needs. Known only where tokens are counted."""

_FULL, _FEW = math.log(0.6 / 0.2), math.log(0.4 / 0.8)
"""Log-probabilities asked for together with a bias."""

_WIDE_BIAS, _WIDE = 100, math.log(0.5 / 0.01)
"""Biased tokens in one call that no list of labels has; interfaces take up to 300."""

_OTHER = -1.0
"""A call without any of these parameters."""

_SCORED_MOST = 0.9
"""Share of the limit that repetition for log-probabilities without a bias may reach in its first `_PATIENT` calls: one
prompt repeated for its log-probabilities is also how people measure a model's variation."""

_PATIENT = 200


class ParameterProbing(Detector, kw_only=True, array_like=True):
    """A CUSUM of log-likelihood ratios of a sweep against ordinary use of the same parameters.

    The attack asks one prompt thousands of times for one token, under a bias on a few other tokens each time, with or
    without log-probabilities: what repeats is the prompt, and the bias is there each time. Classifiers bias the same
    labels under prompts that differ; evaluations read log-probabilities under prompts that differ. The shares in the
    ratios are working choices, so the budget is aimed at, not guaranteed; the limit is that of an e-detector.
    Cost: below 1 us a call.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Recovery of the output layer through logit parameters",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees="One prompt again and again under logit bias, or for the log-probabilities of one token.",
        requires=("prompt_simhash",),
        any_of=("logit_bias", "logprobs", "top_logprobs"),
        warm_up=0,
        score_unit="nominal nats of a sweep against ordinary use of the parameters",
        atlas=("AML.T0024.002", "AML.T0040"),
        owasp=("LLM10:2025",),
        causes=(
            "the projection layer or the vocabulary of the model is being recovered",
            "full log-probabilities are being rebuilt from biased answers to train a copy",
        ),
        false_positives=(
            "a developer who tries out the effect of a bias on one prompt in more than about ten calls in a row",
            "a classifier that is asked the same text again and again under biased labels, as a health check does",
        ),
        known_gaps=(
            "which tokens are biased is not recorded: a bias that changes and one that stays look the same",
            "a sweep that goes round more than 16 prompts looks like a classifier",
            "probing through another principal's calls in between, or split over many principals",
        ),
        runbook=(
            "Look at the biased tokens of ten calls in the gateway: do they walk through the vocabulary?",
            "Ask the owner of the key what the calls are for; a test of a bias ends after some dozen.",
            "Switch off logit bias together with log-probabilities for the principal, or for all; add noise to both.",
            "If it is not explained, revoke the key and keep the calls as evidence.",
        ),
        references=(
            "Carlini et al., Stealing Part of a Production Language Model (2024)",
            "Finlayson, Ren, Swayamdipta, Logits of API-Protected LLMs Leak Proprietary Information (2024)",
            "Morris et al., Language Model Inversion (2023)",
            "Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change detection (2023)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    recent: bytes = b""
    nats: float = 0.0
    onset_s: float = 0.0
    probes: int = 0
    biased: int = 0
    most_bias: int = 0
    most_top: int = 0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call; ignored without a prompt's simhash, and where the call failed."""
        simhash, time_s = observation.prompt_simhash, observation.time_s
        if simhash is None or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        self.pace.see(time_s)
        bias, top = observation.logit_bias or 0, observation.top_logprobs or 0
        asked = bias > 0 or top > 0 or observation.logprobs is True
        if not asked:
            if self.nats > 0.0:
                self.nats = max(self.nats + _OTHER, 0.0)
            return None
        if observation.failed:
            return None
        near = (simhash & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
        repeated = near in self._recent()
        if not repeated:
            self.recent = (self.recent + near)[-8 * _RING :]
        self._weigh(observation, bias, top, repeated=repeated)
        return self._judge(time_s)

    def _recent(self) -> tuple[bytes, ...]:
        return tuple(self.recent[at : at + 8] for at in range(0, len(self.recent), 8))

    def _weigh(self, observation: Observation, bias: int, top: int, *, repeated: bool) -> None:
        tokens = observation.output_tokens
        if bias > 0:
            nats = _REPEATED if repeated else _FRESH
            nats += _FULL if top > 0 or observation.logprobs else _FEW if repeated else 0.0
            if bias >= _WIDE_BIAS:
                nats += _WIDE
            if tokens is not None:
                nats += _BRIEF if tokens <= _BRIEF_TOKENS else _LONG
        else:
            nats = _SCORED_REPEATED if repeated else _SCORED_FRESH
        if self.nats + nats <= 0.0:
            self.nats, self.probes, self.biased, self.most_bias, self.most_top = 0.0, 0, 0, 0, 0
            return
        if self.nats <= 0.0:
            self.onset_s = observation.time_s
        self.nats = min(self.nats + nats, _CEILING)
        self.probes += 1
        self.biased += bias > 0
        self.most_bias = max(self.most_bias, min(bias, 1_000_000))
        self.most_top = max(self.most_top, min(top, 1_000_000))
        if self.biased * 2 < self.probes < _PATIENT:
            self.nats = min(self.nats, _SCORED_MOST * self._limit())

    def _limit(self) -> float:
        return e_limit(average_run_length(self.share, self.pace.per_day))

    def _judge(self, time_s: float) -> Detection | None:
        if self.probes < _LEAST:
            return None
        limit = self._limit()
        if self.nats < limit:
            return None
        score, probes, biased = self.nats, self.probes, self.biased
        self.nats, self.probes, self.biased = 0.0, 0, 0
        return Detection(
            summary=(
                f"{probes} calls ask one prompt or few again and again, {biased} of them under logit bias (up to "
                f"{self.most_bias} tokens), for up to {self.most_top} log-probabilities: what recovers an output layer"
            ),
            severity=Severity.HIGH if biased * 2 >= probes else Severity.MEDIUM,
            score=score,
            threshold=limit,
            onset_s=min(self.onset_s, time_s),
            evidence=(
                Evidence(name="probing calls", observed=float(probes), expected=0.0, unit="calls"),
                Evidence(name="calls under logit bias", observed=float(biased), expected=0.0, unit="calls"),
                Evidence(name="biased tokens asked for", observed=float(self.most_bias), unit="tokens"),
                Evidence(name="log-probabilities asked for", observed=float(self.most_top), unit="tokens"),
            ),
        )
