"""What is down is waited for, what is broken is not; and messages fit into Kafka."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import pytest

from detectors.types import Observation
from streams.clickhouse import Store, StoreError, UnstorableError
from streams.dlq import DeadLetter
from streams.readiness import Readiness
from streams.sinks import DeadLetters, Message, Sender, Writer, insert_apart, packed, until_done
from streams.topics import MAX_MESSAGE_BYTES, BrokerError, Topic

T = TypeVar("T")

LETTER = DeadLetter(
    topic_id="t",
    topic="inference-logs",
    partition=5,
    offset=41,
    event_index=-1,
    record_time_s=1.0,
    reason="not JSON",
    content_type="text/plain",
    size_bytes=3,
    sha256="00" * 32,
    head="abc",
)
TOPIC = Topic("dead-letters", 4, "f" * 32)


class Failing:
    """Raises its errors one after the other, then gives its value; counts how often it was asked."""

    def __init__(self, errors: Sequence[BaseException]) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        return "durable"


class ListOutlet:
    """Kafka as a list; refuses as often as it is told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.sent: list[tuple[str, Message]] = []

    async def send(self, topic: str, message: Message) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BrokerError("Kafka: not now")
        self.sent.append((topic, message))


class ListStore(Store):
    """A store as a list; refuses as often as it is told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.letters: list[DeadLetter] = []
        self.threads: set[int] = set()

    def insert_dead_letters(self, rows: Sequence[DeadLetter]) -> None:
        self.threads.add(threading.get_ident())
        if self.refusals:
            self.refusals -= 1
            raise StoreError("ClickHouse: not now")
        self.letters += rows


@pytest.fixture(autouse=True)
def pauses_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(duration_s: float, result: T | None = None) -> T | None:
        waited.append(duration_s)
        return await real(0, result)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waited


def run(call: Callable[[], Awaitable[T]]) -> T:
    async def running() -> T:
        return await call()

    return asyncio.run(running())


@pytest.mark.parametrize(
    "error",
    [StoreError("x"), BrokerError("x"), ConnectionResetError(), TimeoutError()],
    ids=lambda each: type(each).__name__,
)
def test_what_means_not_now_is_tried_until_it_works(error: Exception, pauses_s: list[float]) -> None:
    attempt = Failing([error] * 30)
    assert run(lambda: until_done(attempt, "clickhouse", Readiness())) == "durable"
    assert attempt.asked == 31
    assert len(pauses_s) == 30
    assert pauses_s[0] < 2.0 and max(pauses_s) <= 11.0 and pauses_s[-1] > 5.0


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("x"), MemoryError(), asyncio.CancelledError()],
    ids=lambda each: type(each).__name__,
)
def test_anything_else_is_raised_at_once(error: BaseException, pauses_s: list[float]) -> None:
    attempt = Failing([StoreError("x"), error])
    with pytest.raises(type(error)):
        run(lambda: until_done(attempt, "clickhouse", Readiness()))
    assert attempt.asked == 2
    assert len(pauses_s) == 1


def test_each_failed_attempt_is_told(caplog: pytest.LogCaptureFixture) -> None:
    run(lambda: until_done(Failing([StoreError("the disk is full")] * 2), "clickhouse", Readiness()))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "attempt 2" in caplog.text and "the disk is full" in caplog.text


def test_a_sender_sends_all_and_sends_those_that_failed_again() -> None:
    outlet = ListOutlet(refusals=3)
    messages = [Message(partition=number % 4, value=b"%d" % number) for number in range(5)]
    run(lambda: Sender(outlet, TOPIC).send(messages))
    assert {topic for topic, _ in outlet.sent} == {"dead-letters"}
    assert sorted(message.value for _, message in outlet.sent) == [message.value for message in messages]


def test_a_dead_letter_is_durable_as_a_row_and_as_a_message_with_the_bytes() -> None:
    store, outlet = ListStore(refusals=2), ListOutlet(refusals=1)
    run(lambda: DeadLetters(Writer(store), Sender(outlet, TOPIC)).bury([(LETTER, b"abc")]))
    assert store.letters == [LETTER]
    ((topic, message),) = outlet.sent
    assert topic == "dead-letters"
    assert message.value == b"abc"
    assert message.partition == 5 % 4
    assert dict(message.headers) == {
        "origin": b"inference-logs:5:41",
        "events": b"-1",
        "reason": b"not JSON",
        "content-type": b"text/plain",
        "sha256": b"00" * 32,
    }


def test_bad_events_of_one_record_are_rows_each_and_one_message() -> None:
    store, outlet = ListStore(), ListOutlet()
    letters = [msgspec.structs.replace(LETTER, event_index=index, reason=f"r{index % 2}") for index in (3, 7, 8)]
    other = msgspec.structs.replace(LETTER, offset=42)
    buried = [(letter, b"abc") for letter in letters]
    run(lambda: DeadLetters(Writer(store), Sender(outlet, TOPIC)).bury([*buried, (other, b"def")]))
    assert store.letters == [*letters, other]
    assert [message.value for _, message in outlet.sent] == [b"abc", b"def"]
    headers = dict(outlet.sent[0][1].headers)
    assert (headers["origin"], headers["events"], headers["reason"]) == (b"inference-logs:5:41", b"3,7,8", b"r1; r0")


def test_rows_that_no_column_takes_are_found_among_good_ones_and_the_good_ones_are_inserted_once() -> None:
    taken: list[int] = []

    def insert(rows: Sequence[int]) -> None:
        if any(row % 10 == 3 for row in rows):
            raise UnstorableError("score: DataError")
        taken.extend(rows)

    refused = insert_apart(insert, range(100))
    assert [row for row, _ in refused] == list(range(3, 100, 10))
    assert {reason for _, reason in refused} == {"score: DataError"}
    assert taken == [row for row in range(100) if row % 10 != 3]


def test_a_store_that_is_down_is_not_taken_for_rows_that_it_will_never_take() -> None:
    def insert(rows: Sequence[int]) -> None:
        raise StoreError("down")

    with pytest.raises(StoreError):
        insert_apart(insert, [1, 2])


def test_a_store_is_used_by_one_thread_which_is_not_that_of_the_loop() -> None:
    store = ListStore(refusals=3)
    writer = Writer(store)

    async def several() -> None:
        await asyncio.gather(*(writer.run(lambda each: each.insert_dead_letters([LETTER])) for _ in range(5)))

    run(several)
    assert len(store.letters) == 5
    assert len(store.threads) == 1
    assert threading.get_ident() not in store.threads


def test_nothing_to_bury_asks_nobody() -> None:
    store, outlet = ListStore(refusals=1), ListOutlet(refusals=1)
    run(lambda: DeadLetters(Writer(store), Sender(outlet, TOPIC)).bury([]))
    assert (store.refusals, outlet.refusals) == (1, 1)


def test_the_bytes_of_a_dead_letter_are_cut_to_what_kafka_takes() -> None:
    outlet = ListOutlet()
    run(lambda: DeadLetters(Writer(ListStore()), Sender(outlet, TOPIC)).bury([(LETTER, b"x" * 4_000_000)]))
    message = outlet.sent[0][1]
    assert len(message.value) + len(dict(message.headers)["events"]) == MAX_MESSAGE_BYTES


def observations(count: int, subject: Callable[[int], str], prediction: str | None = None) -> list[Observation]:
    return [
        Observation(event_id=f"{number}", time_s=1.0, deployment=subject(number), prediction=prediction)
        for number in range(count)
    ]


def unpacked(messages: Sequence[Message]) -> list[Observation]:
    decoder = msgspec.msgpack.Decoder(list[Observation])
    return [row for message in messages for row in decoder.decode(message.value)]


def test_many_observations_of_many_subjects_are_few_messages() -> None:
    rows = observations(1_000, lambda number: f"d{number}")
    messages = list(packed(rows, lambda row: row.deployment, 8))
    assert sorted(message.partition for message in messages) == list(range(8))
    assert sorted(row.event_id for row in unpacked(messages)) == sorted(row.event_id for row in rows)


@pytest.mark.parametrize("count", [1, 999, 1_000, 1_001, 2_500])
def test_one_subject_stays_in_order_over_messages(count: int) -> None:
    rows = observations(count, lambda _: "d")
    messages = list(packed(rows, lambda row: row.deployment, 8))
    assert unpacked(messages) == rows
    assert len(messages) == -(-count // 1_000)
    assert len({message.partition for message in messages}) == 1


def test_large_observations_are_split_until_every_message_fits() -> None:
    rows = observations(37, lambda _: "d", prediction="x" * 100_000)
    messages = list(packed(rows, lambda row: row.deployment, 8))
    assert unpacked(messages) == rows
    assert len(messages) >= 4
    assert max(len(message.value) for message in messages) <= MAX_MESSAGE_BYTES
