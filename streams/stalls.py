"""A worker that gets nowhere and does not know it: it ends, so that its partitions go to one that works.

A client library that hangs in a rebalance fetches nothing, commits nothing and raises nothing; readiness believes all
is well. So the broker is asked: is there work in the worker's partitions, and has anything of it been done lately?
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from streams.topics import BrokerError

Progress = Mapping[int, tuple[int, int]]
"""By partition, the end of the log and the next offset that is not done."""

_LOOKS = 4
"""Looks within the patience; one look is a few requests for each topic."""


class StalledError(Exception):
    """There was work and none of it was done for too long. The message is one line."""


class _Standing(msgspec.Struct, frozen=True):
    """How far a topic's partitions were done when that last changed, and when, in seconds."""

    done: Mapping[int, int]
    since_s: float


class Stalls:
    """Finds topics whose work stands still while nothing is known to be waited for."""

    def __init__(
        self,
        progress: Callable[[str], Progress],
        assigned: Callable[[], Iterable[tuple[str, int]]],
        waits: Callable[[], bool],
        patience_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`assigned` are a worker's topics and partitions as it knows them, `progress` is the broker's word on a topic.

        `waits` is whether a server is away: then standing still is right. `clock` gives seconds that only go forward.
        """
        self._progress = progress
        self._assigned = assigned
        self._waits = waits
        self._patience_s = patience_s
        self._clock = clock
        self._standing: dict[str, _Standing] = {}

    async def watch(self) -> None:
        """Look for ever. Raises `StalledError`."""
        while True:
            await asyncio.sleep(self._patience_s / _LOOKS)
            await self.look()

    async def look(self) -> None:
        """Ask for every assigned topic. Raises `StalledError` when one has stood still for the patience."""
        mine: dict[str, set[int]] = {}
        for topic, partition in self._assigned():
            mine.setdefault(topic, set()).add(partition)
        self._standing = {topic: standing for topic, standing in self._standing.items() if topic in mine}
        for topic, partitions in mine.items():
            try:
                progress = await asyncio.to_thread(self._progress, topic)
            except BrokerError:
                self._standing.clear()  # whoever cannot ask knows nothing
                return
            self._judge(topic, {each: progress[each] for each in partitions if each in progress})

    def _judge(self, topic: str, progress: Progress) -> None:
        done = {partition: committed for partition, (_, committed) in progress.items()}
        before, now_s = self._standing.get(topic), self._clock()
        rests = all(committed >= end for end, committed in progress.values())
        if before is None or before.done != done or rests or self._waits():
            self._standing[topic] = _Standing(done, now_s)
        elif now_s - before.since_s >= self._patience_s:
            left = sum(max(end - committed, 0) for end, committed in progress.values())
            raise StalledError(
                f"nothing of {topic} was done for {now_s - before.since_s:.0f} s and {left} records wait; "
                "the worker gives its partitions to another"
            )
