"""The saved states of one topic of observations: brought back when they are needed, or refused and said so.

1. The marks of a partition come first. Lost, refused or behind what was acked, they put a floor under all
   of the partition's states.
2. Subjects that are not live are looked up together. A state is opened only after its seal, its origin, the
   floor and the marks' own record of how far it had learned are checked; nothing of it is parsed before.
3. What is refused is a cold start and a finding, one for each subject; where a cause refuses many (a new
   library, a key, lost marks), it is said at the first of a partition and then at every power of ten.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from detectors.bank import Bank
from detectors.types import Finding, Observation
from streams.dlq import Record, printable
from streams.marks import Marks
from streams.rows import SavedState
from streams.sinks import Writer
from streams.snapshots import Origin, SnapshotOutdatedError, SnapshotRefusedError, seal, unseal
from streams.topics import Topic
from streams.triage import cold_start

_log = logging.getLogger(__name__)

Batch = Sequence[tuple[Record, list[Observation]]]

_NAMED = 20
"""Refused states of one partition and cause that are each said by name: a few are tampering, thousands an upgrade."""

_MARKS_LIBRARIES: Mapping[str, str] = {}
"""Marks hold numbers only and outlive a change of libraries; else it would make duplicates count twice."""


class States:
    """A bank and the marks of its topic, kept in the store."""

    def __init__(
        self,
        *,
        bank: Bank,
        marks: Marks,
        writer: Writer,
        source: Topic,
        keys: tuple[bytes, ...],
        libraries: Mapping[str, str],
    ) -> None:
        """`keys` are all whose signatures are accepted, the first signs; `libraries` read and write the states."""
        self._bank = bank
        self._marks = marks
        self._writer = writer
        self._source = source
        self._keys = keys
        self._libraries = libraries
        self._epoch = 0
        self._refused: Counter[tuple[int, str]] = Counter()
        self._unsaid: dict[int, str] = {}

    def clear(self) -> None:
        """Forget everything, and what is being read right now: partitions have moved."""
        self._epoch += 1
        self._bank.clear()
        self._marks.clear()
        self._refused.clear()
        self._unsaid.clear()

    def changed(self) -> list[SavedState]:
        """What is to be saved since the last call; marks last, so that they never say more than is durable."""
        rows = []
        for subject, partition, next_offset, state in self._bank.take_changed():
            self._marks.keep(partition, subject, next_offset)
            rows.append(self._sealed(self._bank.scope, subject, partition, next_offset, state, self._libraries))
        for partition, next_offset, state in self._marks.take_changed():
            rows.append(
                self._sealed(self._marks_scope, str(partition), partition, next_offset, state, _MARKS_LIBRARIES)
            )
        return rows

    async def recall_marks(self, places: Iterable[tuple[int, int]]) -> None:
        """Bring back the marks of partitions that are new here; `places` are partition and offset, in order.

        The first offset that comes after an assignment is where the acked ones end.
        """
        begins: dict[int, int] = {}
        for partition, offset in places:
            begins.setdefault(partition, offset)
        strangers = self._marks.unknown(begins)
        saved, is_current = await self._saved(self._marks_scope, map(str, strangers))
        for partition in strangers if is_current else ():
            try:
                self._admit_marks(partition, saved.get(str(partition)), begins[partition])
            except SnapshotRefusedError as error:
                self._marks.distrust(partition, begins[partition])
                self._unsaid[partition] = str(error)
            self._bank.meet(partition, self._marks.newcomers(partition))

    def _admit_marks(self, partition: int, row: SavedState | None, acked: int) -> None:
        """Raises `SnapshotRefusedError` when there are no marks that cover what was acked."""
        if row is None:
            if acked > 0:
                raise SnapshotRefusedError("it is gone, although messages before this one were acknowledged")
            self._marks.admit(partition, None)
            return
        state = self._opened(row, partition, _MARKS_LIBRARIES)
        try:
            self._marks.admit(partition, state)
        except msgspec.MsgspecError:
            raise SnapshotRefusedError("its content does not load here") from None
        if self._marks.next_offset(partition) < acked:
            raise SnapshotRefusedError("it is older than what was acknowledged")

    async def recall(self, batch: Batch) -> list[Finding]:
        """Bring back the states of the subjects of `batch` that are not live; what was refused becomes findings."""
        first_seen: dict[str, tuple[int, Observation]] = {}
        findings, subject_of = [], self._bank.subject_of
        for record, observations in batch:
            if observations and (reason := self._unsaid.pop(record.partition, None)) is not None:
                findings.append(self._lost_marks(record.partition, reason, observations[0]))
            for observation in observations:
                subject = subject_of(observation)
                if subject is not None and subject not in first_seen:
                    first_seen[subject] = record.partition, observation
        unknown = self._bank.unknown({subject: partition for subject, (partition, _) in first_seen.items()})
        saved, is_current = await self._saved(self._bank.scope, unknown)
        for subject in sorted(unknown) if is_current else ():
            partition, observation = first_seen[subject]
            try:
                for detector in self._admit(subject, partition, saved.get(subject)):
                    error = SnapshotOutdatedError(f"it is of another version of detector {detector}")
                    findings += self._said(subject, partition, observation, error)
            except SnapshotRefusedError as error:
                self._bank.begin(subject, partition)
                findings += self._said(subject, partition, observation, error)
        return findings

    def _admit(self, subject: str, partition: int, row: SavedState | None) -> list[str]:
        """Ids of detectors that start cold nevertheless. Raises `SnapshotRefusedError`."""
        head = self._marks.head(partition, subject)
        if row is None:
            if head is not None:
                raise SnapshotRefusedError("it is gone: deleted, or not seen for longer than the retention")
            return []
        state = self._opened(row, partition, self._libraries)
        if row.next_offset < self._marks.floor(partition):
            raise SnapshotOutdatedError("the marks of its partition were lost, and without them it may be an old one")
        if head is not None and row.next_offset < head:
            raise SnapshotRefusedError("it is older than the one that was saved last")
        try:
            return self._bank.admit(subject, partition, state)
        except msgspec.MsgspecError:
            raise SnapshotOutdatedError("its content does not load here") from None

    def _said(
        self, subject: str, partition: int, observation: Observation, error: SnapshotRefusedError
    ) -> list[Finding]:
        reason = str(error)
        self._refused[partition, reason] += 1
        count = self._refused[partition, reason]
        named = 1 if isinstance(error, SnapshotOutdatedError) else _NAMED
        if count > named and not math.log10(count).is_integer():
            return []
        _log.warning("state of %s %s refused: %s", self._bank.scope, printable(subject), reason)
        return [cold_start(self._bank.scope, subject, observation, reason, count)]

    def _lost_marks(self, partition: int, reason: str, observation: Observation) -> Finding:
        name = f"{self._source.name}/{partition}"
        _log.warning("marks of %s refused: %s", name, reason)
        return cold_start(self._bank.scope, name, observation, f"the marks of this partition were refused: {reason}")

    async def _saved(self, scope: str, subjects: Iterable[str]) -> tuple[dict[str, SavedState], bool]:
        """What is saved of `subjects`, and whether the partitions have stayed while it was read."""
        names, topic, epoch = sorted(subjects), self._source, self._epoch
        if not names:
            return {}, True
        saved = await self._writer.run(lambda store: store.snapshots(topic.topic_id, scope, topic.name, names))
        return saved, epoch == self._epoch

    @property
    def _marks_scope(self) -> str:
        return f"{self._bank.scope}.marks"

    def _opened(self, row: SavedState, partition: int, libraries: Mapping[str, str]) -> bytes:
        origin = self._origin(row.scope, row.subject, partition, row.next_offset)
        return unseal(row.envelope, origin, libraries, self._keys)

    def _origin(self, scope: str, subject: str, partition: int, next_offset: int) -> Origin:
        return Origin(
            topic_id=self._source.topic_id,
            topic=self._source.name,
            partition=partition,
            scope=scope,
            subject=subject,
            next_offset=next_offset,
        )

    def _sealed(
        self, scope: str, subject: str, partition: int, next_offset: int, state: bytes, libraries: Mapping[str, str]
    ) -> SavedState:
        origin = self._origin(scope, subject, partition, next_offset)
        return SavedState(
            topic_id=origin.topic_id,
            scope=scope,
            topic=origin.topic,
            subject=subject,
            partition=partition,
            next_offset=next_offset,
            envelope=seal(origin, state, libraries, self._keys[0]),
        )
