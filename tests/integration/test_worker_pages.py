"""A running worker: where it listens, who gets an answer, and when it says that it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import msgspec
import pytest

from streams import topics
from streams.app import Worker
from streams.readiness import NOT_ASSIGNED
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.listening import ask, listening
from tests.integration.servers import HOST, free_port
from tests.integration.stack import Stack, StackWith, batch

TOKEN = "a-token-for-scrapes"


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(
        snapshot_interval_s=0.5, health_address=f"{HOST}:{free_port()}", metrics_token=TOKEN, log_level="DEBUG"
    )


def status(stack: Stack, path: str, token: str | None = TOKEN) -> int:
    try:
        return ask(stack.settings.health_address, path, token)[0]
    except OSError:
        return 0


def numbers(stack: Stack) -> dict[str, float]:
    lines = ask(stack.settings.health_address, "/metrics", TOKEN)[2].splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_a_worker_listens_in_one_place_says_what_it_does_and_when_it_cannot(
    stack: Stack, clickhouse: ClickHouseServer
) -> None:
    address = stack.settings.health_address
    worker = stack.start_worker()
    stack.wait_for("the worker is ready", lambda: status(stack, "/readyz") == 200)

    assert listening(worker.pid) == {("tcp", HOST, int(address.rpartition(":")[2]))}
    for path in ("/", "/tables/", "/table", "/router", "/graph", "/stats", "/metrics/", "/healthcheck", "/livez/x"):
        code, headers, _ = ask(address, path, TOKEN)
        assert (code, "Server: inferwatch\n" in headers) == (404, True), path
    assert [status(stack, path, None) for path in ("/livez", "/readyz", "/metrics")] == [200, 401, 401]

    stack.produce(0, batch(range(20), deployment="d", principal="p"))
    stack.produce(1, b"no record of ours")
    stack.produce(0, batch(range(20, 40), deployment="d", principal="p", served_model="m-2"))
    stack.wait_for("all is stored", lambda: (len(stack.stored()), len(stack.dead())) == (40, 1))
    stack.wait_for("state is saved", lambda: numbers(stack).get(SAVED, 0) > 0)
    stack.wait_for("it is counted, after it is stored", lambda: numbers(stack)["inferwatch_events_total"] == 40)
    said = numbers(stack)
    assert said["inferwatch_dead_letters_total"] == 1
    assert said["inferwatch_ready"] == 1
    assert said['inferwatch_live_subjects{scope="deployment"}'] == 1
    assert said['inferwatch_batch_seconds_count{role="ingest"}'] >= 1
    assert said["inferwatch_last_event_timestamp_seconds"] > 0
    source = topics.full_name(stack.settings, topics.INFERENCE_LOGS)
    lag = f'inferwatch_lag_records{{partition="0",topic="{source}"}}'
    stack.wait_for("nothing is left to commit", lambda: numbers(stack).get(lag) == 0)

    clickhouse.kill()
    stack.produce(0, batch(range(40, 60)))
    stack.wait_for("the worker says that it waits", lambda: status(stack, "/readyz") == 503)
    stack.wait_for("and for what", lambda: "ClickHouse" in ask(address, "/readyz", TOKEN)[2])
    assert status(stack, "/livez", None) == 200
    waiting = numbers(stack)
    assert waiting["inferwatch_ready"] == 0
    assert waiting['inferwatch_retries_total{sink="clickhouse"}'] > 0
    clickhouse.start()
    stack.wait_for("the worker is ready again", lambda: status(stack, "/readyz") == 200)
    stack.wait_for("what waited is stored", lambda: len(stack.stored()) == 60)
    assert worker.poll() is None


SAVED = 'inferwatch_snapshot_timestamp_seconds{scope="deployment"}'


def test_a_worker_whose_address_is_taken_works_without_pages(stack: Stack) -> None:
    stack.start_worker()
    stack.wait_for("the first worker has the address", lambda: status(stack, "/livez") == 200)
    second = stack.start_worker()
    place = stack.produce(0, batch(range(5)))
    stack.wait_for("the second says so", lambda: "no health pages" in stack.log_path.read_text())
    stack.wait_for("events are stored", lambda: (*place, 4) in stack.stored())
    assert second.poll() is None
    assert listening(second.pid) == set()


def test_the_scan_of_ports_sees_every_socket_that_strangers_may_send_to() -> None:
    kinds = (
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_INET6, socket.SOCK_STREAM),
        (socket.AF_INET, socket.SOCK_DGRAM),
    )
    with contextlib.ExitStack() as opened:
        before = listening(os.getpid())
        sockets = [opened.enter_context(socket.socket(*kind)) for kind in kinds]
        for each in sockets:
            each.bind(("::1" if each.family == socket.AF_INET6 else HOST, 0))
            if each.type == socket.SOCK_STREAM:
                each.listen()
        tcp, tcp6, udp = (each.getsockname()[1] for each in sockets)
        expected = {("tcp", HOST, tcp), ("tcp6", "::1", tcp6), ("udp", HOST, udp)}
        assert listening(os.getpid()) - before == expected


def test_a_worker_without_partitions_is_not_ready(stack: Stack) -> None:
    """In this process, so that it is seen in between: a worker that joins does so within a second or two."""
    worker = Worker(msgspec.structs.replace(stack.settings, health_address=""))

    async def rebalance() -> list[list[str]]:
        seen = [worker._readiness.reasons()]
        await worker.app.on_partitions_assigned.send(set())
        seen.append(worker._readiness.reasons())
        await worker.app.on_partitions_revoked.send(set())
        seen.append(worker._readiness.reasons())
        return seen

    assert asyncio.run(rebalance()) == [[NOT_ASSIGNED], [], [NOT_ASSIGNED]]
