"""The store that a person's verb talks to, and who that person is."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streams.settings import Settings

if TYPE_CHECKING:
    from streams.clickhouse import Store

_MOST_NAME_CHARS = 96

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so; without it the user of this machine.")]


def person(by: str) -> str:
    """Who says something: the name that was given, else the user's. It is kept for readers and proves nothing."""
    try:
        return (by.strip() or getpass.getuser())[:_MOST_NAME_CHARS]
    except (OSError, KeyError):
        return "unknown"  # a container's user may have no name


@contextmanager
def store_at_hand() -> Iterator[Store]:
    """The store of the servers that are set, else of the one-machine stack."""
    with store_of(Settings.from_env(os.environ)) as (_, store):
        yield store


@contextmanager
def store_of(settings: Settings) -> Iterator[tuple[Settings, Store]]:
    """That store, and `settings` with the addresses that answer."""
    from streams.addressing import at_hand  # noqa: PLC0415 - verbs that need no store start faster
    from streams.clickhouse import Store  # noqa: PLC0415 - as above

    with at_hand(settings, os.environ) as here, closing(Store.connect(here)) as store:
        yield here, store
