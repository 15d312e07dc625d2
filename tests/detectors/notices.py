"""Calls with components and notices among them, for the tests of what is told of a deployment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from detectors.base import Detector
from detectors.types import APPROVED, REJECTED, REPORT, Components, Detection, Notice, Observation

NAMES = Components.__struct_fields__
START_S = 1_763_000_000.0
SHARE = 0.03


def call(number: int, gap_s: float = 1.0, **fields: Any) -> Observation:
    """Call `number` of a deployment; digests by the names of components, other fields by theirs."""
    digests = {name: fields.pop(name) for name in NAMES if name in fields}
    return Observation(
        event_id=str(number),
        deployment="d",
        components=tuple(digests.get(name) for name in NAMES) if digests else None,
        **{"time_s": START_S + gap_s * number, "model": "model", **fields},
    )


def calls(count: int, first: int = 0, **fields: Any) -> list[Observation]:
    """Calls one second apart that are alike."""
    return [call(first + number, **fields) for number in range(count)]


def told(number: int, notice: Notice, **digests: Any) -> Observation:
    """A notice at the time of call `number`; `digests` are those a report found."""
    return call(number, notice=notice, model=None, **digests)


def approval(number: int, component: str, version: str, **fields: Any) -> Observation:
    return told(number, Notice(kind=APPROVED, component=component, version=version, reference="CHG-7", **fields))


def rejection(number: int, component: str, version: str) -> Observation:
    return told(number, Notice(kind=REJECTED, component=component, version=version))


def report(number: int, place: str = "model /m", **fields: Any) -> Observation:
    """A report of one place: digests by the names of components, `risks` and `tools` as a notice has them."""
    digests = {name: fields.pop(name) for name in NAMES if name in fields}
    return told(number, Notice(kind=REPORT, reference=place, **fields), **digests)


def said(detector: Detector, observations: Iterable[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


def rows(detection: Detection) -> dict[str, tuple[object, object]]:
    """Observed and expected by the name of the evidence."""
    return {row.name: (row.observed, row.expected) for row in detection.evidence}
