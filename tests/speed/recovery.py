"""A worker is killed with the states of very many principals in the store, and another takes its place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from detectors.base import PRINCIPAL
from streams import topics
from streams.app import libraries
from streams.keys import load_keys, snapshot_keys
from streams.pipeline import partition_of
from streams.privacy import Pseudonymizer
from streams.rows import SavedState
from streams.snapshots import Origin, seal, unseal
from streams.triage import COLD_START
from tests.speed import drain
from tests.speed.load import JSON, Load
from tests.speed.machine import peak_bytes
from tests.speed.rig import Installation, Rig
from tests.speed.task import Cell, Figures, Target, figure

TITLE = "Recovery after SIGKILL"
NOTE = """
States of principals are put into the store, sealed with the installation's key as a worker seals them, each a real
state of a principal with some calls. A worker that reads calls of all of them is killed in the middle (SIGKILL) and
started again at once. `ready` is from there to a `/readyz` that says so: until then the broker waits for the dead one
(`INFERWATCH_SESSION_TIMEOUT_S`, 15 s). `first done` is the first event stored after the kill; `RSS` is the most the new
worker ever had, with as many principals as `live`.
"""
CELL = "1 worker, {} saved principals"
_FIRST = 16_000
_PER_RECORD = 10
_SEALED_TOGETHER = 5_000

TARGETS = (
    Target("ready after SIGKILL, 10^6 states", figure(CELL.format(1_000_000), "ready s"), 30.0, at_most=True, unit="s"),
    Target("states refused after SIGKILL", figure(CELL.format(1_000_000), "states refused"), 0, at_most=True),
    Target("RSS, 10^6 states", figure(CELL.format(1_000_000), "peak MiB"), 1024.0, at_most=True, unit="MiB"),
)


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[Rig]:
    """Over servers that stay up."""
    with Rig.running() as rig:
        yield rig


def repeats(*, quick: bool) -> int:
    """How often a worker is killed."""
    return 1 if quick else 3


def cells(*, quick: bool) -> list[Cell]:
    """A tenth of the states where there is no time."""
    saved, backlog = (100_000, 12_000) if quick else (1_000_000, 120_000)
    return [Cell(CELL.format(saved), lambda rig: measure(rig, saved, backlog))]


def measure(rig: Rig, saved: int, backlog: int) -> Figures:
    """One kill."""
    with rig.installation() as installation:
        installation.produce(Load(5).records(_FIRST, _PER_RECORD, time.time()), JSON)
        drain.ours(rig, installation, _FIRST, 1)
        installation.stop()
        began_s = time.monotonic()
        fill(installation, saved)
        filled_s = time.monotonic() - began_s
        before = installation.settled()
        installation.produce(Load(6, principals=saved).records(backlog, _PER_RECORD, time.time()), JSON)
        installation.start(1)
        installation.wait_ready()
        _wait(lambda: installation.stored() >= before + backlog // 4)
        (worker,) = installation.workers
        worker.kill()
        worker.wait()
        killed_s, there = time.monotonic(), installation.stored()
        installation.forget()
        installation.start(1)
        installation.wait_ready()
        ready_s = time.monotonic() - killed_s
        _wait(lambda: installation.stored() > there)
        first_s = time.monotonic() - killed_s
        _wait(lambda: installation.stored() >= before + backlog and installation.waiting() == 0)
        done_s = time.monotonic() - killed_s
        peak = peak_bytes(installation.workers[0].pid)
        missing = before + backlog - _counted(installation, "uniqExact(event_id) AS n FROM inference_events")
        refused = _counted(installation, f"count() AS n FROM findings WHERE detector = '{COLD_START}'")
    return {
        "ready s": ready_s,
        "first done s": first_s,
        "all done s": done_s,
        "events lost": float(missing),
        "states refused": float(refused),
        "peak MiB": peak / 2**20,
        "saved states": float(saved),
        "events waiting": float(backlog - (there - before)),
        "fill s": filled_s,
    }


def fill(installation: Installation, count: int) -> None:
    """Save states of `count` principals, as if each had made some calls."""
    settings, store = installation.settings, installation.stack.store
    keys, topic = load_keys(settings), installation.stack.topics[_full(installation)]
    name = Pseudonymizer(keys.pseudonyms).pseudonym
    known = store.snapshots(topic.topic_id, PRINCIPAL, topic.name, [name("principal", f"key-{n}") for n in range(50)])
    row = next(iter(known.values()))
    origin = Origin(
        topic_id=topic.topic_id,
        topic=topic.name,
        partition=row.partition,
        scope=PRINCIPAL,
        subject=row.subject,
        next_offset=row.next_offset,
    )
    signing, versions = snapshot_keys(settings, keys)[0], libraries()
    state = unseal(row.envelope, origin, versions, (signing,))

    def states() -> Iterator[SavedState]:
        for number in range(1_000, count):
            subject = name("principal", f"key-{number}")
            where = msgspec.structs.replace(
                origin, subject=subject, partition=partition_of(subject, topic.partitions), next_offset=1
            )
            yield SavedState(
                topic_id=where.topic_id,
                scope=where.scope,
                topic=where.topic,
                subject=subject,
                partition=where.partition,
                next_offset=1,
                envelope=seal(where, state, versions, signing),
            )

    made = states()
    while batch := list(islice(made, _SEALED_TOGETHER)):
        store.insert_snapshots(batch)


def _full(installation: Installation) -> str:
    return topics.full_name(installation.settings, topics.BY_PRINCIPAL)


def _counted(installation: Installation, what: str) -> int:
    return int(installation.stack.store.query(f"SELECT {what}")[0]["n"])


def _wait(reached: Callable[[], bool]) -> None:
    until_s = time.monotonic() + drain.PATIENCE_S
    while not reached():
        if time.monotonic() > until_s:
            raise AssertionError("it took too long")
        time.sleep(0.05)
