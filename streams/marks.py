"""How far each partition was learned: pure. What is sent twice is learned once, what is put back is noticed.

A worker that dies between sending observations and committing sends them again, in new messages with new
offsets. Their origin (source topic and partition, offset, index) is in every event id, and the observations
of one source reach a partition in order, so one position per source and partition tells what is new.

Marks are sealed like the states they are saved with, and say of the latest of those how far each had learned:
an older state with a valid seal does not pass for the last one. Marks that are older than what was acked themselves
(or are lost) put a floor under all states of their partition.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detectors.newcomers import Newcomers, digest
from detectors.types import Observation

Position = tuple[int, int]
"""Offset and index within the record."""


MAX_HEADS = 4_096
"""Saved states per partition whose next offset is remembered, the latest: 60 KB of marks at most. To put an older
state in the place of one that is not among them goes unnoticed; to push one out takes so many established others."""


class _Partition(msgspec.Struct):
    """Where one partition of observations stands: the next offset, and the last position of each source.

    `heads` are the next offsets of the states saved last, by digest of the subject, in the order of saving.
    States that had not learned up to `floor` are not to be trusted.
    """

    next_offset: int = 0
    learned: dict[str, Position] = {}
    heads: dict[int, int] = {}
    floor: int = 0
    newcomers: Newcomers = msgspec.field(default_factory=Newcomers)


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

    def distrust(self, partition: int, floor: int) -> None:
        """Begin a partition without marks at `floor`: states that had learned less are older than what was acked."""
        self._partitions[partition] = _Partition(next_offset=floor, floor=floor)

    def next_offset(self, partition: int) -> int:
        """The first offset of a partition that was not learned."""
        return self._partitions[partition].next_offset

    def floor(self, partition: int) -> int:
        """The offset up to which a state must have learned to be trusted."""
        return self._partitions[partition].floor

    def head(self, partition: int, subject: str) -> int | None:
        """How far the state of a subject that was saved last had learned, where that is remembered."""
        return self._partitions[partition].heads.get(digest(subject))

    def newcomers(self, partition: int) -> Newcomers:
        """The newcomers of a partition, to be counted in place and saved with its marks."""
        return self._partitions[partition].newcomers

    def keep(self, partition: int, subject: str, next_offset: int) -> None:
        """Remember how far a state had learned that is saved together with the marks."""
        heads, name = self._partitions[partition].heads, digest(subject)
        heads.pop(name, None)
        heads[name] = next_offset
        if len(heads) > MAX_HEADS:
            del heads[next(iter(heads))]

    def skip(self, partition: int, offset: int) -> None:
        """A message holds nothing to learn."""
        marks = self._partitions[partition]
        marks.next_offset = max(marks.next_offset, offset + 1)
        self._changed.add(partition)

    def fresh(self, partition: int, offset: int, observations: Iterable[Observation]) -> list[Observation]:
        """The observations of one message that were not learned before, which they are from now on."""
        marks = self._partitions[partition]
        fresh, learned = [], marks.learned
        for observation in observations:
            # Topic id and partition, offset and index: as the pipeline made them.
            source, at, index = observation.event_id.rsplit(":", 2)
            position = int(at), int(index)
            if source not in learned or position > learned[source]:
                learned[source] = position
                fresh.append(observation)
        self.skip(partition, offset)
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
