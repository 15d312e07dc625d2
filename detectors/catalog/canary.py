"""Known prompts asked again: do the answers differ more than the same model's answers differ among themselves?

A prompt is known when `inferwatch canary run` asked it, or when it comes again by itself. Its first answers are kept
as sketches, and how unlike they are among themselves, over all known prompts, is the natural variation. From then on
each round of up to 50 known prompts is one test of two questions: are the answers less like the stored ones than
natural variation explains, and has their style moved in one direction?

A round counts each prompt once and rounds are not added up: at temperature 0 the same chance difference between the
first answers and today's would come back in every round and grow to certainty.
"""

from __future__ import annotations

import functools
import math
import zlib
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
import numpy as np

from detectors.alarms import DAY_S, Pace, average_run_length, bonferroni, student_limit
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.features import STYLE
from detectors.known_prompts import DIFFERENT_SHARE, WIDTH, Known, Round, Variation, packed
from detectors.sketches import BYTES
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

POOL = 100
"""Repeats that make the natural variation: the second and third run of 50 canaries."""

ROUND = 50
"""Known prompts in one test, at most; a day after its first, a round of `LEAST` is tested too."""
LEAST = 8

PLACES = 160
"""Known prompts held, of which `UNASKED` that no canary run asked and `OWNED` that one principal brought: a caller
that repeats itself must neither push out the canaries nor be the natural variation."""
UNASKED = 96
OWNED = 48

CROWD = 5
"""Answers of one round that one principal may bring, canary runs aside: were all of them three standard deviations
off, the mean of fifty would not be."""

STALE_S = 7 * DAY_S
"""A known prompt gives its place to a new one only when it did not come in so long."""

_MAX_REPEATS = 10
"""Repeats of one prompt that count as natural variation: a greeting is not the model."""

_SLOTS = 2_048
_NOBODY = -1
_NO_STYLE = (0.0,) * WIDTH

Style = tuple[float, ...]

_MIN_OWN = 0.15
"""Mean similarity below which a prompt that came by itself is no canary: "go on" has another answer each time.
Answers to different prompts are mostly below 0.12."""

_SIMILARITY_PART = 0.75
"""Part of the alarm budget of the test of similarity; the rest is that of style."""

_LARGE_LOSS = 0.25
"""Part of the similarity lost from which a finding is high."""


