"""A worker whose processor time is counted by stage: ``python -m tests.speed.staged_worker worker``.

The functions of the product are wrapped here, in the bench's own process; the product knows nothing of it. What a
stage takes is the processor time of the thread it runs in, less what stages within it take. What is left of the
process is Faust, the Kafka client, asyncio and the collector of garbage. Totals go to the file that
``SPEED_STAGES`` names, a few times a second.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

FILE_VARIABLE = "SPEED_STAGES"
_WRITE_EVERY_S = 0.2

STAGES = {
    "decode": ("streams.pipeline:Pipeline._decode", "streams.codecs._checks:all_checked"),
    "privacy": (
        "streams.privacy:Privacy.all_identities",
        "streams.privacy:Privacy.observation",
        "streams.privacy:Privacy.texts",
    ),
    "features": ("detectors.features:observe",),
    "rest of the pipeline": ("streams.pipeline:Pipeline._process",),
    "Kafka": (
        "streams.sinks:packed",
        "streams.app:_Outlet.send",
        "streams.consuming:decoded",
        "streams.marks:Marks.fresh",
    ),
    "detectors": ("detectors.bank:Bank.apply_all",),
    "ClickHouse": ("streams.clickhouse:Store.insert", "streams.clickhouse:Store.query"),
    "snapshots": (
        "streams.states:States.changed",
        "streams.states:States.recall",
        "streams.states:States.recall_marks",
        "streams.clickhouse:Store.insert_snapshots",
        "streams.clickhouse:Store.snapshots",
    ),
    "triage": ("streams.cases.casework:Casework.take",),
}
"""Where each stage is. What is not there any more stops the bench: shares of a stage that moved would be wrong."""

REST = "Kafka client, Faust, asyncio"


class Stopwatch:
    """Exclusive processor time by stage; functions, coroutines and generators alike."""

    def __init__(self) -> None:
        """Nothing was counted."""
        self._local = threading.local()
        self._threads: list[dict[str, float]] = []
        self.began_s = time.process_time()

    def totals(self) -> dict[str, float]:
        """Seconds by stage, and the rest of the process."""
        taken = dict.fromkeys(STAGES, 0.0)
        for counted in list(self._threads):
            for stage, seconds in list(counted.items()):
                taken[stage] += seconds
        return taken | {REST: time.process_time() - self.began_s - sum(taken.values())}

    def wrap(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted."""

        @functools.wraps(call)
        def counted(*arguments: Any, **options: Any) -> Any:
            result = self._timed(stage, functools.partial(call, *arguments, **options))
            if hasattr(result, "__await__"):
                return _Steps(self, stage, result.__await__())
            if hasattr(result, "__next__"):
                return _Steps(self, stage, result)
            return result

        return counted

    def _timed(self, stage: str, call: Callable[[], Any]) -> Any:
        local = self._local
        if not hasattr(local, "taken"):
            local.inner, local.taken = None, defaultdict(float)
            self._threads.append(local.taken)
        above: list[float] | None = local.inner
        inner = local.inner = [0.0]
        began = time.thread_time()
        try:
            return call()
        finally:
            took = time.thread_time() - began
            local.taken[stage] += took - inner[0]
            local.inner = above
            if above is not None:
                above[0] += took


class _Steps:
    """An iterator or awaitable each of whose steps is counted; what runs between them is not."""

    def __init__(self, watch: Stopwatch, stage: str, steps: Any) -> None:
        self._watch, self._stage, self._steps = watch, stage, steps

    def __iter__(self) -> _Steps:
        return self

    __await__ = __iter__

    def __next__(self) -> Any:
        return self._watch._timed(self._stage, self._steps.__next__)

    def send(self, value: Any) -> Any:
        return self._watch._timed(self._stage, lambda: self._steps.send(value))

    def throw(self, *error: Any) -> Any:
        return self._watch._timed(self._stage, lambda: self._steps.throw(*error))

    def close(self) -> None:
        self._steps.close()


def install(watch: Stopwatch) -> None:
    """Wrap all stages, under every name by which our modules know a function. Raises `AttributeError`."""
    importlib.import_module("streams.app")
    for stage, places in STAGES.items():
        for place in places:
            module_name, _, path = place.partition(":")
            owner: Any = importlib.import_module(module_name)
            *outer, name = path.split(".")
            for each in outer:
                owner = getattr(owner, each)
            plain = getattr(owner, name)
            counted = watch.wrap(stage, plain)
            setattr(owner, name, counted)
            for module in [each for key, each in sys.modules.items() if key.startswith(("streams", "detectors"))]:
                if vars(module).get(name) is plain:
                    setattr(module, name, counted)


def write_regularly(watch: Stopwatch, file: Path) -> None:
    """Keep the file current until the process ends; a reader sees whole ones only."""
    while True:
        part = file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(watch.totals()))
        part.replace(file)
        time.sleep(_WRITE_EVERY_S)


def main() -> None:
    """Be a worker."""
    from streams.cli import main as worker  # noqa: PLC0415 - after the stages are wrapped

    worker()


if __name__ == "__main__":
    stopwatch = Stopwatch()
    install(stopwatch)
    stopwatch.began_s = time.process_time()  # what was imported is no work
    target = Path(os.environ[FILE_VARIABLE].replace("{pid}", str(os.getpid())))
    threading.Thread(target=write_regularly, args=(stopwatch, target), daemon=True).start()
    main()
