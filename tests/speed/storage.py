"""Bytes on disk: what a million events are in the tables and in Kafka, and what the states are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from streams import topics
from tests.speed import drain
from tests.speed.load import JSON, Load
from tests.speed.rig import Installation, Rig
from tests.speed.task import Cell, Figures, Target

TITLE = "Bytes"
NOTE = """
Events of 1.6 kB whose texts are words drawn at random from 2,000, no sentence twice but by chance. Tables are merged
before they are looked at; `rollups and others` are all other tables but those of states; `Kafka` is the broker's own
files, not compressed by the sender and before replication. Texts of yours may pack better or worse.
"""
TARGETS: tuple[Target, ...] = ()
CELL = "a backlog, 10 a record"
_PRINCIPALS, _DEPLOYMENTS = 500, 20
_PER_RECORD = 10

_BYTES = """
    SELECT table, sum(bytes_on_disk) AS bytes FROM system.parts
    WHERE active AND database = currentDatabase() GROUP BY table
"""
_STATES = "SELECT scope, count() AS states, avg(length(envelope)) AS bytes FROM detector_snapshots FINAL GROUP BY scope"


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[tuple[Rig, int]]:
    """Over servers that stay up."""
    with Rig.running() as rig:
        yield rig, 20_000 if quick else 100_000


def repeats(*, quick: bool) -> int:
    """Bytes are the same every time."""
    return 1


def cells(*, quick: bool) -> list[Cell]:
    """One."""
    return [Cell(CELL, _measure)]


def _measure(place: tuple[Rig, int]) -> Figures:
    rig, events = place
    with rig.installation() as installation:
        load = Load(7, deployments=_DEPLOYMENTS, principals=_PRINCIPALS, sentences=20 * events)
        installation.produce(load.records(events, _PER_RECORD, time.time()), JSON)
        drain.ours(rig, installation, events, 2)
        installation.stop()
        store = installation.stack.store
        tables = [row["table"] for row in store.query(_BYTES)]
        for table in tables:
            store.query(f"OPTIMIZE TABLE `{table}` FINAL")
        held = {row["table"]: row["bytes"] / events for row in store.query(_BYTES)}
        states = {row["scope"]: row["bytes"] for row in store.query(_STATES)}
        snapshots = held.pop("detector_snapshots", 0.0) * events / (_PRINCIPALS + _DEPLOYMENTS)
        stored = held.pop("inference_events")
        observed = _log_bytes(rig, installation, (topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL))
        return {
            "stored bytes/event": stored,
            "rollups and others bytes/event": sum(held.values()),
            "Kafka logs bytes/event": _log_bytes(rig, installation, (topics.INFERENCE_LOGS,)) / events,
            "Kafka observations bytes/event": observed / events,
            "saved bytes/state on disk": snapshots,
            **{f"state bytes, one {scope}": size for scope, size in states.items() if not scope.endswith(".marks")},
        }


def _log_bytes(rig: Rig, installation: Installation, names: tuple[str, ...]) -> float:
    """Bytes of the segments of some topics."""
    full = [topics.full_name(installation.settings, name) for name in names]
    return float(
        sum(
            segment.stat().st_size
            for name in full
            for folder in (rig.kafka.data_dir / "log").glob(f"{name}-*")
            for segment in folder.glob("*.log")
        )
    )
