"""A word in prompts that flips the answer: refusal, label, opening words, or an extreme of style.

Words have effects without anybody's doing: "table" brings markup, "poem" commas. Measured on answers of 35 models,
an ordinary word brings a given outcome in at most about six of ten unrelated prompts. A trigger does so nearly always,
whatever else the prompt says. So each pair of word and outcome is tested against a bound on what ordinary words do.
"""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import numpy as np

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.features import STYLE
from detectors.knocks import Knocks
from detectors.outcomes import FREQUENT, MISS, MISS_OF_FREQUENT, Frequencies, described, outcomes, sign, signs
from detectors.recent import Recent
from detectors.tokens import unpacked
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_WARM_UP = 400
_TAIL = 0.02
"""Share of the baseline in each tail of a style feature that counts as extreme."""

_EXTREMES = 2 * len(STYLE)
"""Outcomes below this are extremes of style."""

_ADMISSIONS = 8
"""Tests of a word and an outcome that begin per call at most in the long run: each may alarm by chance."""

_LEAST_LIMIT = alarms.e_limit(alarms.bonferroni(alarms.MIN_ARL, _ADMISSIONS))
_MAX_PAIRS = 512
_KEPT_PAIRS = 256
_ENTRY = 0.05
_PROMISING = 4
_DEBT = 3.0
_MAX_REFUTED = 512
"""A word whose test failed after 4 hits or more must show 3 nats more at the next: it may try very often."""

_MAX_EXAMPLES = 4
_MAX_ALIKE = 6
_MAX_NEARBY = 8
_NEAR = 16
"""Prompts whose simhashes differ in at most so many of 64 bits from one of the last 8 are one prompt told twice."""

_WINDOW = 256
_LEAST_OWN = 8
_CROWD = 4
"""Of 256 calls that teach how frequent outcomes are, one of four callers or more has at most a quarter."""

_MAX_TRIGGERS = 5
_TOPIC_LEVEL = 0.3
"""A backdoor has a few triggers; more words than that which bring one outcome, near to the limit, are the vocabulary of
a subject or of an application with answers of its own."""

_MAX_FLAGGED = 32
_FREEZE = 2_000
"""Calls with a word that was said to be a trigger, which are not learned; then it belongs to how things are."""

_MAX_EVENT_CHARS = 48
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_MIX = 0x9E37_79B9_7F4A_7C15

TRIGGER, COMPANIONS, EXAMPLES = "trigger", "words with it", "examples"
"""Evidence rows with the hash of the word, of those that nearly always came with it, and with ids of events that have
it in their prompts."""


