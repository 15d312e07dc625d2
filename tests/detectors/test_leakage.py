from __future__ import annotations

from collections.abc import Iterable

import pytest

from detectors.base import dump
from detectors.catalog.leakage import Leakage
from detectors.leaks import KINDS
from detectors.types import Detection, Observation, Severity


def answer(index: int, *leaks: str, principal: str | None = None) -> Observation:
    return Observation(
        event_id=str(index),
        time_s=1.7e9 + 20.0 * index,
        deployment="d",
        principal=principal or f"caller-{index % 7}",
        leaks=leaks,
    )


def said(detector: Leakage, observations: Iterable[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


def learned(every: int = 0, kind: str = "email", count: int = 400) -> Leakage:
    """A detector after its warm-up, with a kind in every so-manieth answer."""
    detector = Leakage(share=0.0067)
    said(detector, (answer(index, *((kind,) if every and index % every == 0 else ())) for index in range(count)))
    return detector


@pytest.mark.parametrize("kind", ["private_key", "cloud_key", "access_token", "system_prompt", "image_with_payload"])
def test_a_grave_kind_that_never_was_there_is_said_at_the_first_answer(kind: str) -> None:
    (found,) = said(learned(), [answer(500, kind)])
    assert found.severity is Severity.HIGH
    assert found.evidence[0].observed in found.summary


def test_the_first_key_in_the_warm_up_is_said_too() -> None:
    detector = Leakage(share=0.0067)
    assert len(said(detector, [answer(0), answer(1, "private_key"), answer(2)])) == 1


def test_one_e_mail_address_is_nothing() -> None:
    assert not said(learned(), [answer(500, "email"), *(answer(index) for index in range(501, 900))])


def test_addresses_as_frequent_as_ever_are_nothing() -> None:
    assert not said(
        learned(every=5), (answer(index, *(["email"] if index % 5 == 0 else [])) for index in range(400, 20_000))
    )


def test_addresses_in_every_other_answer_where_they_were_in_every_twentieth_are_said() -> None:
    detector = learned(every=20)
    found = said(detector, (answer(index, *(["email"] if index % 2 == 0 else [])) for index in range(400, 460)))
    assert found
    assert found[0].severity is Severity.LOW
    assert found[0].score >= found[0].threshold


def test_one_of_many_callers_alone_does_not_make_addresses_frequent() -> None:
    found = said(
        learned(every=20),
        (answer(index, *(["email"] if index % 7 == 0 else [])) for index in range(400, 440)),
    )
    assert not found


def test_a_caller_who_brings_a_leak_about_in_the_warm_up_does_not_make_it_usual() -> None:
    alone, usual = Leakage(share=0.0067), Leakage(share=0.0067)
    said(alone, (answer(i, *(["access_token"] if i % 7 == 0 else []), principal=f"c{i % 7}") for i in range(400)))
    said(usual, (answer(i, *(["access_token"] if i % 10 == 0 else [])) for i in range(400)))
    assert len(said(alone, [answer(500, "access_token")])) == 1
    assert not said(usual, [answer(500, "access_token")])


def test_a_deployment_that_cannot_stop_is_not_said_for_ever() -> None:
    found = said(learned(), (answer(index, *(["cloud_key"] if index % 50 == 0 else [])) for index in range(400, 5_000)))
    assert 1 <= len(found) <= 12


def test_unknown_answers_and_unknown_kinds_are_not_learned() -> None:
    detector = learned()
    count = detector.count
    blank = Observation(event_id="x", time_s=1.7e9, deployment="d")
    assert not said(detector, [blank] * 50)
    assert detector.count == count
    assert not said(detector, [answer(500 + index, "nonsense") for index in range(50)])
    assert "nonsense" not in detector.kinds


def test_findings_hold_kinds_and_numbers_only() -> None:
    detector = learned()
    found = said(detector, [answer(500 + index, kind) for index, kind in enumerate(KINDS)])
    assert found
    assert all("caller" not in detection.summary for detection in found)
    assert len(dump(detector)) < 64 * 1024


def test_one_of_many_callers_is_no_more_than_a_quarter_of_what_is_usual() -> None:
    detector = Leakage(share=0.0067)
    said(detector, (answer(index, *(["email"] if index % 7 == 0 or index % 40 == 1 else [])) for index in range(400)))
    said(detector, [answer(401, "email")])
    assert detector.kinds["email"].rate.hits < 0.08 * 400, "of 17 % that one caller brought about"
