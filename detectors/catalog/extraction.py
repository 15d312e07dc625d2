"""A principal that copies a model by asking it: systematic sweeps, and sweeps of logit parameters."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from detectors.alarms import DAY_S, Pace, average_run_length, bonferroni, e_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_ROUTES = 3
"""Parallel tests: regular lengths, regular rhythm, parameter probing."""

_CEILING = 60.0
"""Nats an explanation can be refuted by: what is banked above it would delay the return to calm."""

_PERSON_SPREAD, _SET_SPREAD = 0.85, 0.45
"""Standard deviation of ln prompt characters: of what people ask, and of questions of one kind."""

_HUMAN_RHYTHM, _SCRIPT_RHYTHM = 1.3, 0.6
"""Standard deviation of ln gaps: of people and of Poisson traffic (1.28), and of a loop with jitter."""

_ON, _PAUSE = math.log(0.9999 / 0.97), math.log(1e-4 / 0.03)
"""Evidence of one call without a pause and of a pause: a person's session has about 33 calls."""

_PAUSE_S, _PAUSE_RATIO = 600.0, math.log(8.0)
"""A pause is longer than ten minutes and than eight usual gaps: a slow steady script makes none."""

_DISTANCE_BITS, _PER_BIT = 25.7, 0.5
"""Mean simhash distance to the last prompts that fits an application's template and a set equally well, and nats a bit.

Fills of one template differ by 12-24.5 of 64 bits, unrelated questions by 26.5-30.
"""

_SAME_TEMPLATE = 0.5
"""Nats against diversity when one of the last templates comes again."""

_NEW, _SEEN = 0.15, -1.0
"""Nats for one new and one repeated prompt: at least about 120 new prompts refute a rerun."""

_SAMPLE_BYTES, _MAX_WEIGHT, _MAX_LEVEL = 384, 32, 24
_RING = 8
_BRIEF_TOKENS = 2
_MIN_NEW, _SCRIPTED_NEW = 60, 1_000
_MEDIUM_NEW, _HIGH_NEW = 250, 1_000
"""New prompts from which coverage is graded. Under rhythm alone nothing is said before 1,000, since most
evaluation sets are smaller."""

_BIASED, _SCORED, _VARIED, _OTHER = 0.8, 0.4, 0.2, -0.5
"""Nats for a call of the same prompt with logit bias, with log-probabilities of one token, for changed
parameters on top, and for any other call. A person who tries the parameters out stays below 20 in a row."""

_MACHINE = 0.1
"""Nats for temperature 0 or several choices: programs ask for them, people seldom do."""

_LARGEST_CHARS = 10_000_000
_LEAST = -2.0
"""Nats that one odd length or gap may speak for a person: a long prompt now and then must not hide a sweep."""

_RECENT = 16
"""Calls over which own mean length and gap are averaged: a new sweep has its own mean within a few calls."""

_MEMORY = 50
"""Calls over which spreads are averaged for the evidence rows."""


def _clip(value: float, low: float, high: float) -> float:
    """`value` within [low, high]; faster than `min` of `max`."""
    if value < low:
        return low
    return min(value, high)


def _spread_terms(benign: float, scripted: float) -> tuple[float, float]:
    """Gain and curve of the log-likelihood ratio of a Gaussian `scripted` wide against one `benign` wide."""
    return math.log(benign / scripted), 0.5 * (scripted**-2 - benign**-2)


_LENGTH_GAIN, _LENGTH_CURVE = _spread_terms(_PERSON_SPREAD, _SET_SPREAD)
_GAP_GAIN, _GAP_CURVE = _spread_terms(_HUMAN_RHYTHM, _SCRIPT_RHYTHM)


