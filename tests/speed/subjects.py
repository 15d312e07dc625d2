"""The real banks with as many subjects or detectors as asked for: ``python -m tests.speed.subjects JSON``.

A process of its own, so that its memory is the banks'. Messages are of a hundred calls. Every subject makes enough
calls to have its detectors at work; changed states are taken as often as a worker saves them, and given up here: those
of subjects that are not live any more are in a store. What is printed is JSON: resident memory, and processor time of
an event.
"""

from __future__ import annotations

import os
import random
import sys
import time

import msgspec

from detectors.bank import discover
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Observation
from streams.composing import PATIENCE, make_bank, make_pipeline
from streams.dlq import Record
from streams.keys import load_keys
from streams.settings import Settings
from tests.speed.load import JSON, Load
from tests.speed.machine import peak_bytes, rss_bytes

PER_MESSAGE = 100
_SAVED_EVERY = 10_000
_MEASURED = 20_000
_TEMPLATES = 1_000
_START_S = 1_790_000_000.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How many of what. A message has calls of `together` subjects; `calls` messages come of each before measuring."""

    principals: int = 1_000
    deployments: int = 10
    detectors: int | None = None
    scopes: tuple[str, ...] = (DEPLOYMENT, PRINCIPAL)
    together: int = PER_MESSAGE
    calls: int = PATIENCE
    live: int = 50_000


class Banks:
    """Banks of some detectors of the catalog, and messages for them."""

    def __init__(self, asked: Asked) -> None:
        """Nothing was learned."""
        settings = Settings(key="k" * 32, max_live_principals=asked.live, max_live_deployments=asked.live)
        self._asked = asked
        self.banks = [make_bank(settings, scope) for scope in asked.scopes]
        if asked.detectors is not None:
            some = set(list(discover())[:: max(len(discover()) // asked.detectors, 1)][: asked.detectors])
            for bank in self.banks:
                bank.kinds = {name: kind for name, kind in bank.kinds.items() if name in some}
        self._templates = templates()
        self._offset = 0

    def call(self, first: int) -> None:
        """One message of `together` subjects from `first` on."""
        asked, offset = self._asked, self._offset
        message = [
            msgspec.structs.replace(
                self._templates[(offset * PER_MESSAGE + at) % len(self._templates)],
                event_id=f"logs:0:{offset}:{at}",
                principal=f"p_{(first + at % asked.together) % asked.principals:032x}",
                deployment=f"d-{(first + at % asked.together) % asked.deployments}",
                time_s=_START_S + offset / 10.0,
            )
            for at in range(PER_MESSAGE)
        ]
        for bank in self.banks:
            bank.apply(0, offset, message)
            if bank.waiting > _SAVED_EVERY:
                bank.take_changed()
        self._offset += 1


def templates() -> list[Observation]:
    """What is observed of calls, no two alike; enough that it is long until the same ones come again."""
    settings = Settings(key="k" * 32)
    pipeline = make_pipeline(settings, load_keys(settings), "0" * 32)
    headers = (("content-type", JSON.encode()),)
    records = (
        Record(topic="logs", partition=0, offset=offset, time_s=_START_S, value=value, headers=headers)
        for offset, value in enumerate(Load(seed=3).records(_TEMPLATES, PER_MESSAGE, _START_S))
    )
    return [each.observation for each in pipeline.process(records).stored]


def main(asked: Asked) -> dict[str, float]:
    """Fill, then measure `_MEASURED` calls more of subjects that are live."""
    made = Banks(asked)
    count = asked.deployments if asked.scopes == (DEPLOYMENT,) else asked.principals
    for first in range(0, count, asked.together):
        for _ in range(asked.calls):
            made.call(first)
    for bank in made.banks:
        bank.take_changed()
    known, groups = random.Random(1), max(min(asked.live, count) // asked.together, 1)
    began_s = time.process_time()
    for _ in range(_MEASURED // PER_MESSAGE):
        made.call(count - known.randrange(1, groups + 1) * asked.together)
    took_s = time.process_time() - began_s
    waiting = sum(bank.waiting for bank in made.banks)
    began_s = time.process_time()
    saved_bytes = sum(len(state) for bank in made.banks for *_, state in bank.take_changed())
    saved_s = time.process_time() - began_s
    mine = os.getpid()
    return {
        "us/event": took_s / _MEASURED * 1e6,
        "us/saved state": saved_s / max(waiting, 1) * 1e6,
        "bytes/saved state": saved_bytes / max(waiting, 1),
        "RSS MiB": rss_bytes(mine) / 2**20,
        "peak MiB": peak_bytes(mine) / 2**20,
        "live subjects": float(sum(map(len, made.banks))),
    }


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(main(msgspec.json.decode(sys.argv[1], type=Asked))).decode())
