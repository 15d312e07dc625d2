"""Memory of a worker over an hour of steady load: ``make bench TASK=hour``, which is not part of `make bench`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import msgspec

from streams import topics
from streams.producer import RecordProducer
from tests.speed.load import JSON, Load
from tests.speed.machine import rss_bytes
from tests.speed.rig import Rig
from tests.speed.task import Cell, Figures, Target, figure

TITLE = "Memory over an hour"
NOTE = """
One worker with all roles; 500 events a second of 10,000 principals and 20 deployments, 10 a record, for an hour.
Resident memory when a part of the time has passed: what leaks is more at the end than in the middle.
"""
CELL = "1 worker, 500 events/s"
_RATE, _PER_RECORD, _PRINCIPALS = 500, 10, 10_000
_PARTS = (10, 50, 100)
_TICK_S = 0.02


def _name(part: int) -> str:
    return f"RSS MiB at {part} %"


def _growth(cells: Mapping[str, Mapping[str, float]]) -> float:
    last, middle = (figure(CELL, _name(part))(cells) for part in (100, 50))
    return last / middle


TARGETS = (Target("memory at the end over that in the middle", _growth, 1.1, at_most=True),)


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[tuple[Rig, float]]:
    """Over servers that stay up."""
    with Rig.running() as rig:
        yield rig, 120.0 if quick else 3_600.0


def repeats(*, quick: bool) -> int:
    """Once."""
    return 1


def cells(*, quick: bool) -> list[Cell]:
    """One."""
    return [Cell(CELL, _measure)]


def _measure(place: tuple[Rig, float]) -> Figures:
    rig, seconds = place
    load, figures, sent = Load(8, principals=_PRINCIPALS), Figures(), 0
    with rig.installation() as installation:
        topic = topics.full_name(installation.settings, topics.INFERENCE_LOGS)
        installation.start(1)
        installation.wait_ready()
        with contextlib.closing(RecordProducer(installation.settings.kafka_brokers, topic)) as producer:
            began_s = time.monotonic()
            for part in _PARTS:
                while (elapsed_s := time.monotonic() - began_s) < seconds * part / 100:
                    while sent < elapsed_s * _RATE:
                        calls = [load.event(time.time()) for _ in range(_PER_RECORD)]
                        producer.send(msgspec.json.encode(calls), JSON)
                        sent += _PER_RECORD
                    time.sleep(_TICK_S)
                installation.alive()
                figures[_name(part)] = rss_bytes(installation.workers[0].pid) / 2**20
        done_s = time.monotonic() - began_s
        figures["events/s"] = installation.stored() / done_s
        figures["waiting"] = float(installation.waiting())
    return figures
