from __future__ import annotations

import msgspec
import pytest

from detectors.bank import DETECTOR_FAULT, Bank
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector, dump
from detectors.subjects import COOL_DOWN_S
from detectors.types import Observation, Severity
from tests.detectors.toys import (
    BUDGET,
    ERRORS,
    NOON_S,
    Adder,
    Fragile,
    Newer,
    OfCohorts,
    OfPrincipals,
    Parrot,
    bank,
    call,
    spoken,
    states,
)

# Detectors that break


@pytest.mark.parametrize("name", ["ValueError", "RecursionError", "PanicException"])
def test_a_detector_that_breaks_starts_cold_says_so_and_spares_the_others(name: str) -> None:
    made = bank({"adder": Adder, "fragile": Fragile})
    for offset in range(2):
        made.apply(0, offset, [call(tokens=10)])
    findings = made.apply(0, 2, [call(model=name, tokens=10)])
    assert [finding.detector for finding in findings] == ["adder", DETECTOR_FAULT]
    broken = findings[1]
    assert all(said in broken.summary for said in (name, "fragile", "cold")) and "secret" not in broken.summary
    assert (broken.severity, broken.atlas, broken.owasp) == (Severity.MEDIUM, (), ())
    kept = states(made)["chat"].detectors
    assert msgspec.msgpack.decode(kept["adder"][1])["total"] == 30
    assert kept["fragile"][1] == dump(Fragile(share=BUDGET.share(DEPLOYMENT, 2)))


def test_a_detector_that_breaks_at_every_call_says_so_once_an_hour() -> None:
    calls = [call(time_s=NOON_S + 60.0 * minute, model="ValueError") for minute in range(180)]
    assert spoken(bank({"fragile": Fragile}), *calls) == [Severity.MEDIUM] * 3


def test_a_detector_that_has_just_spoken_still_says_that_it_breaks_and_speaks_on_afterwards() -> None:
    made = bank({"fragile": Fragile})
    calls = [*[call()] * 3, call(model="ValueError"), *[call()] * 3]
    assert spoken(made, *calls) == [Severity.LOW, Severity.MEDIUM]
    later = [call(time_s=NOON_S + COOL_DOWN_S)] * 3
    found = [finding for offset, each in enumerate(later, 7) for finding in made.apply(0, offset, [each])]
    assert [finding.detector for finding in found] == ["fragile"]


def test_two_detectors_that_break_at_one_call_are_two_findings() -> None:
    found = bank({"one": Fragile, "two": Fragile}).apply(0, 0, [call(model="ValueError")])
    assert len({finding.finding_id for finding in found}) == 2


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "CancelledError", "SystemExit"])
def test_a_process_that_is_stopped_stops(name: str) -> None:
    with pytest.raises(type(ERRORS[name])):
        bank({"fragile": Fragile}).apply(0, 0, [call(model=name)])


# The cool-down


@pytest.mark.parametrize(
    ("later_s", "says"),
    [
        (0.0, False),
        (1.0, False),
        (COOL_DOWN_S - 1.0, False),
        (COOL_DOWN_S, True),
        (1e12, True),
        (-1.0, False),
        (1.0 - COOL_DOWN_S, False),
        (-COOL_DOWN_S, True),
        (-1e12, True),
    ],
)
def test_a_detector_speaks_once_an_hour_of_event_time_in_either_direction(later_s: float, *, says: bool) -> None:
    made = bank({"parrot": Parrot})
    assert len(spoken(made, call(model="low"), call(time_s=NOON_S + later_s, model="low"))) == 1 + says


@pytest.mark.parametrize("time_s", [0.0, -1.0, 1.0, -COOL_DOWN_S, -1e308, 1e308, 4e9])
def test_the_first_detection_is_said_at_any_time(time_s: float) -> None:
    assert spoken(bank({"parrot": Parrot}), call(time_s=time_s, model="low")) == [Severity.LOW]