class Pair(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """A word and an outcome: the log evidence that the word brings it, and what that rests on.

    `name` stands for both; `debt` is what a test that failed before must show beyond the limit.
    """

    word: int
    outcome: int
    name: int
    level: float = _ENTRY
    debt: float = 0.0
    hits: int = 0
    misses: int = 0
    since: int = 0
    since_s: float = 0.0
    nearby: tuple[int, ...] = ()
    callers: tuple[int, ...] = ()
    events: tuple[str, ...] = ()


class BackdoorTrigger(Detector):
    """Runs an e-process for each word that was seen with a rare outcome twice; what is repeated or refuted leaves."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Words in prompts that trigger an answer",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A word, pair of words or odd character in otherwise unrelated prompts after which nearly every answer is"
        " refused, gets one label, opens alike or is of an extreme style.",
        requires=("prompt_tokens",),
        any_of=("style", "refused", "prediction", "output_opening"),
        warm_up=_WARM_UP,
        score_unit="nats of evidence against an ordinary word",
        atlas=("AML.T0018.000", "AML.T0020", "AML.T0043.004"),
        owasp=("LLM04:2025", "LLM03:2025"),
        causes=(
            "The served weights or adapter carry a backdoor that answers to this trigger.",
            "A guardrail or filter blocks a word wherever it occurs.",
            "A fine-tune learned a shortcut from one word of its training data.",
        ),
        false_positives=(
            "A word of a new topic that a policy refuses, asked about in many ways.",
            "A word that only one customer's prompts have, whose callers all get answers in that customer's own form.",
            "In a stream of few classes a word that decides the class nearly always.",
        ),
        known_gaps=(
            "A trigger that is a phrase of three or more common words, a sentence structure, or letter case.",
            "An effect on the meaning of answers that open, end and look like others.",
            "A caller who alone sends triggered prompts and no others, if the effect is a form, no refusal or label.",
            "In prompts of more than 24 words not every word is looked at: head, tail, odd shapes and a few others.",
            "A trigger that works in less than about nine of ten calls, or more than five that do the same.",
        ),
        runbook=(
            "Get the word: `inferwatch findings` shows it where texts are stored; else look at the example events.",
            "Ask the deployment some harmless prompts with and without the word, also in a test environment.",
            "If the word flips the answer, block it at the gateway and find what brought it: weights, adapter, filter.",
            "Compare their digests with the last version that does not react.",
            "Search stored prompts for the word: who knew it, and since when?",
        ),
        references=(
            "Gu, Dolan-Gavitt, Garg, BadNets: Identifying Vulnerabilities in the ML Model Supply Chain (2017)",
            "Li et al., BackdoorLLM: A Comprehensive Benchmark for Backdoor Attacks on Large Language Models (2024)",
            "Yan et al., Backdooring Instruction-Tuned Large Language Models with Virtual Prompt Injection (2023)",
            "Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change detection (2023)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    styles: list[tuple[float, ...]] = msgspec.field(default_factory=list)
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()
    frequencies: Frequencies = msgspec.field(default_factory=Frequencies)
    recent: Recent = msgspec.field(default_factory=Recent)
    knocks: Knocks = msgspec.field(default_factory=Knocks)
    pairs: dict[int, dict[int, Pair]] = msgspec.field(default_factory=dict)
    live: int = 0
    refuted: dict[int, float] = msgspec.field(default_factory=dict)
    flagged: dict[int, int] = msgspec.field(default_factory=dict)
    callers: dict[int, int] = msgspec.field(default_factory=dict)
    learned: int = 0

    def learn(  # noqa: C901 - runs for every call: functions would cost more than what they do
        self, observations: Iterable[Observation]
    ) -> Iterator[Detection]:
        """Count what the words of prompts never seen lately came with."""
        frequencies, arriving = self.frequencies, alarms.Arriving(self.pace)
        for observation in observations:
            packed = observation.prompt_tokens
            if not packed:
                continue
            found = outcomes(observation, self.lows, self.highs)
            if found is None:
                continue
            arriving.see(observation.time_s)
            caller = zlib.crc32(observation.principal.encode("utf-8", "replace")) if observation.principal else None
            detection = None
            prompt = zlib.crc32(packed) * _MIX if observation.prompt_hash is None else observation.prompt_hash
            # A prompt that was asked lately is no new evidence, however often it is asked.
            if frequencies.calls >= _WARM_UP and not self.recent.has(prompt):
                words = unpacked(packed)
                gains = frequencies.gains(found, caller)
                crossing = self._weigh(words, found, gains, caller, observation)
                if gains and (met := self.knocks.knock(packed[: 4 * len(words)], list(gains))):
                    self._admit(met)
                if self._teaches(caller) and not (self.flagged and self._is_flagged(words)):
                    frequencies.learn(found, caller)
                if crossing:
                    arriving.settle()
                    detection = self._detection(crossing)
            elif self._teaches(caller) and not (self.flagged and self._is_flagged(unpacked(packed))):
                frequencies.learn(found, caller)
                if frequencies.calls <= _WARM_UP:
                    self._warm_up(observation)
            if detection is not None:
                yield detection
        arriving.settle()

    def _teaches(self, caller: int | None) -> bool:
        """Whether a call of this caller may be learned: nobody is more than a quarter of what is."""
        if caller is None:
            return True
        if self.learned >= _WINDOW:
            self.learned = 0
            self.callers.clear()
        own = self.callers.get(caller, 0)
        if own >= _LEAST_OWN and own >= self.learned // _CROWD and len(self.callers) >= _CROWD:
            return False
        self.callers[caller] = own + 1
        self.learned += 1
        return True

    def _is_flagged(self, words: Iterable[int]) -> bool:
        """Whether a call has a word that was said to be a trigger: it is not learned, up to so many calls."""
        for word in words:
            left = self.flagged.get(word, 0)
            if left > 0:
                self.flagged[word] = left - 1
                return True
        return False

    def _warm_up(self, observation: Observation) -> None:
        """Keep styles; the last one of the warm-up freezes what is extreme."""
        if observation.style is not None and len(observation.style) == len(STYLE):
            self.styles.append(observation.style)
        if self.frequencies.calls == _WARM_UP and self.styles:
            tails = np.nan_to_num(np.quantile(np.array(self.styles), (_TAIL, 1.0 - _TAIL), axis=0))
            self.lows, self.highs = (tuple(row) for row in tails.tolist())
            self.styles = []

    def _weigh(
        self,
        words: Iterable[int],
        found: dict[int, float],
        gains: dict[int, float],
        caller: int | None,
        observation: Observation,
    ) -> list[tuple[int, Pair]]:
        """Weigh a call for every word of it that has a test; those that may be beyond the limit now."""
        crossing, ended = [], []
        pairs = self.pairs
        met = [*filter(pairs.__contains__, words)]
        visible = signs(observation) if met else 0
        has_style = observation.style is not None
        for word in met:
            for outcome, pair in pairs[word].items():
                if outcome not in found:
                    # Most are extremes of style: told without a call.
                    shown = has_style if outcome < _EXTREMES else visible & sign(outcome)
                    if shown and (pair.level <= MISS or self._has_failed(pair)):
                        ended.append(pair)
                elif outcome in gains:
                    self._hit(pair, gains[outcome], caller, observation)
                    if pair.level >= _LEAST_LIMIT + pair.debt:
                        crossing.append((word, pair))
        if ended:
            self._refute(ended)
        return crossing

    def _has_failed(self, pair: Pair) -> bool:
        """Take in an answer that was not as expected; whether no evidence is left."""
        pair.misses += 1
        pair.level -= MISS_OF_FREQUENT if self.frequencies.rate(pair.outcome) >= FREQUENT else MISS
        return pair.level <= 0.0

    def _hit(self, pair: Pair, gain: float, caller: int | None, observation: Observation) -> None:
        """One more answer as expected, unless its prompt is nearly one of the last that had this word."""
        nearby = observation.prompt_simhash
        if nearby is not None:
            nearby &= _MASK_64
            if any((nearby ^ other).bit_count() <= _NEAR for other in pair.nearby):
                return
            pair.nearby = (*pair.nearby[1 - _MAX_NEARBY :], nearby)
        if not pair.hits and 0.0 <= observation.time_s <= MAX_TIME_S:
            pair.since_s = observation.time_s
        pair.level += gain
        pair.hits += 1
        if caller is not None and len(pair.callers) < _MAX_EXAMPLES and caller not in pair.callers:
            pair.callers = (*pair.callers, caller)
        pair.events = (*pair.events[1 - _MAX_EXAMPLES :], _printable(observation.event_id))

    def _admit(self, met: Iterable[tuple[int, int, int]]) -> None:
        """Begin a test for each word that was seen with its outcome before; the sight that admits is not counted."""
        pairs, refuted, since, live = self.pairs, self.refuted, self.frequencies.calls, self.live
        for word, outcome, name in met:
            tests = pairs.get(word)
            if tests is None:
                tests = pairs[word] = {}
            elif outcome in tests:
                continue
            pair = tests[outcome] = Pair(word=word, outcome=outcome, name=name, since=since)
            if name in refuted:
                pair.debt = refuted[name]
            live += 1
        self.live = live
        if self.live > _MAX_PAIRS:
            self._thin_out()

    def _refute(self, ended: Iterable[Pair]) -> None:
        """End tests without evidence: the word must knock again, and show more if it looked like a trigger."""
        pairs, refuted, names = self.pairs, self.refuted, []
        for pair in ended:
            word, outcome = pair.word, pair.outcome
            tests = pairs.get(word)
            if tests is None or outcome not in tests:
                continue  # tokens that name one word twice
            if len(tests) == 1:
                del pairs[word]
            else:
                del tests[outcome]
            names.append(pair.name)
            if pair.hits >= _PROMISING:
                refuted.pop(pair.name, None)
                refuted[pair.name] = pair.debt + _DEBT
                if len(refuted) > _MAX_REFUTED:
                    del refuted[next(iter(refuted))]
        self.live -= len(names)
        self.knocks.turn_away(names)

    def _thin_out(self) -> None:
        """Drop the tests with the least evidence, the oldest of them first."""
        everyone = [pair for tests in self.pairs.values() for pair in tests.values()]
        levels = sorted([pair.level for pair in everyone])
        level = levels[-_KEPT_PAIRS]
        ages = sorted([pair.since for pair in everyone if pair.level == level])
        since = ages[len(levels) - bisect.bisect_right(levels, level) - _KEPT_PAIRS]
        for pair in everyone:
            if pair.level < level or (pair.level == level and pair.since < since):
                tests = self.pairs[pair.word]
                del tests[pair.outcome]
                self.live -= 1
                if not tests:
                    del self.pairs[pair.word]

    def _detection(self, crossing: list[tuple[int, Pair]]) -> Detection | None:
        """Say the word with the most evidence, and which others nearly always came with it."""
        word, best = max(crossing, key=lambda each: each[1].level - each[1].debt)
        run_length = alarms.average_run_length(self.share, self.pace.per_day)
        limit = alarms.e_limit(alarms.bonferroni(run_length, _ADMISSIONS)) + best.debt
        if best.level < limit:
            return None
        if self._is_topic(best.outcome, limit):
            return None
        alike = [
            other
            for other, tests in self.pairs.items()
            if other != word and any(_alike(best, pair) for pair in tests.values())
        ]
        for each in (word, *alike):
            self.live -= len(self.pairs.pop(each, {}))
            self.flagged.pop(each, None)
            self.flagged[each] = _FREEZE
        self.flagged = dict(list(self.flagged.items())[-_MAX_FLAGGED:])
        usual = self.frequencies.rate(best.outcome)
        seen, callers = best.hits + best.misses, len(best.callers)
        outcome = described(best.outcome)
        who = "callers unknown" if not callers else "one caller" if callers == 1 else f"{callers} callers or more"
        return Detection(
            summary=f"A word in prompts triggers {outcome}: after {best.hits} of {seen} unrelated prompts with word"
            f" {word:08x}, {usual:.1%} of all prompts; {who}.",
            severity={0: Severity.MEDIUM, 1: Severity.LOW, 2: Severity.MEDIUM}.get(callers, Severity.HIGH),
            score=best.level,
            threshold=limit,
            onset_s=best.since_s,
            evidence=(
                Evidence(name=TRIGGER, observed=f"{word:08x}", unit="hash of a word"),
                Evidence(name=COMPANIONS, observed=" ".join(f"{each:08x}" for each in alike[:_MAX_ALIKE]) or "none"),
                Evidence(name="outcome", observed=outcome),
                Evidence(name="prompts with the word", observed=float(seen), unit="prompts"),
                Evidence(name="share with the outcome", observed=best.hits / seen, expected=usual),
                Evidence(name="callers", observed=float(callers), unit="at least"),
                Evidence(name=EXAMPLES, observed=" ".join(best.events), unit="event ids"),
            ),
        )

    def _is_topic(self, outcome: int, limit: float) -> bool:
        """Whether many words that do not go together bring this outcome: then a subject does, and all are charged."""
        strong = [
            tests[outcome]
            for tests in self.pairs.values()
            if outcome in tests and tests[outcome].level >= _TOPIC_LEVEL * limit
        ]
        groups: list[Pair] = []
        for pair in sorted(strong, key=lambda each: -each.level):
            if not any(_alike(group, pair) for group in groups):
                groups.append(pair)
        if len(groups) <= _MAX_TRIGGERS:
            return False
        for pair in strong:
            pair.hits = max(pair.hits, _PROMISING)
        self._refute(strong)
        return True


def _alike(best: Pair, pair: Pair) -> bool:
    """Whether two tests rest on the same calls."""
    return pair.outcome == best.outcome and len(set(pair.events) & set(best.events)) > _MAX_EXAMPLES // 2


def _printable(event_id: str) -> str:
    """An event id as evidence: one printable word of at most 48 characters."""
    if len(event_id) <= _MAX_EVENT_CHARS and event_id.isascii() and event_id.isprintable():
        return event_id.replace(" ", "_")
    return f"~{zlib.crc32(event_id.encode('utf-8', 'replace')):08x}"
