"""Provenance on the real servers: an attested pickle and an approved change, from the verb to rows and findings."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition

from detectors.types import Observation
from streams import topics
from tests.integration.stack import Stack, StackWith, batch

CHAT = "deployment-0"
CALLS = 400


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(session_timeout_s=6.0, snapshot_interval_s=0.5, health_address="")


def found(stack: Stack) -> set[tuple[str, str]]:
    rows = stack.store.query("SELECT detector, subject FROM findings_latest")
    return {(row["detector"], row["subject"]) for row in rows}


def count(stack: Stack, table: str) -> int:
    return int(stack.store.query("SELECT count() AS rows FROM {table:Identifier}", {"table": table})[0]["rows"])


def produce(stack: Stack, first: int, weights: str) -> None:
    """Calls of now, all in one deployment: a record of fifty every time."""
    for start in range(first, first + CALLS, 50):
        calls = range(start, start + 50)
        stack.produce(0, batch(calls, deployment=CHAT, time_s=time.time(), components={"weights": weights}))


def test_what_is_attested_and_approved_is_stored_and_seen_by_the_detectors_among_the_calls(
    stack: Stack, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.bin").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    stack.start_worker()
    produce(stack, 0, "sha256:1")
    stack.wait_for("the first calls are stored", lambda: len(stack.stored()) == CALLS)

    assert stack.typed("attest", str(model), "--send", "--deployment", CHAT).returncode == 1
    stack.wait_for("the report is stored", lambda: count(stack, "component_reports_latest") == 1)
    (report,) = stack.store.query("SELECT deployment, subject, risks FROM component_reports_latest")
    assert report == {"deployment": CHAT, "subject": "model", "risks": ["unsafe_pickle:model.bin"]}
    stack.wait_for("the pickle is a finding", lambda: ("unsafe_artifact", CHAT) in found(stack))

    decided = ("--deployment", CHAT, "--component", "weights", "--new", "sha256:2", "--ticket", "CHG-1", "--json")
    done = stack.typed("changes", "approve", *decided)
    assert done.returncode == 0, done.stderr
    change_id = json.loads(done.stdout)["change_id"]
    stack.wait_for("the change is stored", lambda: count(stack, "changes_latest") == 1)
    # Its observation is durable before it is committed: calls sent from here on come after it.
    stack.wait_for("the change is told", lambda: sum(stack.committed(topics.CHANGES).values()) == 1)
    produce(stack, CALLS, "sha256:2")
    stack.wait_for("the approved change is a finding", lambda: ("approved_change", CHAT) in found(stack))
    produce(stack, 2 * CALLS, "sha256:3")
    stack.wait_for("the change nobody approved is one too", lambda: ("unapproved_change", CHAT) in found(stack))
    (unapproved,) = stack.store.query(
        "SELECT summary, evidence FROM findings_latest WHERE detector = 'unapproved_change'"
    )
    assert "sha256:3" in unapproved["summary"] + unapproved["evidence"]

    (listed,) = map(json.loads, stack.typed("changes", "list", "--json").stdout.splitlines())
    assert (listed["change_id"], listed["new"]) == (change_id, "sha256:2")
    assert listed["first_served_s"] is not None


def test_junk_among_changes_is_a_dead_letter_with_a_reason_and_holds_up_nothing(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "notices.ndjson"
    good = {"inferwatch": "change", "deployment": "d", "component": "weights", "new": "x", "decided_s": time.time()}
    lines = [{**good, "component": "wieghts"}, good, {**good, "state": "rejected"}]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    sent = json.loads(stack.typed("send", str(file), "--json").stdout)
    assert (sent["records"], sent["notices"]) == (3, 3)
    first = stack.start_worker("--roles", "provenance")
    stack.wait_for("all are stored", lambda: (len(stack.dead()), count(stack, "changes_latest")) == (1, 1))
    stack.wait_for("all are committed", lambda: sum(stack.committed(topics.CHANGES).values()) == 3)
    stack.bury(first)
    (letter,) = stack.store.query("SELECT topic, reason FROM dead_letters_latest")
    assert letter["topic"] == topics.full_name(stack.settings, topics.CHANGES)
    assert letter["reason"].startswith("change: component: expected one of weights, ")
    (row,) = stack.store.query("SELECT state, change_id FROM changes_latest")
    assert row["state"] == "rejected"
    requeued = stack.typed("dead-letters", "requeue", "--all", "--json")
    assert json.loads(requeued.stdout) == {"matched": 1, "sent": 1, "already": 0, "truncated": 0, "of_our_own": 0}
    stack.start_worker("--roles", "provenance")
    stack.wait_for("the requeued one is read", lambda: sum(stack.committed(topics.CHANGES).values()) == 4)
    assert count(stack, "dead_letters_latest") == 2


def observed(stack: Stack) -> Counter[str]:
    """How often each notice is in the topic that the detectors read."""
    consumer = KafkaConsumer(bootstrap_servers=stack.settings.kafka_brokers, auto_offset_reset="earliest")
    try:
        name = topics.full_name(stack.settings, topics.BY_DEPLOYMENT)
        partitions = [TopicPartition(name, partition) for partition in range(stack.settings.partitions)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        ids: Counter[str] = Counter()
        while any(consumer.position(each) < ends[each] for each in partitions):
            for messages in consumer.poll(timeout_ms=1_000).values():
                for message in messages:
                    ids.update(each.event_id for each in msgspec.msgpack.decode(message.value, type=list[Observation]))
        return ids
    finally:
        consumer.close()


def test_a_worker_that_is_killed_again_and_again_loses_no_notice_and_repeats_it_as_the_same_one(
    stack: Stack, tmp_path: Path
) -> None:
    sent = 600
    file = tmp_path / "notices.ndjson"
    told = {"inferwatch": "change", "component": "weights", "decided_s": time.time()}
    lines = [{**told, "deployment": f"d{number % 7}", "new": f"sha256:{number}"} for number in range(sent)]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    small = msgspec.structs.replace(stack.settings, batch_records=4)
    worker = stack.start_worker("--roles", "provenance", settings=small)
    assert stack.typed("send", str(file)).returncode == 0
    for share in (0.1, 0.4, 0.7):
        stack.wait_for("some are stored", lambda share=share: count(stack, "changes_latest") >= share * sent)
        stack.bury(worker)
        worker = stack.start_worker("--roles", "provenance", settings=small)
    stack.wait_for("all are stored", lambda: count(stack, "changes_latest") == sent)
    stack.wait_for("all are committed", lambda: sum(stack.committed(topics.CHANGES).values()) == sent)
    rows = stack.store.query("SELECT new, event_id FROM changes_latest")
    assert {row["new"] for row in rows} == {line["new"] for line in lines}
    ids = observed(stack)
    assert set(ids) == {row["event_id"] for row in rows}
    assert stack.dead() == []
