"""A principal that copies a model by asking it: systematic sweeps, alone or among traffic of its own."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.alarms import DAY_S, Pace, average_run_length, e_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.prompt_mode import Mode, Rows, background, crowded, products, spots
from detectors.prompt_space import DIMENSIONS, LOG_STEPS, STEPS
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_RING = 80
"""New prompts that are kept as places; repeated ones are not, so a slow sweep does not age out with time."""

_BATCH = 24
"""New prompts after which the kinds are looked at: it keeps the cost of an observation to a few microseconds."""

_FIRST, _AGAIN = 40, 72
"""New prompts before a first kind is looked for, and before another one is when that one did not hold."""

_OWN_KIND = 0.4
"""Nats a prompt by which a kind of one's own explains the prompts of a person better than people's density does.

Of people from a prompt set that the reference has not seen 0.5 % pass 0.4 over 100 prompts; sweeps gain 1-5, and
where they are a quarter of all prompts 0.4-0.9.
"""

_MOST, _LEAST = 0.5, -0.5
"""Nats that a prompt of one batch may count on top of that: no batch alone raises an alarm."""

_TEMPLATE = 0.3
"""Share of the last prompts with the same first words, last words or skeleton from which they are one template's."""

_TEMPLATED = 0.5
"""Share of prompts in templates from which a principal is an application."""

_CEILING = 60.0
"""Nats an explanation can be refuted by: what is banked above it would delay the return to calm."""

_NEW, _SEEN = 0.2, 1.0
"""Nats for one new prompt and against one that came before: at least about 90 new prompts refute a rerun."""

_SAMPLE_BYTES, _MAX_WEIGHT, _MAX_LEVEL = 256, 32, 24
_MIN_NEW, _MEDIUM_NEW, _HIGH_NEW = 60, 250, 1_000
"""New prompts of the kind from which something is said, and from which coverage is graded higher."""

_COMPACT = -3.4
"""Log volume that a kind must stay below, where 0 is as wide as people write: who writes in a language or notation that
the reference does not know is far from people, and as wide."""

_FADE = 0.02
"""Weight of the last call in the spreads of the evidence rows: they are of about the last fifty."""

_MAX_CHARS = 10_000_000
_LEAST_GAP_S = 0.001
_LEAST_LOG_GAP = math.log(_LEAST_GAP_S)

_ENTRY, _REPEAT = DIMENSIONS + 5, DIMENSIONS + 2
_MARK = 3


_COLUMNS = np.array([0, 256, 512])


