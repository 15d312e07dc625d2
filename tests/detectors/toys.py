"""Small detectors for the tests of what carries detectors."""

from __future__ import annotations

import asyncio
import itertools
from typing import ClassVar

import msgspec

from detectors.alarms import Budget
from detectors.bank import Bank, SubjectState
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector
from detectors.types import Detection, Finding, Observation, Severity
from tests.detectors.test_conformance import METADATA

NOON_S = 1.7e9
BUDGET = Budget()
SEVERITIES = {severity.value: severity for severity in Severity}


class Adder(Detector):
    """Alarms at every third call, with the sum of all input tokens as its score."""

    metadata: ClassVar = METADATA
    total: int = 0
    count: int = 0

    def update(self, observation: Observation) -> Detection | None:
        self.total += observation.input_tokens or 0
        self.count += 1
        return detection(observation, Severity.LOW, float(self.total)) if self.count % 3 == 0 else None


class Parrot(Detector):
    """Alarms when a call's model is the name of a severity, with that severity."""

    metadata: ClassVar = METADATA

    def update(self, observation: Observation) -> Detection | None:
        severity = SEVERITIES.get(observation.model or "")
        return detection(observation, severity, 1.0) if severity else None


class OfCohorts(Detector):
    """Speaks at every call, about the cohort that is named in the place of the model."""

    metadata: ClassVar = METADATA

    def update(self, observation: Observation) -> Detection | None:
        said = detection(observation, Severity.LOW, 1.0)
        return msgspec.structs.replace(said, subject=observation.model)


class Newer(Adder):
    """The next version of `Adder`."""

    metadata: ClassVar = msgspec.structs.replace(METADATA, version=2)


class OfPrincipals(Adder):
    """The same, for principals."""

    metadata: ClassVar = msgspec.structs.replace(METADATA, scope=PRINCIPAL)


class Fragile(Adder):
    """Breaks when a call's model is the name of an exception."""

    def update(self, observation: Observation) -> Detection | None:
        error = ERRORS.get(observation.model or "")
        if error is not None:
            raise error
        return super().update(observation)


Panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
ERRORS: dict[str, BaseException] = {
    "ValueError": ValueError("the secret text"),
    "RecursionError": RecursionError(),
    "PanicException": Panic("the secret text"),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
    "SystemExit": SystemExit(),
}

TOYS: dict[str, type[Detector]] = {"adder": Adder, "parrot": Parrot}


def detection(observation: Observation, severity: Severity, score: float) -> Detection:
    return Detection(summary="toy", severity=severity, score=score, threshold=0.0, onset_s=observation.time_s)


NUMBERS = itertools.count()


def call(subject: str = "chat", time_s: float = NOON_S, model: str | None = None, tokens: int = 1) -> Observation:
    return Observation(
        event_id=f"topic:0:{next(NUMBERS)}:0",
        time_s=time_s,
        deployment=subject,
        principal=None,
        model=model,
        input_tokens=tokens,
    )


def bank(kinds: dict[str, type[Detector]] | None = None, max_subjects: int = 100) -> Bank:
    return Bank(DEPLOYMENT, BUDGET, TOYS if kinds is None else kinds, max_subjects)


def spoken(made: Bank, *observations: Observation) -> list[Severity]:
    """The severities of what is said when each observation is a message of its own."""
    found: list[Finding] = []
    for offset, observation in enumerate(observations):
        found += made.apply(0, offset, [observation])
    return [finding.severity for finding in found]


def states(made: Bank) -> dict[str, SubjectState]:
    return {subject: msgspec.msgpack.decode(state, type=SubjectState) for subject, _, _, state in made.take_changed()}
