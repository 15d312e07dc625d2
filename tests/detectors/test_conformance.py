from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
import pytest

from detectors.bank import discover
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import Detection, Evidence, Observation, Severity
from tests.detectors import conformance
from tests.detectors.conformance import CHECKS, Check

CASES = [
    pytest.param(check, kind, id=f"{name} {check.__name__.replace('_', ' ')}")
    for name, kind in discover().items()
    for check in CHECKS
]


@pytest.mark.parametrize(("check", "kind"), CASES)
def test_each_detector(check: Check, kind: type[Detector]) -> None:
    check(kind)


def test_the_catalog_is_not_empty() -> None:
    assert len(discover()) >= 6


METADATA = Metadata(
    version=1,
    title="Broken on purpose",
    scope=DEPLOYMENT,
    severity=Severity.LOW,
    sees="Nothing.",
    requires=("latency_s",),
    warm_up=0,
    score_unit="none",
    atlas=("AML.T0029",),
    owasp=("LLM10:2025",),
    causes=("None.",),
    false_positives=("All.",),
    known_gaps=("Everything.",),
    runbook=("Delete it.",),
    references=("None.",),
)


class Sound(Detector):
    """Passes: it counts calls and says nothing."""

    metadata: ClassVar[Metadata] = METADATA
    count: int = 0

    def update(self, observation: Observation) -> Detection | None:
        self.count += 1
        return None


class NeedsEveryField(Sound):
    """Crashes where a field is unknown."""

    def update(self, observation: Observation) -> Detection | None:
        self.count += len(observation.style or ()) // (observation.input_tokens or 0)
        return None


class AddsWhateverComes(Sound):
    """Becomes NaN on the first NaN."""

    total_s: float = 0.0

    def update(self, observation: Observation) -> Detection | None:
        self.total_s += observation.latency_s or 0.0
        return None


class RemembersEveryone(Sound):
    """Grows with every principal."""

    principals: list[str] = msgspec.field(default_factory=list)

    def update(self, observation: Observation) -> Detection | None:
        self.principals.append(observation.principal or "")
        return None


TALLY: dict[int, int] = {}


class ForgetsOnRestart(Sound):
    """Keeps state where no snapshot sees it."""

    def update(self, observation: Observation) -> Detection | None:
        TALLY[id(self)] = TALLY.get(id(self), 0) + 1
        self.count = TALLY[id(self)]
        return None


CALLS = iter(range(10**9))


class ReadsSomethingOutside(Sound):
    """Depends on more than its observations."""

    def update(self, observation: Observation) -> Detection | None:
        self.count = next(CALLS)
        return None


class CountsMessages(Sound):
    """Takes a message for one call."""

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        self.count += sum(1 for _ in observations) > 0
        yield from ()


class LooksAhead(Sound):
    """Says what it knows of a call when it has taken the next ones too."""

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        for observation in list(observations):
            self.count += 1
            if self.count % 500 == 0:
                evidence = (Evidence(name="count", observed=1.0),)
                yield Detection(
                    summary="Now!",
                    severity=Severity.LOW,
                    score=1.0,
                    threshold=1.0,
                    onset_s=observation.time_s,
                    evidence=evidence,
                )


class CriesWolf(Sound):
    """Alarms on ordinary calls, below its own threshold, at no known time, beyond its own severity."""

    def update(self, observation: Observation) -> Detection | None:
        return Detection(
            summary="Wolf!",
            severity=Severity.CRITICAL,
            score=1.0,
            threshold=2.0,
            onset_s=math.nan,
            evidence=(Evidence(name="wolf", observed=1.0),),
        )


class IsNeverReady(Sound):
    """Needs more calls than come."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(METADATA, warm_up=20_000)


class SpeaksTooEarly(CriesWolf):
    """Has an opinion before its warm-up is over."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(METADATA, warm_up=300)


class SaysNothingUseful(Sound):
    """Has no runbook, needs a field that does not exist, cites a technique that does not exist."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(
        METADATA, runbook=(), requires=("vibes",), atlas=("AML.T9999",)
    )


BROKEN = [
    (conformance.survives_events_of_which_nothing_is_known, NeedsEveryField),
    (conformance.survives_events_of_which_nothing_is_known, CriesWolf),
    (conformance.keeps_a_finite_state_on_hostile_numbers, AddsWhateverComes),
    (conformance.stays_bounded_over_100_000_observations, RemembersEveryone),
    (conformance.does_not_flood_when_every_name_is_new, CriesWolf),
    (conformance.continues_identically_after_dump_and_load, ForgetsOnRestart),
    (conformance.is_deterministic, ReadsSomethingOutside),
    (conformance.learns_alike_however_a_stream_is_cut_into_messages, CountsMessages),
    (conformance.learns_alike_however_a_stream_is_cut_into_messages, LooksAhead),
    (conformance.is_silent_on_20_000_quiet_observations, CriesWolf),
    (conformance.keeps_a_generous_budget_on_20_000_quiet_observations, CriesWolf),
    (conformance.says_nothing_while_it_warms_up_and_is_ready_at_last, IsNeverReady),
    (conformance.says_nothing_while_it_warms_up_and_is_ready_at_last, SpeaksTooEarly),
    (conformance.says_only_well_formed_things, CriesWolf),
    (conformance.has_complete_metadata, SaysNothingUseful),
    (conformance.cites_only_ids_of_the_pinned_frameworks, SaysNothingUseful),
    (conformance.has_a_test_file_of_its_own, Sound),
]


@pytest.mark.parametrize(
    ("check", "kind"),
    [pytest.param(*case, id=f"{case[1].__name__} fails {case[0].__name__.replace('_', ' ')}") for case in BROKEN],
)
def test_a_broken_detector_fails(check: Check, kind: type[Detector]) -> None:
    with pytest.raises((AssertionError, ArithmeticError, KeyError, TypeError)):
        check(kind)


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"a sound detector {check.__name__.replace('_', ' ')}")
        for check in CHECKS
        if check is not conformance.has_a_test_file_of_its_own
    ],
)
def test_a_sound_detector_passes(check: Check) -> None:
    check(Sound)
