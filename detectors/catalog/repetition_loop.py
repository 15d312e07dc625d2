"""The share of degenerate outputs: words that repeat without end, one character over and over, noise.

What is degenerate is judged at equal length and against the frozen baseline, since long answers repeat words anyway and
code more than prose: an output whose distinct words or whose entropy fall far off what the baseline has at its
length. Where no text is delivered, outputs that run to the most tokens the baseline ever had stand in for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import numpy as np

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.crowd import Crowd
from detectors.features import STYLE
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted
from detectors.types import Detection, Evidence, Observation, Severity

WARM_UP = 300

_STYLES = len(STYLE)
_CHARS, _WORDS = STYLE.index("log_chars"), STYLE.index("log_words")
_REPETITION, _ENTROPY = STYLE.index("repetition"), STYLE.index("entropy")
_LEAST_DISTINCT = 1e-4

_DEVIATIONS = 4.0
"""Robust standard deviations off the baseline's line from which an output is degenerate."""

_HALVED = math.log(2.0)
"""And at least this: half the distinct words expected."""

_BITS = 0.75
"""And for the entropy at least so many bits per byte, in either direction."""

_FEW_CHARS = math.log1p(40.0)
"""The entropy of shorter outputs says nothing."""

_TEXTS, _TOKENS = 0, 1
_MOST_TOKENS = 10**9
_CUT = frozenset(("length", "max_tokens", "model_length"))


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What the baseline has at a length: ``level + slope * length``, and how far off that is far."""

    level: float
    slope: float
    far: float


class RepetitionLoop(Paced, kw_only=True):
    """See the module; no principal of several is more than a part of what is seen."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Degenerate outputs: loops or noise",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting rise of the share of outputs that repeat themselves, have far too little or too much entropy "
        "for their length, or, without text, run to the most tokens there are",
        requires=(),
        any_of=("style", "output_tokens"),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0029", "AML.T0034.001", "AML.T0031"),
        owasp=("LLM10:2025", "LLM04:2025"),
        causes=(
            "Damaged or wrongly quantized weights, a wrong tokenizer or chat template, a broken adapter.",
            "Sampling settings: a repetition penalty or temperature that was lost.",
            "Prompts that drive the model into a loop, to burn tokens or to make it recite training data.",
        ),
        false_positives=(
            "An application that asks for tables, long lists or encoded data on a deployment that never wrote any.",
            "A lower token limit, where no text is delivered.",
        ),
        known_gaps=(
            "A loop over long passages repeats words no more than a long answer does.",
            "A single endless answer is one output: only a share that rises is a finding.",
            "Outputs that were degenerate during the warm-up are part of the baseline.",
        ),
        runbook=(
            "Read a few outputs since the onset, their endings first.",
            "Compare weights, adapter, tokenizer and chat template digests before and after the onset.",
            "Ask a few ordinary prompts at the usual settings; if they loop, route to the last good version.",
            "If one principal or template stands behind the outputs, limit its output tokens.",
        ),
        references=(
            "Holtzman et al., The curious case of neural text degeneration (2019)",
            "Nasr et al., Scalable extraction of training data from (production) language models (2023)",
            "Lorden, Procedures for reacting to a change in distribution (1971)",
        ),
        rebaselined=True,  # what is degenerate at a length is measured on the replaced version's outputs
    )

    crowd: Crowd = msgspec.field(default_factory=Crowd)
    warming: list[tuple[float, float, float, float]] = msgspec.field(default_factory=list)
    words: Line | None = None
    entropy: Line | None = None
    texts: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=WARM_UP, rates=[Rate(falls=False)]))
    most_tokens: int = 0
    told: int = 0
    tokens: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=WARM_UP, rates=[Rate(falls=False)]))
    cut: float = 0.0

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn outputs."""
        arriving, admits = alarms.Arriving(self.pace), self.crowd.admits
        for observation in observations:
            style, tokens = observation.style, observation.output_tokens
            if style is None and tokens is None:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            if observation.failed or not admits(observation.principal):
                continue
            if style is None:
                found = self._count(tokens or 0, arriving)
            elif len(style) != _STYLES or not math.isfinite(sum(style)):
                continue
            else:
                found = self._read(style, observation.finish_reason, time_s, arriving)
            if found is not None:
                yield found
        arriving.settle()

    def _read(
        self, style: tuple[float, ...], reason: str | None, time_s: float, pace: alarms.Rhythm
    ) -> Detection | None:
        """Judge an output by its text."""
        row = (style[_CHARS], style[_WORDS], style[_REPETITION], style[_ENTROPY])
        words, entropy = self.words, self.entropy
        if words is None or entropy is None:
            self.warming.append(row)
            if len(self.warming) >= WARM_UP:
                self._freeze()
            return None
        bad = _degenerate(row, words, entropy)
        if bad:
            self.cut += 0.1 * ((reason in _CUT) - self.cut)
        shifted = self.texts.see((0,) if bad else (), time_s, self.share / 2.0, pace)
        return None if shifted is None else self._detection(shifted, _TEXTS)

    def _count(self, tokens: int, pace: alarms.Rhythm) -> Detection | None:
        """Judge an output by its tokens, where no text is known."""
        tokens = min(max(tokens, 0), _MOST_TOKENS)
        if self.told < WARM_UP:
            # The first half of the warm-up says what the most is, the second how often it is reached.
            self.told += 1
            self.most_tokens = max(self.most_tokens, tokens)
            return None
        if self.tokens.warming:
            self.most_tokens = max(self.most_tokens, tokens)
        most = tokens >= self.most_tokens > 0
        shifted = self.tokens.see((0,) if most else (), self.now_s, self.share / 2.0, pace)
        return None if shifted is None else self._detection(shifted, _TOKENS)

    def _freeze(self) -> None:
        chars, words, repetition, entropy = np.array(self.warming).T
        distinct = words + np.log(np.maximum(1.0 - repetition, _LEAST_DISTINCT))
        self.words = _line(words, distinct, _HALVED)
        self.entropy = _line(chars, entropy, _BITS)
        for row in self.warming:
            bad = _degenerate(row, self.words, self.entropy)
            self.texts.see((0,) if bad else (), self.now_s, self.share, self.pace)
        self.warming = []

    def _detection(self, shifted: Shifted, kind: int) -> Detection:
        what = "degenerate outputs" if kind == _TEXTS else "outputs at the most tokens of the baseline"
        facts = [
            Evidence(name=what, observed=100.0 * shifted.now, expected=100.0 * shifted.before, unit="%"),
            Evidence(name="outputs since onset", observed=float(shifted.calls), unit="outputs"),
        ]
        if kind == _TEXTS:
            facts.append(
                Evidence(name="of the last degenerate ones cut by length", observed=100.0 * self.cut, unit="%")
            )
        else:
            facts.append(Evidence(name="most tokens", observed=float(self.most_tokens), unit="tokens"))
        return Detection(
            summary=f"The share of {what} rose from {shifted.before:.1%} (frozen baseline of {WARM_UP}) to "
            f"{shifted.now:.1%} over the last {shifted.calls} outputs.",
            severity=Severity.HIGH if kind == _TEXTS else Severity.MEDIUM,
            score=shifted.score,
            threshold=shifted.threshold,
            onset_s=shifted.since_s,
            evidence=tuple(facts),
        )


def _degenerate(row: tuple[float, float, float, float], words: Line, entropy: Line) -> bool:
    """Whether log chars, log words, repetition and entropy of an output are far off."""
    chars, length, repetition, bits = row
    kept = 1.0 - repetition
    distinct = length + math.log(max(_LEAST_DISTINCT, kept))
    if (distinct - words.level - words.slope * length) / words.far < -1.0:
        return True
    return chars > _FEW_CHARS and not -1.0 <= (bits - entropy.level - entropy.slope * chars) / entropy.far <= 1.0


def _line(lengths: np.ndarray, values: np.ndarray, least: float) -> Line:
    """A robust line through the baseline: of medians of its short and its long half."""
    middle = float(np.median(lengths))
    short, long = lengths <= middle, lengths > middle
    slope = 0.0
    if long.any():
        run = float(np.median(lengths[long]) - np.median(lengths[short]))
        rise = float(np.median(values[long]) - np.median(values[short]))
        slope = rise / run if run > 0.1 else 0.0  # noqa: PLR2004 - lengths that hardly differ tell no slope
    level = float(np.median(values - slope * lengths))
    spread = 1.4826 * float(np.median(np.abs(values - level - slope * lengths)))
    return Line(level=level, slope=slope, far=max(_DEVIATIONS * spread, least))
