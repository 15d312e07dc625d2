"""What a worker waits for: it is ready when there is nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

NOT_ASSIGNED = "no partitions are assigned yet"


class Readiness:
    """The reasons why a worker does not get on, one for each thing it waits for.

    What waits brings a key of its own, says why, and says when it is over. `retries` counts failed attempts
    by sink.
    """

    def __init__(self) -> None:
        """Wait for nothing."""
        self._reasons: dict[Hashable, str] = {}
        self.retries: Counter[str] = Counter()

    def wait(self, key: Hashable, reason: str) -> None:
        """Not ready, because of `reason`, until `key` goes on."""
        self._reasons[key] = reason

    def retry(self, key: Hashable, sink: str, reason: str) -> None:
        """An attempt at `sink` failed because of `reason`; it is made again until `key` goes on."""
        self.retries[sink] += 1
        self.wait(key, reason)

    def go_on(self, key: Hashable) -> None:
        """What `key` waited for is there, or nobody waits for it any more."""
        self._reasons.pop(key, None)

    def reasons(self) -> list[str]:
        """Why the worker is not ready, each reason once; empty when it is ready."""
        return list(dict.fromkeys(self._reasons.values()))
