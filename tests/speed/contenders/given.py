"""What a contender is told, and how it says how far it is."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import msgspec

_SAY_EVERY_S = 0.05


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Where events come from and go to; `progress` is the file into which the count of done ones is written."""

    brokers: str
    topic: str
    group: str
    url: str
    database: str
    folder: str
    progress: str
    events: int
    packages: str = ""


class Progress:
    """A count in a file, current to a twentieth of a second."""

    def __init__(self, given: Given) -> None:
        """Begin to write."""
        self.done = 0
        self._path = Path(given.progress)
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        while True:
            self.say()
            time.sleep(_SAY_EVERY_S)

    def say(self) -> None:
        """Write it now."""
        part = self._path.with_suffix(".part")
        part.write_text(str(self.done), encoding="ascii")
        part.replace(self._path)


def given() -> Given:
    """From the command line; Faust and others read it too, so it is taken away."""
    told = msgspec.json.decode(sys.argv[1], type=Given)
    del sys.argv[1:]
    return told
