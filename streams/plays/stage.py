"""Where a scenario is played: ordinary traffic to three deployments, to which a scenario adds what happens.

1. Say what a deployment is made of and how it behaves from when on (`behaves`).
2. Add callers, or change what those of the ordinary traffic ask and get (`calls`, `edits`).
3. Say what a person or an attestation says meanwhile (`say`).
4. `lines` plays it: one JSON line an event or a notice, in order of time, with its end.

The same seed gives the same lines. Costs about 130 us an event.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from random import Random

import msgspec

from detectors.types import Components, InferenceEvent
from streams.components import provenance
from streams.plays._traffic_callers import DEPLOYMENTS, SHARES, Call, Caller, Deployment, Span, plan
from streams.plays._traffic_endpoints import SELF_HOSTED, Endpoint, Manner, components_of, digest
from streams.plays.traffic import seeded

HOUR_S, DAY_S = 3_600.0, 86_400.0
_DAY_HOURS = 24

INTERNAL_HOSTS = ("models.internal.example", "metrics.internal.example", "vault.internal.example")
"""What the serving side connects to on an ordinary day."""

_OF_HOURS = frozenset({"people", "steady", "bursty", "batch", "evaluation"})
_OF_DAYS = frozenset({"people", "steady"})
"""Kinds of callers; a job that runs six times in a span would run every third day of a long one."""

_SAMPLED = 8.0
"""A call of days of traffic stands for so many: those that are left out make the deployment busy too."""

_NIGHT = 0.12
"""Traffic at the quietest hour, as a share of that at the busiest."""

Edit = Callable[[Call, InferenceEvent], InferenceEvent]
"""Changes what came of a call."""


class Stage:
    """Ordinary traffic, and what is added to it."""

    def __init__(
        self,
        seed: int,
        end_s: float,
        *,
        hours: float,
        events: int,
        providers: Mapping[Deployment, str] | None = None,
    ) -> None:
        """`events` calls in the `hours` before `end_s`; what `providers` names is not served by ourselves."""
        self.rng = seeded(seed)
        self.end_s = end_s
        self.span = Span(end_s - hours * HOUR_S, end_s, end_s)
        kinds = _OF_DAYS if hours > _DAY_HOURS else _OF_HOURS
        shares = _shares(kinds)
        self.calls: list[Call] = plan(self.rng, self.span, events, shares, _busy(self.rng, self.span)).calls
        self.edits: list[Edit] = []
        self._said: list[tuple[float, bytes]] = []
        self._manners = {each.name: Manner(hosts=INTERNAL_HOSTS, host_share=0.4) for each in DEPLOYMENTS}
        self._endpoints: dict[str, Endpoint] = {}
        for each in DEPLOYMENTS:
            provider = (providers or {}).get(each)
            self._endpoints[each.name] = Endpoint(
                each,
                self.rng,
                provider=provider or SELF_HOSTED,
                stands_for=_SAMPLED if hours > _DAY_HOURS else 1.0,
            )
            if provider is None:
                self.behaves(each, -math.inf)

    def before_end(self, ago_s: float) -> float:
        """The time so many seconds before the end."""
        return self.end_s - ago_s

    def behaves(self, deployment: Deployment, time_s: float, **changes: object) -> None:
        """Change how a deployment answers from a time on, by fields of `Manner`; what was changed before stays so."""
        manner = msgspec.structs.replace(self._manners[deployment.name], **changes)
        self._manners[deployment.name] = manner
        self._endpoints[deployment.name].behaves(time_s, manner)

    def replaces(self, deployment: Deployment, time_s: float, **versions: str) -> Components:
        """Put other versions of components in place from a time on; what a deployment is made of then."""
        made_of = self.made_of(deployment)
        changed = msgspec.structs.replace(made_of, **{name: digest(text) for name, text in versions.items()})
        self.behaves(deployment, time_s, components=changed)
        return changed

    def made_of(self, deployment: Deployment) -> Components:
        """The components of a deployment after the last change."""
        return self._manners[deployment.name].components or components_of(deployment)

    def busiest(self, deployment: Deployment, kind: str) -> Caller:
        """The principal with most calls to a deployment, of those that do (``people``) or do not keep sessions."""
        counts: dict[Caller, int] = {}
        for call in self.calls:
            if call.caller.deployment == deployment and (call.session is not None) == (kind == "people"):
                counts[call.caller] = counts.get(call.caller, 0) + 1
        return max(counts, key=lambda caller: (counts[caller], caller.principal))

    def say(self, time_s: float, said: provenance.Said) -> None:
        """A change that is decided, or a report that comes, at a time."""
        self._said.append((time_s, provenance.encode(said)))

    def lines(self) -> Iterator[bytes]:
        """Play it: one JSON line each."""
        said = sorted(self._said, key=lambda each: each[0])
        for _, line in heapq.merge(self._played(), said, key=lambda each: each[0]):
            yield line + b"\n"

    def _played(self) -> Iterator[tuple[float, bytes]]:
        for call in sorted(self.calls, key=lambda each: each.time_s):
            event = self._endpoints[call.caller.deployment.name].serve(call)
            for edit in self.edits:
                event = edit(call, event)
            yield call.time_s, msgspec.json.encode(event)


def newcomer(rng: Random, deployment: Deployment, *, network: str, agent: str, **parameters: object) -> Caller:
    """A principal that was never seen before; `parameters` are fields of `Caller`."""
    caller = Caller(
        principal=f"acct-{rng.getrandbits(32):08x}", deployment=deployment, network=network, user_agent=agent
    )
    return msgspec.structs.replace(caller, **parameters)


def _shares(kinds: Collection[str]) -> dict[str, dict[Deployment, float]]:
    """The shares that these kinds of callers have among themselves."""
    total = sum(share for kind in kinds for share in SHARES[kind].values())
    return {
        kind: {each: share / total for each, share in shares.items()}
        for kind, shares in SHARES.items()
        if kind in kinds
    }


def _busy(rng: Random, span: Span) -> list[float]:
    """Weights of the hours of a span: no two alike, and nights quieter than days where there are several."""
    hours = max(round((span.end_s - span.start_s) / HOUR_S), 1)
    seasonal = hours > _DAY_HOURS
    weights = []
    for hour in range(hours):
        time_s = span.start_s + (hour + 0.5) * HOUR_S
        sun = 0.5 - 0.5 * math.cos(2.0 * math.pi * (time_s % DAY_S) / DAY_S)
        weights.append(rng.lognormvariate(0.0, 0.2) * (_NIGHT + (1.0 - _NIGHT) * sun if seasonal else 1.0))
    return weights
