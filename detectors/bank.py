"""The live detectors of every subject, and how a detection becomes a finding.

A bank is fed messages in offset order. It is pure: what it remembers it hands out as bytes, and what
it has forgotten (`unknown`) it is given back (`admit`) by whoever can read a store. A subject that was
seen less than `patience` times is but a number in its partition's `Newcomers`; one of whom somebody gave notice is live
at once, since an approval may come before the first call.

A notice is no call: it goes only to the detectors that name `notice` among the fields they need, and counts toward no
warm-up. Where a detection asks for it (`Detection.rebaselines`), or a notice sets a new baseline, the detectors that
compare how the subject answers with its past (`Metadata.rebaselined`) begin afresh with that very observation.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import math
import operator
import pkgutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from detectors import catalog
from detectors.alarms import Budget
from detectors.base import COHORT, PRINCIPAL, Detector, dump, load
from detectors.newcomers import Newcomers
from detectors.subjects import Common, Stretch, Subject, Taken, warmed
from detectors.types import BASELINE, Detection, Evidence, Finding, Observation, Severity

MAX_SUBJECTS = 100_000
"""Live subjects of one bank; the least recently seen leave first, so that an attacker who opens accounts
by the million costs disk and not the worker's memory."""

DETECTOR_FAULT = "pipeline.detector_fault"
"""Who a finding is by that says that a detector broke: an attacker who can break one can blind it."""


def discover() -> dict[str, type[Detector]]:
    """All detector classes by id, in id order. The id is the file name in `catalog/`."""
    found: dict[str, type[Detector]] = {}
    for module in sorted(pkgutil.iter_modules(catalog.__path__), key=lambda each: each.name):
        if module.name.startswith("_"):
            continue
        namespace = vars(importlib.import_module(f"{catalog.__name__}.{module.name}"))
        kinds = [
            kind
            for kind in namespace.values()
            if isinstance(kind, type) and issubclass(kind, Detector) and kind.__module__.endswith(f".{module.name}")
        ]
        (found[module.name],) = kinds
    return found


def _sets_baseline(observation: Observation) -> bool:
    return observation.notice is not None and observation.notice.kind == BASELINE


class SubjectState(msgspec.Struct, frozen=True):
    """What a snapshot of one subject holds: per detector id its version and state bytes.

    `next_offset` is the first message offset not yet learned; `fired` the event time at which each detector
    last spoke, in seconds, and the rank of the severity it gave.
    """

    next_offset: int
    fired: dict[str, tuple[float, int]]
    detectors: dict[str, tuple[int, bytes]]