class Extraction(Detector, kw_only=True, array_like=True):
    """Three benign explanations are each put to a sequential test; an alarm needs all three refuted.

    A person: prompts of many lengths (or gaps of many lengths), with pauses. An application: fills of a
    template, near to one another. A rerun: prompts that were sent before, in this principal's own past. Each
    test is a CUSUM over calls of capped scores shaped like log-likelihood ratios; the least refuted
    explanation is the score. The limit is cut as if they were e-detectors, but the scores are working models
    with chosen constants and calls are not independent: the alarm budget is aimed at, not guaranteed.

    Own prompts are remembered as an adaptive sample of at most 96 hashes: of a share 2**-level of all
    hashes it is known exactly whether they were sent before, at any length of history. Source: Flajolet,
    On adaptive sampling (1990).
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Model extraction by systematic queries",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees=(
            "A principal whose coverage keeps growing: new prompts of one kind without template, reruns or a "
            "person's pauses; or one prompt asked again and again under logit bias or logprobs."
        ),
        requires=("prompt_hash", "prompt_simhash", "prompt_chars"),
        warm_up=_RING,
        score_unit="nominal nats against the likeliest benign explanation (uncalibrated)",
        atlas=("AML.T0024.002", "AML.T0040"),
        owasp=("LLM10:2025",),
        causes=(
            "training data for a copy of the model is being collected",
            "the output layer is being recovered through logit bias and log-probabilities",
            "a stolen key is used for bulk generation",
        ),
        false_positives=(
            "the first run of a benchmark of more than about 100 questions of one kind; it is quiet when rerun",
            "people or a backend whose new questions are of like length (ln spread below about 0.6): mostly said",
            "an evaluation or a backfill of more than 1,000 unlike prompts in a steady loop",
            "an application that mixes several short instructions before short fills, or writes without spaces",
        ),
        known_gaps=(
            "the constants were chosen on a few English prompt sets and do not hold the alarm budget on all others",
            "a sweep inside one fixed template looks like an application",
            "prompts of very unlike lengths sent at random times look like a person or a chat backend",
            "prompts of very unlike lengths sent at steady times are found only after 1,000",
            "a sweep mixed thinly into own benign traffic, or split over many principals, needs a cohort view",
            "which tokens were biased is not recorded, so probing is known by repetition of one prompt",
        ),
        runbook=(
            "Read twenty of the principal's latest prompts: are they one benchmark, list or grammar?",
            "Ask the owner of the key whether an evaluation, backfill or distillation is running and is allowed.",
            "Compare network, user agent and hour of the calls with the weeks before; look for a stolen key.",
            "Limit the principal's rate; for parameter probing switch off its logit bias and log-probabilities.",
            "If it is not explained, revoke the key and keep prompts and answers as evidence.",
        ),
        references=(
            "Tramer et al., Stealing Machine Learning Models via Prediction APIs (2016)",
            "Juuti et al., PRADA: Protecting Against DNN Model Stealing Attacks (2019)",
            "Carlini et al., Stealing Part of a Production Language Model (2024)",
            "Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change detection (2023)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    lengths: float = 0.0
    rhythm: float = 0.0
    diversity: float = 0.0
    growth: float = 0.0
    probing: float = 0.0

    length_mean: float = 0.0
    length_variance: float = 0.0
    gap_mean: float = 0.0
    gap_variance: float = 0.0
    distance: float = 32.0
    count: int = 0

    recent: bytes = b""
    templates: bytes = b""
    sample: bytes = b""
    level: int = 0

    onset_s: float = 0.0
    calls: int = 0
    new: int = 0
    said: int = 0
    probes: int = 0
    probes_since_s: float = 0.0
    parameters: int = 0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call; ignored without a prompt's hash, length and simhash."""
        prompt, chars, simhash = observation.prompt_hash, observation.prompt_chars, observation.prompt_simhash
        time_s = observation.time_s
        if prompt is None or chars is None or simhash is None or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        near = (simhash & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
        before_s = self.pace.last_s
        self.pace.see(time_s)
        asks = observation.logit_bias or observation.logprobs or observation.top_logprobs
        probing = self._probe(observation, near) if asks or self.probing > 0.0 else None
        machine = observation.temperature == 0.0 or (observation.n or 1) > 1
        self._person(chars, None if before_s is None else time_s - before_s, _MACHINE if machine else 0.0)
        self._application(near, observation.prompt_template)
        self._rerun(prompt)
        self.count += 1
        if self.growth <= 0.0 or self.diversity <= 0.0 or (self.lengths <= 0.0 and self.rhythm <= 0.0):
            self.onset_s, self.calls, self.new, self.said = time_s, 0, 0, 0
            return probing
        self.calls += 1
        return probing or self._sweep(time_s)

    def _limit(self) -> float:
        arl = average_run_length(self.share, self.pace.per_day)
        return e_limit(bonferroni(arl, _ROUTES))

    def _person(self, chars: int, gap_s: float | None, extra: float) -> None:
        """Refute a person: lengths of one kind, a steady rhythm, no pauses. A clock that runs back says nothing."""
        known = self.count >= _RING
        seen = self.count + 1
        recent = min(_RECENT, seen)
        memory = min(_MEMORY, seen)
        size = math.log1p(_clip(chars, 0, _LARGEST_CHARS))
        off = size - self.length_mean
        by_length = max(_LENGTH_GAIN - _LENGTH_CURVE * off * off, _LEAST) if known else 0.0
        self.length_mean += off / recent
        self.length_variance += (off * off - self.length_variance) / memory
        by_gap = 0.0
        if gap_s is not None and gap_s >= 0.0:
            late = math.log(_clip(gap_s, 0.001, DAY_S))
            off = late - self.gap_mean
            if known:
                by_gap = max(_GAP_GAIN - _GAP_CURVE * off * off, _LEAST)
                extra += _PAUSE if gap_s > _PAUSE_S and off > _PAUSE_RATIO else _ON
            self.gap_mean += off / recent
            self.gap_variance += (off * off - self.gap_variance) / memory
        self.lengths = _clip(self.lengths + by_length + extra, 0.0, _CEILING)
        self.rhythm = _clip(self.rhythm + by_gap + extra, 0.0, _CEILING)

    def _application(self, near: bytes, template: int | None) -> None:
        """Refute an application: prompts far from one another, templates not the same."""
        nats = 0.0
        if self.recent:
            held = len(self.recent) // 8
            apart = int.from_bytes(near * held, "little") ^ int.from_bytes(self.recent, "little")
            bits = apart.bit_count() / held
            nats = _clip(_PER_BIT * (bits - _DISTANCE_BITS), -1.0, 1.0)
            self.distance += (bits - self.distance) / (self.count if 0 < self.count < _MEMORY else _MEMORY)
        self.recent = self.recent[-8 * (_RING - 1) :] + near
        if template is not None:
            mark = (template & 0xFFFFFFFF).to_bytes(4, "little")
            if mark in self.templates:
                nats -= _SAME_TEMPLATE
            self.templates = self.templates[-4 * (_RING - 1) :] + mark
        self.diversity = _clip(self.diversity + nats, 0.0, _CEILING)

    def _rerun(self, prompt: int) -> None:
        """Refute a rerun: of the prompts in the sampled share of hashes, hardly any was sent before."""
        if prompt & ((1 << self.level) - 1):
            return
        stands_for = 1 << self.level
        weight = min(stands_for, _MAX_WEIGHT)
        mark = (prompt & 0xFFFFFFFF).to_bytes(4, "little")
        if mark in self.sample:
            self.growth = max(self.growth + _SEEN * weight, 0.0)
            return
        self.growth = min(self.growth + _NEW * weight, _CEILING)
        self.new += stands_for
        self.sample += mark
        while len(self.sample) > _SAMPLE_BYTES and self.level < _MAX_LEVEL:
            self.level += 1
            mask = (1 << self.level) - 1
            kept = [self.sample[at : at + 4] for at in range(0, len(self.sample), 4)]
            self.sample = b"".join(each for each in kept if not int.from_bytes(each, "little") & mask)
        self.sample = self.sample[-_SAMPLE_BYTES:]

    def _sweep(self, time_s: float) -> Detection | None:
        """A sweep, once every benign explanation is refuted; again only when its coverage has doubled."""
        if self.new < max(_MIN_NEW, 2 * self.said):
            return None
        person = max(self.lengths, self.rhythm) if self.new >= _SCRIPTED_NEW else self.lengths
        score = min(person, self.diversity, self.growth)
        threshold = self._limit()
        if score < threshold:
            return None
        self.said = self.new
        hours = max(time_s - self.onset_s, 1.0) / 3_600.0
        severity = Severity.LOW
        if self.new >= _MEDIUM_NEW:
            severity = Severity.HIGH if self.new >= _HIGH_NEW else Severity.MEDIUM
        spread, rhythm = math.sqrt(self.length_variance), math.sqrt(self.gap_variance)
        return Detection(
            summary=(
                f"about {self.new} prompts never sent before in {hours:.1f} h, {self.calls / hours:.0f} calls/h: "
                f"coverage keeps growing, unlike a person, the fills of one template or a rerun"
            ),
            severity=severity,
            score=score,
            threshold=threshold,
            onset_s=self.onset_s,
            evidence=(
                Evidence(name="new prompts", observed=float(self.new), unit="prompts"),
                Evidence(name="calls in the run", observed=float(self.calls), unit="calls"),
                Evidence(name="length spread", observed=spread, expected=_PERSON_SPREAD, unit="sd of ln characters"),
                Evidence(name="rhythm spread", observed=rhythm, expected=_HUMAN_RHYTHM, unit="sd of ln gap"),
                Evidence(
                    name="distance between prompts", observed=self.distance, expected=_DISTANCE_BITS, unit="bits of 64"
                ),
                Evidence(name="person refuted by", observed=person, expected=threshold, unit="nats"),
                Evidence(name="application refuted by", observed=self.diversity, expected=threshold, unit="nats"),
                Evidence(name="rerun refuted by", observed=self.growth, expected=threshold, unit="nats"),
            ),
        )

    def _probe(self, observation: Observation, near: bytes) -> Detection | None:
        """One prompt again and again under logit bias or for the log-probabilities of one token."""
        if observation.failed:
            return None
        bias, top = max(observation.logit_bias or 0, 0), max(observation.top_logprobs or 0, 0)
        brief = observation.output_tokens is not None and observation.output_tokens <= _BRIEF_TOKENS
        nats = _OTHER
        if near in self.recent and bias:
            nats = _BIASED
        elif near in self.recent and brief and (observation.logprobs or top):
            nats = _SCORED
        parameters = min(bias, 0xFFFF) << 16 | min(top, 0xFFFF)
        if nats > 0.0 and parameters != self.parameters:
            nats += _VARIED
        self.parameters = parameters
        self.probing = _clip(self.probing + nats, 0.0, _CEILING)
        if self.probing <= 0.0:
            self.probes, self.probes_since_s = 0, observation.time_s
            return None
        self.probes += 1
        threshold = self._limit()
        if self.probing < threshold:
            return None
        score, probes, self.probing, self.probes = self.probing, self.probes, 0.0, 0
        return Detection(
            summary=(
                f"{probes} calls in a row repeat a prompt under logit bias ({bias} tokens) or for log-probabilities "
                f"(top {top}): the calls that recover a model's output layer"
            ),
            severity=Severity.HIGH,
            score=score,
            threshold=threshold,
            onset_s=self.probes_since_s,
            evidence=(
                Evidence(name="probing calls", observed=float(probes), expected=0.0, unit="calls"),
                Evidence(name="biased tokens asked for", observed=float(bias), unit="tokens"),
                Evidence(name="top log-probabilities asked for", observed=float(top), unit="tokens"),
            ),
        )
