"""The rate of failed calls against the frozen baseline, and whether one caller is behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
from river.drift import ADWIN

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted, recent_window, remember
from detectors.types import Detection, Evidence, Observation, Severity

_WARM_UP = 400
_MAX_CALLERS = 32
_MAX_NAME_CHARS = 64
_OUTAGE = 0.5
_ONE_CALLER = 0.9
"""A share of failures above which they are one caller's trouble and not the deployment's."""


class ErrorShift(Paced, kw_only=True):
    """Likelihood-ratio CUSUMs of failures against the frozen baseline; a fall is good news and not tested."""

    metadata: ClassVar[Metadata] = Metadata(
        version=2,
        title="Failure rate rose",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting rise of the rate of failed calls",
        requires=("failed",),
        warm_up=_WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0029",),
        owasp=("LLM10:2025",),
        causes=("An outage, a quota, an expired credential, a flood of expensive calls.",),
        false_positives=(
            "One client with a broken loop or an expired key; the evidence says how much came from one caller.",
            "A planned change of model or limits.",
        ),
        known_gaps=(
            "Rates are of the whole deployment: a shift of one of many routed models is diluted.",
            "Small changes of a rare rate take long: 400 warm-up calls without an error allow for 1 % of errors.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Group the calls since the onset by error type, status, principal and served model.",
            "If one principal carries the change, look at its calls and at findings about it.",
            "Check the provider's status, quotas and credentials.",
            "If the change was planned, approve it and learn a new baseline.",
        ),
        references=(
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Wilson, Probable inference, the law of succession, and statistical inference (1927)",
            "Shin, Ramdas, Rinaldo, E-detectors (2023)",
            "Bifet, Gavalda, Learning from time-changing data with adaptive windowing (2007)",
        ),
    )

    rates: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=_WARM_UP, rates=[Rate(falls=False)]))
    recent: ADWIN = msgspec.field(default_factory=recent_window)
    callers: dict[str, int] = msgspec.field(default_factory=dict)

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn which calls failed."""
        arriving, recent, rates = alarms.Arriving(self.pace), self.recent, self.rates
        for observation in observations:
            failed = observation.failed
            if failed is None:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            remember(recent, 1.0 if failed else 0.0)
            if failed:
                self._blame(observation.principal)
            shifted = rates.see((0,) if failed else (), time_s, self.share, arriving)
            if shifted is not None:
                yield self._detection(shifted)
        arriving.settle()

    def _blame(self, principal: str | None) -> None:
        """Count a failed call for its caller, from the batch in which the failures began to rise."""
        if self.rates.quiet:
            self.callers.clear()
        if principal is None:
            return
        principal = principal[:_MAX_NAME_CHARS]
        inherited = 0
        if principal not in self.callers and len(self.callers) >= _MAX_CALLERS:
            inherited = self.callers.pop(min(self.callers, key=self.callers.__getitem__))
        self.callers[principal] = self.callers.get(principal, inherited) + 1

    def _detection(self, shifted: Shifted) -> Detection:
        busiest = min(max(self.callers.values(), default=0) / max(shifted.now * shifted.calls, 1.0), 1.0)
        severity = Severity.HIGH if shifted.now >= _OUTAGE else Severity.MEDIUM
        recent = self.recent
        return Detection(
            summary=f"The rate of failed calls rose from {shifted.before:.1%} (frozen baseline of {_WARM_UP} calls) to "
            f"{shifted.now:.1%} over the last {shifted.calls} calls.",
            severity=Severity.LOW if busiest >= _ONE_CALLER else severity,
            score=shifted.score,
            threshold=shifted.threshold,
            onset_s=shifted.since_s,
            evidence=(
                Evidence(
                    name="rate of failed calls", observed=100.0 * shifted.now, expected=100.0 * shifted.before, unit="%"
                ),
                Evidence(name="calls since onset", observed=float(shifted.calls), unit="calls"),
                Evidence(name="calls in the baseline", observed=float(_WARM_UP), unit="calls"),
                Evidence(
                    name=f"the same over an adaptive window of the last {recent.width:.0f} calls",
                    observed=100.0 * recent.estimation,
                    unit="%",
                ),
                Evidence(name="failures of the busiest caller", observed=100.0 * busiest, unit="%"),
            ),
        )
