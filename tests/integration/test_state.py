"""State in ClickHouse that somebody has changed: each way of it is refused, said, and starts cold; the rest goes on."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import msgspec
import pytest

from detectors.bank import SubjectState
from detectors.base import DEPLOYMENT
from streams import topics
from streams.app import libraries
from streams.keys import derive
from streams.rows import SavedState
from streams.snapshots import Origin, key_id, seal, unseal
from streams.triage import COLD_START
from tests.integration.stack import Stack, StackWith, batch

KEY, PREVIOUS_KEY, FOREIGN_KEY = "c" * 32, "p" * 32, "f" * 32
PARTITIONS = 2
MARKS = f"{DEPLOYMENT}.marks"


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(
        partitions=PARTITIONS, session_timeout_s=6.0, snapshot_interval_s=0.5, key=KEY, previous_keys=PREVIOUS_KEY
    )


def saved(stack: Stack, subjects: list[str], scope: str = DEPLOYMENT) -> dict[str, SavedState]:
    topic = stack.topics[topics.full_name(stack.settings, topics.BY_DEPLOYMENT)]
    return stack.store.snapshots(topic.topic_id, scope, topic.name, subjects)


def put_back(stack: Stack, *rows: SavedState, instead_of: str) -> None:
    """What somebody with write access to the database can do."""
    where = f"ALTER TABLE detector_snapshots DELETE WHERE {instead_of} SETTINGS mutations_sync = 2"
    stack.store._client.command(where)
    stack.store.insert_snapshots(rows)


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=20)


def send(stack: Stack, subjects: list[str], part: int) -> None:
    for number, subject in enumerate(subjects):
        stack.produce(number % PARTITIONS, batch(range(part * 10, part * 10 + 10), deployment=subject))


def cold_starts(stack: Stack) -> dict[str, str]:
    sql = "SELECT subject, summary FROM findings_latest WHERE detector = {detector:String} AND scope = 'deployment'"
    return {row["subject"]: row["summary"] for row in stack.store.query(sql, {"detector": COLD_START})}


def origin(row: SavedState) -> Origin:
    return Origin(**{name: getattr(row, name) for name in Origin.__struct_fields__})


def opened(row: SavedState) -> bytes:
    return unseal(row.envelope, origin(row), libraries(), (derive(KEY).snapshots,))


def resealed(row: SavedState, state: bytes, versions: dict[str, str], key: str = KEY) -> SavedState:
    envelope = seal(origin(row), state, versions, derive(key).snapshots)
    return msgspec.structs.replace(row, envelope=envelope)


def edited(row: SavedState) -> SavedState:
    envelope = bytearray(row.envelope)
    envelope[len(envelope) // 2] ^= 1
    return msgspec.structs.replace(row, envelope=bytes(envelope))


def of_another_detector(row: SavedState) -> SavedState:
    """Signed by us, with bytes that no detector could load: they must not even be looked at."""
    state = msgspec.msgpack.decode(opened(row), type=SubjectState)
    states = {**state.detectors, "error_shift": (99, b"\xc1")}
    changed = msgspec.structs.replace(state, detectors=states)
    return resealed(row, msgspec.msgpack.encode(changed), libraries())


Change = Callable[[SavedState, SavedState], list[SavedState]]
"""From the row as it is and as it was once, the rows that are put in its place."""

REFUSED: dict[str, tuple[Change, str]] = {
    "edited": (lambda now, _: [edited(now)], "its signature does not match its content"),
    "cut": (lambda now, _: [msgspec.structs.replace(now, envelope=now.envelope[:30])], "truncated"),
    "of-a-foreign-key": (lambda now, _: [resealed(now, opened(now), libraries(), FOREIGN_KEY)], "not accepted here"),
    "of-another-river": (
        lambda now, _: [resealed(now, opened(now), {**libraries(), "river": "0.1"})],
        "written by other versions of river",
    ),
    "of-another-detector": (lambda now, _: [of_another_detector(now)], "another version of detector error_shift"),
    "put-back": (lambda _, then: [then], "older than the one that was saved last"),
    "deleted": (lambda _now, _then: [], "it is gone"),
}
ACCEPTED: dict[str, Change] = {
    "intact": lambda now, _: [now],
    "of-the-previous-key": lambda now, _: [resealed(now, opened(now), libraries(), PREVIOUS_KEY)],
}
SWAPPED = ["swapped", "swapped-with"]


def test_state_that_was_changed_is_refused_and_said_for_each_subject_and_what_was_not_goes_on(stack: Stack) -> None:
    subjects = [*REFUSED, *ACCEPTED, *SWAPPED]
    worker = stack.start_worker()
    send(stack, subjects, 0)
    stack.wait_for("all are saved", lambda: len(saved(stack, subjects)) == len(subjects))
    then = saved(stack, subjects)
    send(stack, subjects, 1)
    stack.wait_for("all are saved again", lambda: all(saved(stack, [name])[name] != then[name] for name in subjects))
    stop(worker)
    now = saved(stack, subjects)
    for name, change in {**{name: change for name, (change, _) in REFUSED.items()}, **ACCEPTED}.items():
        put_back(stack, *change(now[name], then[name]), instead_of=f"subject = '{name}'")
    one, other = (now[name] for name in SWAPPED)
    exchanged = [
        msgspec.structs.replace(one, envelope=other.envelope),
        msgspec.structs.replace(other, envelope=one.envelope),
    ]
    put_back(stack, *exchanged, instead_of="startsWith(subject, 'swapped')")

    worker = stack.start_worker()
    send(stack, subjects, 2)
    stack.wait_for("all refusals are said", lambda: cold_starts(stack).keys() >= {*REFUSED, *SWAPPED})
    stack.wait_for("all learn on", lambda: all(is_resealed(stack, name, now) for name in subjects))
    stop(worker)
    said = cold_starts(stack)
    assert said.keys() == {*REFUSED, *SWAPPED}
    for name, (_, reason) in REFUSED.items():
        assert reason in said[name]
        assert name in said[name]
    assert all("belongs to another subject" in said[name] for name in SWAPPED)


def is_resealed(stack: Stack, name: str, before: dict[str, SavedState]) -> bool:
    """Whether a state newer than `before` is signed with the key of today."""
    row = saved(stack, [name]).get(name)
    if row is None or row.next_offset <= before[name].next_offset:
        return False
    return row.envelope[4:12] == key_id(derive(KEY).snapshots)


def test_a_backup_put_back_over_what_was_acknowledged_is_said_once_a_partition_and_trusted_by_no_subject(
    stack: Stack,
) -> None:
    subjects = [f"deployment-{number}" for number in range(12)]
    partitions = [str(number) for number in range(PARTITIONS)]
    worker = stack.start_worker()
    send(stack, subjects, 0)
    stack.wait_for("all are saved", lambda: len(saved(stack, subjects)) == len(subjects))
    then, marks = saved(stack, subjects), saved(stack, partitions, MARKS)
    assert marks.keys() == set(partitions)
    send(stack, subjects, 1)

    def is_committed() -> bool:
        committed = stack.committed(topics.BY_DEPLOYMENT)
        return all(committed.get(row.partition, 0) > row.next_offset for row in marks.values())

    stack.wait_for("more is acknowledged than the backup knows", is_committed)
    stop(worker)
    put_back(stack, *then.values(), *marks.values(), instead_of=f"scope IN ('{DEPLOYMENT}', '{MARKS}')")

    worker = stack.start_worker()
    send(stack, subjects, 2)
    learned = max(row.next_offset for row in then.values())
    stack.wait_for("all learn on", lambda: all(row.next_offset > learned for row in saved(stack, subjects).values()))
    stack.wait_for("the cold starts are said", lambda: len(cold_starts(stack)) >= 2 * PARTITIONS)
    stop(worker)
    said = cold_starts(stack)
    of_marks = {name for name in said if name not in subjects}
    topic = topics.full_name(stack.settings, topics.BY_DEPLOYMENT)
    assert of_marks == {f"{topic}/{partition}" for partition in partitions}
    assert all("it is older than what was acknowledged" in said[name] for name in of_marks)
    others = [said[name] for name in said.keys() - of_marks]
    assert len(others) == PARTITIONS
    assert all("marks of its partition were lost" in summary for summary in others)
