"""Secrets, personal data, system prompts and exfiltration in answers: one of the grave kinds, or more of the others.

An e-mail address in an answer is normal for many deployments, a private key for none that did not hand one out while
it was learned. So what the warm-up had is judged by its rate, and a grave kind that it never had is said at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.leaks import (
    ACCOUNT,
    CARD,
    CLOUD_KEY,
    EMAIL,
    IMAGE,
    KINDS,
    LINK,
    PHONE,
    PRIVATE_KEY,
    SYSTEM_PROMPT,
    TOKEN,
)
from detectors.occurrences import STREAMS, Occurrences, Walk
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_WARM_UP = 400
_GRAVE = frozenset((PRIVATE_KEY, CLOUD_KEY, TOKEN, SYSTEM_PROMPT, IMAGE))
_SERIOUS = frozenset((LINK, CARD))
_USUAL = 3
"""Answers of the warm-up with a grave kind, of at least two callers, that make it part of what this deployment does."""

_CHATTER = 6
_QUIET_COUNT = 10_000
"""After so many single answers of a kind were said, the next is said only when none came for so many observations."""

_MAX_CALLERS = 16
_CROWD = 4
_CROWD_COUNT = 100
"""Where four callers or more are known (one looks in the first 100 calls), one is at most a quarter of a baseline."""

_LEAST_LIMIT = alarms.e_limit(alarms.bonferroni(alarms.MIN_ARL, STREAMS * len(KINDS)))

_WORDS = {
    PRIVATE_KEY: "a private key",
    CLOUD_KEY: "a cloud key",
    TOKEN: "an access token",
    SYSTEM_PROMPT: "parts of the system prompt",
    IMAGE: "an image whose address carries data",
    LINK: "a link whose address carries data",
    EMAIL: "an e-mail address",
    CARD: "a card number",
    PHONE: "a phone number",
    ACCOUNT: "a bank account",
}


class Kind(msgspec.Struct, kw_only=True):
    """One kind of leak: its rate, who had it in the warm-up and how often, and what was said of single ones."""

    rate: Occurrences = msgspec.field(default_factory=Occurrences)
    given: dict[int, int] = {}
    single: bool = False
    said: int = 0
    last: int = 0


class Leakage(Detector):
    """One rate for each kind of leak; grave kinds that the deployment never had need no rate."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Secrets or personal data in answers",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="Private keys, cloud keys, access tokens, parts of the system prompt, images and links that carry data to"
        " another host; e-mail addresses, phone, card and account numbers more often than before.",
        requires=("leaks",),
        warm_up=_WARM_UP,
        score_unit="nats of evidence for a higher rate; for single answers the limit itself",
        atlas=("AML.T0057", "AML.T0056", "AML.T0077", "AML.T0024"),
        owasp=("LLM02:2025", "LLM07:2025", "LLM05:2025"),
        causes=(
            "A caller talked the model into giving its instructions or data it was given.",
            "An injected instruction in a document or page makes the model put data into an image or link.",
            "The model repeats a secret from its training data, a retrieved document or a tool's result.",
            "A deployment began to serve data it did not serve before.",
        ),
        false_positives=(
            "Made-up keys and numbers in an answer that shows an example.",
            "A system prompt that holds what the deployment is there to say, such as opening hours or prices.",
            "Links to signed downloads, maps or generated pictures, where none were given before.",
        ),
        known_gaps=(
            "What is encoded, translated, spelled or cut into pieces.",
            "Names, addresses and secrets without a recognizable shape.",
            "Values that callers had written themselves are not counted, whoever reads the answer.",
            "A secret in a stream that had the same kind in its warm-up is judged by rate.",
        ),
        runbook=(
            "Read the answer of the finding's event, and what was asked, where texts are stored.",
            "If the value is real, revoke it now; find out which prompt, document or tool held it.",
            "For an image or link with a payload block its host; look for the instruction in the retrieved documents.",
            "Look at what the same caller asked before: a system prompt rarely leaks at the first try.",
        ),
        references=(
            "Carlini et al., Extracting Training Data from Large Language Models (2021)",
            "Greshake et al., Not what you've signed up for: indirect prompt injection (2023)",
            "Zhang, Carlini, Ippolito, Effective Prompt Extraction from Language Models (2023)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    count: int = 0
    crowd: list[int] = msgspec.field(default_factory=list)
    kinds: dict[str, Kind] = msgspec.field(default_factory=dict)
    awake: bool = False

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Move the rates of all kinds; most calls leak nothing while no rate is away from zero."""
        arriving = alarms.Arriving(self.pace)
        for observation in observations:
            leaks = observation.leaks
            if leaks is None:
                continue
            self.count += 1
            arriving.see(observation.time_s)
            if not leaks and not self.awake and self.count > _CROWD_COUNT:
                continue
            arriving.settle()
            if (found := self._take(observation, leaks)) is not None:
                yield found
        arriving.settle()

    def _take(self, observation: Observation, leaks: tuple[str, ...]) -> Detection | None:
        """Learn or judge one call that may change something."""
        caller = None
        if observation.principal and (leaks or len(self.crowd) < _CROWD):
            caller = zlib.crc32(observation.principal.encode("utf-8", "replace"))
            if len(self.crowd) < _CROWD and caller not in self.crowd:
                self.crowd.append(caller)
        if not leaks and self.count > _WARM_UP:
            return self._pass_over()
        found = [kind for kind in KINDS if kind in leaks]
        time_s = observation.time_s if 0.0 <= observation.time_s <= MAX_TIME_S else 0.0
        if self.count <= _WARM_UP:
            return self._learn(found, caller, time_s)
        return self._judge(found, caller, time_s)

    def _learn(self, found: list[str], caller: int | None, time_s: float) -> Detection | None:
        """Count a call of the warm-up; the very first of a grave kind is said nevertheless."""
        first = None
        for name in found:
            kind = self.kinds.setdefault(name, Kind())
            kind.last = self.count
            if name in _GRAVE and not kind.said:
                kind.said = 1
                first = first or name
            if caller is not None and (caller in kind.given or len(kind.given) < _MAX_CALLERS):
                kind.given[caller] = kind.given.get(caller, 0) + 1
            kind.rate.hits += 1
        return self._single(first, time_s) if first else None

    def _judge(self, found: list[str], caller: int | None, time_s: float) -> Detection | None:
        """Move every rate; a grave kind that the warm-up did not have needs no second answer."""
        limit = self._limit()
        spoken: Detection | None = None
        for name in (*found, *(name for name in self.kinds if name not in found)):
            kind = self.kinds.get(name)
            if kind is None:
                kind = self.kinds[name] = Kind()
            if not kind.rate.walks:
                self._freeze(name, kind)
            hit = name in found
            walk = kind.rate.step(hit=hit, caller=caller, time_s=time_s, limit=limit)
            if walk is not None:
                spoken = spoken or self._more(name, kind, walk, limit)
                kind.rate.restart()
            elif hit and kind.single and (kind.said < _CHATTER or self.count - kind.last >= _QUIET_COUNT):
                kind.said += 1
                spoken = spoken or self._single(name, time_s)
            if hit:
                kind.last = self.count
        self.awake = any(kind.rate.awake for kind in self.kinds.values())
        return spoken

    def _pass_over(self) -> Detection | None:
        """Move every rate by a call that leaks nothing: only a limit that has fallen can make one alarm."""
        spoken: Detection | None = None
        highest = 0.0
        for name, kind in self.kinds.items():
            if not kind.rate.walks:
                self._freeze(name, kind)
            top = kind.rate.pass_over()
            if top >= _LEAST_LIMIT and (walk := kind.rate.beyond(limit := self._limit())) is not None:
                spoken = spoken or self._more(name, kind, walk, limit)
                kind.rate.restart()
                top = 0.0
            highest = max(highest, top)
        self.awake = highest > 0.0
        return spoken

    def _freeze(self, name: str, kind: Kind) -> None:
        """End the warm-up of a kind: nobody makes it usual alone, nor has more than a quarter of it."""
        rate = kind.rate
        usual = rate.hits >= _USUAL and (len(kind.given) > 1 or len(self.crowd) <= 1)
        kind.single = name in _GRAVE and not usual
        if len(self.crowd) >= _CROWD:
            rate.hits -= sum(max(own - max(rate.hits // 4, 1), 0) for own in kind.given.values())
        rate.seen = _WARM_UP
        rate.freeze()

    def _limit(self) -> float:
        run_length = alarms.average_run_length(self.share, self.pace.per_day)
        return alarms.e_limit(alarms.bonferroni(run_length, STREAMS * len(KINDS)))

    def _single(self, name: str, time_s: float) -> Detection:
        limit = self._limit()
        return Detection(
            summary=f"An answer holds {_WORDS[name]}; none of the {self.count - 1} answers before was known for that.",
            severity=Severity.HIGH,
            score=limit,
            threshold=limit,
            onset_s=time_s,
            evidence=(
                Evidence(name="kind", observed=_WORDS[name]),
                Evidence(name="answers before", observed=float(self.count - 1), unit="answers"),
            ),
        )

    def _more(self, name: str, kind: Kind, walk: Walk, limit: float) -> Detection:
        before = kind.rate.hits / _WARM_UP
        severity = Severity.HIGH if name in _GRAVE else Severity.MEDIUM if name in _SERIOUS else Severity.LOW
        return Detection(
            summary=f"Answers with {_WORDS[name]} have become more frequent: {walk.hits} in the last {walk.seen} calls,"
            f" {before:.1%} of calls while it was learned.",
            severity=severity,
            score=walk.level,
            threshold=limit,
            onset_s=walk.since_s,
            evidence=(
                Evidence(name="kind", observed=_WORDS[name]),
                Evidence(name="share of answers", observed=walk.hits / walk.seen, expected=before),
                Evidence(name="answers with it", observed=float(walk.hits), unit="answers"),
                Evidence(name="callers", observed=float(len(walk.given)), unit="counted while four or more are known"),
            ),
        )
