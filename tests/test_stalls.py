"""A worker that stands still while there is work ends; one that waits, rests or gets on does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from streams.stalls import StalledError, Stalls
from streams.topics import BrokerError


class World:
    """A broker's word, a worker's assignment and a clock, to be set by a test."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits = False
        self.away = False
        self.assigned = [("logs", 0), ("logs", 1)]
        self.offsets = {0: (10, 4), 1: (7, 7), 2: (90, 0)}
        self.stalls = Stalls(self.progress, lambda: self.assigned, lambda: self.waits, 60.0, lambda: self.now_s)

    def progress(self, topic: str) -> Mapping[int, tuple[int, int]]:
        assert topic == "logs"
        if self.away:
            raise BrokerError("Kafka is away")
        return dict(self.offsets)

    def pass_(self, seconds: float) -> None:
        self.now_s += seconds
        asyncio.run(self.stalls.look())


@pytest.fixture
def world() -> World:
    world = World()
    world.pass_(0.0)
    return world


def test_work_that_nobody_does_ends_the_worker(world: World) -> None:
    world.pass_(59.0)
    with pytest.raises(StalledError, match="nothing of logs was done for 60 s and 6 records wait"):
        world.pass_(1.0)


def test_one_record_now_and_then_is_enough(world: World) -> None:
    for _ in range(3):
        world.pass_(50.0)
        end, committed = world.offsets[0]
        world.offsets[0] = (end + 100, committed + 1)
        world.pass_(9.0)


def test_a_worker_without_work_rests(world: World) -> None:
    world.offsets[0] = (10, 10)
    world.pass_(1_000.0)
    world.offsets[0] = (11, 10)
    world.pass_(59.0)


def test_the_work_of_others_is_theirs(world: World) -> None:
    world.offsets[0] = (10, 10)
    for _ in range(4):
        world.pass_(50.0)


@pytest.mark.parametrize("reason", ["waits", "away"])
def test_a_server_that_is_away_is_no_stall_and_the_time_begins_anew_behind_it(world: World, reason: str) -> None:
    setattr(world, reason, True)
    world.pass_(1_000.0)
    setattr(world, reason, False)
    world.pass_(1.0)
    world.pass_(58.0)
    with pytest.raises(StalledError):
        world.pass_(2.0)


def test_partitions_that_are_gone_are_forgotten(world: World) -> None:
    world.assigned = []
    world.pass_(59.0)
    world.assigned = [("logs", 0)]
    world.pass_(59.0)
    world.pass_(59.0)
