"""What can go wrong, as words that tests and seeded schedules are made of.

A fault takes a bench that has workers running or not, does its worst to them and gives the bench back able to
come to rest: `Bench.revive` starts a worker if none is left.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from streams import topics
from tests.integration.faults.bench import Bench
from tests.integration.faults.proxy import (
    OFFSET_COMMIT,
    PRODUCE,
    Matches,
    Proxy,
    Stage,
    clickhouse,
    insert_into,
    kafka_request,
)
from tests.integration.faults.traffic import HOUR_S

STOP_S = 10.0
"""A worker that is asked to end has ended by then, whatever its load."""


REACHED_S = 60.0
"""A worker that starts on a busy machine has come to every point by then."""


class Point(NamedTuple):
    """A moment in the numbered order of `streams.agents`: the request that is then on its way, and how far."""

    name: str
    dependency: str
    matches: Matches
    stage: Stage

    def proxy(self, bench: Bench) -> Proxy:
        """The proxy that sees it."""
        return bench.kafka if self.dependency == "kafka" else bench.clickhouse


def points(bench: Bench) -> list[Point]:
    """Every numbered point: before, inside and after each thing a worker makes durable, commits or recalls."""

    def topic(name: str) -> bytes:
        return topics.full_name(bench.settings, name).encode()

    inserts = ("inference_events", "dead_letters", "detector_snapshots", "findings", "incidents")
    sends = (topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL, topics.DEAD_LETTERS, topics.FINDINGS, topics.INCIDENTS)
    consumed = (topics.INFERENCE_LOGS, topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL, topics.FINDINGS)
    found = [
        Point(f"{stage.value} the insert into {table}", "clickhouse", insert_into(table), stage)
        for table in inserts
        for stage in Stage
    ]
    found += [
        Point(f"{stage.value} the send to {name}", "kafka", kafka_request(PRODUCE, topic(name)), stage)
        for name in sends
        for stage in (Stage.BEFORE, Stage.AFTER)
    ]
    found += [
        Point(f"{stage.value} the commit of {name}", "kafka", kafka_request(OFFSET_COMMIT, topic(name)), stage)
        for name in consumed
        for stage in (Stage.BEFORE, Stage.AFTER)
    ]
    return [
        *found,
        Point("before state is recalled", "clickhouse", clickhouse(b"FROM detector_snapshots"), Stage.BEFORE),
    ]


def kill_at(bench: Bench, point: Point, rng: random.Random) -> bool:
    """SIGKILL at a point; what was on its way is lost, or arrives after the death. Whether it was reached."""
    trap = point.proxy(bench).trap(point.matches, point.stage)
    worker = bench.revive()
    deadline_s = time.monotonic() + REACHED_S
    while not trap.wait(1.0) and time.monotonic() < deadline_s:
        bench.produce(1)
    reached = trap.sprung
    bench.stack.bury(worker)
    if rng.random() < 0.5:
        trap.let_go()
    else:
        trap.cut()
    return reached


def kill_anywhere(bench: Bench, rng: random.Random) -> None:
    """SIGKILL at a random moment, and leave its session to run out now and then."""
    worker = bench.at_work() if rng.random() < 0.7 else bench.revive()
    bench.produce(rng.randint(2, 8))
    time.sleep(rng.uniform(0.0, 4.0))
    if rng.random() < 0.7:
        bench.stack.bury(worker)
    else:
        worker.kill()
        worker.wait()


def stop(bench: Bench, rng: random.Random) -> None:
    """SIGTERM under load; it ends within ten seconds."""
    worker = bench.revive() if rng.random() < 0.2 else bench.at_work()
    bench.produce(rng.randint(4, 12))
    time.sleep(rng.uniform(0.0, 2.0))
    began_s = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=STOP_S * 3)
    took_s = time.monotonic() - began_s
    assert took_s <= STOP_S, f"SIGTERM took {took_s:.1f} s"


def freeze(bench: Bench, rng: random.Random) -> None:
    """SIGSTOP beyond the session timeout while another worker takes over, then SIGCONT: a zombie."""
    zombie = bench.at_work()
    bench.produce(rng.randint(3, 8))
    time.sleep(rng.uniform(0.0, 1.5))
    zombie.send_signal(signal.SIGSTOP)
    bench.start_worker()
    bench.produce(3)
    time.sleep(bench.settings.session_timeout_s + rng.uniform(1.0, 4.0))
    bench.produce(3)
    zombie.send_signal(signal.SIGCONT)
    bench.produce(3)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, 4.0))
        bench.stack.bury(zombie)


def cast_out(bench: Bench, rng: random.Random) -> None:
    """The group forgets a worker while a commit of its is on the way, and it joins again before that has failed."""
    consumed = (topics.INFERENCE_LOGS, topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL, topics.FINDINGS)
    topic = topics.full_name(bench.settings, rng.choice(consumed)).encode()
    trap = bench.kafka.trap(kafka_request(OFFSET_COMMIT, topic), Stage.BEFORE)
    bench.revive()
    deadline_s = time.monotonic() + REACHED_S
    while not trap.wait(1.0) and time.monotonic() < deadline_s:
        bench.produce(1)
    bench.stack.forget_members()
    time.sleep(bench.settings.session_timeout_s + rng.uniform(0.5, 2.0))
    trap.let_go()


def come_and_go(bench: Bench, rng: random.Random) -> None:
    """Workers join and leave during traffic, by SIGTERM and by SIGKILL."""
    bench.at_work()
    for _ in range(rng.randint(1, 3)):
        bench.produce(rng.randint(1, 3))
        bench.start_worker()
        time.sleep(rng.uniform(0.0, 6.0))
        bench.produce(rng.randint(1, 3))
        leaving = rng.choice(bench.living())
        if rng.random() < 0.5:
            leaving.send_signal(signal.SIGTERM)
            leaving.wait(timeout=STOP_S * 3)
        else:
            leaving.kill()
            leaving.wait()


def weather(bench: Bench, rng: random.Random) -> None:
    """Seconds of bad network before one dependency: slow, hanging, refusing or resetting."""
    bench.revive()
    proxy = rng.choice([bench.kafka, bench.clickhouse])
    change: Callable[[], None] = rng.choice(
        [
            proxy.blackhole,
            proxy.refuse,
            lambda: proxy.delay(rng.uniform(0.05, 0.5)),
            lambda: proxy.throttle(rng.uniform(20_000, 200_000)),
        ]
    )
    bench.produce(rng.randint(1, 4))
    change()
    bench.produce(rng.randint(1, 4))
    time.sleep(rng.uniform(0.5, 9.0))
    proxy.clear()
    for _ in range(rng.randint(0, 3)):
        bench.produce(1)
        proxy.reset()


def unanswered(bench: Bench, rng: random.Random) -> None:
    """A request was done and its answer never came: the worker does it again."""
    bench.revive()
    point = rng.choice([point for point in points(bench) if point.stage is not Stage.BEFORE])
    trap = point.proxy(bench).trap(point.matches, point.stage)
    trap.cut()
    bench.produce(rng.randint(3, 8))
    trap.wait(5.0)


def senders_fail(bench: Bench, rng: random.Random) -> None:
    """A clock an hour off, and everything sent before sent again."""
    for sender in bench.senders:
        sender.clock_off_s = rng.choice([-HOUR_S, 0.0, HOUR_S])
    bench.produce(4)
    partition = rng.randrange(len(bench.senders))
    for value in bench.senders[partition].again()[-30:]:
        bench.stack.produce(partition, value)


def kill_at_any_point(bench: Bench, rng: random.Random) -> None:
    """SIGKILL at one of the numbered points."""
    kill_at(bench, rng.choice(points(bench)), rng)


FAULTS: tuple[Callable[[Bench, random.Random], None], ...] = (
    kill_at_any_point,
    kill_anywhere,
    stop,
    freeze,
    cast_out,
    come_and_go,
    weather,
    unanswered,
    senders_fail,
)


def play(bench: Bench, seed: int, say: Callable[[str], None] = lambda _word: None, only: str | None = None) -> None:
    """A schedule: a warm-up, then two to four faults drawn from `seed`, then a worker that may finish."""
    rng = random.Random(seed)
    choices = [fault for fault in FAULTS if only in {None, fault.__name__}]
    bench.produce(rng.randint(4, 12))
    for _ in range(rng.randint(2, 4)):
        fault = rng.choice(choices)
        say(fault.__name__)
        fault(bench, rng)
    bench.revive()
