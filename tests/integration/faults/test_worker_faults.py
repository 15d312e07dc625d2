"""What ends, freezes or crowds workers, and what senders do wrong: nothing is lost, and nothing is learned twice.

The short set. `make faults` plays as many seeded schedules of the same faults as it is asked to.
"""

from __future__ import annotations

import random

import pytest

from tests.integration.faults import checker, vocabulary
from tests.integration.faults.conftest import NewBench

SEED = 20261122

CORE_POINTS = (
    "before the insert into inference_events",
    "after the insert into inference_events",
    "before the commit of inference-logs",
    "inside the insert into detector_snapshots",
    "after the send to incidents",
)
"""The points of the long set that a run of all tests has time for."""

TAMPERED = {
    "TRUNCATE TABLE dead_letters": "dead letters are lost",
    "TRUNCATE TABLE findings": "finding missing",
    "TRUNCATE TABLE incidents": "incidents are lost",
    "TRUNCATE TABLE detector_snapshots": "subjects with state are lost",
    "TRUNCATE TABLE inference_events": "events are lost",
}


def test_whatever_senders_send_it_agrees_with_the_oracle_and_the_checker_sees_what_is_missing(
    new_bench: NewBench,
) -> None:
    bench = new_bench(seed=1)
    bench.produce(20)
    vocabulary.senders_fail(bench, random.Random(SEED))
    bench.revive()
    bench.check()
    assert bench.trace.seen(), "the trace of commits saw none"
    assert len(checker.oracle(bench.clients).findings) > 3, "the traffic is too quiet to prove anything"
    for statement in TAMPERED:
        bench.stack.store.query(statement)
    broken = "\n".join(checker.problems(bench.clients, bench.trace))
    assert [problem for problem in (*TAMPERED.values(), "was committed at") if problem not in broken] == []


@pytest.mark.timeout(600)
def test_killed_at_the_numbered_points_it_loses_nothing_and_learns_nothing_twice(new_bench: NewBench) -> None:
    bench, rng = new_bench(seed=2), random.Random(SEED)
    bench.produce(15)
    core = [point for point in vocabulary.points(bench) if point.name in CORE_POINTS]
    assert len(core) == len(CORE_POINTS)
    rng.shuffle(core)
    missed = [point.name for point in core if not vocabulary.kill_at(bench, point, rng)]
    bench.revive()
    bench.check()
    assert not missed, "these points were never reached"


def test_asked_to_stop_under_load_it_ends_in_time_and_frozen_beyond_its_session_it_does_no_harm_when_it_wakes(
    new_bench: NewBench,
) -> None:
    bench, rng = new_bench(seed=3), random.Random(SEED)
    vocabulary.stop(bench, rng)
    vocabulary.freeze(bench, rng)
    bench.check()


def test_a_commit_that_fails_because_the_group_moved_on_is_made_again(new_bench: NewBench) -> None:
    bench = new_bench(seed=6)
    bench.produce(3)
    vocabulary.cast_out(bench, random.Random(SEED))
    bench.check()


def test_subjects_that_come_from_several_partitions_are_stored_once_whoever_dies(new_bench: NewBench) -> None:
    """No order is promised between source partitions, and so no state; all that is delivered still is."""
    bench = new_bench(seed=5, shared=True)
    bench.produce(10)
    vocabulary.come_and_go(bench, random.Random(SEED))
    bench.revive()
    bench.check()
