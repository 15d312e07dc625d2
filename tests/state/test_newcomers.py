"""A flood of accounts costs neither memory nor the places of those who stay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.bank import Bank
from detectors.base import DEPLOYMENT
from detectors.newcomers import MOST, Newcomers
from tests.detectors.toys import BUDGET, TOYS, call, states


def patient(patience: int, max_subjects: int = 100) -> Bank:
    return Bank(DEPLOYMENT, BUDGET, TOYS, max_subjects, patience)


@pytest.mark.parametrize("patience", [1, 2, 4, 10])
def test_a_subject_is_established_with_the_sight_that_was_asked_for(patience: int) -> None:
    newcomers = Newcomers()
    sights = [newcomers.establish("a", patience) for _ in range(patience)]
    assert sights == [False] * (patience - 1) + [True]
    assert "a" not in newcomers


@given(st.lists(st.integers(0, 30), max_size=300))
def test_without_a_crowd_the_count_is_exact(names: list[int]) -> None:
    newcomers, exact = Newcomers(), dict.fromkeys(range(31), 0)
    for name in names:
        exact[name] += 1
        assert newcomers.establish(str(name), 4) is (exact[name] % 4 == 0)


def test_a_flood_of_single_sights_establishes_nobody_and_is_forgotten() -> None:
    newcomers = Newcomers()
    assert not any(newcomers.establish(str(number), 4) for number in range(20 * MOST))
    assert len(newcomers.counts) <= MOST


def test_a_flood_of_pairs_of_sights_does_not_outgrow_the_room_either() -> None:
    newcomers = Newcomers()
    draw = random.Random(3)
    for _ in range(20 * MOST):
        newcomers.establish(str(draw.randrange(2 * MOST)), 4)
        assert len(newcomers.counts) <= MOST


def test_who_comes_regularly_is_established_in_the_middle_of_a_flood() -> None:
    newcomers = Newcomers()
    for number in range(100_000):
        newcomers.establish(f"flood-{number}", 4)
        if number > 2 * MOST and number % (MOST // 4) == 0 and newcomers.establish("regular", 4):
            return
    raise AssertionError("the flood hid a subject that sent one in a thousand")


def test_newcomers_cost_no_detectors_and_nothing_to_save() -> None:
    made = patient(4)
    for offset in range(3):
        made.apply(0, offset, [call(f"new-{number}") for number in range(1_000)])
    assert (len(made), made.waiting) == (0, 0)
    made.apply(0, 3, [call("new-7", tokens=5)])
    assert states(made).keys() == {"new-7"}


def test_newcomers_are_not_looked_up_again() -> None:
    made = patient(4)
    made.apply(0, 0, [call("new")])
    assert made.unknown({"new": 0, "unseen": 0}) == {"unseen"}


def test_a_subject_whose_state_was_found_is_no_newcomer_any_more() -> None:
    first, made = patient(1), patient(4)
    first.apply(0, 9, [call("a")])
    ((_, _, _, state),) = first.take_changed()
    made.apply(0, 0, [call("a")])
    made.admit("a", 0, state)
    assert "a" not in made.newcomers(0)


@pytest.mark.parametrize("stop", [0, 1, 150, 299])
def test_a_bank_that_gets_its_newcomers_back_establishes_the_same_at_the_same_observation(stop: int) -> None:
    draw = random.Random(5)
    messages = [[call(f"s{draw.randrange(400)}", tokens=1) for _ in range(5)] for _ in range(300)]
    whole, first, second = (patient(4, max_subjects=1_000) for _ in range(3))
    for offset, message in enumerate(messages):
        whole.apply(0, offset, message)
        if offset == stop:
            second.meet(0, first.newcomers(0))
            for subject, partition, _, state in first.take_changed():
                second.admit(subject, partition, state)
        (first if offset < stop else second).apply(0, offset, message)
    expected, got = states(whole), states(second)
    assert got.items() <= expected.items()
    assert {name for name in expected if name not in got}.isdisjoint(
        observation.deployment for message in messages[stop:] for observation in message
    )