class Canary(Detector, kw_only=True):
    """See the module. At most 50 KB: 160 known prompts of 250 bytes, and what was asked lately in 8 KB.

    `several` is whether known prompts were brought by more than one principal.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Known prompts are answered differently",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="prompts that were asked before (by `inferwatch canary run`, or that repeat in traffic) whose answers are "
        "less like the stored ones than the model's own answers to one prompt are, or whose style moved one way",
        requires=("prompt_hash", "output_sketch"),
        warm_up=POOL,
        score_unit="standard deviations of one round's mean, from natural variation",
        atlas=("AML.T0010.003", "AML.T0018", "AML.T0031", "AML.T0109"),
        owasp=("LLM03:2025", "LLM04:2025"),
        causes=(
            "another model, version, size or quantization answers behind the same name",
            "weights, adapter, chat template or system prompt were replaced, approved or not",
            "sampling settings, the inference engine or its hardware were changed",
            "retrieval or a guardrail started to rewrite answers",
        ),
        false_positives=(
            "prompts whose right answer changes by itself (dates, prices, news)",
            "known prompts of traffic that began to come with another conversation before them",
        ),
        known_gaps=(
            (
                "a change within natural variation: sampled answers of two sizes of one family can be as alike as two "
                "answers of one of them; more canaries tell more, the same ones asked more often do not"
            ),
            "an answer is compared over its first 96 words; later only its style counts",
            "who controls what serves can recognize canaries that are asked verbatim and answer them as before",
            "what was changed before the natural variation was learned is the baseline",
            "a prompt that began to repeat in traffic after the natural variation was learned is not known",
            "a known prompt asked of another model or at another temperature is another prompt",
        ),
        runbook=(
            "Compare the onset with deployments, configuration changes and provider notices of that hour.",
            (
                "Run `inferwatch canary run` again, and once against another host of the same model: a second round "
                "that says the same rules out an outage or a bad minute."
            ),
            "Read a few of the canaries' answers before and after the onset.",
            "Compare served model name and component digests before and after the onset.",
            "If the change is not approved, route to the last known good version and preserve image and weights.",
            "If it is approved, start a new baseline for the deployment.",
        ),
        references=(
            "Gao, Liang, Guestrin: Model Equality Testing, which model is this API serving? (2024)",
            "Chen, Zaharia, Zou: How is ChatGPT's behavior changing over time? (2023)",
            "Broder: On the resemblance and containment of documents (1997)",
            "de la Pena, Lai, Shao: Self-normalized processes (2009)",
        ),
        rebaselined=True,  # the stored answers are the replaced version's
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    lately: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(_SLOTS, dtype=np.uint32))
    known: dict[int, Known] = msgspec.field(default_factory=dict)
    several: bool = False
    repeats: int = 0
    moves: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(WIDTH))
    variation: Variation | None = None
    round: Round = msgspec.field(default_factory=Round)
    latest: tuple[float, float] | None = None

    def update(self, observation: Observation) -> Detection | None:
        """Learn one answer to a known prompt; the evidence is weighed when it completes a round."""
        prompt, sketch = observation.prompt_hash, observation.output_sketch
        if prompt is None or sketch is None or observation.failed:
            return None
        key = (prompt ^ _asked_of(observation.model, observation.temperature)) & (2**64 - 1)
        known = self.known.get(key)
        if known is None and not observation.canary and (self.variation or not self._comes_again(key)):
            return None
        style = observation.style or _NO_STYLE
        if len(sketch) != BYTES or len(style) != WIDTH or not math.isfinite(observation.time_s + sum(style)):
            return None
        self.pace.see(observation.time_s)
        now_s = self.pace.last_s or 0.0
        if known is None:
            self._adopt(key, observation, sketch, style, now_s)
            return None
        known.last_s = now_s
        if self.variation is None:
            self._learn(known, sketch, style)
            return None
        return self._judge(key, known, observation, sketch, style)

    @property
    def reading(self) -> tuple[float, float] | None:
        """Loss of similarity in the last round, and its limit."""
        return self.latest

    @property
    def lacks(self) -> int:
        """How many repeats of known prompts it lacks."""
        return 0 if self.variation else max(POOL - self.repeats, 1)

    def _comes_again(self, key: int) -> bool:
        """Whether this prompt is among the last ones; remembers it."""
        slot, print_ = key % _SLOTS, key >> 32
        if self.lately.item(slot) == print_:
            return True
        self.lately[slot] = print_
        return False

    def _adopt(self, key: int, observation: Observation, sketch: bytes, style: Style, now_s: float) -> None:
        """Keep a prompt and its first answer where there is a place for it."""
        asked = bool(observation.canary)
        owner = _NOBODY if asked else _hashed(observation.principal)
        if not asked:
            others = [known for known in self.known.values() if not known.asked]
            if owner != _NOBODY and sum(known.owner == owner for known in others) >= OWNED:
                return
            if len(others) >= UNASKED and not self._make_place(now_s, asked=False):
                return
        if len(self.known) >= PLACES and not self._make_place(now_s, asked=asked):
            return
        self.known[key] = Known(answers=sketch, style=packed(np.array(style)), asked=asked, owner=owner, last_s=now_s)
        self._count_owners()

    def _make_place(self, now_s: float, *, asked: bool) -> bool:
        """Forget the prompt that did not come for longest, if that is long; only a canary displaces a canary."""
        found = [(known.last_s, key) for key, known in self.known.items() if asked or not known.asked]
        if not found or now_s - min(found)[0] < STALE_S:
            return False
        del self.known[min(found)[1]]
        return True

    def _count_owners(self) -> None:
        self.several = len({known.owner for known in self.known.values()}) > 1

    def _learn(self, known: Known, sketch: bytes, style: Style) -> None:
        """Take one repeat into the natural variation, and freeze that when it is enough."""
        if len(known.likes) >= _MAX_REPEATS:
            return
        self.moves += np.square(known.learn(sketch, np.array(style)))
        self.repeats += 1
        if self.repeats < POOL:
            return
        fickle = [key for key, one in self.known.items() if not one.asked and _is_fickle(one)]
        for key in fickle:
            self.repeats -= len(self.known.pop(key).likes)
        self._count_owners()
        if self.repeats >= POOL // 2:
            self.variation = Variation.of([one for one in self.known.values() if one.likes], self.moves / POOL)
        else:
            self.moves *= self.repeats / POOL

    def _judge(self, key: int, known: Known, observation: Observation, sketch: bytes, style: Style) -> Detection | None:
        variation, running = self.variation, self.round
        assert variation is not None  # noqa: S101 - for mypy; `update` has just looked
        if key not in running.keys and self._may_add(observation):
            if not running.keys:
                running.start_s = observation.time_s
            running.add(key, variation, known, sketch, np.array(style))
        count = len(running.keys)
        complete = count >= min(ROUND, max(len(self.known), LEAST))
        late = count >= LEAST and abs(observation.time_s - running.start_s) >= DAY_S
        if not complete and not late:
            return None
        self.round = Round()
        return self._tested(running, variation, observation)

    def _may_add(self, observation: Observation) -> bool:
        """Whether this answer's principal has a place left in the round."""
        principal = _NOBODY if observation.canary else _hashed(observation.principal)
        if principal == _NOBODY:
            return True
        taken = self.round.crowd.get(principal, 0)
        if taken >= CROWD and self.several:
            return False
        self.round.crowd[principal] = taken + 1
        return True

    def _tested(self, done: Round, variation: Variation, observation: Observation) -> Detection | None:
        """The verdict on a whole round, at its share of the alarms that as many answers may cost."""
        count = len(done.keys)
        rounds = average_run_length(self.share, self.pace.per_day) / count
        freedom = max(variation.repeats - 1.0, 3.0)
        lost, moved = done.fallen(variation), done.moves(variation)
        limit = student_limit(max(rounds / _SIMILARITY_PART, 3.0), freedom)
        widest = int(np.abs(moved).argmax())
        move = float(abs(moved[widest]))
        move_limit = student_limit(max(bonferroni(rounds / (1.0 - _SIMILARITY_PART), 2 * WIDTH), 3.0), freedom)
        self.latest = (lost, limit)
        if lost < limit and move < move_limit:
            return None
        score, threshold = (lost, limit) if lost - limit >= move - move_limit else (move, move_limit)
        loss = 1.0 - done.seen / max(done.expected, 1e-9)
        since = datetime.fromtimestamp(min(max(done.start_s, 0.0), MAX_TIME_S), UTC)
        name = (observation.model or observation.deployment)[:128]
        said = f"{count} known prompts asked of {name} again since {since:%Y-%m-%d %H:%M}Z got answers"
        return Detection(
            summary=_unlike(said, done) if lost >= limit else _moved(said, done, widest),
            severity=Severity.HIGH if loss >= _LARGE_LOSS else Severity.MEDIUM,
            score=score,
            threshold=threshold,
            onset_s=done.start_s,
            evidence=_facts(done, (lost, limit), (float(moved[widest]), move_limit), widest),
        )


