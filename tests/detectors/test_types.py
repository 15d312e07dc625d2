from __future__ import annotations

import inspect
import re

import msgspec
import pytest

from detectors import types
from detectors.types import InferenceEvent, Observation, Severity

STRUCTS = [kind for _, kind in inspect.getmembers(types, inspect.isclass) if issubclass(kind, msgspec.Struct)]
STRUCT_NAMES = [kind.__name__ for kind in STRUCTS]


def undocumented(kind: type[msgspec.Struct]) -> set[str]:
    """The fields that a docstring does not name in backticks."""
    return set(kind.__struct_fields__) - set(re.findall(r"`(\w+)`", kind.__doc__ or ""))


def test_severities_rank_from_info_to_critical() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3, 4]
    assert [str(severity) for severity in sorted(Severity, key=lambda each: each.rank)] == [
        "info",
        "low",
        "medium",
        "high",
        "critical",
    ]


def test_every_field_of_an_event_is_explained() -> None:
    assert undocumented(InferenceEvent) == set()


def test_every_field_of_an_observation_is_explained_there_or_at_the_event() -> None:
    assert undocumented(Observation) - set(InferenceEvent.__struct_fields__) == set()
    assert "means the same" in (Observation.__doc__ or "")


def test_a_field_that_nobody_explained_is_found() -> None:
    class Mute(msgspec.Struct):
        """Says `one` thing."""

        one: int
        two: int

    assert undocumented(Mute) == {"two"}


@pytest.mark.parametrize("kind", STRUCTS, ids=STRUCT_NAMES)
def test_values_are_frozen(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize("kind", STRUCTS, ids=STRUCT_NAMES)
def test_fields_that_may_be_unknown_are_unknown_unless_said(kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        if not field.required and "None" in str(field.type):
            assert field.default is None, field.name


def test_an_observation_survives_the_wire() -> None:
    observation = Observation(event_id="e", time_s=1.0, deployment="d", style=(0.5,) * 16, prompt_hash=2**64 - 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation) == observation


def test_new_fields_of_an_observation_go_last_or_old_messages_change_their_meaning() -> None:
    assert Observation.__struct_fields__[:3] == ("event_id", "time_s", "deployment")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(["e", 1.0, "d"]), type=Observation) == Observation(
        event_id="e", time_s=1.0, deployment="d"
    )
