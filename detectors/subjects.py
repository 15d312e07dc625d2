"""One subject of a bank while it is live: its detectors, when each of them spoke last, what a message has of it."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence

from detectors.base import Detector
from detectors.types import Detection, Observation, Severity

COOL_DOWN_S = 3_600.0
"""One detector speaks about one subject once an hour of event time, unless it gets more severe: it prevents a
page per request."""

_MAX_FIRED = 256
"""Cool-downs of one subject: a detector of cohorts has one for each, one that says each fact once has one for each."""


_getter = functools.cache(operator.attrgetter)


class Common:
    """What observations have in common: what is asked once for all of them need not be asked of each."""

    __slots__ = ("_known", "_observations", "_usable")

    def __init__(self, observations: Sequence[Observation]) -> None:
        """They may not change any more."""
        self._observations = observations
        self._known: dict[str, int] = {}
        self._usable: dict[type[Detector], bool | None] = {}

    def known(self, field: str) -> int:
        """How many of them have a field."""
        count = self._known.get(field)
        if count is None:
            values = [*map(_getter(field), self._observations)]
            count = self._known[field] = len(values) - values.count(None)
        return count

    def usable(self, kind: type[Detector]) -> bool | None:
        """Whether a kind of detector can use all of them, or none; `None` where it differs, or may."""
        if kind not in self._usable:
            every, metadata = len(self._observations), kind.metadata
            least = min(map(self.known, metadata.requires), default=every)
            most = max(map(self.known, metadata.any_of), default=every)
            self._usable[kind] = True if least == most == every else None if least and most else False
        return self._usable[kind]


class Stretch:
    """Observations of one subject in a message, and their places in it; `shared` is what they have with others."""

    __slots__ = ("_own", "observations", "places", "shared")

    def __init__(self, places: list[int], observations: list[Observation], shared: Common) -> None:
        """Neither list may change once anything was asked."""
        self.places = places
        self.observations = observations
        self.shared = shared
        self._own: Common | None = None

    @property
    def has_notices(self) -> bool:
        """Whether any of them is no call."""
        return self.shared.known("notice") > 0 and any(map(_getter("notice"), self.observations))

    def usable(self, kind: type[Detector]) -> int:
        """How many of them have what a kind of detector needs."""
        all_or_none = self.shared.usable(kind)
        if all_or_none is None:
            if self._own is None:
                self._own = Common(self.observations)
            all_or_none = self._own.usable(kind)
            if all_or_none is None:
                return sum(map(kind.metadata.can_use, self.observations))
        return len(self.observations) if all_or_none else 0

    def only(self, wanted: Iterable[bool]) -> Stretch:
        """Those that are wanted; `wanted` is as long as this."""
        mask = list(wanted)
        places, observations = itertools.compress(self.places, mask), itertools.compress(self.observations, mask)
        return Stretch([*places], [*observations], self.shared)

    def after(self, count: int) -> Stretch:
        """All but the first `count`."""
        return Stretch(self.places[count:], self.observations[count:], self.shared)


class Subject:
    """One subject's live detectors; `warming` are the ids of those that lack observations."""

    __slots__ = ("detectors", "fired", "next_offset", "partition", "warming")

    def __init__(
        self, partition: int, detectors: dict[str, Detector], fired: dict[str, tuple[float, int]], offset: int
    ) -> None:
        """What was saved of a subject, or nothing; `offset` is the first message of `partition` not yet learned."""
        self.partition = partition
        self.detectors = detectors
        self.fired = fired
        self.next_offset = offset
        self.warming = [name for name, detector in detectors.items() if detector.lacks]

    def settle(self) -> None:
        """Find out who is ready by now."""
        if self.warming:
            self.warming = [name for name in self.warming if self.detectors[name].lacks]

    def replace(self, detector_id: str, fresh: Detector) -> None:
        """Put a fresh detector in the place of one that broke, or whose past is of no use any more."""
        self.detectors[detector_id] = fresh
        self.warming = [name for name, detector in self.detectors.items() if detector.lacks]

    def rest(self, detector_id: str) -> None:
        """Forget when a detector that begins afresh spoke last."""
        for spoken in [each for each in self.fired if each.partition(" ")[0] == detector_id]:
            del self.fired[spoken]

    def speaks(self, detector_id: str, time_s: float, severity: Severity) -> bool:
        """Whether a detection is to be said now; if so, it is the last one said."""
        last_s, last_rank = self.fired.get(detector_id, (math.inf, 0))
        if abs(time_s - last_s) < COOL_DOWN_S and severity.rank <= last_rank:
            return False
        self.fired[detector_id] = (time_s, severity.rank)
        if len(self.fired) > _MAX_FIRED:
            del self.fired[next(iter(self.fired))]
        return True


class Taken:
    """What messages have of a subject, and the offset of the last of them that has something."""

    __slots__ = ("offset", "stretch", "subject")

    def __init__(self, subject: Subject, place: int, offset: int, observation: Observation, shared: Common) -> None:
        """One observation; `place` is where it is among all that are learned together, which have `shared`."""
        self.subject = subject
        self.offset = offset
        self.stretch = Stretch([place], [observation], shared)

    def add(self, place: int, offset: int, observation: Observation) -> None:
        """One more observation."""
        self.offset = offset
        self.stretch.places.append(place)
        self.stretch.observations.append(observation)


def warmed(detector: Detector, learned: Stretch, waiting: Iterator[Observation]) -> Iterator[Detection]:
    """Learn observations, all of which are `waiting`, and count the calls among them toward the warm-up."""
    if learned.has_notices:
        # What is said of a deployment may end a warm-up, and with it the count.
        return _one_by_one(detector, waiting)
    detector.hear(learned.usable(type(detector)))
    return detector.learn(waiting)


def _one_by_one(detector: Detector, observations: Iterator[Observation]) -> Iterator[Detection]:
    warming = detector.lacks > 0
    for observation in observations:
        if warming and observation.notice is None:
            detector.hear(int(detector.metadata.can_use(observation)))
            warming = detector.lacks > 0
        yield from detector.learn((observation,))
