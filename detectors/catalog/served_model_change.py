"""A served model or a component that this deployment was never seen to serve a requested model with.

Only equality is looked at. Values seen while a pair of (requested model, component) is learned are
legitimate, several of them too (a router, a canary rollout); later a value that was never seen is said
once, and values already seen may take turns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.types import MAX_TIME_S, Components, Detection, Evidence, Observation, Severity

_WARM_UP = 200
_WARM_UP_QUIET = 20
_WARM_UP_S = 86_400.0
"""A slow deployment has learned a value's peers after a day and 20 observations, whichever way it counts."""

_MAX_MODELS = 16
_MAX_VALUES = 12
_MAX_STORED = 384
"""Values in all: the state of one deployment stays under 64 KiB however many names are sent."""

_VOLATILE = 8
"""A component with so many values in its warm-up changes by nature and is not judged."""

_CHATTER = 6
_QUIET_COUNT = 10_000
"""After so many new values of one component, the next is said only when none was for so many observations."""

_MODEL_PATIENCE = 10_000
_MAX_CHARS = 96

_SERVED = "served_model"
_DIGESTS = Components.__struct_fields__
_NO_NEWS: tuple[tuple[str, str, str, int], ...] = ()
_HIGH = frozenset((_SERVED, "weights", "adapter", "guardrail"))


class Seen(msgspec.Struct, kw_only=True):
    """The values seen of one component for one requested model.

    `values` maps a value to the observation it was last seen at, `current` is the last one.
    """

    since_s: float
    values: dict[str, int] = msgspec.field(default_factory=dict)
    current: str = ""
    count: int = 0
    learned: bool = False
    volatile: bool = False
    said: int = 0
    said_at: int = 0


class Route(msgspec.Struct, kw_only=True):
    """One requested model: what it was served with, by component."""

    last_seen: int
    components: dict[str, Seen] = msgspec.field(default_factory=dict)