@pytest.mark.parametrize("absurd_s", [-1e308, 0.0, 1e308])
def test_an_absurd_time_silences_nobody(absurd_s: float) -> None:
    made = bank({"parrot": Parrot})
    assert len(spoken(made, call(time_s=absurd_s, model="low"), call(model="low"))) == 2


def test_what_gets_more_severe_is_said_at_once_and_each_severity_once() -> None:
    models = ["low", "low", "high", "medium", "high", "critical", "critical", "info"]
    calls = [call(time_s=NOON_S + at, model=model) for at, model in enumerate(models)]
    assert spoken(bank({"parrot": Parrot}), *calls) == [Severity.LOW, Severity.HIGH, Severity.CRITICAL]


def test_after_the_cool_down_a_lesser_severity_is_said_and_sets_the_bar_anew() -> None:
    calls = [
        call(time_s=NOON_S, model="critical"),
        call(time_s=NOON_S + COOL_DOWN_S, model="low"),
        call(time_s=NOON_S + COOL_DOWN_S + 1.0, model="medium"),
    ]
    assert spoken(bank({"parrot": Parrot}), *calls) == [Severity.CRITICAL, Severity.LOW, Severity.MEDIUM]


def test_the_cool_down_is_of_one_detector_and_one_subject() -> None:
    made = bank({"one": Parrot, "two": Parrot})
    found = made.apply(0, 0, [call("a", model="low"), call("b", model="low"), call("a", model="low")])
    assert [(finding.detector, finding.subject) for finding in found] == [
        ("one", "a"),
        ("two", "a"),
        ("one", "b"),
        ("two", "b"),
    ]


# Identity


def identity(kinds: dict[str, type[Detector]], scope: str, **fields: str) -> str:
    made = Bank(scope, BUDGET, kinds)
    observation = Observation(**{"event_id": "e", "deployment": "d", "principal": "p", **fields}, time_s=NOON_S)  # type: ignore[arg-type]
    return made.apply(0, 0, [observation] * 3)[0].finding_id


def test_a_finding_id_is_of_detector_version_scope_subject_and_event_and_of_nothing_else() -> None:
    ids = [
        identity({"adder": Adder}, DEPLOYMENT),
        identity({"other": Adder}, DEPLOYMENT),
        identity({"adder": Newer}, DEPLOYMENT),
        identity({"adder": OfPrincipals}, PRINCIPAL, principal="d"),
        identity({"adder": Adder}, DEPLOYMENT, deployment="d2"),
        identity({"adder": Adder}, DEPLOYMENT, event_id="e2"),
    ]
    assert len(set(ids)) == len(ids)
    assert identity({"adder": Adder}, DEPLOYMENT, principal="p2", model="m") == ids[0]
    assert ids[0] == "bc016f2c668d4b4b9687471d2add2314", "stored rows would be written a second time"


# Detectors that speak about a cohort


def test_a_cohort_is_the_subject_of_what_is_said_about_it_and_has_a_cool_down_of_its_own() -> None:
    made = bank({"cohorts": OfCohorts})
    calls = [call(model=name) for name in ("cohort:1", "cohort:1", "cohort:2", None)]
    found = [finding for offset, each in enumerate(calls) for finding in made.apply(0, offset, [each])]
    assert [(each.scope, each.subject, each.deployment) for each in found] == [
        ("cohort", "cohort:1", "chat"),
        ("cohort", "cohort:2", "chat"),
        ("deployment", "chat", "chat"),
    ]
    assert len({finding.finding_id for finding in found}) == 3


def test_a_stream_of_new_cohorts_does_not_let_the_cool_downs_grow() -> None:
    made = bank({"cohorts": OfCohorts})
    for offset in range(1_000):
        made.apply(0, offset, [call(model=f"cohort:{offset}")])
    assert len(states(made)["chat"].fired) <= 256
