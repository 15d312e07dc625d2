"""Between revocation and assignment: what is still in a stream's own buffer is learned by nobody here."""

from __future__ import annotations

import asyncio

from tests.state.test_watch import Journal, call, event, watch


def test_a_batch_that_comes_after_its_partitions_were_taken_away_is_left_for_their_next_owner() -> None:
    journal = Journal()
    made, bank = watch(journal, max_subjects=50)
    acked: list[int] = []
    asyncio.run(made.handle([event(0, [call("a")], acked)]))
    made.leave()
    asyncio.run(made.handle([event(1, [call("a")], acked)]))
    asyncio.run(made.save())
    assert len(bank) == 0
    assert acked == []
    assert "states" not in journal.written, "a state without message 0 would make the next owner skip it"


def test_once_partitions_are_assigned_it_learns_again() -> None:
    journal = Journal()
    made, bank = watch(journal, max_subjects=50)
    acked: list[int] = []
    made.leave()
    made.enter()
    asyncio.run(made.handle([event(0, [call("a")], acked)]))
    asyncio.run(made.save())
    assert len(bank) == 1
    assert acked == [0]
