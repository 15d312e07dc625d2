"""A batch is bounded by its bytes before anything is decoded, and by a number of records; shown on Faust itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import faust
import pytest

from streams.consuming import Event, consume
from streams.filling import Filling

_PATIENCE_S = 30.0
"""Far beyond what a batch takes to fill: one that came is one that was full."""


class _Seen:
    """A handler that remembers its batches and ends when it has enough events."""

    def __init__(self, enough: int) -> None:
        self.sizes: list[int] = []
        self.values: list[bytes] = []
        self.full = asyncio.Event()
        self._enough = enough

    async def handle(self, events: Sequence[Event]) -> None:
        self.sizes.append(len(events))
        self.values += [event.value for event in events]
        await asyncio.sleep(0)  # more comes while a batch is worked on
        if len(self.values) >= self._enough:
            self.full.set()


def batches(values: Sequence[bytes], filling: Filling, wait_s: float = _PATIENCE_S) -> _Seen:
    """What `consume` hands over of a Faust stream of `values`."""
    return asyncio.run(_batches(values, filling, wait_s))


async def _batches(values: Sequence[bytes], filling: Filling, wait_s: float) -> _Seen:
    app = faust.App("filling", broker="kafka://127.0.0.1:1", value_serializer="raw", web_enabled=False)
    app.flow_control.resume()
    channel: Any = app.channel(value_type=bytes)
    seen, generation = _Seen(len(values)), app.consumer_generation_id
    stream = app.stream(channel)
    task = asyncio.ensure_future(consume(stream, seen, lambda _: True, filling, wait_s))
    for offset, value in enumerate(values):
        message: Any = faust.types.Message("calls", 0, offset, 0.0, 0, [], None, value, None, generation_id=generation)
        await channel.put(faust.Event(app, None, value, {}, message))
    try:
        await asyncio.wait_for(seen.full.wait(), _PATIENCE_S / 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.stop()
    return seen


def test_a_batch_of_small_records_is_full_by_their_number() -> None:
    seen = batches([b"x"] * 30, Filling(10, size_bytes=1_000))
    assert seen.sizes == [10, 10, 10]


def test_a_batch_of_large_records_is_full_by_their_bytes() -> None:
    seen = batches([b"x" * 400] * 30, Filling(10, size_bytes=1_000))
    assert seen.sizes == [3] * 10


def test_a_record_beyond_all_bytes_is_a_batch_by_itself() -> None:
    seen = batches([b"x" * 4_000] * 5, Filling(10, size_bytes=1_000))
    assert seen.sizes == [1] * 5


def test_a_batch_of_mixed_sizes_keeps_order_and_loses_nothing() -> None:
    values = [bytes([number]) * (700 if number % 7 == 0 else 1) for number in range(60)]
    seen = batches([*values, b"y" * 1_000], Filling(25, size_bytes=1_000))
    assert seen.values == [*values, b"y" * 1_000]
    assert max(seen.sizes) <= 25


def test_a_batch_that_does_not_fill_goes_when_its_time_is_up() -> None:
    assert batches([b"x"] * 3, Filling(10), wait_s=0.05).values == [b"x"] * 3


@pytest.mark.parametrize(("events", "full"), [(9, False), (10, True), (11, True)])
def test_the_number_is_compared_as_faust_compares_it(events: int, full: bool) -> None:  # noqa: FBT001
    assert (events >= Filling(10)) is full