class Bank:
    """Detector instances by (detector id, subject) for one scope; bounded, least recently seen leave first."""

    def __init__(
        self,
        scope: str,
        budget: Budget,
        kinds: Mapping[str, type[Detector]] | None = None,
        max_subjects: int = MAX_SUBJECTS,
        patience: int = 1,
        sharers: int | None = None,
    ) -> None:
        """A bank for `scope` with all of the catalog's detectors of that scope, or those of `kinds`.

        A subject gets detectors with its observation number `patience`; those before are not learned. The budget
        is shared over all of `kinds`, those of other scopes too, or over as many `sharers` where these are but some.
        """
        kinds = discover() if kinds is None else kinds
        self.scope = scope
        self.subject_of: Callable[[Observation], str | None] = operator.attrgetter(scope)
        """The subject an observation is about; `None` when it does not say. A scope is named as its field is."""
        own = [(name, kind) for name, kind in kinds.items() if kind.metadata.scope == scope]
        # Those that begin afresh come last: by then it is known at which observations of a message they do.
        self.kinds = dict(sorted(own, key=lambda each: each[1].metadata.rebaselined))
        self._noticing = {name for name, kind in self.kinds.items() if kind.metadata.notices}
        self._share = budget.share(scope, len(kinds) if sharers is None else sharers)
        self._max_subjects = max_subjects
        self._patience = patience
        self._newcomers: dict[int, Newcomers] = {}
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._changed: set[str] = set()
        self._evicted: dict[str, tuple[int, int, bytes]] = {}

    def __len__(self) -> int:
        """How many subjects are live."""
        return len(self._subjects)

    @property
    def share(self) -> float:
        """False alarms per day that one detector may cost for one subject."""
        return self._share

    def warming(self, subject: str) -> dict[str, int]:
        """Ids of the detectors of a live subject that warm up, and how many usable observations each lacks."""
        live = self._subjects.get(subject)
        return {} if live is None else {name: live.detectors[name].lacks for name in live.warming}

    def warming_subjects(self) -> dict[str, int]:
        """How many live subjects each detector still warms up for; 0 where it is ready for all."""
        counts = dict.fromkeys(self.kinds, 0)
        for subject in self._subjects.values():
            for name in subject.warming:
                counts[name] += 1
        return counts

    @property
    def max_subjects(self) -> int:
        """How many subjects may be live after a message."""
        return self._max_subjects

    @property
    def waiting(self) -> int:
        """How many states `take_changed` would give: they are held until then."""
        return len(self._changed) + len(self._evicted)

    def unknown(self, subjects: Mapping[str, int]) -> set[str]:
        """Those of `subjects` (with their partitions) that may have a state which is not here.

        Look them up and `admit` or `begin` those that have one before `apply`; the others are new. Those that
        are live are kept from leaving before the next `max_subjects` others have come.
        """
        unknown = set()
        for subject, partition in subjects.items():
            if subject in self._subjects:
                self._subjects.move_to_end(subject)
            elif subject not in self._evicted and subject not in self.newcomers(partition):
                unknown.add(subject)
        return unknown

    def admit(self, subject: str, partition: int, state: bytes) -> list[str]:
        """Make a subject live from an authenticated `state`; the ids of detectors that start cold nevertheless.

        Those are the ones whose version has changed since. Raises `msgspec.MsgspecError` when the state is not
        one of ours.
        """
        entered, outdated = self._thaw(partition, state)
        self._subjects[subject] = entered
        self.newcomers(partition).forget(subject)
        return outdated

    def begin(self, subject: str, partition: int) -> None:
        """Make a subject live that is no newcomer but whose state is lost."""
        detectors = {name: kind(share=self._share) for name, kind in self.kinds.items()}
        self._subjects[subject] = Subject(partition, detectors, {}, 0)
        self.newcomers(partition).forget(subject)

    def newcomers(self, partition: int) -> Newcomers:
        """The newcomers of a partition."""
        return self._newcomers.setdefault(partition, Newcomers())

    def meet(self, partition: int, newcomers: Newcomers) -> None:
        """Take `newcomers`, as they were saved, for those of a partition; they are counted in place."""
        self._newcomers[partition] = newcomers

    def _enter(self, subject: str, partition: int, patience: int) -> Subject | None:
        """A subject that is not live: one that is about to leave comes back, a newcomer may get established."""
        pending = self._evicted.pop(subject, None)
        if pending is not None:
            self.admit(subject, partition, pending[-1])
            self._changed.add(subject)
        elif self.newcomers(partition).establish(subject, patience):
            self.begin(subject, partition)
        return self._subjects.get(subject)

    def _evict(self) -> None:
        while len(self._subjects) > self._max_subjects:
            oldest, gone = self._subjects.popitem(last=False)
            if oldest in self._changed:
                self._changed.remove(oldest)
                self._evicted[oldest] = (gone.partition, gone.next_offset, self._freeze(gone))

    def apply(self, partition: int, offset: int, observations: Sequence[Observation]) -> list[Finding]:
        """Learn the observations of one message; what a subject has already learned is skipped."""
        return self.apply_all(partition, [(offset, observations)])

    def apply_all(self, partition: int, messages: Iterable[tuple[int, Sequence[Observation]]]) -> list[Finding]:
        """Learn messages of one partition, offset and observations, as `apply` does one after the other.

        Each detector takes what all of them have of its subject at once: small messages cost as little as large ones.
        """
        learned = [(offset, observation) for offset, observations in messages for observation in observations]
        shared = Common([observation for _, observation in learned])
        taken: dict[str, Taken] = {}
        for place, (offset, observation) in enumerate(learned):
            name = self.subject_of(observation)
            if name is None:
                continue
            if name in taken:
                taken[name].add(place, offset, observation)
                continue
            subject = self._subjects.get(name)
            if subject is None:
                subject = self._enter(name, partition, self._patience if observation.notice is None else 1)
            if subject is not None and offset >= subject.next_offset:
                taken[name] = Taken(subject, place, offset, observation, shared)
        found: list[tuple[int, Finding]] = []
        for name, each in taken.items():
            subject = each.subject
            self._learn(name, subject, each.stretch, found)
            subject.settle()
            subject.next_offset = each.offset + 1
            self._changed.add(name)
            self._subjects.move_to_end(name)
        # Not before: a subject that leaves in the middle of a message takes the wrong next offset with it.
        self._evict()
        return [finding for _, finding in sorted(found, key=operator.itemgetter(0))]

    def _learn(self, name: str, subject: Subject, learned: Stretch, found: list[tuple[int, Finding]]) -> None:
        """Observations of one message to all detectors of their subject.

        One detector after the other, each over all of them: what it works with stays in the processor's caches, which
        is twice as fast as one observation after the other.
        """
        calls = learned
        afresh: list[int] = []
        if learned.has_notices:
            calls = learned.only(observation.notice is None for observation in learned.observations)
            afresh = learned.only(_sets_baseline(observation) for observation in learned.observations).places
        for detector_id in subject.detectors:
            meant = learned if detector_id in self._noticing else calls
            if afresh and self.kinds[detector_id].metadata.rebaselined:
                self._feed_afresh(detector_id, name, subject, meant, sorted(set(afresh)), found)
            elif meant.places:
                self._feed(detector_id, name, subject, meant, found, afresh)

    def _feed_afresh(
        self,
        detector_id: str,
        name: str,
        subject: Subject,
        learned: Stretch,
        afresh: list[int],
        found: list[tuple[int, Finding]],
    ) -> None:
        """The observations of a message in stretches: before each but the first, one that was fresh takes its place."""
        for start, end in itertools.pairwise((-1, *afresh, math.inf)):
            if start >= 0:
                subject.replace(detector_id, self.kinds[detector_id](share=self._share))
                subject.rest(detector_id)
            stretch = learned.only([start <= at < end for at in learned.places])
            self._feed(detector_id, name, subject, stretch, found, [])

    def _feed(
        self,
        detector_id: str,
        name: str,
        subject: Subject,
        learned: Stretch,
        found: list[tuple[int, Finding]],
        afresh: list[int],
    ) -> None:
        """Observations to one detector, in order; notes where it asks for a new baseline. What breaks is replaced."""
        places, observations = learned.places, learned.observations
        begun, count = 0, len(places)
        while begun < count:
            left = learned.after(begun) if begun else learned
            # What is left of it says which observation a detection, or a fault, is of.
            waiting = iter(left.observations)
            detector = subject.detectors[detector_id]
            try:
                warming = detector_id in subject.warming
                for detection in warmed(detector, left, waiting) if warming else detector.learn(waiting):
                    at = count - 1 - operator.length_hint(waiting)
                    place, observation = places[at], observations[at]
                    if detection.rebaselines:
                        afresh.append(place)
                    spoken = " ".join(filter(None, (detector_id, detection.subject, detection.fact)))
                    if subject.speaks(spoken, observation.time_s, detection.severity):
                        found.append((place, self._finding(detector_id, name, observation, detection)))
                begun = count
            except BaseException as error:
                # River's Rust parts panic with a BaseException of their own; anything else of that kind is the
                # process being stopped.
                if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
                    raise
                begun = max(count - operator.length_hint(waiting), begun + 1)
                place, observation = places[begun - 1], observations[begun - 1]
                subject.replace(detector_id, self.kinds[detector_id](share=self._share))
                if subject.speaks(f"{DETECTOR_FAULT} {detector_id}", observation.time_s, Severity.MEDIUM):
                    found.append((place, self._fault(detector_id, type(error).__name__, name, observation)))

    def take_changed(self) -> list[tuple[str, int, int, bytes]]:
        """Subject, partition, next offset and state of every subject that learned since the last call.

        What is taken is not offered again: the caller sees to it that it becomes durable before anything
        is recalled.
        """
        rows = [(name, *where) for name, where in self._evicted.items()]
        for name in self._changed & self._subjects.keys():
            subject = self._subjects[name]
            rows.append((name, subject.partition, subject.next_offset, self._freeze(subject)))
        self._changed.clear()
        self._evicted.clear()
        return rows

    def clear(self) -> None:
        """Forget everything: partitions have moved, and what was learned here last may be another's by now."""
        self._subjects.clear()
        self._changed.clear()
        self._evicted.clear()
        self._newcomers.clear()

    def _finding(self, detector_id: str, subject: str, observation: Observation, detection: Detection) -> Finding:
        metadata = self.kinds[detector_id].metadata
        about = detection.subject or subject
        return Finding(
            finding_id=self._identity(detector_id, metadata.version, about, observation),
            detector=detector_id,
            version=metadata.version,
            scope=self.scope if detection.subject is None else COHORT,
            subject=about,
            deployment=observation.deployment,
            time_s=observation.time_s,
            onset_s=detection.onset_s,
            severity=detection.severity,
            summary=detection.summary,
            score=detection.score,
            threshold=detection.threshold,
            budget_share=self._share,
            event_id=observation.event_id,
            principal=observation.principal if self.scope == PRINCIPAL else None,
            evidence=detection.evidence,
            atlas=metadata.atlas,
            owasp=metadata.owasp,
        )

    def _fault(self, detector_id: str, error: str, subject: str, observation: Observation) -> Finding:
        """A detector broke and was replaced by a fresh one. The error's own text may quote what was sent."""
        version = self.kinds[detector_id].metadata.version
        return Finding(
            finding_id=self._identity(f"{DETECTOR_FAULT} {detector_id}", version, subject, observation),
            detector=DETECTOR_FAULT,
            version=version,
            scope=self.scope,
            subject=subject,
            deployment=observation.deployment,
            time_s=observation.time_s,
            onset_s=observation.time_s,
            severity=Severity.MEDIUM,
            summary=f"detector {detector_id} failed with {error} on this {self.scope} and starts cold",
            score=1.0,
            threshold=1.0,
            budget_share=0.0,
            event_id=observation.event_id,
            principal=observation.principal if self.scope == PRINCIPAL else None,
            evidence=(Evidence(name="detector", observed=detector_id), Evidence(name="error", observed=error)),
        )

    def _identity(self, detector: str, version: int, subject: str, observation: Observation) -> str:
        identity = "\0".join((detector, str(version), self.scope, subject, observation.event_id))
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def _freeze(self, subject: Subject) -> bytes:
        states = {name: (detector.metadata.version, dump(detector)) for name, detector in subject.detectors.items()}
        return msgspec.msgpack.encode(SubjectState(subject.next_offset, subject.fired, states))

    def _thaw(self, partition: int, state: bytes) -> tuple[Subject, list[str]]:
        """A subject from its state, and which detectors saved another version of theirs: that is not even parsed."""
        saved = msgspec.msgpack.decode(state, type=SubjectState)
        detectors: dict[str, Detector] = {}
        outdated = []
        for name, kind in self.kinds.items():
            version, data = saved.detectors.get(name, (None, b""))
            if version == kind.metadata.version:
                detectors[name] = load(kind, data)
                detectors[name].share = self._share
            else:
                detectors[name] = kind(share=self._share)
                if version is not None:
                    outdated.append(name)
        return Subject(partition, detectors, saved.fired, saved.next_offset), outdated
