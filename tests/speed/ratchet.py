"""How many times faster each pure stage is than `naive`, in this very process: ``python -m tests.speed.ratchet``.

Both are timed in turn, by the processor time of this thread, and of each the fastest round counts: what else the
machine does makes rounds slower, never faster. The quotients that were reached are kept in ``floors.json`` (``--write``
puts today's there). A stage below 85 % of its floor has lost its speed: floors are the least of some measurements, so
one that lost a quarter is below it for sure. Rounds go on until all stages are above or there were `ROUNDS`.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

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
from streams.settings import Settings
from tests.speed import naive
from tests.speed.load import JSON, Load

FLOORS = Path(__file__).with_name("floors.json")
BOUND = 0.85
"""Of its floor. Measurements of one tree differ by some 6 %, with other work beside them too: a stage that lost a
quarter is measured at no more than 0.80 of what it was, and what lost nothing at no less than 0.94."""

ROUNDS = 20
LEAST_ROUNDS = 5
WRITES = 3
"""Measurements of which the least become floors: what the luck of one added would be lost by the next."""

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


class Best:
    """The fastest round of both ways of each stage, seconds an event."""

    def __init__(self) -> None:
        """Nothing was timed."""
        self.ours: dict[str, float] = {}
        self.naive: dict[str, float] = {}

    def take(self, stages: Mapping[str, Stage]) -> None:
        """Time one round, each stage's two ways one after the other."""
        for name, (our, their) in stages.items():
            for _ in range(REPEATS.get(name, 1)):
                for best, call in ((self.ours, our), (self.naive, their)):
                    best[name] = min(best.get(name, float("inf")), _timed(call))

    def quotients(self) -> dict[str, float]:
        """How many times faster ours is."""
        return {name: self.naive[name] / self.ours[name] for name in self.ours}


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


def measure(floors: Mapping[str, float], most: int = ROUNDS) -> Best:
    """Rounds until nothing is below its bound, `LEAST_ROUNDS` at least and `most` at most."""
    best = Best()
    gc.collect()
    gc.disable()
    try:
        for count, stages in enumerate(rounds(), 1):
            best.take(stages)
            if count >= most or (count >= LEAST_ROUNDS and not lost(best.quotients(), floors)):
                break
    finally:
        gc.enable()
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
    asked = parser.parse_args()
    best = measure({"decode": float("inf")})
    quotients = best.quotients()
    for name, quotient in quotients.items():
        micro = f"{best.ours[name] * 1e6:.1f} us/event, naive {best.naive[name] * 1e6:.1f}"
        sys.stdout.write(f"{name}: {quotient:.2f} times ({micro})\n")
    if asked.write:
        for _ in range(WRITES - 1):
            again = measure({"decode": float("inf")}).quotients()
            quotients = {name: min(each, again[name]) for name, each in quotients.items()}
        text = msgspec.json.format(msgspec.json.encode({name: round(each, 2) for name, each in quotients.items()}))
        FLOORS.write_bytes(text + b"\n")
        return 0
    return int(bool(lost(quotients, kept())))


if __name__ == "__main__":
    raise SystemExit(main())
