"""A principal that tries out how to break a model: jailbreaks, injections, small changes until one passes."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from detectors.alarms import Pace, average_run_length, e_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_CEILING = 60.0
"""Nats that can be banked: more would delay the return to calm."""

_REFUSED = (math.log(0.05 / 0.03), math.log(0.4 / 0.02))
"""Nats of a refused call whose wording is plain, or that of an attack: a sweep against ordinary use, of which about
5 % of a tester's reads like an attack and 3 % is refused. A plain one says little: refusals have many reasons."""

_ANSWERED = (math.log(0.15 / 0.95), math.log(0.4 / 0.03))
_UNKNOWN = (math.log(0.2 / 0.95), math.log(0.8 / 0.05))

_CHANGED, _CHANGED_BITS = 1.0, 16
"""Nats for a suspicious prompt that changes few words of one of the last ones, up to this many of 64 bits."""

_HABIT = 0.0
"""Most nats of an answered prompt that begins as the last attack-like ones did: a template that tells a model to ignore
what stands in its fills reads like an attack, and so does each fill."""

_RING = 8
_LEAST, _MANY = 6, 40
"""Attempts from which something is said, and from which it is said loudly."""


class Probing(Detector, kw_only=True, array_like=True):
    """A CUSUM over calls of log-likelihood ratios: attack-like wording, refusals, and small changes of both.

    A tester or a curious person tries something now and then; a sweep is mostly attempts. One prompt proves nothing:
    the wording is known by patterns (`attacks`), so it is their share that counts. The shares are working choices and
    calls of one session are not independent, so the budget is aimed at, not guaranteed; the limit is that of an
    e-detector. Cost: 1 us a call.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Jailbreak and injection attempts in series",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees="Most calls of a stretch read like attacks or are refused, often with small changes from one to the next.",
        requires=("prompt_attack",),
        warm_up=0,
        score_unit="nominal nats of a sweep against ordinary use",
        atlas=("AML.T0051.000", "AML.T0054", "AML.T0042"),
        owasp=("LLM01:2025", "LLM07:2025"),
        causes=(
            "somebody looks for a prompt that breaks the model's rules or reveals its instructions",
            "an automatic jailbreak search or a red-team tool is running",
            "an application passes on injected text from pages or mails it reads",
        ),
        false_positives=(
            "a red team or an evaluation of safety that is allowed",
            "people who write about prompts: security lessons, prompt engineering",
            "an application with several templates that quote attacks or forbid them",
        ),
        known_gaps=(
            "wording is English and known by pattern; new tricks, other languages, encodings are refusals at most",
            "attacks in documents and tool results, not in the last message of the user",
            "a single attempt that works, and attempts that are few among ordinary calls",
        ),
        runbook=(
            "Read the attempts in order: did one of the answers give what was asked for?",
            "Look at the calls after the last refusal: a change of wording that passed is the finding.",
            "If an application sent them, find the document or page that carried the text.",
            "Ask the owner of the key whether a red team is at work; otherwise limit or revoke it.",
        ),
        references=(
            "Toyer et al., Tensor Trust: Interpretable Prompt Injection Attacks from an Online Game (2023)",
            "Shen et al., Do Anything Now: Characterizing In-The-Wild Jailbreak Prompts (2023)",
            "Zou et al., Universal and Transferable Adversarial Attacks on Aligned Language Models (2023)",
            "Charikar, Similarity estimation techniques from rounding algorithms (2002)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    nats: float = 0.0
    onset_s: float = 0.0
    attempts: int = 0
    refused: int = 0
    changed: int = 0
    said: int = 0
    near: bytes = b""
    templates: bytes = b""

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call; ignored where the wording of its prompt is unknown."""
        attack, time_s = observation.prompt_attack, observation.time_s
        if attack is None or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        self.pace.see(time_s)
        refused = observation.refused
        if not attack and not refused and self.nats <= 0.0:
            return None
        nats = self._nats(observation, attack=attack, refused=refused)
        if self.nats + nats <= 0.0:
            self.nats, self.attempts, self.refused, self.changed, self.said = 0.0, 0, 0, 0, 0
            return None
        if self.nats <= 0.0 and self.attempts == 0:
            self.onset_s = time_s
        self.nats = min(self.nats + nats, _CEILING)
        self.attempts += attack
        self.refused += bool(refused)
        return self._judge(time_s)

    def _nats(self, observation: Observation, *, attack: bool, refused: bool | None) -> float:
        nats = (_UNKNOWN if refused is None else _REFUSED if refused else _ANSWERED)[attack]
        if not attack and not refused:
            return nats
        if observation.prompt_simhash is not None:
            mark = (observation.prompt_simhash & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            if 0 < self._distance(mark) <= _CHANGED_BITS:
                self.changed += 1
                nats += _CHANGED
            self.near = (self.near + mark)[-8 * _RING :]
        if attack and observation.prompt_template is not None:
            mark = (observation.prompt_template & 0xFFFFFFFF).to_bytes(4, "little")
            known = any(mark == self.templates[at : at + 4] for at in range(0, len(self.templates), 4))
            if known and not refused:
                nats = min(nats, _HABIT)
            elif not known:
                self.templates = (self.templates + mark)[-4 * _RING :]
        return nats

    def _distance(self, mark: bytes) -> int:
        """Bits to the nearest of the last suspicious prompts; 64 without one."""
        value = int.from_bytes(mark, "little")
        last = (int.from_bytes(self.near[at : at + 8], "little") for at in range(0, len(self.near), 8))
        return min(((value ^ each).bit_count() for each in last), default=64)

    def _judge(self, time_s: float) -> Detection | None:
        if self.attempts < max(_LEAST, 2 * self.said):
            return None
        limit = e_limit(average_run_length(self.share, self.pace.per_day))
        if self.nats < limit:
            return None
        self.said = self.attempts
        score, self.nats = self.nats, limit / 2.0
        return Detection(
            summary=(
                f"{self.attempts} prompts that read like jailbreaks or injections, {self.refused} refusals, "
                f"{self.changed} small changes of one tried before"
            ),
            severity=Severity.HIGH if self.attempts >= _MANY else Severity.MEDIUM,
            score=score,
            threshold=limit,
            onset_s=min(self.onset_s, time_s),
            evidence=(
                Evidence(name="prompts that read like attacks", observed=float(self.attempts), unit="prompts"),
                Evidence(name="refusals", observed=float(self.refused), unit="answers"),
                Evidence(name="small changes", observed=float(self.changed), unit="prompts"),
            ),
        )
