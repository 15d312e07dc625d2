"""Seeded schedules of faults, many: ``python -m tests.integration.faults --schedules 200 --seed 1``.

Every line is one schedule: its seed, the faults that were drawn, and whether every promise held. A broken one is
played again by its seed alone: ``--schedules 1 --seed THAT``. The logs of workers and servers stay in the directory
that is named at the beginning.
"""

# ruff: noqa: T201 - it is run by a person, who wants to see how far it is

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.faults import vocabulary
from tests.integration.faults.bench import Bench, bench_settings


def main() -> int:
    """Play the schedules; how many broke a promise decides the status."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.faults", description="Seeded fault schedules.")
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--fault", choices=[fault.__name__ for fault in vocabulary.FAULTS], help="only this one")
    asked = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    print(f"{asked.schedules} schedules from seed {asked.seed}; logs in {directory}", flush=True)
    kafka, clickhouse = KafkaServer(directory / "kafka"), ClickHouseServer(directory / "clickhouse")
    broken = []
    try:
        kafka.start()
        clickhouse.start()
        for number in range(asked.schedules):
            seed = asked.seed + number
            kafka.revive()
            clickhouse.revive()
            if not played(kafka, clickhouse, directory / str(seed), seed, asked.fault):
                broken.append(seed)
            print(f"  {number + 1} of {asked.schedules} played, {len(broken)} broke a promise {broken}", flush=True)
    finally:
        kafka.stop()
        clickhouse.stop()
    return 1 if broken else 0


def played(kafka: KafkaServer, clickhouse: ClickHouseServer, directory: Path, seed: int, only: str | None) -> bool:
    """Play one schedule on topics and tables of its own; whether every promise held."""
    directory.mkdir()
    name = uuid.uuid4().hex[:12]
    settings = bench_settings(kafka, clickhouse, f"faults-{name}-", f"faults_{name}", directory)
    bench = Bench(kafka, clickhouse, settings, directory / "worker.log", seed)
    began_s = time.monotonic()

    def say(word: str) -> None:
        print(f"  {word} ({time.monotonic() - began_s:.0f} s)", end="", flush=True)

    print(f"seed {seed}:", end="", flush=True)
    try:
        vocabulary.play(bench, seed, say, only)
        bench.check()
    except AssertionError as error:
        print(f"  BROKEN after {time.monotonic() - began_s:.0f} s\n{error}", flush=True)
        return False
    finally:
        bench.close()
    print(f"  kept, {time.monotonic() - began_s:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