class Extraction(Detector, kw_only=True, array_like=True):
    """Three benign explanations are each put to a sequential test; an alarm needs all three refuted.

    A person: prompts lie where people's prompts lie, each kind of them as wide as people write. Against it stands the
    kind of the principal's own that explains its prompts best, found in the last new ones and tested on those that come
    after, so that looking for it costs no false alarms. An application: prompts of one template. A rerun: prompts that
    were sent before, in this principal's own past. Each test is a CUSUM over calls of capped scores shaped like
    log-likelihood ratios; the less refuted explanation is the score. The limit is cut as if they were e-detectors, but
    people differ from the reference and from one another: the alarm budget is aimed at, not guaranteed.

    A prompt that comes again among the last new ones, as a retry or for another sample, counts neither way. Time plays
    no part: a sweep may come in a loop, in sessions or at twenty calls a day.

    Own prompts are remembered as an adaptive sample of at most 64 hashes: of a share 2**-level of all
    hashes it is known exactly whether they were sent before, at any length of history. Source: Flajolet,
    On adaptive sampling (1990).
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=3,
        title="Model extraction by systematic queries",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees=(
            "A principal whose coverage of one kind of question keeps growing: new prompts that crowd one part of the "
            "space of writing as no person's do, without a template and without reruns, alone or among other traffic."
        ),
        requires=("prompt_hash", "prompt_place"),
        warm_up=_FIRST,
        score_unit="nominal nats against the likelier benign explanation (uncalibrated)",
        atlas=("AML.T0024.002", "AML.T0040"),
        owasp=("LLM10:2025",),
        causes=(
            "training data for a copy of the model is being collected",
            "a benchmark or data set is being answered in bulk",
            "a stolen key is used for bulk generation",
        ),
        false_positives=(
            "the first run of a benchmark of more than about 90 questions of one kind; it is quiet when rerun",
            "a backfill of prompts without instruction, such as bare sentences for a model that needs none",
            "a person who asks hundreds of questions worded alike, and an application of many short templates",
        ),
        known_gaps=(
            "a sweep inside one fixed template looks like an application, one mixed with its own past like a rerun",
            "prompts that copy how unlike people write, and those that people wrote, look like a person",
            "a kind that is less than about a sixth of a principal's new prompts, or a split over many principals",
            "the reference of how people write was fitted on English prompts",
        ),
        runbook=(
            "Read twenty of the principal's latest prompts: are they one benchmark, list or grammar?",
            "Ask the owner of the key whether an evaluation, backfill or distillation is running and is allowed.",
            "Compare network, user agent and hour of the calls with the weeks before; look for a stolen key.",
            "Limit the principal's rate, and look for others that send the same kind of prompt.",
            "If it is not explained, revoke the key and keep prompts and answers as evidence.",
        ),
        references=(
            "Tramer et al., Stealing Machine Learning Models via Prediction APIs (2016)",
            "Juuti et al., PRADA: Protecting Against DNN Model Stealing Attacks (2019)",
            "Wasserman, Ramdas, Balakrishnan, Universal inference (2020)",
            "Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change detection (2023)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    crowding: float = 0.0
    growth: float = 0.0

    ring: bytes = b""
    marks: bytes = b""
    again: bytes = b""
    pending: int = 0
    since: int = _AGAIN - 2 * _BATCH
    mode: Mode | None = None
    gain: float = 0.0
    found: float = 0.0
    templated: float = 0.0

    sample: bytes = b""
    level: int = 0

    length_mean: float = 5.0
    length_variance: float = 0.0
    gap_mean: float = 4.0
    gap_variance: float = 0.0
    machine: float = 0.0

    onset_s: float = 0.0
    calls: int = 0
    said: float = 0.0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call; ignored without a prompt's hash and place."""
        prompt, place, time_s = observation.prompt_hash, observation.prompt_place, observation.time_s
        if prompt is None or place is None or len(place) != DIMENSIONS + 1 or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        pace = self.pace
        before_s = pace.last_s
        pace.see(time_s)
        self._habits(observation, -1.0 if before_s is None else time_s - before_s)
        if self.crowding <= 0.0:
            self.onset_s, self.calls, self.said = time_s, 1, 0.0
        else:
            self.calls += 1
        mark, marks = (prompt & 0xFFFFFF).to_bytes(_MARK, "little"), self.marks
        if mark in marks:
            return None
        vote = self._remember(prompt)
        if vote < 0:
            self.again += place + vote.to_bytes(1, "little", signed=True)
        else:
            template, head, tail = observation.prompt_template, observation.prompt_head, observation.prompt_tail
            ends = bytes((vote, (template or 0) & 0xFF, (head or 0) & 0xFF, (tail or 0) & 0xFF))
            self.marks = marks[-_MARK * (_RING - 1) :] + mark
            self.ring = self.ring[-_ENTRY * (_RING - 1) :] + place + ends
            self.pending += 1
        if self.pending < _BATCH and len(self.again) < _BATCH * _REPEAT:
            return None
        self._look()
        self.pending, self.again = 0, b""
        return self._sweep(time_s)

    @property
    def reading(self) -> tuple[float, float]:
        """The less refuted explanation and the limit."""
        return min(self.crowding, self.growth), self._limit()

    def _limit(self) -> float:
        return e_limit(average_run_length(self.share, self.pace.per_day))

    def _habits(self, observation: Observation, gap_s: float) -> None:
        """Spread of lengths and gaps and the share of machine-like parameters, for the evidence rows.

        A clock that runs back tells no gap.
        """
        chars, mean, variance = observation.prompt_chars, self.length_mean, self.length_variance
        off = (math.log(min(chars, _MAX_CHARS)) if chars and chars > 1 else 0.0) - mean
        self.length_mean = mean + _FADE * off
        self.length_variance = variance + _FADE * (off * off - variance)
        if gap_s >= 0.0:
            mean, variance = self.gap_mean, self.gap_variance
            off = (_LEAST_LOG_GAP if gap_s < _LEAST_GAP_S else math.log(min(gap_s, DAY_S))) - mean
            self.gap_mean = mean + _FADE * off
            self.gap_variance = variance + _FADE * (off * off - variance)
        machine = self.machine
        self.machine = machine + _FADE * ((observation.temperature == 0.0 or (observation.n or 1) > 1) - machine)

    def _remember(self, prompt: int) -> int:
        """How many prompts this one stands for: below zero if it was sent before, 0 if that is not known."""
        if prompt & ((1 << self.level) - 1):
            return 0
        weight = min(1 << self.level, _MAX_WEIGHT)
        mark = (prompt & 0xFFFFFFFF).to_bytes(4, "little")
        if mark in self.sample:
            return -weight
        self.sample += mark
        if len(self.sample) > _SAMPLE_BYTES:
            self._thin()
        return weight

    def _thin(self) -> None:
        """Halve the sample as often as it takes."""
        while len(self.sample) > _SAMPLE_BYTES and self.level < _MAX_LEVEL:
            self.level += 1
            mask = (1 << self.level) - 1
            kept = [self.sample[at : at + 4] for at in range(0, len(self.sample), 4)]
            self.sample = b"".join(each for each in kept if not int.from_bytes(each, "little") & mask)
        self.sample = self.sample[-_SAMPLE_BYTES:]

    def _look(self) -> None:
        """Refute a person, an application and a rerun with the prompts since the last look."""
        entries = np.frombuffer(self.ring, dtype=np.int8).reshape(-1, _ENTRY)
        count = len(entries)
        free = _untemplated(entries[:, DIMENSIONS + 2 :].view(np.uint8))
        left = int(np.count_nonzero(free))
        self.templated = 1.0 - left / count if count else 0.0
        self.since += self.pending
        if self.templated >= _TEMPLATED:
            self.crowding, self.mode = 0.0, None
            return
        numbers = entries.astype(float)
        # A product with ones is the fastest sum of few rows.
        own = np.ones(count) @ numbers[:, :DIMENSIONS] / (max(count, 1) * STEPS)
        if self.mode is not None:
            last = numbers[count - self.pending :]
            if left < count:
                last = last[free[count - self.pending :]]
            self._test(self.mode, last, own)
        if self.since >= _AGAIN and self.crowding <= 0.0 and left >= _FIRST:
            if left < count:
                numbers = numbers[free]
            found = spots(numbers)
            self.mode = crowded(found, background(found, numbers[:, DIMENSIONS] / LOG_STEPS, own))
            self.since, self.growth = 0, _NEW * float(numbers[:, DIMENSIONS + 1].sum())
            self.found = self.mode.count

    def _test(self, mode: Mode, last: Rows, own: Rows) -> None:
        """Whether a mode that was found before explains new prompts, and then learn them.

        Those of the mode that came before are taken for a rerun.
        """
        new = len(last)
        if self.again and self.growth > 0.0:
            again = np.frombuffer(self.again, dtype=np.int8).reshape(-1, _REPEAT).astype(float)
            last = np.concatenate((last[:, :_REPEAT], again))
        elif not new:
            return
        found, usual, votes = spots(last), last[:, DIMENSIONS] / LOG_STEPS, last[:, DIMENSIONS + 1]
        usual[:new] = background(found[:, :new], usual[:new], own)
        squares = products(found)
        gains, members = mode.gains(squares, usual)
        if len(last) > new:
            self.growth = max(self.growth + _SEEN * float(members[new:] @ votes[new:]), 0.0)
        if new:
            gain = float(gains[:new].sum()) / new
            if self.crowding <= 0.0:
                self.gain = gain
            self.gain += (gain - self.gain) * 0.25
            step = min(max(gain - _OWN_KIND, _LEAST), _MOST) * new
            self.crowding = min(max(self.crowding + step, 0.0), _CEILING)
            self.found += float(members[:new].sum())
            self.growth = min(self.growth + _NEW * float(votes[:new].sum()), _CEILING)
            mode.learn(squares[:, :new], members[:new])

    def _sweep(self, time_s: float) -> Detection | None:
        """A sweep, once every benign explanation is refuted; again only when its coverage has doubled."""
        if self.mode is None or self.found < max(_MIN_NEW, 2.0 * self.said):
            return None
        score, threshold = self.reading
        if score < threshold:
            return None
        volume = self.mode.volume()
        if volume > _COMPACT:
            return None
        self.said = self.found
        hours = max(time_s - self.onset_s, 1.0) / 3_600.0
        severity = Severity.LOW
        if self.found >= _MEDIUM_NEW:
            severity = Severity.HIGH if self.found >= _HIGH_NEW else Severity.MEDIUM
        return Detection(
            summary=(
                f"about {self.found:.0f} new prompts of one kind in {hours:.1f} h, {self.mode.share:.0%} of new ones: "
                f"coverage keeps growing, unlike a person, the fills of one template or a rerun"
            ),
            severity=severity,
            score=score,
            threshold=threshold,
            onset_s=self.onset_s,
            evidence=(
                Evidence(name="new prompts of one kind", observed=self.found, unit="prompts"),
                Evidence(name="calls in the run", observed=float(self.calls), unit="calls"),
                Evidence(
                    name="better explained than people", observed=self.gain, expected=_OWN_KIND, unit="nats a prompt"
                ),
                Evidence(name="width of the kind", observed=volume, expected=0.0, unit="log volume, people's is 0"),
                Evidence(name="in templates", observed=self.templated, expected=1.0, unit="share of prompts"),
                Evidence(name="rerun refuted by", observed=self.growth, expected=threshold, unit="nats"),
                Evidence(
                    name="length and rhythm",
                    observed=f"{math.sqrt(self.length_variance):.2f}, {math.sqrt(self.gap_variance):.2f}",
                    expected="0.85, 1.30",
                    unit="sd of ln characters, of ln gap",
                ),
                Evidence(name="temperature 0 or many choices", observed=self.machine, unit="share of calls"),
            ),
        )


def _untemplated(ends: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which prompts share neither their first words nor their last nor their skeleton with three tenths of all."""
    values = ends + _COLUMNS
    counts = np.bincount(values.ravel(), minlength=1)
    most = max(_TEMPLATE * len(ends), 4.0)
    if counts.max() <= most:
        return np.ones(len(ends), dtype=bool)
    return np.asarray((counts[values] <= most).all(axis=1))
