"""How many times faster each pure stage is than `naive`, in the same process: ``python -m tests.speed.ratchet``.

Both are timed in turn, by the processor time of this thread. Rounds are the same in each process, and of each round the
fastest time of several processes counts: what else the machine does, and where the memory of a process happens to lie,
make a round slower and never faster. A process that has done other things does not count (a fifth slower, with a heap
full of holes), so each is a new one. The quotients of the sums are kept in ``floors.json`` (``--write`` puts today's
there). A stage below 80 % of its floor has lost a quarter of its speed; processes are added until all stages are above,
or there were `MOST`.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean

import msgspec

from detectors import features
from detectors.base import DEPLOYMENT, PRINCIPAL
from streams.codecs import native
from streams.composing import make_bank, make_pipeline
from streams.dlq import Record
from streams.keys import load_keys
from streams.pipeline import Stored
from streams.privacy import ContentMode, Privacy
from streams.rows import EVENTS, columns
from streams.running import give_memory_back
from streams.settings import Settings
from tests.speed import naive
from tests.speed.load import JSON, Load

_ROOT = Path(__file__).parents[2]
FLOORS = Path(__file__).with_name("floors.json")
BOUND = 0.80
"""Of its floor: three quarters of the speed, and what measurements of one tree differ by."""

ROUNDS = 12
LEAST = 3
MOST = 16
ENOUGH_TO_KEEP = 8
"""Rounds of a process, processes at least and at most, and those after which a floor is known."""

REPEATS = {"decode": 8, "privacy": 3, "rows": 8}
"""How often a round times what takes less than a few milliseconds. Detectors are others when they learn again."""


_EVENTS = 100
_WARM_UP = 15
_START_S = 1_790_000_000.0
_SETTINGS = Settings(key="k" * 32)

Stage = tuple[Callable[[], object], Callable[[], object]]
"""Our own and the naive way of one stage, over the same events."""


class Product:
    """What of the product is timed, made once."""

    def __init__(self) -> None:
        """With the settings of every installation."""
        keys = load_keys(_SETTINGS)
        self.pipeline = make_pipeline(_SETTINGS, keys, "0" * 32)
        self.privacy = Privacy(keys.pseudonyms, ContentMode.REDACTED)
        self.hash_key = keys.hashes
        self.banks = [make_bank(_SETTINGS, scope) for scope in (DEPLOYMENT, PRINCIPAL)]


class Round:
    """The events of one round, as each stage gets them."""

    def __init__(self, number: int, load: Load, product: Product) -> None:
        """Times go on from round to round."""
        self._product = product
        end_s = _START_S + 60.0 * number
        (self.value,) = load.records(_EVENTS, _EVENTS, end_s, rate=10.0)
        headers = (("content-type", JSON.encode()),)
        self._record = Record(topic="logs", partition=0, offset=number, time_s=end_s, value=self.value, headers=headers)
        self.stored: list[Stored] = product.pipeline.process([self._record]).stored
        self.plain = naive.decode(self.value)
        decoded = [each for each in native.decode(self.value).items if not isinstance(each, native.Reject)]
        self.decoded = [
            msgspec.structs.replace(each, event_id=row.event.event_id)
            for each, row in zip(decoded, self.stored, strict=True)
        ]
        self.named = product.privacy.all_identities(self.decoded)

    def stages(self, reference: naive.Detectors) -> dict[str, Stage]:
        """What is timed."""
        privacy, hash_key = self._product.privacy, self._product.hash_key
        observations = [row.observation for row in self.stored]
        offset = self._record.offset

        def detect() -> None:
            for bank in self._product.banks:
                bank.apply_all(0, [(offset, observations)])
                bank.take_changed()

        def private() -> None:
            privacy.texts(privacy.all_identities(self.decoded))

        return {
            "decode": (lambda: native.decode(self.value), lambda: naive.decode(self.value)),
            "privacy": (private, lambda: naive.privacy(self.plain)),
            "features": (lambda: features.observe(self.named, hash_key), lambda: naive.features(self.plain)),
            "detectors": (detect, lambda: reference.learn(self.plain)),
            "rows": (lambda: columns(EVENTS, self.stored), lambda: naive.rows(self.plain)),
        }


class Best(msgspec.Struct):
    """The least seconds an event of each round in both ways of each stage."""

    ours: dict[str, list[float]] = msgspec.field(default_factory=dict)
    naive: dict[str, list[float]] = msgspec.field(default_factory=dict)

    def take(self, stages: Mapping[str, Stage]) -> None:
        """Time one round, each stage's two ways one after the other."""
        for name, ways in stages.items():
            times = [[_timed(way) for way in ways] for _ in range(REPEATS.get(name, 1))]
            for way, least in zip((self.ours, self.naive), map(min, zip(*times, strict=True)), strict=True):
                way.setdefault(name, []).append(least)

    def join(self, other: Best) -> None:
        """Take the faster of both, round by round."""
        for mine, its in ((self.ours, other.ours), (self.naive, other.naive)):
            for name, times in its.items():
                mine[name] = list(map(min, mine.get(name, times), times))

    def quotients(self) -> dict[str, float]:
        """How many times faster ours is."""
        return {name: sum(self.naive[name]) / sum(self.ours[name]) for name in self.ours}


