"""Something that is looked at beside the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def looking(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `look` in a thread of its own every `every_s` seconds, until the end."""
    ended = threading.Event()

    def again_and_again() -> None:
        while not ended.wait(every_s):
            look()

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
