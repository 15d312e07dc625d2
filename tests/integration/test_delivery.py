"""Nothing is lost and nothing is twice: a worker on Apache Kafka and a listening ClickHouse, and what ends it."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from streams import topics
from streams.consuming import EXIT_UNEXPECTED
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.stack import Place, Stack, StackWith, batch

PARTITIONS = 3


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(partitions=PARTITIONS, session_timeout_s=6.0, snapshot_interval_s=0.5, batch_records=8)


class Ledger:
    """What was produced: every event and every dead letter that must be there in the end, and no other."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.events: set[Place] = set()
        self.dead: set[Place] = set()
        self._stack = stack
        self._random = random.Random(seed)
        self._number = 0

    def produce(self, records: int) -> None:
        for _ in range(records):
            partition = self._random.randrange(PARTITIONS)
            kind = self._random.random()
            size = self._random.randint(1, 20)
            numbers = range(self._number, self._number + size)
            self._number += size
            if kind < 0.1:
                place = self._stack.produce(partition, self._random.randbytes(40))
                self.dead.add((*place, -1))
            elif kind < 0.2:
                whole = batch(numbers)
                place = self._stack.produce(partition, whole[:-1] + b',{"deployment":7}]')
                self.events.update((*place, index) for index in range(size))
                self.dead.add((*place, size))
            else:
                place = self._stack.produce(partition, batch(numbers))
                self.events.update((*place, index) for index in range(size))

    def is_complete(self) -> bool:
        return set(self._stack.stored()) >= self.events and set(self._stack.dead()) >= self.dead

    def check(self) -> None:
        stored, dead = Counter(self._stack.stored()), Counter(self._stack.dead())
        assert set(stored) == self.events
        assert set(dead) == self.dead
        assert set(stored.values()) | set(dead.values()) == {1}

    def check_commits(self) -> None:
        """No offset is committed past a record that is not durable."""
        committed = self._stack.committed(topics.INFERENCE_LOGS)
        durable = set(self._stack.stored()) | set(self._stack.dead())
        for place in self.events | self.dead:
            partition, offset, _ = place
            assert offset >= committed.get(partition, 0) or place in durable, f"{place} was committed and is lost"


def test_killed_again_and_again_it_loses_no_event_and_stores_none_twice(stack: Stack) -> None:
    ledger = Ledger(stack, seed=20261122)
    for _ in range(3):
        ledger.produce(40)
        worker = stack.start_worker()
        before = len(stack.stored())
        stack.wait_for("the worker stores something", lambda before=before: len(stack.stored()) > before)
        stack.bury(worker)
        ledger.check_commits()
    ledger.produce(20)
    stack.start_worker()
    stack.wait_for("every event and dead letter is there", ledger.is_complete)
    ledger.check()


def test_asked_to_stop_under_load_it_ends_within_ten_seconds_and_loses_nothing(stack: Stack) -> None:
    ledger = Ledger(stack, seed=7)
    worker = stack.start_worker()
    ledger.produce(60)
    stack.wait_for("the worker is at work", lambda: bool(stack.stored()))
    began_s = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=10)
    assert time.monotonic() - began_s < 10
    ledger.check_commits()
    ledger.produce(10)
    stack.start_worker()
    stack.wait_for("every event and dead letter is there", ledger.is_complete)
    ledger.check()


def test_who_joins_and_who_leaves_under_load_makes_no_call_count_twice(stack_with: StackWith) -> None:
    """A row that is stored again replaces itself; what is counted as it is stored does not."""
    stack = stack_with(partitions=PARTITIONS, batch_records=64)
    ledger = Ledger(stack, seed=20261123)

    def load_until(reached: Callable[[], bool]) -> None:
        while not reached():
            ledger.produce(10)
            time.sleep(0.02)
        ledger.produce(100)

    first = stack.start_worker()
    load_until(lambda: stack.counted() > 0)
    stack.start_worker()
    load_until(lambda: stack.members() == 2)
    told_s = time.monotonic() + stack.settings.session_timeout_s / 4  # by when the first has heard of the second
    load_until(lambda: time.monotonic() > told_s)
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=15)
    stack.wait_for("every event and dead letter is there", ledger.is_complete)
    ledger.check()
    assert stack.counted() == len(ledger.events)


def test_while_clickhouse_is_away_it_waits_and_then_stores_everything(
    stack: Stack, clickhouse: ClickHouseServer
) -> None:
    ledger = Ledger(stack, seed=3)
    worker = stack.start_worker()
    ledger.produce(5)
    stack.wait_for("the first events are there", ledger.is_complete)
    clickhouse.kill()
    ledger.produce(20)
    time.sleep(3)
    assert worker.poll() is None, "a worker whose store is away must wait, not end"
    clickhouse.start()
    stack.wait_for("every event and dead letter is there", ledger.is_complete)
    ledger.check()
    assert worker.poll() is None


