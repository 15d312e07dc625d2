from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from detectors.bank import discover
from detectors.base import PRINCIPAL
from detectors.catalog.source_blind import FIELDS, SourceBlind
from detectors.subjects import COOL_DOWN_S
from detectors.types import Detection, Observation, Severity
from tests.detectors.conformance import quiet

SAID_WITHIN = 60
"""Calls without a field until it is said."""

DERIVED = {
    **dict.fromkeys(("refused", "output_sketch", "output_opening", "leaks", "hosts"), "style"),
    **dict.fromkeys(
        ("prompt_simhash", "prompt_chars", "prompt_place", "prompt_tokens", "prompt_attack"), "prompt_hash"
    ),
    **dict.fromkeys(("time_s", "logit_bias", "logprobs", "top_logprobs", "notice"), None),
}
"""Fields that are there when another is, or always; that say what a call asked for, and most ask for nothing; or that
no call has."""

UNWATCHED = frozenset(("prediction", "score", "features", "network", "user_agent", "cost_usd"))
"""Known gap: fields whose loss makes a detector blind and nobody says so. Each that is watched leaves this list."""

BODIES: dict[str, Any] = dict.fromkeys(("style", "refused", "prompt_hash", "prompt_simhash", "prompt_chars"))


def said(detector: SourceBlind, observations: Iterable[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


def after(count: int, **lost: Any) -> list[Observation]:
    """Calls that follow the quiet ones of the warm-up and lack something."""
    return [msgspec.structs.replace(observation, **lost) for observation in quiet(1_000 + count, 21)[1_000:]]


@pytest.fixture
def watched() -> SourceBlind:
    detector = SourceBlind(share=0.03)
    assert said(detector, quiet(1_000, 21)) == []
    return detector


def test_every_field_that_a_detector_needs_is_watched() -> None:
    for name, kind in discover().items():
        metadata = kind.metadata
        needed = {*metadata.requires, *metadata.any_of, *(["principal"] if metadata.scope == PRINCIPAL else [])}
        missing = {DERIVED.get(field, field) for field in needed} - set(FIELDS) - UNWATCHED - {None}
        assert not missing, f"{name} goes blind without {missing} and nobody says so"
    assert not UNWATCHED & set(FIELDS), "listed as a gap and watched nevertheless"


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "failed"])
def test_the_loss_of_any_field_is_said_once_and_soon_and_names_it(watched: SourceBlind, field: str) -> None:
    lost = after(5_000, **{field: None})
    (found,) = said(watched, lost)
    assert FIELDS[field] in found.summary
    assert found.evidence[0].observed == 0.0
    assert abs(found.onset_s - lost[0].time_s) < 600
    again = SourceBlind(share=0.03)
    said(again, quiet(1_000, 21))
    assert len(said(again, lost[:SAID_WITHIN])) == 1


def test_lost_bodies_are_one_grave_detection(watched: SourceBlind) -> None:
    (found,) = said(watched, after(2_000, **BODIES))
    assert found.severity is Severity.HIGH
    assert "prompt text" in found.summary and "output text" in found.summary


def test_identities_lost_by_two_thirds_of_the_calls_are_found(watched: SourceBlind) -> None:
    draw = random.Random(4)
    calls = [
        msgspec.structs.replace(call, principal=None if draw.random() < 0.67 else call.principal) for call in after(300)
    ]
    (found,) = said(watched, calls)
    assert "caller" in found.summary


def test_what_returns_and_is_lost_again_is_said_again(watched: SourceBlind) -> None:
    lost, back = after(500, latency_s=None), after(500)
    assert len(said(watched, lost)) == 1
    assert said(watched, back) == []
    assert len(said(watched, after(500, latency_s=None))) == 1


def test_a_field_lost_shortly_after_another_is_said_when_the_bank_lets_it() -> None:
    detector = SourceBlind(share=0.03)
    said(detector, quiet(1_000, 21))
    spoke = []
    for index, call in enumerate(after(1_000)):
        principal = call.principal if index < SAID_WITHIN else None
        found = detector.update(msgspec.structs.replace(call, latency_s=None, principal=principal))
        if found is not None:
            spoke.append((call.time_s, found))
    (first_s, first), (second_s, second) = spoke
    assert "latency" in first.summary and "caller" not in first.summary
    assert "caller" in second.summary and "latency" not in second.summary
    assert second_s - first_s >= COOL_DOWN_S


def test_a_field_that_was_never_there_is_not_missed() -> None:
    detector = SourceBlind(share=0.03)
    bare = [msgspec.structs.replace(call, ttft_s=None, components=None) for call in quiet(5_000, 22)]
    assert said(detector, bare) == []


def test_failed_calls_have_no_answer_and_that_is_no_blindness(watched: SourceBlind) -> None:
    failed = after(
        500,
        failed=True,
        style=None,
        refused=None,
        input_tokens=None,
        components=None,
        output_tokens=None,
        ttft_s=None,
        finish_reason=None,
        served_model=None,
    )
    assert said(watched, failed) == []


def test_a_field_that_half_of_the_calls_have_may_come_and_go() -> None:
    draw = random.Random(7)
    detector = SourceBlind(share=0.03)
    mixed = [msgspec.structs.replace(call, ttft_s=0.2 if draw.random() < 0.5 else None) for call in quiet(20_000, 23)]
    assert said(detector, mixed) == []
    gone = [
        msgspec.structs.replace(call, ttft_s=None, time_s=mixed[-1].time_s + 20.0 * index)
        for index, call in enumerate(quiet(400, 24))
    ]
    assert len(said(detector, gone)) == 1


def test_when_one_caller_of_many_is_why_it_is_of_low_severity(watched: SourceBlind) -> None:
    calls = [
        msgspec.structs.replace(call, principal=f"p-{index % 5}", ttft_s=None if index % 4 else 0.2)
        for index, call in enumerate(after(400))
    ]
    one = [msgspec.structs.replace(call, principal="bulk") if call.ttft_s is None else call for call in calls]
    (found,) = said(watched, one)
    assert found.severity is Severity.LOW