def _is_fickle(known: Known) -> bool:
    return bool(known.likes) and sum(known.likes) < _MIN_OWN * len(known.likes)


def _unlike(said: str, done: Round) -> str:
    count = len(done.keys)
    return (
        f"{said} less like the stored ones than its own vary: mean similarity {done.seen / count:.2f} instead of "
        f"{done.expected / count:.2f}, {done.different} clearly different."
    )


def _moved(said: str, done: Round, widest: int) -> str:
    way = "up" if done.moved[widest] > 0 else "down"
    return f"{said} as alike as ever, but of another style: {STYLE[widest].replace('_', ' ')} went {way}."


def _facts(done: Round, lost: tuple[float, float], moved: tuple[float, float], widest: int) -> tuple[Evidence, ...]:
    count = len(done.keys)
    return (
        Evidence(
            name="similarity to stored answers",
            observed=round(done.seen / count, 3),
            expected=round(done.expected / count, 3),
            unit="share of word starts, 0 to 1",
        ),
        Evidence(
            name="answered differently",
            observed=float(done.different),
            expected=round(DIFFERENT_SHARE * count, 1),
            unit=f"of {count} known prompts",
        ),
        Evidence(name="loss of similarity", observed=round(lost[0], 2), expected=round(lost[1], 2), unit="sd (limit)"),
        Evidence(
            name=f"largest move of style: {STYLE[widest].replace('_', ' ')}",
            observed=round(moved[0], 2),
            expected=round(moved[1], 2),
            unit="sd (limit)",
        ),
    )


@functools.lru_cache(maxsize=64)
def _asked_of(model: str | None, temperature: float | None) -> int:
    """What tells one prompt asked of two models, or at two temperatures, apart."""
    said = f"{(model or '')[:128]}|{temperature}".encode("utf-8", "replace")
    return zlib.crc32(said) << 32 | zlib.crc32(said[::-1])


def _hashed(principal: str | None) -> int:
    return _NOBODY if principal is None else zlib.crc32(principal.encode("utf-8", "replace"))
