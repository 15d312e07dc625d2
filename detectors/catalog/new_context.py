"""A known key from an unknown place: network, region, client and hour that this principal never had, together."""

from __future__ import annotations

import functools
import math
import zlib
from typing import ClassVar

import msgspec

from detectors.alarms import Pace, average_run_length, e_limit
from detectors.base import PRINCIPAL, Detector, Metadata
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_PAUSE_S, _VISIT_S = 1_800.0, 4.0 * 3_600.0
"""Half an hour of silence ends a visit, and so do four hours of a service that never pauses. Visits are counted and
not calls: who calls more often does not become more usual."""

_WARM_VISITS, _WARM_DAYS = 20, 5
_MOST = 24
"""Values known of each kind; the one that was not seen for longest leaves."""

_LETTERS = 256
"""Of a name that count."""

_SIDE = 0.45
"""Share of the limit that one of place and client may give: a journey, or a new computer, is not enough, and neither
are both at once within usual hours."""

_HOUR_MOST, _HOURS = 3.0, 24
_MIXED, _MIXED_MOST, _MIXED_S = 1.5, 6.0, 900.0
"""Nats when the usual client is back within a quarter of an hour of the new one: two hands on one key."""

_CONFIRMED_S = 86_400.0
"""A context about which nothing was said is learned once it comes a day after it first came."""

_UNCONFIRMED_S = 7 * 86_400.0
"""How long what was flagged is not learned: after a week it has either been stopped or is the new normal."""


class Known(msgspec.Struct, array_like=True):
    """Values of one kind seen before, by 32-bit prints in order of last use, and how often a visit was new."""

    values: list[int] = []
    new: int = 0

    def surprise(self, value: int | None, visits: int) -> float:
        """Nats of a visit from `value`: minus the log of how often a visit had a new one, 0 if known or not given.

        Krichevsky and Trofimov's estimate of a share.
        """
        if value is None or value in self.values or not self.values:
            return 0.0
        return -math.log((self.new + 0.5) / (visits + 1.0))

    def learn(self, value: int | None) -> None:
        """Take note of a visit from `value`."""
        if value is None:
            return
        if value in self.values:
            self.values.remove(value)
        else:
            self.new += bool(self.values)
        self.values.append(value)
        del self.values[:-_MOST]


