"""What a detector is: a struct whose fields are its whole state, with one method.

A detector's file in `catalog/` holds one subclass of `Detector` and nothing registers it:
`bank.discover` finds it, its id is the file name. State is the struct's own fields, so a snapshot is
their encoding and forgetting to save one is not possible. River objects are fields like any other.
"""

from __future__ import annotations

import functools
import operator
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, get_origin

import msgspec
import numpy as np

from detectors.types import Detection, Observation, Severity

DEPLOYMENT = "deployment"
PRINCIPAL = "principal"
COHORT = "cohort"
"""Scope of a finding about principals that act as one; what finds them is a detector of a deployment."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a responder needs to know of a detector before trusting it.

    `version` rises when the same stream may give other detections. `requires` names the observation fields
    all of which it needs, `any_of` those of which one is enough; without them it is blind. `warm_up` is how
    many usable observations of a subject it needs before it can say anything (more where they are of several
    models, or where it waits for days to pass). `severity` is the highest it gives. `atlas` and `owasp` are ids in
    the pinned framework data. `score_unit` says what score and threshold count. `runbook` are the responder's steps
    in order. `rebaselined` says that it compares how a deployment answers with how it did: after an approved change it
    begins afresh.
    """

    version: int
    title: str
    scope: str
    severity: Severity
    sees: str
    requires: tuple[str, ...]
    any_of: tuple[str, ...] = ()
    warm_up: int
    score_unit: str
    atlas: tuple[str, ...]
    owasp: tuple[str, ...]
    causes: tuple[str, ...]
    false_positives: tuple[str, ...]
    known_gaps: tuple[str, ...]
    runbook: tuple[str, ...]
    references: tuple[str, ...]
    rebaselined: bool = False

    @property
    def notices(self) -> bool:
        """Whether it is told what somebody says of a deployment (`Notice`), beside the calls."""
        return "notice" in self.requires or "notice" in self.any_of

    def can_use(self, observation: Observation) -> bool:
        """Whether an observation has the fields that are needed."""
        if self.requires and None in _fields(self.requires)(observation):
            return False
        return not self.any_of or any(each is not None for each in _fields(self.any_of)(observation))


@functools.cache
def _fields(names: tuple[str, ...]) -> Callable[[Observation], tuple[Any, ...]]:
    """What gives the fields `names` of an observation: in a worker that is asked of each while it warms up."""
    found: Callable[[Observation], Any] = operator.attrgetter(*names)
    return found if len(names) > 1 else lambda observation: (found(observation),)


class Detector(msgspec.Struct, kw_only=True):
    """Stateful and pure: the same observations in the same order give the same detections.

    `share` is how many false alarms per day this instance may cost (see `alarms`). A detector never
    sees a clock: time is `observation.time_s`, which may repeat, run backwards or be absurd. A field
    that is `None` is unknown and must not be learned from. An observation costs microseconds and the state
    is bounded whatever is sent.

    It has `update` or `learn`, whichever is told more easily; each is made of the other.

    `heard` counts usable observations while it warms up; whoever feeds it does that (`hear`).
    """

    metadata: ClassVar[Metadata]

    share: float
    heard: int = 0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one observation and say what it gave away, if anything."""
        if type(self).learn is Detector.learn:
            raise NotImplementedError
        said = [*self.learn((observation,))]
        return said[0] if said else None

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn the observations of a message, in order; each detection comes before the next observation is taken.

        How a stream is cut into messages makes no difference: whatever is kept in local names between two
        observations is state again when the last one, or one that gave something away, is learned.
        """
        return filter(None, map(self.update, observations))

    @property
    def reading(self) -> tuple[float, float] | None:
        """Score and threshold as they stand, to be drawn over time; `None` where it keeps no running score."""
        return None

    @property
    def lacks(self) -> int:
        """How many usable observations it lacks before it can say anything: 0 when it is ready, else it warms up."""
        lacks = self.metadata.warm_up - self.heard
        return lacks if lacks > 0 else 0  # noqa: FURB136 - a call of `max` takes several times as long

    def hear(self, usable: int) -> None:
        """Count usable observations that are about to be learned toward the warm-up, up to its end."""
        if usable:
            self.heard = min(self.heard + usable, max(self.metadata.warm_up, self.heard))


def dump(detector: Detector) -> bytes:
    """A detector's state as msgpack; arrays and River objects travel inside as extension bytes."""
    return _encoder.encode(detector)


def load(kind: type[Detector], state: bytes) -> Detector:
    """The detector that `dump` wrote.

    River objects are unpickled: call it only on bytes whose signature was verified. Raises
    `msgspec.MsgspecError` when the state is not of this kind.
    """
    return msgspec.msgpack.decode(state, type=kind, dec_hook=_decode_foreign)


def _encode_foreign(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.tobytes()]
    return pickle.dumps(value, protocol=5)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)


def _decode_foreign(kind: type, value: Any) -> Any:
    if kind is np.ndarray or get_origin(kind) is np.ndarray:
        dtype, shape, data = value
        return np.frombuffer(data, dtype=dtype).reshape(shape).copy()
    try:
        return pickle.loads(value)  # noqa: S301 - the snapshot envelope's signature was verified before
    except Exception as error:
        raise ValueError(f"the {kind.__name__} inside does not load") from error
