"""A deployment that answers and whose calls are no longer logged.

A clock sees that a source is silent (`pipeline.source_silent`), unless something still comes from it. Canary runs do,
and show that the deployment serves while its ordinary calls are missing for far longer than they ever were; so do
reports. That logs arrive later than canaries is learned, as a pause before each canary.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.alarms import DAY_S
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.provenance import sane
from detectors.types import REPORT, Detection, Evidence, Observation, Severity

_HOUR_S = 3_600.0
_BRIEF_S = 600.0
"""Pauses so short are not looked at: three times as long is less than the hour that a silence has to last."""

_WARM_UP = 500
_LEAST_DAYS = 7.0
"""A weekend must have been seen before a silence means anything."""

_LEAST_WITNESS_DAYS = 3
_WITNESSES = 3
"""So many answers or reports in the silence: one may be a test of what was taken out of service."""

_FACTOR = 3.0
_MEMORY_DAYS = 14
_LATE = 100
"""Calls in a row from before the last one, after which it was that one's time which was wrong."""


class LoggingOff(Detector):
    """Holds the time since the last ordinary call, when a canary is answered, against the longest pause of two weeks.

    `pauses` is the longest of each day of event time, `waited_s` the longest before a canary since the last ordinary
    call; `days` are those on which canaries or reports came, `leap_s` is a call far ahead that waits for a second one.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Calls are no longer logged",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="Canaries that are answered, or reports that come, while ordinary calls are missing for three times the "
        "longest pause of the last two weeks",
        requires=(),
        any_of=("time_s", "notice"),
        warm_up=_WARM_UP,
        score_unit="seconds without an ordinary call",
        atlas=("AML.T0107",),
        owasp=("LLM03:2025",),
        causes=(
            "Somebody switched the logging of calls off, at the gateway or the collector.",
            "Traffic was moved past the gateway that logs it; canaries still take the old way.",
            "An exporter, queue or permission between gateway and topic broke.",
            "All callers left: the deployment is out of use, and nobody told the canaries.",
        ),
        false_positives=(
            "A service that was retired or is closed for a holiday while canary runs go on.",
            "A batch export of logs that now runs less often.",
        ),
        known_gaps=(
            "Without canary runs or reports on at least three days nothing witnesses that the deployment answers.",
            "It needs 500 calls over a week; a deployment with long pauses is given three times as long.",
            "Calls that come without their content are another finding, source_blind.",
            "Some of the calls missing is source_thinned, nothing at all coming is pipeline.source_silent.",
        ),
        runbook=(
            "Make one call of your own through the usual way, and look for it in the topic and in the gateway's log.",
            "Compare the gateway's and collector's configuration with the hour of the onset: who changed it?",
            "Count calls elsewhere: provider's invoice, load balancer, the application's own metrics.",
            "Treat the time since the onset as unwatched; ask for logs from other places before they expire.",
            "If the deployment is retired, stop its canary runs.",
        ),
        references=(
            "MITRE ATT&CK T1562.008, Impair Defenses: Disable or Modify Cloud Logs",
            "NIST SP 800-92, Guide to Computer Security Log Management (2006)",
        ),
    )

    first_s: float | None = None
    last_s: float = 0.0
    now_s: float = 0.0
    calls: int = 0
    late: int = 0
    leap_s: float | None = None
    pauses: dict[int, float] = msgspec.field(default_factory=dict)
    waited_s: float = 0.0
    days: dict[int, int] = msgspec.field(default_factory=dict)
    witnesses: int = 0
    told: bool = False

    def update(self, observation: Observation) -> Detection | None:
        """Learn an ordinary call's time, or hold a witness's against it."""
        notice = observation.notice
        if notice is None and not observation.canary:
            time_s = observation.time_s
            if 0.0 <= time_s - self.last_s < _BRIEF_S and not self.waited_s and not self.late:
                self.last_s = time_s
                self.calls += 1
            else:
                self._see_unusual(sane(time_s, self.last_s))
            return None
        if notice is not None and notice.kind != REPORT:
            return None
        if notice is None and (observation.failed or (observation.failed is None and observation.style is None)):
            return None
        self.now_s = sane(observation.time_s, self.last_s)
        return self._witness()

    def _see_unusual(self, time_s: float) -> None:
        """The first ordinary call, a late one, one after a pause, one after a witness."""
        self.calls += 1
        if self.first_s is None:
            self.first_s = self.last_s = time_s
            return
        pause_s = time_s - self.last_s
        if pause_s < 0.0:
            self.late += 1
            if self.late < _LATE:
                return
            pause_s = 0.0
        elif pause_s >= _HOUR_S and (self.leap_s is None or abs(time_s - self.leap_s) > pause_s):
            self.leap_s = time_s
            return
        elif self.leap_s is not None and pause_s >= _HOUR_S:
            pause_s = self.leap_s - self.last_s
        self.late, self.leap_s, self.last_s = 0, None, time_s
        if not self.told:
            # One silence that was said must not hide the next.
            self._pause(max(pause_s, self.waited_s))
        self.waited_s, self.witnesses, self.told = 0.0, 0, False

    def _pause(self, pause_s: float) -> None:
        day = int(self.last_s // DAY_S)
        self.pauses[day] = max(self.pauses.pop(day, 0.0), pause_s)
        while len(self.pauses) > _MEMORY_DAYS:
            del self.pauses[next(iter(self.pauses))]

    def _witness(self) -> Detection | None:
        came = self.leap_s is not None and self.last_s < self.leap_s <= self.now_s
        gap_s = self.now_s - (self.leap_s if came and self.leap_s is not None else self.last_s)
        known = len(self.days)
        if known <= _LEAST_WITNESS_DAYS:
            self.days[int(self.now_s // DAY_S)] = 1
        if self.first_s is None or gap_s <= 0.0:
            return None
        self.waited_s = max(self.waited_s, gap_s)
        limit_s = max(_HOUR_S, _FACTOR * max(self.pauses.values(), default=0.0))
        steady = self.calls >= _WARM_UP and self.last_s - self.first_s >= _LEAST_DAYS * DAY_S
        if not steady or known < _LEAST_WITNESS_DAYS or gap_s < limit_s or self.told:
            return None
        self.witnesses += 1
        if self.witnesses < _WITNESSES:
            return None
        self.told = True
        return Detection(
            summary=f"The deployment answers, but its calls are no longer logged: {self.witnesses} canaries or reports "
            f"came since the last ordinary call, {gap_s / _HOUR_S:.1f} hours ago; the longest pause before was "
            f"{max(self.pauses.values(), default=0.0) / _HOUR_S:.1f} hours.",
            severity=Severity.HIGH,
            score=gap_s,
            threshold=limit_s,
            onset_s=self.last_s,
            evidence=(
                Evidence(name="time without an ordinary call", observed=gap_s, expected=limit_s, unit="s (limit)"),
                Evidence(name="canaries answered or reports since", observed=float(self.witnesses)),
                Evidence(name="ordinary calls before", observed=float(self.calls)),
            ),
        )
