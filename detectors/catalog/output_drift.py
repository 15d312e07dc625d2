"""Style of outputs against a frozen baseline: notices a model that was silently replaced.

The first outputs of each requested model are its baseline; every later output of it is tested for a
shift of the mean style, at equal prompt length, by `mean_shift`.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
import numpy as np

from detectors.alarms import Pace, average_run_length, e_limit
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.features import STYLE
from detectors.layouts import LAYOUT
from detectors.mean_shift import BLOCK, Array, MeanShift, Shift, freeze
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

BASELINE = 300
"""Outputs of a model that make its baseline, a multiple of `BLOCK`: enough for 20 means and their covariance."""

MAX_MODELS = 4
"""Baselines held per deployment: a caller that invents model names must not fill the memory."""

FORGET_S = 7 * 86_400.0
"""A finished baseline gives way to a new model only when its own was not asked for in so long."""

GIVE_UP_S = 3_600.0
"""The same for an unfinished one: were it replaced at once, five models in turn would never finish any."""

MIN_RUN = 30_000.0
"""Outputs between false alarms at least, however slow the deployment: a quiet one must not earn a lax limit."""

CROWD = 32
"""The last judged outputs in which one principal may hold only so many places: at least `CROWD_MIN`, and
twice its share of the baseline. One batch job is not the model."""
CROWD_MIN = 8
CROWD_LEAK = 16
"""Of a principal's outputs beyond its places one in so many is judged: one principal may be all that is left."""

_STYLES = len(STYLE)
_NO_LAYOUT = (0.0,) * len(LAYOUT)
_WIDTH = _STYLES + len(LAYOUT)
_NAME_CHARS = 128
_MAX_VALUE = 40.0  # the widest domain in STYLE
_MAX_PROMPT_CHARS = 10**9
_UNKNOWN = -1.0  # no logarithm of a count; NaN would be no finite state
_NOBODY = -1  # no CRC
_PACKED = "<f2"
_BLOCK_VALUES = BLOCK * (_WIDTH + 1)
_LEAST_LIMIT = math.log(MIN_RUN)
_NUMBERS = {blocks: struct.Struct(f"{blocks * _BLOCK_VALUES}d") for blocks in (1, 2)}

_LARGE_SHIFT = 0.75
"""Length of the shift in whitened standard deviations from which a finding is high."""

_SHOWN = 4

_UNITS = (
    ("typical length", "bytes"),
    ("typical length in words", "words"),
    ("word length", "bytes"),
    ("uppercase", "share of bytes"),
    ("digits", "share of bytes"),
    ("punctuation", "share of bytes"),
    ("markup characters", "share of bytes"),
    ("non-ASCII bytes", "share of bytes"),
    ("line breaks", "share of bytes"),
    ("commas", "share of bytes"),
    ("sentence ends", "share of bytes"),
    ("entropy", "bits per byte"),
    ("repeated words", "share of words"),
    ("list items", "share of lines"),
    ("code fences", "per output, typical"),
    ("lines starting with a capital", "share of lines"),
    ("paragraph breaks", "per output, typical"),
    ("bold", "share of bytes"),
    ("parentheses", "share of bytes"),
    ("length of the first line", "bytes, typical"),
)
_NAMES = (*STYLE, *LAYOUT)
_LOGARITHMS = frozenset({"log_chars", "log_words", "code_fences", "paragraphs", "first_line"})


class Watch(msgspec.Struct, kw_only=True):
    """One requested model: its baseline, in the making or frozen, and the evidence against it.

    `values` are raw styles and layouts plus ln prompt characters (where not told, `typical` ones) of up to `due`
    outputs, whose blocks began at `starts_s`; `warming` holds those of the baseline until it is whole, as half
    floats. `crowd` are hashed principals of the last judged outputs, of which one may hold `places`, where that is
    fewer than all; while warming, those of the baseline. `passed_over` counts outputs beyond that.
    """

    last_s: float = 0.0
    values: list[float] = []
    starts_s: list[float] = []
    due: int = 2 * _BLOCK_VALUES
    typical: float = _UNKNOWN
    warming: bytes = b""
    crowd: list[int] = []
    places: int = CROWD
    passed_over: int = 0
    test: MeanShift | None = None


