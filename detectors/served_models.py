"""Which served models answer for each requested model, and which of them are news.

Two detectors read the same news, so that one fact gives one finding: a name of another family than was asked for, where
the two used to agree or a person approved another, is a mismatch; any other new name is a change.
"""

from __future__ import annotations

import msgspec

from detectors.model_names import agrees
from detectors.provenance import SERVED, Decisions, clean, sane
from detectors.sightings import Sightings
from detectors.types import Observation

_MAX_MODELS = 16
_MODEL_PATIENCE = 10_000
_AGREED = 50
"""Calls answered by the family that was asked for, after which another family is news before the warm-up is over."""


class Route(msgspec.Struct, kw_only=True):
    """One requested model, and what it was answered by; `last_seen` counts calls of the deployment."""

    last_seen: int
    served: Sightings


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A served model that is news. `promised` is what was approved, where that is what it is held against."""

    asked: str
    now: str
    before: str
    calls: int
    mismatched: bool
    promised: str | None = None


class Routes(msgspec.Struct, kw_only=True):
    """At most 16 requested models; made-up ones do not push out those in use."""

    count: int = 0
    now_s: float = 0.0
    routes: dict[str, Route] = msgspec.field(default_factory=dict)
    decisions: Decisions = msgspec.field(default_factory=Decisions)

    def see(self, observation: Observation) -> Change | None:
        """Learn what answered one call, or what a notice decides; what is news about it."""
        served = observation.served_model
        if served is None:
            if observation.notice is not None:
                self.decisions.learn(observation.notice, observation.time_s)
            return None
        self.count += 1
        route = self.routes.get(observation.model or "")
        if route is not None and (seen := route.served).learned and seen.current == served:
            route.last_seen = self.count
            seen.count += 1
            return None
        self.now_s = sane(observation.time_s, self.now_s)
        asked = clean(observation.model or "")
        route = self._route(asked)
        return None if route is None else self._judge(asked, route.served, clean(served))

    def _judge(self, asked: str, seen: Sightings, now: str) -> Change | None:
        decision = self.decisions.on(SERVED, now)
        if decision is not None and (decision.covers(self.now_s) or not decision.approved):
            # What was rejected is for `unapproved_change`.
            seen.accept(now, self.now_s)
            return None
        if now in seen.values:
            seen.accept(now, self.now_s)
            return None
        promised = self._promised(asked, seen, now)
        calls, before = seen.count, seen.current
        agreed = bool(asked) and calls >= _AGREED and all(agrees(asked, each) for each in seen.values)
        if promised is not None or (agreed and not agrees(asked, now)):
            seen.accept(now, self.now_s)
            if not seen.may_say(self.now_s):
                return None
            return Change(asked=asked, now=now, before=before, calls=calls, mismatched=True, promised=promised)
        news = seen.see(now, self.now_s)
        return None if news is None else Change(asked=asked, now=now, before=news, calls=calls, mismatched=False)

    def _promised(self, asked: str, seen: Sightings, now: str) -> str | None:
        """The model that was approved for this route, where what answers is of another family."""
        promised = None
        for pin in self.decisions.pins(SERVED, self.now_s):
            if agrees(pin.version, now) or pin.before == now:
                return None
            if len(self.routes) == 1 or agrees(asked, pin.version) or pin.version in seen.values:
                promised = pin.version
        return promised

    def _route(self, asked: str) -> Route | None:
        """What is known of a requested model, or `None` while there is no room for one more."""
        route = self.routes.get(asked)
        if route is None:
            if len(self.routes) >= _MAX_MODELS:
                idle = min(self.routes, key=lambda name: self.routes[name].last_seen)
                if self.count - self.routes[idle].last_seen < _MODEL_PATIENCE:
                    return None
                del self.routes[idle]
            route = self.routes[asked] = Route(last_seen=self.count, served=Sightings(since_s=self.now_s))
        route.last_seen = self.count
        return route