def test_killed_while_it_waits_for_clickhouse_it_has_committed_nothing_that_is_not_stored(
    stack: Stack, clickhouse: ClickHouseServer
) -> None:
    ledger = Ledger(stack, seed=11)
    worker = stack.start_worker()
    ledger.produce(5)
    stack.wait_for("the first events are there", ledger.is_complete)
    clickhouse.kill()
    ledger.produce(30)
    time.sleep(4)  # several commit intervals, in which a worker that acked too soon would have committed
    worker.kill()
    worker.wait()
    clickhouse.start()
    ledger.check_commits()
    stack.start_worker()
    stack.wait_for("every event and dead letter is there", ledger.is_complete)
    ledger.check()


def test_behind_a_poisonous_record_the_next_one_is_processed_soon(stack: Stack) -> None:
    stack.start_worker()
    first = stack.produce(0, batch([1]))
    stack.wait_for("the worker is at work", lambda: (*first, 0) in stack.stored())
    stack.produce(0, b"[" * 10_000)
    stack.produce(0, b'{"deployment": NaN}')
    stack.produce(0, b'{"deployment": "' + b"x" * 10_000_000 + b'"}')
    last = stack.produce(0, batch([2]))
    took_s = stack.wait_for("the record behind the poison is stored", lambda: (*last, 0) in stack.stored())
    assert took_s < 5
    stack.wait_for("every poison is a dead letter", lambda: len(stack.dead()) == 3)


def test_a_finding_is_made_once_although_the_worker_dies_around_it(stack: Stack) -> None:
    for part in range(6):
        stack.produce(0, batch(range(part * 100, part * 100 + 100), deployment="d", principal="p"))
    worker = stack.start_worker()
    stack.wait_for("the baseline is stored", lambda: len(stack.stored()) == 600)
    stack.wait_for("detector state is saved", lambda: stack.store.query(_STATES)[0]["found"] > 0)
    stack.produce(0, batch(range(600, 620), deployment="d", principal="p", served_model="m-1-2027"))
    stack.bury(worker)
    second = stack.start_worker()
    stack.wait_for("the change is a finding", lambda: bool(stack.store.query(_CHANGES)))
    stack.bury(second)
    stack.start_worker()
    stack.produce(0, batch(range(620, 640), deployment="d", principal="p", served_model="m-1-2027"))
    stack.wait_for("the rest is stored", lambda: len(stack.stored()) == 640)
    changes = stack.store.query(_CHANGES)
    assert len(changes) == 1
    assert "m-1-2027" in changes[0]["summary"]
    assert changes[0]["found"] == 1


_STATES = "SELECT count() AS found FROM detector_snapshots FINAL WHERE next_offset > 0 AND scope = 'deployment'"
_CHANGES = """
SELECT summary, count() AS found FROM findings_latest
WHERE detector = 'served_model_change' GROUP BY summary, finding_id
"""


def test_records_of_any_compression_are_read(stack: Stack) -> None:
    """A collector compresses as it likes, and a codec that is missing here would stop the partition."""

    async def produce(compression: str) -> tuple[int, int]:
        producer = AIOKafkaProducer(bootstrap_servers=stack.settings.kafka_brokers, compression_type=compression)
        await producer.start()
        try:
            topic = topics.full_name(stack.settings, topics.INFERENCE_LOGS)
            sent = await producer.send_and_wait(topic, batch(range(100)), partition=0)
            return sent.partition, sent.offset
        finally:
            await producer.stop()

    places = [asyncio.run(produce(compression)) for compression in ("gzip", "snappy", "lz4", "zstd")]
    stack.start_worker()
    stack.wait_for("all events are stored", lambda: len(stack.stored()) == 400)
    assert set(stack.stored()) == {(*place, index) for place in places for index in range(100)}


def test_a_worker_that_hangs_without_an_error_ends_and_its_work_is_done_by_the_next(stack: Stack) -> None:
    impatient = msgspec.structs.replace(stack.settings, stall_s=6.0)
    hanging = stack.start_worker(settings=impatient, module="tests.integration.hanging_worker")
    place = stack.produce(0, batch(range(3)))
    assert hanging.wait(timeout=60) == EXIT_UNEXPECTED
    assert "nothing of inference-logs was done for" in stack.log_path.read_text(errors="replace")
    assert stack.stored() == []
    stack.start_worker(settings=impatient)
    stack.wait_for("all of it is stored", lambda: set(stack.stored()) == {(*place, index) for index in range(3)})
