"""What a scenario is: seeded traffic in which something happens, and what must come of it, written down before.

A scenario is a module of `streams.scenarios` and nothing registers it: `discover` finds it, its name is the file
name, the first line of its docstring says what happens. It has

- ``EXPECTED``: what must come of it (`Expected`);
- ``lines(seed, end_s)``: events and notices in order of time until `end_s`, one JSON line each, with its end.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import msgspec

from detectors.base import DEPLOYMENT
from detectors.types import Severity
from streams import scenarios
from streams.cases.incidents import SERVING, Incident


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The incident that must come of a scenario, and how severe any other may be.

    `deployment` is the one it is about, "" where there must be none. The likeliest cause must be one of `causes`,
    `detectors` must be among the evidence. It begins `began_s` seconds before the end of the traffic; the incident must
    open after that, and at the latest `opened_s` before the end.
    """

    deployment: str = ""
    scope: str = DEPLOYMENT
    component: str = SERVING
    causes: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    least: Severity = Severity.MEDIUM
    most: Severity = Severity.CRITICAL
    began_s: float = 0.0
    opened_s: float = 0.0
    others: Severity = Severity.INFO


class Scenario(msgspec.Struct, frozen=True):
    """One scenario with its name and what happens in it."""

    name: str
    title: str
    expected: Expected
    lines: Callable[[int, float], Iterator[bytes]]


class ScenarioError(Exception):
    """There is no such scenario; the message is one line for a person."""


def discover() -> dict[str, Scenario]:
    """All scenarios by name, in order of name."""
    found = {}
    for module in sorted(pkgutil.iter_modules(scenarios.__path__), key=lambda each: each.name):
        if not module.name.startswith("_"):
            found[module.name] = read(importlib.import_module(f"{scenarios.__name__}.{module.name}"))
    return found


def read(module: ModuleType) -> Scenario:
    """The scenario that a module is."""
    title = (inspect.getdoc(module) or "").partition("\n")[0].rstrip(".")
    return Scenario(module.__name__.rpartition(".")[2], title, module.EXPECTED, module.lines)


def named(name: str) -> Scenario:
    """The scenario of a name. Raises `ScenarioError`."""
    known = discover()
    if name not in known:
        raise ScenarioError(f"--scenario: {name[:64]!r} is not accepted; one of {', '.join(known)}, or list")
    return known[name]


def described(expected: Expected) -> str:
    """What is expected, in a line."""
    if not expected.deployment:
        return f"nothing above {expected.others}"
    return (
        f"an incident about {expected.deployment} ({expected.component}), {' or '.join(expected.causes)}, "
        f"at least {expected.least}, with {', '.join(expected.detectors)} among the evidence"
    )


def shortfalls(expected: Expected, incidents: Sequence[Incident], end_s: float) -> list[str]:
    """What is not as expected, a sentence each; none where all is."""
    ours = [each for each in incidents if expected.deployment and _is_meant(expected, each)]
    others = [each for each in incidents if each not in ours]
    found = [
        f"somebody was told ({each.told.severity}) of {each.deployment}: {each.summary}"
        for each in others
        if each.told is not None and each.told.severity.rank > expected.others.rank
    ]
    found += [
        f"there is an incident that should not be: {each.severity}, {each.deployment}, {each.summary}"
        for each in others
        if each.severity.rank > expected.others.rank
    ]
    if not expected.deployment:
        return found
    if not ours:
        return [f"there is no incident about {expected.deployment} ({expected.component})", *found]
    worst = max(ours, key=lambda each: (each.severity.rank, each.count))
    found += _of(expected, worst, end_s)
    found += [f"there is another incident of the kind: {each.summary}" for each in ours if each is not worst]
    return found


def _of(expected: Expected, incident: Incident, end_s: float) -> Iterator[str]:
    likeliest = incident.causes[0].name if incident.causes else "none"
    if likeliest not in expected.causes:
        yield f"the likeliest cause is {likeliest}, expected {' or '.join(expected.causes)}"
    if not expected.least.rank <= incident.severity.rank <= expected.most.rank:
        yield f"it is {incident.severity}, expected {expected.least} to {expected.most}"
    missing = [each for each in expected.detectors if each not in incident.detectors]
    if missing:
        yield f"no evidence of {', '.join(missing)}; there is of {', '.join(incident.detectors)}"
    if incident.first_s < end_s - expected.began_s:
        yield f"it opened {end_s - expected.began_s - incident.first_s:.0f} s before anything happened"
    if incident.first_s > end_s - expected.opened_s:
        yield f"it opened {incident.first_s - end_s + expected.opened_s:.0f} s too late"


def _is_meant(expected: Expected, incident: Incident) -> bool:
    return (incident.deployment, incident.scope, incident.component) == (
        expected.deployment,
        expected.scope,
        expected.component,
    )
