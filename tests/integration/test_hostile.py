"""What a hostile sender puts on the topic of a running worker, and what a bad deploy would make of good records."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from streams import topics
from streams.consuming import EXIT_DEAD_LETTERS
from streams.inflating import GZIP, ZSTD
from tests.hostile import kafka_batches
from tests.integration.stack import Stack, StackWith, batch


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(
        session_timeout_s=6.0, snapshot_interval_s=0.5, batch_records=8, dead_letter_run=30, health_address=""
    )


def send_raw(stack: Stack, partition: int, raw: bytes) -> int:
    topic = topics.full_name(stack.settings, topics.INFERENCE_LOGS)
    return kafka_batches.send(stack.settings.kafka_brokers, topic, partition, raw)


def most_memory_kb(worker: subprocess.Popen[bytes]) -> int:
    """The most that the worker ever had in memory; it runs as a child of the process that was started."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    status = Path(f"/proc/{(children or [worker.pid])[0]}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_a_gigabyte_in_a_megabyte_is_a_dead_letter_and_the_next_record_is_processed(stack: Stack) -> None:
    worker = stack.start_worker()
    first = stack.produce(0, batch([1]))
    stack.wait_for("the worker is at work", lambda: (*first, 0) in stack.stored())
    before_kb = most_memory_kb(worker)
    bombs = [send_raw(stack, 0, kafka_batches.bomb(1_000_000_000, kind)) for kind in (GZIP, ZSTD)]
    last = stack.produce(0, batch([2]))
    stack.wait_for("the record behind the bombs is stored", lambda: (*last, 0) in stack.stored())
    stack.wait_for("the bombs are dead letters", lambda: sorted(stack.dead()) == [(0, at, -1) for at in bombs])
    reasons = stack.store.query("SELECT DISTINCT reason FROM dead_letters_latest")
    assert reasons == [{"reason": "its batch inflates to more than 32000000 bytes; what is beyond is not read"}]
    assert most_memory_kb(worker) < before_kb + 400_000
    assert worker.poll() is None


def test_header_names_that_are_no_text_and_damaged_batches_do_not_block_the_partition(stack: Stack) -> None:
    worker = stack.start_worker()
    good = batch([1])
    named = [kafka_batches.record(0, good, [(b"\xff\xfe", b"x")]), kafka_batches.record(1, batch([2]))]
    at = send_raw(stack, 1, kafka_batches.compressed(named, GZIP))
    last = stack.produce(1, batch([3]))
    expected = [(1, at, 0), (1, at + 1, 0), (*last, 0)]
    stack.wait_for("all three are stored", lambda: sorted(stack.stored()) == expected)
    assert not stack.dead()
    assert worker.poll() is None


def test_a_codec_set_wrongly_stops_the_worker_and_its_records_are_read_after_the_setting_is_right(stack: Stack) -> None:
    places = [stack.produce(number % 2, batch([number])) for number in range(100)]
    wrong = msgspec.structs.replace(stack.settings, input_format="bedrock")
    worker = stack.start_worker(settings=wrong)
    assert worker.wait(timeout=60) == EXIT_DEAD_LETTERS
    said = stack.log_path.read_text()
    assert "30 records in a row are dead letters" in said
    assert "INFERWATCH_INPUT_FORMAT" in said
    assert "Traceback" not in said
    buried = {(partition, offset) for partition, offset, _ in stack.dead()}
    assert len(buried) < 30
    for partition, end in stack.committed(topics.INFERENCE_LOGS).items():
        assert {(partition, offset) for offset in range(end)} <= buried, "committed past what was buried"
    stack.start_worker()
    left = {(*place, 0) for place in places if place not in buried}
    stack.wait_for("what waited in Kafka is stored", lambda: left <= set(stack.stored()))


def test_bad_records_among_good_ones_stop_nobody(stack: Stack) -> None:
    worker = stack.start_worker()
    for number in range(60):
        stack.produce(number % 2, b"]" if number % 3 else batch([number]))
    stack.wait_for("all are there", lambda: (len(stack.stored()), len(stack.dead())) == (20, 40))
    assert worker.poll() is None