def rounds() -> Iterator[dict[str, Stage]]:
    """Rounds for ever, once the detectors have seen enough."""
    load = Load(seed=1, deployments=2, principals=40)
    product, reference = Product(), naive.Detectors()
    number = 0
    while True:
        stages = Round(number, load, product).stages(reference)
        if number < _WARM_UP:
            for way in stages["detectors"]:
                way()
        else:
            yield stages
        number += 1


def measure() -> Best:
    """`ROUNDS` rounds in this process."""
    give_memory_back()
    best = Best()
    gc.collect()
    gc.disable()
    for stages in itertools.islice(rounds(), ROUNDS):
        best.take(stages)
    return best


def measured(floors: Mapping[str, float], least: int = LEAST) -> Best:
    """The best of as many processes as it takes until nothing is below its bound; raises `CalledProcessError`."""
    best = Best()
    for count in range(1, MOST + 1):
        once = [sys.executable, "-m", "tests.speed.ratchet", "--once"]
        said = subprocess.run(once, check=True, stdout=subprocess.PIPE, cwd=_ROOT)
        best.join(msgspec.json.decode(said.stdout, type=Best))
        if count >= least and not lost(best.quotients(), floors):
            break
    return best


def lost(quotients: Mapping[str, float], floors: Mapping[str, float]) -> list[str]:
    """The stages that have lost their speed, in words."""
    return [
        f"{name}: {quotients[name]:.2f} times as fast as the naive way, was {floor:.2f}"
        for name, floor in floors.items()
        if quotients[name] < floor * BOUND
    ]


def kept() -> dict[str, float]:
    """The floors."""
    return msgspec.json.decode(FLOORS.read_bytes(), type=dict[str, float])


def _timed(call: Callable[[], object]) -> float:
    """Seconds of processor time an event."""
    began_s = time.thread_time()
    call()
    return (time.thread_time() - began_s) / _EVENTS


def main() -> int:
    """Show today's quotients."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.ratchet", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep them as the floors")
    parser.add_argument("--once", action="store_true", help="one process: its seconds an event as JSON")
    asked = parser.parse_args()
    if asked.once:
        sys.stdout.write(msgspec.json.encode(measure()).decode())
        return 0
    best = measured({}, least=ENOUGH_TO_KEEP) if asked.write else measured(kept())
    quotients = best.quotients()
    for name, quotient in quotients.items():
        micro = f"{mean(best.ours[name]) * 1e6:.1f} us/event, naive {mean(best.naive[name]) * 1e6:.1f}"
        sys.stdout.write(f"{name}: {quotient:.2f} times ({micro})\n")
    if asked.write:
        text = msgspec.json.format(msgspec.json.encode({name: round(each, 2) for name, each in quotients.items()}))
        FLOORS.write_bytes(text + b"\n")
        return 0
    return int(bool(lost(quotients, kept())))


if __name__ == "__main__":
    raise SystemExit(main())
