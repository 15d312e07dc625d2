from __future__ import annotations

import struct

from detectors.knocks import Knocks

OTHERS = 10_000


def met(knocks: Knocks, words: list[int], outcome: int = 7, calls: int = 16) -> list[tuple[int, int, int]]:
    """What is let in when a call with these words, and as many others as make a batch with it, knock."""
    let_in = knocks.knock(struct.pack(f"<{len(words)}I", *words), [outcome])
    for call in range(calls - 1):
        let_in += knocks.knock(struct.pack("<I", OTHERS + call), [99])
    return [each for each in let_in if each[0] < OTHERS]


def test_a_word_is_let_in_with_its_outcome_at_the_second_sight() -> None:
    knocks = Knocks()
    assert met(knocks, [1, 2]) == []
    assert [each[:2] for each in met(knocks, [2, 3])] == [(2, 7)]
    assert [each[:2] for each in met(knocks, [2, 3])] == [(2, 7), (3, 7)]


def test_with_another_outcome_it_is_another() -> None:
    knocks = Knocks()
    met(knocks, [1], outcome=7)
    assert met(knocks, [1], outcome=8) == []
    assert [each[:2] for each in met(knocks, [1], outcome=7)] == [(1, 7)]


def test_what_was_turned_away_is_let_in_at_the_fourth_sight_from_then() -> None:
    knocks = Knocks()
    met(knocks, [1])
    ((_, _, name),) = met(knocks, [1])
    knocks.turn_away([name])
    assert [len(met(knocks, [1])) for _ in range(5)] == [0, 0, 0, 1, 1]


def test_nothing_is_let_in_before_a_batch_is_full_and_everything_of_it_then() -> None:
    knocks = Knocks()
    met(knocks, [1])
    assert knocks.knock(struct.pack("<I", 1), [7]) == []
    assert [each[0] for each in met(knocks, [5], calls=15) if each[0] < OTHERS] == [1]
