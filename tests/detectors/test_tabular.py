from __future__ import annotations

from typing import Any

import pytest

from detectors.features import observe
from detectors.tabular import MAX_COLUMNS, MAX_NUMBER, Tables
from detectors.types import InferenceEvent

KEY = b"0123456789abcdef"


def row(features: dict[str, Any], key: bytes = KEY) -> tuple[Any, ...]:
    made = Tables(key).row(features)
    assert made is not None
    return made[0]


def test_values_are_in_the_order_of_sorted_names() -> None:
    assert row({"b": 2.0, "a": 1.0, "c": True}) == (1.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(float("-inf"), None, id="infinite"),
        pytest.param(None, None, id="missing"),
        pytest.param(1e300, MAX_NUMBER, id="absurd"),
        pytest.param(-(10**400), -MAX_NUMBER, id="an integer that is no float"),
    ],
)
def test_a_number_is_finite_and_within_its_domain(sent: Any, kept: float | None) -> None:
    assert row({"a": sent}) == (kept,)


def test_a_category_is_a_keyed_hash_and_never_its_text() -> None:
    (value,) = row({"a": "Alice"})
    assert isinstance(value, int)
    assert row({"a": "Alice"}) == (value,)
    assert row({"a": "Bob"}) != (value,)
    assert row({"a": "Alice"}, key=b"another key of 16") != (value,)


def test_the_schema_depends_on_names_and_not_on_their_order_or_values() -> None:
    tables = Tables(KEY)
    schemas = [
        made[1]
        for made in (tables.row({"a": 1.0, "b": 2.0}), tables.row({"b": "x", "a": None}), tables.row({"a": 1.0}))
        if made is not None
    ]
    assert schemas[0] == schemas[1] != schemas[2]


def test_a_thousand_columns_are_cut() -> None:
    assert len(row({str(index): 1.0 for index in range(1_000)})) == MAX_COLUMNS


def test_an_observation_holds_the_row_of_its_event() -> None:
    events = [
        InferenceEvent(deployment="d", event_id="1", features={"b": "x", "a": 0.5}),
        InferenceEvent(deployment="d", event_id="2", features={}),
        InferenceEvent(deployment="d", event_id="3"),
    ]
    first, second, third = observe(events, KEY)
    assert first.features is not None
    assert first.features[0] == 0.5
    assert isinstance(first.features[1], int)
    assert isinstance(first.features_schema, int)
    assert (second.features, second.features_schema) == (third.features, third.features_schema) == (None, None)
