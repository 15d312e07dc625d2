"""Calls of many deployments at a steady rate, some of which change their weights at a known moment."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

GOOD, BAD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ORDINARY = 20
"""Deployments in which nothing happens."""

CALLS_TO_LEARN = 400
"""Of each deployment before anything happens there: twice what the detectors need to know its digests."""

_PRINCIPALS = 500
_SHAPES = 97
_WORDS = ("the", "model", "answers", "what", "was", "asked", "about", "orders", "weather", "travel", "code", "tests")


class Traffic:
    """`tipping` deployments beside the ordinary ones, all called equally often."""

    def __init__(self, tipping: int, seed: int) -> None:
        """Encode what calls are made of once: the generator must cost little beside the worker."""
        self._random = random.Random(seed)
        self.tipping = [f"tipping-{number}" for number in range(tipping)]
        self._deployments = [*self.tipping, *(f"ordinary-{number}" for number in range(ORDINARY))]
        self._shapes = [self._shape() for _ in range(_SHAPES)]
        self._tipped: set[str] = set()

    def record(self, events: int, now_s: float) -> bytes:
        """A record of so many calls made at `now_s`."""
        deployments = self._random.choices(self._deployments, k=events)
        return b"[" + b",".join(self._event(name, now_s) for name in deployments) + b"]"

    def tipping_record(self, deployment: str, now_s: float) -> bytes:
        """The first call that the changed weights of `deployment` answer; they stay changed."""
        self._tipped.add(deployment)
        return b"[" + self._event(deployment, now_s) + b"]"

    def _event(self, deployment: str, now_s: float) -> bytes:
        weights = BAD if deployment in self._tipped else GOOD
        principal = self._random.randrange(_PRINCIPALS)
        head = f'{{"time_s":{now_s:.6f},"deployment":"{deployment}","principal":"p{principal}","components":'
        return f'{head}{{"weights":"{weights}"}},'.encode() + self._random.choice(self._shapes)

    def _shape(self) -> bytes:
        """The rest of a call: what does not differ between deployments."""
        texts = self._texts()
        rest = {
            "model": "m-1",
            "served_model": "m-1-2026",
            "latency_s": round(self._random.gauss(1.2, 0.1), 3),
            "input_tokens": 40,
            "output_tokens": 60,
            "finish_reasons": ["stop"],
            "input_messages": [{"role": "user", "content": next(texts)}],
            "output_messages": [{"role": "assistant", "content": next(texts)}],
        }
        return msgspec.json.encode(rest)[1:]

    def _texts(self) -> Iterator[str]:
        while True:
            yield " ".join(self._random.choices(_WORDS, k=self._random.randrange(30, 50))) + "."