class ServedModelChange(Detector):
    """Says a value once, when it is new for the deployment, requested model and component."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Served model or component changed",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A served model name or a component digest never seen before for the same requested model.",
        requires=(),
        any_of=("served_model", "components"),
        warm_up=_WARM_UP_QUIET,
        score_unit="new values",
        atlas=("AML.T0010.003", "AML.T0109", "AML.T0074", "AML.T0018"),
        owasp=("LLM03:2025", "LLM04:2025"),
        causes=(
            "A vendor moved an alias to another model version.",
            "A rollout of new weights, adapter, template, image or packages, approved or not.",
            "A compromised registry, gateway or pipeline serves another artifact under the old name.",
            "A gateway fell back to another model because the first was down or out of quota.",
        ),
        false_positives=(
            "An approved rollout that was not announced to this installation.",
            "A fallback route that is used rarely and was not seen during the warm-up.",
            "A source that began to write the same model's name in another way.",
        ),
        known_gaps=(
            "It believes what the serving side reports; a swap that keeps all names is for output_drift.",
            "A change in place during the warm-up, or a return to a value seen earlier, is not said.",
            "It does not read approvals: an approved change is said like any other.",
            "A component with 8 or more values during its warm-up is not judged.",
            "At most 16 requested models per deployment and 12 values per component are remembered.",
        ),
        runbook=(
            "Find who rolled out what at the onset: deployment log, registry events, vendor's change notes.",
            "Verify the new digest against the registry and its signature, from another machine.",
            "Ask the deployment known prompts and compare with stored answers; look for output_drift since the onset.",
            "If nobody owns the change, route traffic back to the old version and keep the new artifact for analysis.",
        ),
        references=(
            "MITRE ATLAS, AI Supply Chain Compromise (2021)",
            "SLSA, Supply-chain Levels for Software Artifacts 1.0 (2023)",
            "Chen, Zaharia, Zou, How is ChatGPT's behavior changing over time? (2023)",
        ),
    )

    count: int = 0
    stored: int = 0
    now_s: float = 0.0
    routes: dict[str, Route] = msgspec.field(default_factory=dict)

    def update(self, observation: Observation) -> Detection | None:
        """Compare what served one call with what served such calls before."""
        components = observation.components
        if observation.served_model is None and components is None:
            return None
        self.count += 1
        time_s = observation.time_s
        if 0.0 <= time_s <= MAX_TIME_S:
            self.now_s = time_s
        asked = observation.model or ""
        # What is known is clean: only what is not has to be made so.
        route = self._route(asked if asked in self.routes else _clean(asked))
        if route is None:
            return None
        changes: list[tuple[str, str, str, int]] = []
        if observation.served_model is not None:
            changes += self._compare(route, _SERVED, observation.served_model)
        if components is not None and components.count(None) < len(components):
            for name, value in zip(_DIGESTS, components, strict=False):
                if value is not None:
                    changes += self._compare(route, name, value)
        return self._detection(observation.model, changes) if changes else None

    def _route(self, model: str) -> Route | None:
        """What is known of a requested model, or `None` while there is no room for one more."""
        route = self.routes.get(model)
        if route is None:
            if len(self.routes) >= _MAX_MODELS:
                idle = min(self.routes, key=lambda name: self.routes[name].last_seen)
                if self.count - self.routes[idle].last_seen < _MODEL_PATIENCE:
                    return None
                self.stored -= sum(len(seen.values) for seen in self.routes.pop(idle).components.values())
            route = self.routes[model] = Route(last_seen=self.count)
        route.last_seen = self.count
        return route

    def _compare(self, route: Route, name: str, raw: str) -> Sequence[tuple[str, str, str, int]]:
        """Learn one value: a list of one (component, new, old, sights of the component before) where it is news."""
        seen = route.components.get(name)
        if seen is None:
            seen = route.components[name] = Seen(since_s=self.now_s)
        seen.count = count = seen.count + 1
        if not seen.learned:
            slow = count > _WARM_UP_QUIET and self.now_s - seen.since_s >= _WARM_UP_S
            seen.learned = count > _WARM_UP or slow
        values = seen.values
        value = raw if raw in values else _clean(raw)
        if value in values:
            values[value] = count
            if seen.current != value:
                seen.current = value
            return _NO_NEWS
        news = []
        if not seen.learned:
            seen.volatile = len(seen.values) + 1 >= _VOLATILE
        elif not seen.volatile and (seen.said < _CHATTER or seen.count - seen.said_at >= _QUIET_COUNT):
            news.append((name, value, seen.current, seen.count - 1))
            seen.said += 1
            seen.said_at = seen.count
        self._remember(seen, value)
        return news

    def _remember(self, seen: Seen, value: str) -> None:
        """Store a value, in place of the one unseen for longest where there is no room."""
        if len(seen.values) >= _MAX_VALUES or (seen.values and self.stored >= _MAX_STORED):
            del seen.values[min(seen.values, key=seen.values.__getitem__)]
            self.stored -= 1
        seen.values[value] = seen.count
        seen.current = value
        self.stored += 1

    def _detection(self, model: str | None, changes: list[tuple[str, str, str, int]]) -> Detection:
        asked = f"{_clean(model)!r}" if model else "an unnamed model"
        served = next((change for change in changes if change[0] == _SERVED), None)
        others = ", ".join(name.replace("_", " ") for name, *_ in changes if name != _SERVED)
        parts = []
        if served is not None:
            parts.append(f"is now answered by {served[1]!r}, before by {served[2]!r}")
        if others:
            parts.append(f"is served with a new {others}")
        return Detection(
            summary=f"A request for {asked} {' and '.join(parts)}; never seen in {changes[0][3]} calls before.",
            severity=Severity.HIGH if any(name in _HIGH for name, *_ in changes) else Severity.MEDIUM,
            score=float(len(changes)),
            threshold=1.0,
            onset_s=self.now_s,
            evidence=tuple(Evidence(name=name, observed=new, expected=old) for name, new, old, _ in changes[:8]),
        )


def _clean(text: str) -> str:
    """A value fit to store and to print: printable, at most 96 characters, still distinct from others."""
    if len(text) <= _MAX_CHARS and text.isascii() and text.isprintable():
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    shown = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:64])
    return f"{shown}~{digest}"
