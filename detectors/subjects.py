"""One subject of a bank while it is live: its detectors, and when each of them spoke last."""

from __future__ import annotations

import math

from detectors.base import Detector
from detectors.types import Severity

COOL_DOWN_S = 3_600.0
"""One detector speaks about one subject once an hour of event time, unless it gets more severe: it prevents a
page per request."""

_MAX_FIRED = 256
"""Cool-downs of one subject: a detector of cohorts has one for each, one that says each fact once has one for each."""


class Subject:
    """One subject's live detectors; `warming` are the ids of those that lack observations."""

    __slots__ = ("detectors", "fired", "next_offset", "partition", "warming")

    def __init__(
        self, partition: int, detectors: dict[str, Detector], fired: dict[str, tuple[float, int]], offset: int
    ) -> None:
        """What was saved of a subject, or nothing; `offset` is the first message of `partition` not yet learned."""
        self.partition = partition
        self.detectors = detectors
        self.fired = fired
        self.next_offset = offset
        self.warming = [name for name, detector in detectors.items() if detector.lacks]

    def settle(self) -> None:
        """Find out who is ready by now."""
        if self.warming:
            self.warming = [name for name in self.warming if self.detectors[name].lacks]

    def replace(self, detector_id: str, fresh: Detector) -> None:
        """Put a fresh detector in the place of one that broke, or whose past is of no use any more."""
        self.detectors[detector_id] = fresh
        self.warming = [name for name, detector in self.detectors.items() if detector.lacks]

    def rest(self, detector_id: str) -> None:
        """Forget when a detector that begins afresh spoke last."""
        for spoken in [each for each in self.fired if each.partition(" ")[0] == detector_id]:
            del self.fired[spoken]

    def speaks(self, detector_id: str, time_s: float, severity: Severity) -> bool:
        """Whether a detection is to be said now; if so, it is the last one said."""
        last_s, last_rank = self.fired.get(detector_id, (math.inf, 0))
        if abs(time_s - last_s) < COOL_DOWN_S and severity.rank <= last_rank:
            return False
        self.fired[detector_id] = (time_s, severity.rank)
        if len(self.fired) > _MAX_FIRED:
            del self.fired[next(iter(self.fired))]
        return True
