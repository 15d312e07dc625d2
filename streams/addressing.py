"""Which servers a verb talks to: those that are set, else those of the one-machine stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.local import ENGINE, LocalStack, stack_addresses
from streams.settings import Settings

DEMO = "demo"
"""The folder of the demo's data inside the data directory."""

_NAMED = ("INFERWATCH_KAFKA_BROKERS", "INFERWATCH_CLICKHOUSE_URL")


@contextmanager
def at_hand(settings: Settings, environ: Mapping[str, str]) -> Iterator[Settings]:
    """`settings` with addresses that answer, as far as this machine can provide them.

    1. What the environment names is used as it is.
    2. Else a one-machine stack that runs over the data directory, or over the demo's in it.
    3. Else the data such a stack has left: its engine is started for as long as the verb takes.
    4. Else the defaults.
    """
    if any(name.removesuffix("_FILE") in _NAMED for name in environ):
        yield settings
        return
    places = (settings.data_dir, settings.data_dir / DEMO)
    for place in places:
        running = stack_addresses(place)
        if running is not None:
            yield _with(settings, place, running.kafka_brokers, running.clickhouse_url)
            return
    for place in places:
        if (place / "clickhouse").is_dir():
            with LocalStack(place, servers=(ENGINE,)) as stack:
                yield _with(settings, place, settings.kafka_brokers, stack.clickhouse_url)
            return
    yield settings


def _with(settings: Settings, place: Path, kafka_brokers: str, clickhouse_url: str) -> Settings:
    return msgspec.structs.replace(settings, data_dir=place, kafka_brokers=kafka_brokers, clickhouse_url=clickhouse_url)
