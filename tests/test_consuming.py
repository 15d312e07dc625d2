"""The loop between two stretches of learning: others get their turns, and time is not spent on waiting for nobody."""

from __future__ import annotations

import asyncio
import time

from streams.consuming import breathe

_LONG_S = 20.0


def test_with_nothing_to_do_a_breath_is_over_at_once() -> None:
    began_s = time.monotonic()
    asyncio.run(breathe(_LONG_S))
    assert time.monotonic() - began_s < _LONG_S / 2


def test_what_takes_many_turns_gets_them_before_the_breath_is_over() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        for _ in range(50):
            time.sleep(0.001)  # noqa: ASYNC251 - a turn in which something is done
            turns += 1
            await asyncio.sleep(0)

    async def both() -> int:
        task = asyncio.ensure_future(others())
        await breathe(_LONG_S)
        seen = turns
        await task
        return seen

    assert asyncio.run(both()) == 50


def test_a_breath_has_an_end_though_others_never_have() -> None:
    async def others() -> None:
        while True:
            time.sleep(0.001)  # noqa: ASYNC251 - as above
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.ensure_future(others())
        await breathe(0.05)
        task.cancel()

    asyncio.run(asyncio.wait_for(both(), _LONG_S))
