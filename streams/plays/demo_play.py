"""What every demo does: send its traffic, and show what becomes visible until everything is at rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from streams.clickhouse import Store
from streams.plays.demo_stack import Rest, stored
from streams.producer import RecordProducer
from streams.settings import Settings
from streams.topics import BrokerError

_POLL_S = 0.25
_LAST_SEND_S = 5.0
"""How long a demo that is ended waits for what it was just sending: a client that outlives its broker complains."""


class Play:
    """Traffic of so many events on its way, by a thread of its own."""

    def __init__(self, settings: Settings, events: int) -> None:
        """Nothing was sent yet."""
        self._settings = settings
        self._events = events
        self._sent = 0
        self._stored = self._dead = 0
        self._failed: list[BaseException] = []
        self._ended = threading.Event()

    def watch(self, console: Console, check: Callable[[], None]) -> None:
        """Send, and show progress and news until everything is at rest."""
        sender = threading.Thread(target=self._run, name="demo-sender", daemon=True)
        columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"))
        store = Store.connect(self._settings)
        try:
            with Progress(*columns, console=console, transient=True) as progress:
                sent = progress.add_task("sent", total=self._events)
                watched = progress.add_task("watched", total=self._events)
                sender.start()
                rest = Rest()
                while not rest.reached:
                    time.sleep(_POLL_S)
                    check()
                    if self._failed:
                        raise self._failed[0]
                    for line in self._news(store):
                        progress.console.print(line, soft_wrap=True)
                    self._stored, self._dead, saved = stored(store)
                    progress.update(sent, completed=self._sent)
                    progress.update(watched, completed=self._stored)
                    rest.look(done=not sender.is_alive() and self._stored + self._dead >= self._events, state=saved)
                self._at_rest(store)
        finally:
            self._ended.set()
            if sender.is_alive():
                sender.join(_LAST_SEND_S)
            store.close()

    def _run(self) -> None:
        try:
            with RecordProducer(self._settings.kafka_brokers) as producer:
                self._send(producer)
        except BrokerError as error:
            self._failed.append(error)

    def _send(self, producer: RecordProducer) -> None:
        """Send everything, counting events in `_sent`, until `_ended` is set."""
        raise NotImplementedError

    def _news(self, store: Store) -> Iterable[Text]:
        """What was not shown before, a line each."""
        raise NotImplementedError

    def _at_rest(self, store: Store) -> None:
        """Read what is wanted of the store in the end."""
