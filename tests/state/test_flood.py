"""Accounts by the hundred thousand: what a bank holds stays bounded and the others are served as fast."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from detectors.alarms import Budget
from detectors.bank import Bank
from detectors.base import PRINCIPAL
from detectors.newcomers import MOST
from detectors.types import Observation

ROUNDS, MESSAGE = 150, 1_000
NORMAL = 2_000
MOST_GROWTH_MIB = 100


def seen(number: int, principal: str) -> Observation:
    mixed = number * 0x9E3779B97F4A7C15 % 2**64
    return Observation(
        event_id=f"topic:0:{number}:0",
        time_s=1.7e9 + number / 100,
        deployment="chat",
        principal=principal,
        prompt_hash=mixed,
        prompt_chars=100 + number % 50,
        prompt_simhash=mixed,
        prompt_template=number % 97,
        input_tokens=10,
        output_tokens=20,
        latency_s=1.0,
        failed=False,
    )


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def timed(made: Bank, offset: int, message: list[Observation]) -> float:
    """Seconds of CPU for one message."""
    began_s = time.process_time()
    made.unknown({observation.principal or "": 0 for observation in message})
    made.apply(0, offset, message)
    return time.process_time() - began_s


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_accounts_that_call_once_cost_no_memory_and_slow_nobody_down() -> None:
    draw = random.Random(1)
    usual = [f"p_{number:032x}" for number in range(NORMAL)]
    chances = [1 / (rank + 1) for rank in range(NORMAL)]
    calm, flooded = (Bank(PRINCIPAL, Budget(), patience=4) for _ in range(2))
    number, calm_s, flooded_s = 0, 0.0, 0.0
    resident = 0.0
    for offset in range(ROUNDS):
        picked = draw.choices(usual, chances, k=MESSAGE)
        message = [seen(number + at, name) for at, name in enumerate(picked)]
        mixed = [
            observation if at % 2 else seen(number + at, f"f_{number + at:032x}")
            for at, observation in enumerate(message)
        ]
        number += MESSAGE
        calm_s += timed(calm, offset, message)
        flooded_s += timed(flooded, offset, mixed)
        if offset == ROUNDS // 3:
            resident = resident_mib()
    assert len(flooded) <= NORMAL
    assert len(flooded.newcomers(0).counts) <= MOST
    assert resident_mib() - resident < MOST_GROWTH_MIB
    assert flooded_s < calm_s / 0.8


def test_accounts_that_call_ten_times_are_held_up_to_the_limit_and_leave_in_order() -> None:
    made = Bank(PRINCIPAL, Budget(), max_subjects=1_000, patience=4)
    taken: set[str] = set()
    for offset in range(100):
        group = offset // 10
        made.apply(0, offset, [seen(offset * MESSAGE + at, f"{group}-{at}") for at in range(MESSAGE)])
        assert len(made) <= 1_000
        if made.waiting > made.max_subjects // 5:
            taken |= {name for name, *_ in made.take_changed()}
        assert made.waiting <= made.max_subjects // 5
    assert len(taken) == 10 * MESSAGE
