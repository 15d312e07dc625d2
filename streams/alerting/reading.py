"""Topics read for one target, which is a consumer group of its own: one that is down holds up nobody.

The log is the outbox:

    1. take records in the order of their partitions;
    2. bring the target what concerns it, and go back to what it has not taken, with growing pauses;
    3. commit the offset behind what it has taken, with a note of what else it knows.
    A target that is down, or a crash before 3: the same is brought again, later and later up to once a minute, for as
    long as it takes or the topic keeps it. A target that is new begins `LOOK_BACK_S` ago.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from streams.alerting.posting import NotTakenError
from streams.security import kafka_python_options
from streams.settings import Settings
from streams.topics import full_name

_log = logging.getLogger(__name__)

LOOK_BACK_S = 3_600.0
"""What a target that is new hears of: enough to see that it works, not a week of what everybody knows."""

_SHORTEST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_POLL_MS = 500
_AT_ONCE = 100

Told = Callable[[str, str], None]
"""Is told a target's name, and ``taken``, ``failed`` or ``held``, at each attempt."""

Commit = Callable[[], Awaitable[None]]
"""Makes durable what a duty says has been done."""


class Attempts:
    """Attempts to bring a target something, and how long to wait after those that failed."""

    def __init__(self, name: str, told: Told) -> None:
        """`name` is the target's."""
        self._name = name
        self._told = told
        self.failures = 0

    async def made(self, what: str, call: Callable[[], Awaitable[str]]) -> bool:
        """Whether `call` was taken. Whatever a library may raise is no answer: its texts can hold addresses."""
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - a receiver's library must not end the watch
            self.failures += 1
            self._told(self._name, "failed")
            reason = str(error) if isinstance(error, NotTakenError) else f"{type(error).__name__} while telling it"
            _log.warning(
                "%s has not taken %s, attempt %d, next in %.0f s: %s",
                *(self._name, what, self.failures, self.pause_s, reason),
            )
            return False
        self.failures = 0
        self._told(self._name, "taken")
        return True

    def held(self) -> None:
        """Something was kept for a digest."""
        self._told(self._name, "held")

    @property
    def pause_s(self) -> float:
        """Until the next attempt; nothing where the last one was taken."""
        return float(min(_SHORTEST_PAUSE_S * 2 ** min(self.failures - 1, 16), _LONGEST_PAUSE_S)) if self.failures else 0


class Duty(Protocol):
    """What is done with the records for a target."""

    attempts: Attempts

    def begin(self, notes: Mapping[TopicPartition, str]) -> None:
        """Partitions have moved: forget everything; these are read from their committed offset on, with its note."""

    async def take(self, place: TopicPartition, records: Sequence[Any], commit: Commit) -> int | None:
        """Bring what `records` say; the offset from which to read again where the target has not taken it."""

    async def turn(self) -> None:
        """Between two looks at the log."""

    def commits(self) -> Mapping[TopicPartition, tuple[int, str]]:
        """Offsets and notes that are not committed yet."""

    async def end(self) -> None:
        """The consumer has gone."""


class Reader:
    """A target's consumer: for ever; Kafka may come and go."""

    def __init__(self, settings: Settings, name: str, topics: Iterable[str], duty: Duty, *, alone: bool) -> None:
        """The target `name` hears of `topics` by `duty`; with `alone` one worker reads all partitions."""
        self._settings = settings
        self._name = name
        self._topics = [full_name(settings, topic) for topic in topics]
        self._group = f"{settings.consumer_group}-notify-{name}"
        self._duty = duty
        self._alone = alone
        self._refused: TopicPartition | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._consume()
            except (KafkaError, OSError) as error:
                _log.warning("alerts for %s wait for Kafka: %s", self._name, type(error).__name__)
                await asyncio.sleep(_SHORTEST_PAUSE_S)

    async def _consume(self) -> None:
        consumer, moves = self._consumer(), _Moves()
        try:
            await consumer.start()
            consumer.subscribe(self._topics, listener=moves)
            while True:
                records = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
                if moves.happened:
                    moves.happened = False
                    await self._begin(consumer)
                    continue
                await self._duty.turn()
                await self._take(consumer, records)
                await self._commit(consumer)
                await asyncio.sleep(self._duty.attempts.pause_s)
        finally:
            await consumer.stop()
            await self._duty.end()

    async def _take(self, consumer: Any, records: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """One refusal ends a look, or a receiver that hangs would cost a timeout for each partition.

        The partition of the last refusal comes last, so that what is refused for ever holds up its own alone.
        """
        refused = False
        for place in sorted(records, key=lambda each: each == self._refused):
            again = records[place][0].offset
            if not refused:
                again = await self._duty.take(place, records[place], lambda: self._commit(consumer))
                if again is not None:
                    refused, self._refused = True, place
            if again is not None:
                consumer.seek(place, again)

    async def _begin(self, consumer: Any) -> None:
        """Go on where each partition was committed; one that never was begins `LOOK_BACK_S` ago.

        That beginning is committed too, or a crash before the first alert would move it.
        """
        places = consumer.assignment()
        known = await self._committed(places) if places else {}
        new = [place for place in places if place not in known]
        if new:
            since_ms = round((time.time() - LOOK_BACK_S) * 1_000)
            ends = await consumer.end_offsets(new)  # first: what comes between the two questions is not passed over
            found = await consumer.offsets_for_times(dict.fromkeys(new, since_ms))
            begin = {place: (ends[place] if found[place] is None else found[place].offset, "") for place in new}
            await consumer.commit(begin)
            known |= begin
        for place, (offset, _) in known.items():
            consumer.seek(place, offset)
        self._duty.begin({place: note for place, (_, note) in known.items()})

    async def _commit(self, consumer: Any) -> None:
        offsets = self._duty.commits()
        if offsets:
            await consumer.commit(dict(offsets))

    async def _committed(self, places: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        """Offsets and their notes; a consumer itself would give the offsets alone."""
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._settings.kafka_brokers,
            client_id="inferwatch-notify",
            **kafka_python_options(self._settings),
        )
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self._group, partitions=list(places))
        finally:
            await admin.close()
        return {place: (at.offset, at.metadata or "") for place, at in found.items() if at.offset >= 0}

    def _consumer(self) -> Any:
        settings = self._settings
        return AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_brokers,
            group_id=self._group,
            client_id="inferwatch-notify",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(settings.session_timeout_s * 200),
            partition_assignment_strategy=(_OneReader if self._alone else RoundRobinPartitionAssignor,),
            **kafka_python_options(settings),
        )


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Whether partitions have moved since somebody looked: what a listener raises, aiokafka only logs."""

    def __init__(self) -> None:
        self.happened = False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's name
        """What was not committed comes again elsewhere."""
        self.happened = True

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - as above
        """See `Reader._begin`."""
        self.happened = True


class _OneReader(RoundRobinPartitionAssignor):  # type: ignore[misc]  # aiokafka is not typed
    """All partitions to one member: what a target is told in an hour is counted in one place."""

    name = "inferwatch-one-reader"

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """To the first by name, and nothing to the others."""
        reader = min(members)
        topics = sorted(members[reader].subscription)
        all_of_it = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, all_of_it if member == reader else [], b"")
            for member in members
        }
