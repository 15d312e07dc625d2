"""The stack that a demo has for itself: a fresh directory, servers, a worker, and how to see that all is at rest."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams import topics
from streams.clickhouse import Store, migrate
from streams.local import Child, LocalStack, LocalStackError, engine_environment, stack_addresses
from streams.settings import PREFIX, Settings

_REST_S = 6.0
_GIVE_UP_S = 300.0
_STOP_S = 10.0
_PARTITIONS = 4
_MARKER = "made-by-inferwatch-demo"
_STATE = """
SELECT (SELECT count() FROM inference_events) AS events, (SELECT count() FROM dead_letters) AS dead,
       (SELECT max(saved_at) FROM detector_snapshots) AS saved
"""


def fresh(place: Path) -> Path:
    """An empty directory for the demo; only one that a demo has made is emptied."""
    if place.exists() and not (place / _MARKER).exists():
        raise LocalStackError(f"{place} was not made by a demo; move it away or set INFERWATCH_DATA_DIR")
    if stack_addresses(place) is not None:
        raise LocalStackError(f"a demo already runs over {place}; use it or stop it first")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    (place / _MARKER).touch()
    return place


@contextmanager
def running(settings: Settings, place: Path) -> Iterator[tuple[Settings, Callable[[], None]]]:
    """A set-up stack with a worker, its settings, and a check that raises `LocalStackError` when a part has died."""
    with LocalStack(place) as stack:
        here = msgspec.structs.replace(
            settings,
            data_dir=place,
            kafka_brokers=stack.kafka_brokers,
            clickhouse_url=stack.clickhouse_url,
            partitions=_PARTITIONS,
        )
        topics.create(here)
        migrate(here)
        environment = engine_environment() | {
            f"{PREFIX}DATA_DIR": str(place),
            f"{PREFIX}KAFKA_BROKERS": here.kafka_brokers,
            f"{PREFIX}CLICKHOUSE_URL": here.clickhouse_url,
            f"{PREFIX}SESSION_TIMEOUT_S": "6",
            f"{PREFIX}SNAPSHOT_INTERVAL_S": "1",
        }
        command = [sys.executable, "-m", "streams.cli", "worker"]
        worker = Child("worker", command, place / "logs" / "worker.log", environment)

        def check() -> None:
            failure = stack.failure() or worker.failure()
            if failure:
                raise LocalStackError(failure)

        try:
            yield here, check
        finally:
            worker.ask_to_end()
            worker.end(time.monotonic() + _STOP_S)


def stored(store: Store) -> tuple[int, int, str]:
    """Events stored, dead letters, and when detector state was saved last. Raises `StoreError`."""
    row = store.query(_STATE)[0]
    return row["events"], row["dead"], str(row["saved"])


class Rest:
    """Everything is stored and no detector state has changed for a while."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.reached = False
        self._state = ""
        self._since_s = self._began_s = time.monotonic()

    def look(self, *, done: bool, state: str) -> None:
        """Take in how it is now. Raises `LocalStackError` where it takes too long."""
        now_s = time.monotonic()
        if not done or state != self._state:
            self._state, self._since_s = state, now_s
        self.reached = now_s - self._since_s > _REST_S
        if now_s - self._began_s > _GIVE_UP_S:
            raise LocalStackError("the worker does not get through the traffic; see logs/worker.log in the demo's data")


def command() -> str:
    """How this program is called where its script is not on the path."""
    if shutil.which("inferwatch"):
        return "inferwatch"
    script = Path(sys.argv[0]).resolve()
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else str(script)
