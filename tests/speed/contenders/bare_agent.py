"""A Faust agent as its tutorial has it: one record at a time, decoded as JSON, and nothing done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faust

from tests.speed.contenders.given import Given, Progress, given


def app(told: Given, progress: Progress) -> faust.App:
    """The app; Faust's own defaults but for where things are."""
    made = faust.App(
        told.group,
        broker=f"kafka://{told.brokers}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8_000_000,
        datadir=told.folder,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    source = made.topic(told.topic, value_serializer="json")

    async def agent(stream: Any) -> None:
        async for value in stream:
            progress.done += len(value) if isinstance(value, list) else 1

    made.agent(source)(agent)
    return made


def run(make: Callable[[Given, Progress], faust.App]) -> None:
    """Run the app that `make` gives until ended."""
    told = given()
    made = make(told, Progress(told))
    faust.Worker(made, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    run(app)
