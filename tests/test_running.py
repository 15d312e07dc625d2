"""A worker that is started before its servers waits for them, and says what it waits for."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from streams import running, topics
from streams.clickhouse import Store, StoreError
from streams.settings import Settings
from streams.topics import BrokerError


class Servers:
    """Both servers, as far as a start asks them; `refusals` come first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refusals: Exception) -> None:
        self.asked = 0
        self._refusals = list(refusals)
        monkeypatch.setattr(topics, "describe", lambda _settings: self.answer(BrokerError))
        monkeypatch.setattr(Store, "connect", classmethod(lambda _kind, _settings: self.answer(StoreError)))
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)

    def answer(self, kind: type[Exception]) -> Servers:
        if self._refusals and isinstance(self._refusals[0], kind):
            raise self._refusals.pop(0)
        self.asked += 1
        return self

    def close(self) -> None:
        """As a store's connection is."""


def test_a_worker_waits_for_both_servers_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    servers = Servers(monkeypatch, BrokerError("Kafka is away"), StoreError("ClickHouse is away"))
    with caplog.at_level(logging.WARNING):
        running._await_servers(Settings())
    assert servers.asked == 3  # the second time only Kafka was there
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "Kafka is away",
        "ClickHouse is away",
    ]


def test_a_worker_that_has_waited_too_long_ends_with_the_last_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Servers(monkeypatch, *[BrokerError("Kafka is away")] * 2)
    with pytest.raises(BrokerError, match="Kafka is away"):
        running._await_servers(Settings(start_patience_s=0.0))


def test_a_worker_runs_with_one_thread_of_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    Servers(monkeypatch)
    seen: list[set[int]] = []

    class Worker:
        def __init__(self, _settings: Settings, _roles: Sequence[str]) -> None: ...

        def run(self) -> None:
            seen.append(blas_threads())

    monkeypatch.setattr(running, "Worker", Worker)
    monkeypatch.setattr(running, "log_to", lambda *_: None)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    with threadpool_limits(limits=2):
        running.run_worker(Settings(), running.ROLES)
        assert blas_threads() == {2}  # what runs after a worker is none of its business
    assert seen == [{1}]


def blas_threads() -> set[int]:
    """How many threads each library of linear algebra in this process takes."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


_BATCHES = """
from streams.running import give_memory_back

def held_bytes():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * 4096

give_memory_back()
before = held_bytes()
for _ in range(3):
    kept, blocks = [], []
    for _ in range(100):
        blocks.append(b"x" * 1_500_000)
        kept.append(b"y" * 5_000)
    most = held_bytes()
    blocks.clear()
print(most - before, held_bytes() - before)
"""


def test_a_worker_gives_back_what_batches_leave_between_what_it_keeps() -> None:
    said = subprocess.run([sys.executable, "-c", _BATCHES], capture_output=True, text=True, check=True)
    most, left = map(int, said.stdout.split())
    assert most > 100_000_000
    assert left < 20_000_000
