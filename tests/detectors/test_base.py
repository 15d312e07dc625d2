from __future__ import annotations

import pickle
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from river import drift, stats

from detectors.base import Detector, Metadata, dump, load
from detectors.types import Detection, Observation
from tests.detectors.test_conformance import METADATA


class Holder(Detector):
    """Has a field of every sort."""

    metadata: ClassVar[Metadata] = METADATA
    count: int = 0
    times_s: list[float] = msgspec.field(default_factory=list)
    grid: np.ndarray[Any, Any] = msgspec.field(default_factory=lambda: np.zeros((0, 3)))
    plain: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(0, dtype=np.uint8))
    seen: stats.Mean = msgspec.field(default_factory=stats.Mean)
    drift: drift.ADWIN = msgspec.field(default_factory=drift.ADWIN)

    def update(self, observation: Observation) -> Detection | None:
        self.count += 1
        self.seen.update(observation.time_s)
        self.drift.update(observation.time_s)
        return None


class Other(Detector):
    """Has a field of the same name and another type."""

    metadata: ClassVar[Metadata] = METADATA
    count: list[str] = msgspec.field(default_factory=list)


class Missing(Detector):
    """Has a field that must be given."""

    metadata: ClassVar[Metadata] = METADATA
    needed: int


def holder() -> Holder:
    made = Holder(share=0.5, grid=np.arange(6.0).reshape(2, 3), plain=np.array([1, 255], dtype=np.uint8))
    for value in (1.0, 2.0, 6.0):
        made.update(Observation(event_id="e", time_s=value, deployment="d"))
    return made


@pytest.mark.parametrize("name", ["grid", "plain"])
def test_an_array_comes_back_with_its_shape_and_type_and_can_be_written(name: str) -> None:
    original = getattr(holder(), name)
    array = getattr(load(Holder, dump(holder())), name)
    assert array.dtype == original.dtype and array.shape == original.shape
    np.testing.assert_array_equal(array, original)
    array[0] = 7


def test_an_empty_array_keeps_its_shape() -> None:
    restored = load(Holder, dump(Holder(share=0.1)))
    assert isinstance(restored, Holder)
    assert restored.grid.shape == (0, 3)


def test_a_river_object_goes_on_where_it_was() -> None:
    original, restored = holder(), load(Holder, dump(holder()))
    assert isinstance(restored, Holder)
    assert restored.seen.get() == 3.0
    for each in (original, restored):
        each.update(Observation(event_id="e", time_s=11.0, deployment="d"))
    assert restored.seen.get() == original.seen.get() == 5.0
    assert restored.drift.estimation == original.drift.estimation
    assert (restored.count, restored.share) == (4, 0.5)


def test_a_dump_shares_nothing_with_the_detector() -> None:
    original = holder()
    state = dump(original)
    original.grid[0, 0] = 99.0
    original.seen.update(1e9)
    restored = load(Holder, state)
    assert isinstance(restored, Holder)
    assert restored.grid[0, 0] == 0.0 and restored.seen.get() == 3.0


@pytest.mark.parametrize("kind", [Other, Missing])
def test_a_state_of_another_kind_is_refused(kind: type[Detector]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        load(kind, dump(holder()))


def altered(**fields: object) -> bytes:
    state = msgspec.msgpack.decode(dump(holder()))
    return msgspec.msgpack.encode({**state, **fields})


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(dump(holder())[:-9], id="a part"),
        pytest.param(altered(seen=pickle.dumps("a text")), id="a pickle of something else"),
        pytest.param(altered(seen=b"cdetectors.base\nGone\n."), id="a pickle of a class that is gone"),
        pytest.param(altered(seen=b"cdetectors.gone\nGone\n."), id="a pickle of a module that is gone"),
        pytest.param(altered(seen=b"garbage"), id="no pickle"),
        pytest.param(altered(seen=b""), id="an empty pickle"),
        pytest.param(altered(seen=3), id="a number for a river object"),
        pytest.param(altered(grid=["float64", [5, 5], b"\0" * 8]), id="an array of another size"),
        pytest.param(altered(grid=["object", [1], b"\0" * 8]), id="an array of pointers"),
        pytest.param(altered(grid=["no type", [1], b"\0" * 8]), id="an array of no type"),
        pytest.param(altered(grid=[1]), id="an array without parts"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_one_kind_of_error(state: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        load(Holder, state)


def test_a_detector_must_say_what_it_does_with_an_observation() -> None:
    with pytest.raises(NotImplementedError):
        Missing(share=1.0, needed=1).update(Observation(event_id="e", time_s=0.0, deployment="d"))
