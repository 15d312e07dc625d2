"""The verbs of dead letters on the real servers: listed, shown, and requeued once each."""

from __future__ import annotations

import json

import msgspec
import pytest

from streams import topics
from streams.requeuing import letters
from tests.integration.stack import Stack, StackWith, batch


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(session_timeout_s=6.0, batch_records=8, health_address="")


def test_letters_are_listed_shown_and_requeued_once_after_the_setting_is_right(stack: Stack) -> None:
    wrong = msgspec.structs.replace(stack.settings, input_format="bedrock")
    worker = stack.start_worker(settings=wrong)
    native = "application/vnd.inferwatch.event+json"
    misread = [stack.produce(number % 2, batch([number])) for number in range(5)]
    partial = stack.produce(0, batch([10, 11])[:-1] + b',{"deployment":7},{"deployment":""}]', native)
    large = stack.produce(1, b'\x1b[2J{"deployment": "' + b"x" * 5_000_000 + b'"}', native)
    stack.wait_for("all are read", lambda: (len(stack.dead()), len(stack.stored())) == (8, 2))
    worker.terminate()
    worker.wait()

    listed = stack.typed("dead-letters", "list", "--json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    logs = topics.full_name(stack.settings, topics.INFERENCE_LOGS)
    ids = {f"{logs}:{partition}:{offset}:{index}" for partition, offset, index in stack.dead()}
    assert {row["id"] for row in rows} == ids
    counted = stack.typed("dead-letters", "list", "--reason", "MODELID", "--counts", "--json").stdout.splitlines()
    assert sum(json.loads(line)["letters"] for line in counted) == 5
    people = stack.typed("dead-letters", "list")
    assert "5000022 bytes" in people.stdout and "5 x modelId" in people.stdout

    shown = stack.typed("dead-letters", "show", f"{logs}:{large[0]}:{large[1]}:-1")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout and "more than 4000000 are not read" in shown.stdout
    assert stack.typed("dead-letters", "show", f"{logs}:{partial[0]}:{partial[1]}").stdout.count("sha256") == 2
    assert stack.typed("dead-letters", "show", f"{logs}:0:999999").returncode == 2

    tried = stack.typed("dead-letters", "requeue", "--reason", "modelId", "--dry-run")
    assert tried.stdout == "would requeue 5 of 5 dead letters\n"
    assert len(list(letters(stack.settings))) == 7
    done = stack.typed("dead-letters", "requeue", "--reason", "modelId", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"matched": 5, "sent": 5, "already": 0, "truncated": 0, "of_our_own": 0}
    stack.start_worker()
    stack.wait_for("what was misread is stored", lambda: len(stack.stored()) == 7)
    again = stack.typed("dead-letters", "requeue", "--all")
    assert again.returncode == 1
    assert "requeued 1 of 7 dead letters" in again.stdout
    assert "5 were requeued before" in again.stdout
    assert "1 are refused: too large" in again.stdout
    stack.wait_for("the bad events, and they alone, are dead again", lambda: len(stack.dead()) == 10)
    assert len(stack.stored()) == 7
    assert [index for *place, index in sorted(stack.dead()) if index > 0] == [2, 3, 2, 3]
    twice = stack.typed("dead-letters", "requeue", f"{logs}:{misread[0][0]}:{misread[0][1]}", "--again", "--json")
    assert json.loads(twice.stdout)["sent"] == 1
    stack.wait_for("it is stored once more, as another record", lambda: len(stack.stored()) == 8)
