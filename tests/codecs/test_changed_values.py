"""Well-formed records of gateways with any value anywhere: each entry is an event or refused, never an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codecs.test_fixtures import CASES, case_id
from tests.codecs.test_hostile_input import survives

GATEWAYS = [path for path in CASES if path.parent.name in {"azure", "bedrock", "litellm"}]

Slot = tuple[dict[str, object] | list[object], str | int]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "content", "name"]), inner),
    max_leaves=6,
)


def slots(node: object) -> list[Slot]:
    """Return every place in a parsed record that holds a value."""
    if isinstance(node, dict):
        return [slot for key, child in node.items() for slot in [(node, key), *slots(child)]]
    if isinstance(node, list):
        return [slot for index, child in enumerate(node) for slot in [(node, index), *slots(child)]]
    return []


@pytest.mark.parametrize("path", GATEWAYS, ids=case_id)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_record_with_other_values_is_survived(path: Path, data: st.DataObject) -> None:
    text = path.read_text("utf-8")
    lines = [text] if path.suffix == ".json" else [line for line in text.splitlines() if line.endswith("}")]
    record = json.loads(data.draw(st.sampled_from(lines)))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(slots(record) or [([0], 0)]))
        holder[key] = data.draw(values)  # type: ignore[index]  # a slot's key fits its holder
    survives(path.parent.name, json.dumps(record).encode())
