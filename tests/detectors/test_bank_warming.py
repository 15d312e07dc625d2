"""A detector that is not ready says so, and how many observations it lacks."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.base import Detector, Metadata
from detectors.types import Detection, Observation
from tests.detectors.test_conformance import METADATA
from tests.detectors.toys import bank, call


class Slow(Detector):
    """Needs ten calls with a latency, or as many with a time to the first token."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(METADATA, warm_up=10)

    def update(self, observation: Observation) -> Detection | None:
        if observation.model == "broken":
            raise ValueError
        return None


class Either(Slow):
    """Can use any of two fields."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(
        METADATA, warm_up=3, requires=(), any_of=("ttft_s", "refused")
    )


def timed(**fields: object) -> Observation:
    return msgspec.structs.replace(call(), latency_s=1.0, **fields)


def test_a_subject_says_which_of_its_detectors_warm_up_and_what_they_lack() -> None:
    made = bank({"slow": Slow, "either": Either})
    assert made.warming("chat") == {}
    made.apply(0, 0, [timed(), timed(refused=False), timed(ttft_s=0.1)])
    assert made.warming("chat") == {"slow": 7, "either": 1}
    made.apply(0, 1, [timed(refused=True)] * 7)
    assert made.warming("chat") == {}


def test_what_lacks_a_needed_field_does_not_count() -> None:
    made = bank({"slow": Slow})
    made.apply(0, 0, [call()] * 50)
    assert made.warming("chat") == {"slow": 10}


def test_the_count_outlives_a_restart() -> None:
    first, second = bank({"slow": Slow}), bank({"slow": Slow})
    first.apply(0, 0, [timed()] * 4)
    ((subject, partition, _, state),) = first.take_changed()
    second.admit(subject, partition, state)
    assert second.warming("chat") == {"slow": 6}


def test_a_detector_that_broke_warms_up_again() -> None:
    made = bank({"slow": Slow})
    made.apply(0, 0, [timed()] * 20)
    assert made.warming("chat") == {}
    made.apply(0, 1, [timed(model="broken"), timed()])
    assert made.warming("chat") == {"slow": 9}


def test_one_of_several_fields_is_enough_where_one_is() -> None:
    assert Either.metadata.can_use(timed(ttft_s=0.1))
    assert Either.metadata.can_use(timed(refused=False))
    assert not Either.metadata.can_use(timed())


def test_calls_that_are_learned_together_count_each_for_its_own_subject() -> None:
    made = bank({"slow": Slow, "either": Either})
    rich = [timed(refused=False)] * 2
    poor = [msgspec.structs.replace(call(), deployment="poor")] * 5
    mixed = [msgspec.structs.replace(each, deployment="mixed") for each in (timed(), timed(ttft_s=0.1), call())]
    made.apply(0, 0, [*rich, *poor, *mixed])
    assert made.warming("chat") == {"slow": 8, "either": 1}
    assert made.warming("poor") == {"slow": 10, "either": 3}
    assert made.warming("mixed") == {"slow": 8, "either": 2}
