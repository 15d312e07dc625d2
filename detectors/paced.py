"""What detectors of rates have in common: they go by event time and count how often their deployment is called."""

from __future__ import annotations

import msgspec

from detectors import alarms
from detectors.base import Detector
from detectors.types import MAX_TIME_S, Observation


class Paced(Detector, kw_only=True):
    """A detector that allows false alarms by the calls of a day (`alarms.Pace`).

    `now_s` is the last event time that could be used, in unix seconds.
    """

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    now_s: float = 0.0

    def time_of(self, observation: Observation) -> float:
        """The time to take a call for: its own, or the last that could be used where that is absurd."""
        time_s = observation.time_s
        if 0.0 <= time_s <= MAX_TIME_S:
            self.now_s = time_s
            return time_s
        return self.now_s
