"""Seeded traffic for fault tests: short records, several detectors speak, and what senders do wrong is in it."""

from __future__ import annotations

import random

import msgspec

START_S = 1_750_000_000.0
FUTURE_S = 7_258_118_400.0
"""The year 2200."""

HOUR_S = 3_600.0
WORDS = ("the", "model", "gives", "an", "answer", "with", "numbers", "about", "weather", "finance", "code", "cats")


class Sender:
    """One source partition's applications. `shared` names subjects that other partitions send about too."""

    def __init__(self, partition: int, seed: int, *, shared: bool = False) -> None:
        """The same arguments give the same traffic."""
        self._random = random.Random(f"{seed}/{partition}")
        self._who = "all" if shared else str(partition)
        self._time_s = START_S
        self._number = 0
        self._served = "m-2026-01"
        self._sent: list[bytes] = []
        self.clock_off_s = 0.0

    def record(self) -> bytes:
        """The next record: mostly good, now and then broken in whole or in part, repeated or out of order."""
        drawn = self._random.random()
        if drawn < 0.04:
            return self._random.randbytes(self._random.randint(1, 60))
        if drawn < 0.08 and self._sent:
            return self._random.choice(self._sent[-20:])
        events = [self._event() for _ in range(self._random.randint(5, 60))]
        if drawn < 0.14:
            self._random.shuffle(events)
        if drawn > 0.95:
            events.insert(self._random.randrange(len(events)), {"deployment": 7})
        if 0.90 < drawn <= 0.95:
            events[0]["time_s"] = self._random.choice([0.0, -1.0, FUTURE_S])
        value = msgspec.json.encode(events)
        self._sent.append(value)
        return value

    def again(self) -> list[bytes]:
        """Everything it has sent, as a sender that starts over does."""
        return list(self._sent)

    def _event(self) -> dict[str, object]:
        rng = self._random
        self._number += 1
        self._time_s += rng.expovariate(1 / 30.0)
        if self._number > 400 and rng.random() < 0.004:
            self._served = f"m-2026-{self._number}"
        failed = rng.random() < (0.5 if self._number % 900 > 700 else 0.02)
        output = " ".join(rng.choices(WORDS, k=rng.randint(3, 40)))
        event: dict[str, object] = {
            "deployment": f"deployment-{self._who}-{int(rng.random() < 0.1)}",
            "principal": f"principal-{self._who}-{rng.randrange(6)}",
            "model": "m",
            "served_model": self._served,
            "time_s": self._time_s + self.clock_off_s,
            "latency_s": round(rng.lognormvariate(0.0, 0.4), 6),
            "input_tokens": rng.randint(5, 200),
            "output_tokens": len(output.split()),
            "input_messages": [{"role": "user", "content": " ".join(rng.choices(WORDS, k=8)) + "?"}],
        }
        if failed:
            event |= {"error_type": "server_error", "http_status": 500}
        else:
            event |= {"output_messages": [{"role": "assistant", "content": output}], "finish_reasons": ["stop"]}
        return event
