"""The speed that was reached stays: each pure stage against the naive way, a quotient and not a time."""

from __future__ import annotations

import pytest

from tests.speed.ratchet import Best, kept, lost, measured


@pytest.fixture(scope="module")
def best() -> Best:
    """One measurement for all stages, in processes of its own."""
    return measured(kept())


@pytest.mark.parametrize("stage", kept())
def test_a_stage_keeps_its_speed(best: Best, stage: str) -> None:
    assert not lost(best.quotients(), {stage: kept()[stage]})


def test_a_quarter_lost_is_noticed_even_where_it_was_measured_well() -> None:
    floors = {"decode": 2.0, "rows": 4.0}
    assert not lost({"decode": 1.62, "rows": 9.0}, floors)
    (said,) = lost({"decode": 2.0 * 0.75 * 1.04, "rows": 4.0}, floors)
    assert said == "decode: 1.56 times as fast as the naive way, was 2.00"


def test_of_several_processes_the_fastest_counts_round_by_round() -> None:
    best = Best({"rows": [2.0, 1.0]}, {"rows": [4.0, 5.0]})
    best.join(Best({"rows": [1.0, 3.0]}, {"rows": [9.0, 4.0]}))
    assert best.quotients() == {"rows": 4.0}


def test_a_stage_that_takes_a_third_longer_is_noticed() -> None:
    slow, calls = Best(), []
    work = lambda: sum(range(200_000))  # noqa: E731 - a stage is a function without arguments

    def slower() -> object:
        calls.append(1)
        return [work(), sum(range(66_667))]

    for _ in range(6):
        slow.take({"rows": (slower, work)})
    assert calls
    assert lost(slow.quotients(), {"rows": 1.0})
    same = Best()
    for _ in range(6):
        same.take({"rows": (work, work)})
    assert not lost(same.quotients(), {"rows": 1.0})
