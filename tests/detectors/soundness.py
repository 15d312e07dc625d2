"""What a detection and a state must be, whoever made them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from detectors.base import Detector
from detectors.types import Detection


def assert_well_formed(detection: Detection) -> None:
    """A detection that a responder can use and a store can keep."""
    assert detection.summary.strip() and detection.summary.isprintable(), "summary is empty or not one printable line"
    assert len(detection.summary) <= 500, "summary is longer than a responder reads"
    for name in ("score", "threshold", "onset_s"):
        assert math.isfinite(getattr(detection, name)), f"{name} is not finite"
    assert detection.score >= detection.threshold, f"score {detection.score} is below {detection.threshold}"
    assert 1 <= len(detection.evidence) <= 8, "evidence must have 1 to 8 rows"
    for row in detection.evidence:
        for value in (row.observed, row.expected):
            assert not isinstance(value, float) or math.isfinite(value), f"evidence {row.name!r} is not finite"


def assert_finite(value: Any, path: str) -> None:
    """No NaN and no infinity anywhere in a state; large integers are fine."""
    if isinstance(value, float):
        assert math.isfinite(value), f"{path} is {value}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            assert_finite(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            assert_finite(inner, f"{path}[{index}]")


def visible(value: Any) -> Any:
    """Arrays as lists, River objects as their attributes."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    public = (getattr(value, name) for name in dir(value) if not name.startswith("_"))
    return [inner for inner in public if isinstance(inner, float)]


def state_of(detector: Detector) -> Any:
    """A state to compare: River objects by their attributes, since their pickles may differ in memo order."""
    return repr(msgspec.to_builtins(detector, enc_hook=visible))