class OutputDrift(Detector, kw_only=True):
    """See the module. Up to 4 models of 9 KB each (13 KB while warming)."""

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Outputs no longer look like this model's",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="a lasting shift in the style of a model's outputs (length, wording, punctuation, layout) "
        "against the first 300 outputs of the same requested model, at equal prompt length",
        requires=("style",),
        warm_up=BASELINE,
        score_unit="log evidence for a shift against log of the outputs allowed between false alarms",
        atlas=("AML.T0010.003", "AML.T0018", "AML.T0031", "AML.T0109"),
        owasp=("LLM03:2025", "LLM04:2025"),
        causes=(
            "another model, version, size or quantization answers behind the same name",
            "a fine-tune, adapter or chat template was replaced, approved or not",
            "the system prompt, temperature or token limit of the deployment was changed",
            "retrieval or a guardrail started to rewrite answers",
        ),
        false_positives=(
            "several applications with a new kind of task took a large share of the traffic",
            "the baseline was taken in an unusual hour (one tenant, one batch job)",
        ),
        known_gaps=(
            "models of one family with the same post-training can write alike: only repeated known prompts tell",
            "a shift that was there before the baseline was frozen is the baseline",
            "a replacement of a small share of the answers is found late: evidence grows with the square of the share",
            "outputs whose content is not logged are not seen",
            "a fifth requested model of one deployment is not watched",
            "of a principal that suddenly sends most of the traffic only a part is judged",
        ),
        runbook=(
            "Compare the onset with deployments, configuration changes and provider notices of that hour.",
            "Compare served model name and component digests before and after the onset.",
            "Look whether few principals or prompt templates make up the outputs since the onset.",
            "Ask a handful of known prompts at temperature 0 and compare with stored answers.",
            "If the change is not approved, route to the last known good version and preserve image and weights.",
            "If it is approved, start a new baseline for the deployment.",
        ),
        references=(
            "Shin, Ramdas, Rinaldo: E-detectors, a nonparametric framework for sequential change detection (2023)",
            "Gao, Liang, Guestrin: Model Equality Testing, which model is this API serving? (2024)",
            "Chen, Zaharia, Zou: How is ChatGPT's behavior changing over time? (2023)",
        ),
        rebaselined=True,  # its baseline is how the replaced version wrote
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    watches: dict[str, Watch] = msgspec.field(default_factory=dict)

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn outputs; evidence is weighed when they complete a block, or a second one where all is calm."""
        pace, watches = self.pace, self.watches
        for observation in observations:
            style = observation.style
            if style is None or observation.failed or observation.canary:
                continue
            layout, time_s = observation.layout or _NO_LAYOUT, observation.time_s
            if len(style) + len(layout) != _WIDTH or not math.isfinite(sum(style) + sum(layout) + time_s):
                continue
            pace.see(time_s)
            now_s, name = pace.clock[0], (observation.model or "")[:_NAME_CHARS]
            watch = watches.get(name) or self._begun(name, now_s)
            if watch is None:
                continue
            watch.last_s = now_s
            if not _gather(watch, style, layout, observation):
                continue
            if watch.test is None:
                _learn(watch)
            elif (found := self._judge(watch, watch.test, observation)) is not None:
                yield found

    def _judge(self, watch: Watch, test: MeanShift, observation: Observation) -> Detection | None:
        score = test.update(_emptied(watch), watch.starts_s)
        watch.starts_s = []
        watch.due = test.wanted * _BLOCK_VALUES
        if score < _LEAST_LIMIT:
            return None
        threshold = e_limit(max(average_run_length(self.share, self.pace.per_day), MIN_RUN))
        if score < threshold:
            return None
        shift = test.shift()
        test.restart()
        watch.due = test.wanted * _BLOCK_VALUES
        facts = _facts(shift)
        return Detection(
            summary=_summary(observation.model or observation.deployment, shift, facts[0]),
            severity=Severity.HIGH if shift.length >= _LARGE_SHIFT else Severity.MEDIUM,
            score=score,
            threshold=threshold,
            onset_s=shift.start_s,
            evidence=facts,
        )

    def _begun(self, model: str, now_s: float) -> Watch | None:
        """A new watch for `model`; `None` where all places are held by baselines still in use."""
        if len(self.watches) >= MAX_MODELS:
            unused = [
                (held.test is not None, held.last_s, name)
                for name, held in self.watches.items()
                if now_s - held.last_s > (FORGET_S if held.test else GIVE_UP_S)
            ]
            if not unused:
                return None
            del self.watches[min(unused)[2]]
        watch = self.watches[model] = Watch()
        return watch


def _gather(watch: Watch, style: tuple[float, ...], layout: tuple[float, ...], observation: Observation) -> bool:
    """Add an output to the baseline or to the block; true where as many are there as are due."""
    if watch.places < CROWD or watch.test is None:
        principal = observation.principal
        if not _admits(watch, _NOBODY if principal is None else zlib.crc32(principal.encode("utf-8", "replace"))):
            return False
    values = watch.values
    if len(values) % _BLOCK_VALUES == 0:
        watch.starts_s.append(observation.time_s)
    values += style
    values += layout
    prompt_chars = observation.prompt_chars
    known = prompt_chars is not None and 0 <= prompt_chars <= _MAX_PROMPT_CHARS
    values.append(math.log1p(prompt_chars or 0) if known else watch.typical)
    return len(values) >= watch.due


def _admits(watch: Watch, principal: int) -> bool:
    """Whether a principal has a place left; takes it."""
    crowd = watch.crowd
    if watch.test is not None:
        if principal != _NOBODY and crowd.count(principal) >= watch.places:
            watch.passed_over += 1
            if watch.passed_over % CROWD_LEAK:
                return False
        if len(crowd) >= CROWD:
            del crowd[0]
    crowd.append(principal)
    return True


def _learn(watch: Watch) -> None:
    """Add blocks to the baseline; freeze it when it is whole."""
    rows = _emptied(watch)
    table = np.clip(rows, 0.0, _MAX_VALUE)
    table[rows[:, _WIDTH] == _UNKNOWN, _WIDTH] = math.nan
    watch.warming += table.astype(_PACKED).tobytes()
    watch.starts_s = []
    if len(watch.crowd) < BASELINE:
        return
    table = np.frombuffer(watch.warming, dtype=_PACKED).reshape(BASELINE, _WIDTH + 1)
    watch.test = MeanShift(reference=freeze(table.astype(float), 0.0, _MAX_VALUE, watch.crowd))
    watch.typical = watch.test.reference.typical
    busiest = max(Counter(watch.crowd).values()) / BASELINE
    watch.places = min(max(CROWD_MIN, math.ceil(2.0 * busiest * CROWD)), CROWD)
    watch.warming = b""
    watch.crowd = []


def _emptied(watch: Watch) -> Array:
    """The values of the blocks that are complete, (rows, 21)."""
    packed = _NUMBERS[len(watch.values) // _BLOCK_VALUES].pack(*watch.values)
    watch.values = []
    return np.frombuffer(packed).reshape(-1, _WIDTH + 1)


def _summary(name: str, shift: Shift, first: Evidence) -> str:
    since = datetime.fromtimestamp(min(max(shift.start_s, 0.0), MAX_TIME_S), UTC)
    return (
        f"Outputs of {name} changed style since {since:%Y-%m-%d %H:%M}Z: {first.name} {first.observed} "
        f"instead of {first.expected} {first.unit}; {shift.rows} outputs against a baseline of {BASELINE}."
    )


def _facts(shift: Shift) -> tuple[Evidence, ...]:
    """The style features that moved most, largest first, then the shift as a whole."""
    order = np.argsort(-np.abs(shift.deviations))[:_SHOWN]
    return (
        *(_fact(int(index), shift) for index in order),
        Evidence(name="size of the shift", observed=round(shift.length, 2), expected=0.0, unit="baseline sd"),
        Evidence(name="outputs since the onset", observed=float(shift.rows), unit="outputs"),
    )


def _fact(index: int, shift: Shift) -> Evidence:
    name, unit = _UNITS[index]
    values = [max(float(row[index]), 0.0) for row in (shift.observed, shift.expected)]
    if _NAMES[index] in _LOGARITHMS:
        values = [math.expm1(value) for value in values]
    seen, usual = (float(f"{value:.3g}") for value in values)
    deviation = float(shift.deviations[index])
    return Evidence(name=name, observed=seen, expected=usual, unit=f"{unit} ({deviation:+.1f} baseline sd)")
