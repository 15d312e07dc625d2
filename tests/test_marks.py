"""What is sent twice is learned once, whatever message it comes in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.types import Observation
from streams.marks import Marks


def seen(*places: tuple[int, int, int]) -> list[Observation]:
    return [
        Observation(event_id=f"topic:{partition}:{offset}:{index}", time_s=0.0, deployment="d")
        for partition, offset, index in places
    ]


def began() -> Marks:
    marks = Marks()
    marks.admit(0, None)
    return marks


def test_what_was_learned_is_not_fresh_in_a_later_message() -> None:
    marks = began()
    first = seen((0, 5, 0), (0, 5, 1), (1, 9, 0))
    assert marks.fresh(0, 100, first) == first
    assert marks.fresh(0, 101, seen((0, 5, 1), (0, 6, 0), (1, 9, 0))) == seen((0, 6, 0))


def test_each_source_and_each_partition_has_a_mark_of_its_own() -> None:
    marks = began()
    marks.admit(1, None)
    marks.fresh(0, 1, seen((0, 50, 0)))
    assert marks.fresh(0, 2, seen((1, 3, 0))) == seen((1, 3, 0))
    assert marks.fresh(1, 1, seen((0, 50, 0))) == seen((0, 50, 0))


def test_marks_survive_saving_and_recalling() -> None:
    marks = began()
    marks.fresh(0, 7, seen((0, 5, 3)))
    ((partition, next_offset, state),) = marks.take_changed()
    assert (partition, next_offset) == (0, 8)
    assert marks.take_changed() == []
    later = Marks()
    assert later.unknown([0, 1]) == {0, 1}
    later.admit(0, state)
    assert later.unknown([0, 1]) == {1}
    assert later.fresh(0, 8, seen((0, 5, 3), (0, 5, 4))) == seen((0, 5, 4))


def test_a_state_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        Marks().admit(0, b"\xc1")


@given(
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    crashes=st.lists(st.integers(0, 7), max_size=5),
)
def test_a_sender_that_repeats_itself_is_learned_once_and_whole(batches: list[int], crashes: list[int]) -> None:
    """A worker that dies sends again from where it had committed, an earlier batch."""
    sent = [[(0, offset, index) for index in range(size)] for offset, size in enumerate(batches)]
    marks, message, learned = began(), 0, []
    for start in [0, *crashes, 0]:
        for places in sent[min(start, len(sent)) :] if start else sent:
            if not learned or places[0][1] <= learned[-1][1] + 1:
                fresh = marks.fresh(0, message, seen(*places))
                learned += [tuple(map(int, each.event_id.split(":")[1:])) for each in fresh]
                message += 1
    assert learned == [place for places in sent for place in places]