class NewContext(Detector, kw_only=True, array_like=True):
    """Novelty of place (network or region, the more surprising), client and hour adds up, against its own past rate.

    A principal that roams has a new network each day, so one says nothing; one whose months know a single network makes
    it surprising. Place, region and hour change together on a journey and count once, half for the hour; what adds to
    place and client is an hour that is never used, or the old client answering in between, which no journey does.
    Assumes visits (calls with pauses below half an hour, from one context) are exchangeable. Cost: 1 us a call.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Key used from a context never seen before",
        scope=PRINCIPAL,
        severity=Severity.HIGH,
        sees="Place and client that this principal never had, at hours it never works or while its usual client works.",
        requires=("network", "user_agent"),
        warm_up=_WARM_VISITS,
        score_unit="nats of joint novelty against the principal's own rate of novelty",
        atlas=("AML.T0012",),
        owasp=("LLM10:2025",),
        causes=(
            "the key or session was stolen, or is resold",
            "a colleague or another program uses the key too",
        ),
        false_positives=(
            "a service moved to another cloud with another client library while the old one still runs",
            "a journey across many time zones with a new device",
            "a key handed over to another team",
        ),
        known_gaps=(
            "a thief with the same client library and agent text, or inside the same network",
            "principals seen on fewer than five days",
            "the region is that of the caller only where the source says so; often it is the server's",
        ),
        runbook=(
            "Ask the owner whether the new network and client are theirs; check the gateway's log for the address.",
            "Compare prompts and models of the new context with the usual ones.",
            "Look for the key in public code and leaked logs; look for other keys from the same network.",
            "If it is not explained, rotate the key.",
        ),
        references=(
            "Freeman et al., Who Are You? A Statistical Approach to Measuring User Authenticity (2016)",
            "Krichevsky, Trofimov, The performance of universal encoding (1981)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    networks: Known = msgspec.field(default_factory=Known)
    agents: Known = msgspec.field(default_factory=Known)
    regions: Known = msgspec.field(default_factory=Known)
    hours: list[int] = msgspec.field(default_factory=lambda: [0] * _HOURS)
    visits: int = 0
    days: int = 0
    day: int = -1
    last_s: float = 0.0
    last: int = 0
    begun_s: float = 0.0
    usual_s: float = 0.0
    strange: int = 0
    strange_s: float = 0.0
    since_s: float = 0.0
    mixed: float = 0.0
    calls: int = 0
    said: list[int] = msgspec.field(default_factory=list)
    said_s: float = 0.0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call; ignored without network and agent."""
        time_s = observation.time_s
        place, client, around = observation.network, observation.user_agent, observation.region
        if place is None or client is None or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        network, agent = _print(place[:_LETTERS]), _print(client[:_LETTERS])
        region = _print(around[:_LETTERS]) if around else None
        context = (network ^ agent << 1 ^ (region or 0) << 2) + 1
        if (
            context == self.last
            and self.calls == 0
            and 0.0 <= time_s - self.last_s <= _PAUSE_S
            and time_s - self.begun_s <= _VISIT_S
        ):
            self.last_s = self.usual_s = time_s
            return None
        return self._visit(time_s, (network, agent, region), context)

    def _visit(self, time_s: float, context: tuple[int, int, int | None], mark: int) -> Detection | None:
        network, agent, region = context
        warm = self.visits >= _WARM_VISITS and self.days >= _WARM_DAYS
        place = max(self.networks.surprise(network, self.visits), self.regions.surprise(region, self.visits))
        client = self.agents.surprise(agent, self.visits)
        switched = mark != self.last
        fresh = switched or not 0.0 <= time_s - self.last_s <= _PAUSE_S or time_s - self.begun_s > _VISIT_S
        if fresh:
            self.begun_s = time_s
        self.last, self.last_s = mark, time_s
        if warm and place > 0.0 and client > 0.0:
            if switched and 0.0 <= time_s - self.usual_s <= _MIXED_S and self.calls:
                self.mixed = min(self.mixed + _MIXED, _MIXED_MOST)
            return self._strange(time_s, context, mark, (place, client))
        if place == client == 0.0:
            if switched and self.calls and abs(time_s - self.strange_s) <= _MIXED_S:
                self.mixed = min(self.mixed + _MIXED, _MIXED_MOST)
            self.usual_s = time_s
        if fresh:
            self._learn(time_s, context)
        return None

    def _learn(self, time_s: float, context: tuple[int, int, int | None]) -> None:
        self.pace.see(time_s)
        self.visits = min(self.visits + 1, 1_000_000)
        day = int(time_s // 86_400.0)
        if day != self.day:
            self.day, self.days = day, min(self.days + 1, 1_000_000)
        for known, value in zip((self.networks, self.agents, self.regions), context, strict=True):
            known.learn(value)
        self.hours[int(time_s // 3_600.0) % _HOURS] += 1

    def _hour(self, time_s: float) -> float:
        """Half the nats by which this hour and its neighbors are rarer than an even day."""
        hour = int(time_s // 3_600.0) % _HOURS
        near = sum(self.hours[(hour + step) % _HOURS] for step in (-1, 0, 1))
        share = (near + 0.5) / (sum(self.hours) + 0.5 * _HOURS / 3.0)
        return min(max(0.5 * math.log(3.0 / _HOURS / share), 0.0), _HOUR_MOST)

    def _strange(
        self, time_s: float, context: tuple[int, int, int | None], mark: int, novelty: tuple[float, float]
    ) -> Detection | None:
        if mark != self.strange:
            self.strange, self.since_s, self.calls, self.mixed = mark, time_s, 0, 0.0
        if mark in self.said:
            if 0.0 <= time_s - self.said_s <= _UNCONFIRMED_S:
                return None
            self.said.remove(mark)
            self._learn(time_s, context)
            return None
        if self.calls and abs(time_s - self.since_s) > _CONFIRMED_S:
            # It came back another day and nothing else spoke against it.
            self.calls, self.mixed = 0, 0.0
            self._learn(time_s, context)
            return None
        self.calls += 1
        self.strange_s = time_s
        limit = e_limit(average_run_length(self.share, self.pace.per_day))
        place, client = novelty
        hour = self._hour(time_s)
        score = min(place, _SIDE * limit) + min(client, _SIDE * limit) + hour + self.mixed
        if score < limit:
            return None
        calls, self.calls, mixed, self.mixed = self.calls, 0, self.mixed, 0.0
        self.said, self.said_s = [*self.said, mark][-_MOST:], time_s
        return Detection(
            summary=(
                f"used from a network and with a client that none of its {self.visits} visits had"
                + (", while its usual client was at work" if mixed > 0.0 else ", at an hour it does not use")
            ),
            severity=Severity.HIGH if mixed > 0.0 else Severity.MEDIUM,
            score=score,
            threshold=limit,
            onset_s=min(self.since_s, time_s),
            evidence=(
                Evidence(name="new place", observed=place, expected=0.0, unit="nats"),
                Evidence(name="new client", observed=client, expected=0.0, unit="nats"),
                Evidence(name="unusual hour", observed=hour, expected=0.0, unit="nats"),
                Evidence(name="usual client in between", observed=mixed, expected=0.0, unit="nats"),
                Evidence(name="networks before", observed=float(len(self.networks.values)), unit="networks"),
                Evidence(name="clients before", observed=float(len(self.agents.values)), unit="clients"),
                Evidence(name="calls from there", observed=float(calls), unit="calls"),
            ),
        )


@functools.lru_cache(maxsize=4_096)
def _print(name: str) -> int:
    """32 bits of a pseudonym or a name; few of them make most of the traffic."""
    return zlib.crc32(name.encode("utf-8", "replace"))
