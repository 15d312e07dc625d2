"""How far each source was learned: pure. What is sent twice is learned once.

A worker that dies between sending observations and committing sends them again, in new messages with new
offsets. Their origin (source topic and partition, offset, index) is in every event id, and the observations
of one source reach a partition in order, so one position per source and partition tells what is new.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detectors.types import Observation

Position = tuple[int, int]
"""Offset and index within the record."""


class _Partition(msgspec.Struct):
    """Where one partition of observations stands: the next offset, and the last position of each source."""

    next_offset: int = 0
    learned: dict[str, Position] = {}


class Marks:
    """The positions of all assigned partitions of one topic of observations."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._partitions: dict[int, _Partition] = {}
        self._changed: set[int] = set()

    def unknown(self, partitions: Iterable[int]) -> set[int]:
        """Those of `partitions` whose marks are not here: look them up and `admit` them before `fresh`."""
        return set(partitions) - self._partitions.keys()

    def admit(self, partition: int, state: bytes | None) -> None:
        """Take a partition's marks from authenticated `state`, or begin without.

        Raises `msgspec.MsgspecError` when the state is not one of ours.
        """
        self._partitions[partition] = msgspec.msgpack.decode(state, type=_Partition) if state else _Partition()

    def fresh(self, partition: int, offset: int, observations: Iterable[Observation]) -> list[Observation]:
        """The observations of one message that were not learned before, which they are from now on."""
        marks = self._partitions[partition]
        fresh = []
        for observation in observations:
            source, position = _origin(observation.event_id)
            if position > marks.learned.get(source, (-1, -1)):
                marks.learned[source] = position
                fresh.append(observation)
        marks.next_offset = max(marks.next_offset, offset + 1)
        self._changed.add(partition)
        return fresh

    def take_changed(self) -> list[tuple[int, int, bytes]]:
        """Partition, next offset and state of all marks that moved since the last call."""
        rows = [
            (partition, self._partitions[partition].next_offset, msgspec.msgpack.encode(self._partitions[partition]))
            for partition in sorted(self._changed)
        ]
        self._changed.clear()
        return rows

    def clear(self) -> None:
        """Forget everything: partitions have moved."""
        self._partitions.clear()
        self._changed.clear()


def _origin(event_id: str) -> tuple[str, Position]:
    """Topic id and partition, then offset and index, of an event id that the pipeline made."""
    source, offset, index = event_id.rsplit(":", 2)
    return source, (int(offset), int(index))
