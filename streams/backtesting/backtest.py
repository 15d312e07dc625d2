"""One detector, in another version or setting, over observations of the past; what it says against what was said.

1. The candidate and, where it is compared with the shipped detector, that one too, see the same observations in the
   same order, each in a bank of its own under the operator's budget; both begin cold.
2. What the candidate finds is paired with what was said about the same subject: the nearest in time first, within
   `APART_S`. A pair is the same, earlier or later; what has no partner is new or gone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from detectors.alarms import Budget
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT, Detector
from detectors.types import Detection, Finding, Observation
from streams.composing import PATIENCE
from streams.settings import Settings, SettingsError

APART_S = 86_400.0
"""Findings about one subject that are further apart in event time are about two things."""

MOST_POINTS = 4_000
"""Scores kept of one subject for the plot: after that every second one goes, and so on."""

MOST_CURVES = 200
"""Subjects whose scores are kept for the plot, the first that have any."""

EAGER_PER_DAY = 1e12
"""A budget under which every detector alarms as often as it ever may."""

SAME, EARLIER, LATER, NEW, GONE = "same", "earlier", "later", "new", "gone"

_BUDGET = {"alarm_budget": "per_day", "expected_deployments": "deployments", "expected_principals": "principals"}
"""What `--set` may change of the budget, and how `Budget` calls it."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the difference: `after_s` is how much later (less than 0: earlier) it is said now."""

    kind: str
    after_s: float | None
    finding: Finding


class Curve(msgspec.Struct, kw_only=True):
    """Score and threshold of one subject over event time, thinned out evenly."""

    times_s: list[float] = msgspec.field(default_factory=list)
    scores: list[float] = msgspec.field(default_factory=list)
    thresholds: list[float] = msgspec.field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, time_s: float, score: float, threshold: float) -> None:
        """Keep every so many points."""
        self.seen += 1
        if self.seen % self.every:
            return
        self.times_s.append(time_s)
        self.scores.append(score)
        self.thresholds.append(threshold)
        if len(self.times_s) >= MOST_POINTS:
            self.times_s, self.scores, self.thresholds = self.times_s[::2], self.scores[::2], self.thresholds[::2]
            self.every *= 2


class Outcome(msgspec.Struct, kw_only=True):
    """What a detector said about a stretch of the past, and what it cost.

    `usable` observations had the fields it needs. `warming` are subjects by how many observations they still lack,
    of `subjects` that there were.
    """

    detector: str
    scope: str
    share: float
    observations: int = 0
    usable: int = 0
    cpu_s: float = 0.0
    findings: list[Finding] = msgspec.field(default_factory=list)
    warming: dict[str, int] = msgspec.field(default_factory=dict)
    subjects: int = 0

    @property
    def per_second(self) -> float:
        """Observations per second of CPU."""
        return self.observations / max(self.cpu_s, 1e-9)


def budget_of(settings: Settings, changes: Mapping[str, str]) -> tuple[Budget, dict[str, str]]:
    """The budget with those of `changes` that are about it, and the others. Raises `SettingsError`."""
    values: dict[str, float] = {field: getattr(settings, name) for name, field in _BUDGET.items()}
    for name, field in _BUDGET.items():
        if name in changes:
            environ = {f"INFERWATCH_{name.upper()}": changes[name]}
            values[field] = getattr(Settings.from_env(environ), name)
    budget = Budget(
        per_day=values["per_day"], deployments=int(values["deployments"]), principals=int(values["principals"])
    )
    return budget, {name: text for name, text in changes.items() if name not in _BUDGET}


class Trial:
    """One detector of one kind under one budget, fed with the past."""

    def __init__(self, detector_id: str, kind: type[Detector], budget: Budget) -> None:
        """The share is the one it has among all detectors of the catalog."""
        self._bank = Bank(
            kind.metadata.scope,
            budget,
            {detector_id: kind},
            patience=PATIENCE,
            sharers=len(discover()),
        )
        self._id, self._kind = detector_id, kind
        self._offset = 0
        self._subjects: dict[str, None] = {}
        self.outcome = Outcome(detector=detector_id, scope=kind.metadata.scope, share=self._bank.share)

    def feed(self, observations: Sequence[Observation]) -> None:
        """Learn a stretch of observations, in order."""
        began_s = time.process_time()
        found = self._bank.apply(0, self._offset, observations)
        self.outcome.cpu_s += time.process_time() - began_s
        self._offset += 1
        self.outcome.observations += len(observations)
        self.outcome.usable += sum(self._kind.metadata.can_use(each) for each in observations)
        self.outcome.findings += [finding for finding in found if finding.detector == self._id]
        self._subjects.update(dict.fromkeys(filter(None, map(self._bank.subject_of, observations))))

    def finish(self) -> Outcome:
        """The outcome. Raises `SettingsError` when the detector could use nothing of what there was."""
        metadata = self._kind.metadata
        needed = ", ".join((*metadata.requires, *([" or ".join(metadata.any_of)] if metadata.any_of else [])))
        if not self.outcome.observations:
            raise SettingsError("there is no event to see; `inferwatch doctor` says what is stored")
        if not self.outcome.usable:
            raise SettingsError(
                f"none of {self.outcome.observations} events has what {self._id} needs ({needed}); what is not stored "
                "(texts, with INFERWATCH_CONTENT_MODE=features) cannot be computed again: play the logs with --from"
            )
        self.outcome.subjects = len(self._subjects)
        for subject in self._subjects:
            lacks = self._bank.warming(subject).get(self._id, 0)
            if lacks:
                self.outcome.warming[subject] = lacks
        return self.outcome


def traced(kind: type[Detector], curves: dict[str, Curve], *, only_said: bool = False) -> type[Detector]:
    """The same detector, which notes its score and threshold by subject after each observation.

    Where it keeps none between detections, or `only_said` are wanted, those of its detections are noted.
    """

    def learn(self: Detector, observations: Iterable[Observation]) -> Iterator[Detection]:
        for observation in observations:
            said = [*kind.learn(self, (observation,))]
            reading = None if only_said else self.reading
            if said:
                reading = said[0].score, said[0].threshold
            subject = observation.deployment if kind.metadata.scope == DEPLOYMENT else observation.principal
            if reading is not None and subject is not None:
                curve = curves.get(subject)
                if curve is None and len(curves) < MOST_CURVES:
                    curve = curves[subject] = Curve()
                if curve is not None:
                    curve.add(observation.time_s, *reading)
            yield from said

    return type(kind.__name__, (kind,), {"learn": learn, "__module__": kind.__module__})


def compare(before: Iterable[Finding], now: Iterable[Finding]) -> list[Change]:
    """What differs between findings of one detector, in order of time; the same pair is never broken up."""
    said: dict[str, list[Finding]] = defaultdict(list)
    for finding in before:
        said[finding.subject].append(finding)
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in now:
        found[finding.subject].append(finding)
    changes = [
        change for subject in {**said, **found} for change in _paired(said.get(subject, []), found.get(subject, []))
    ]
    return sorted(changes, key=lambda change: (change.finding.time_s, change.finding.finding_id))


def _paired(before: list[Finding], now: list[Finding]) -> Iterator[Change]:
    distances = sorted(
        (abs(new.time_s - old.time_s), at_new, at_old)
        for at_new, new in enumerate(now)
        for at_old, old in enumerate(before)
        if abs(new.time_s - old.time_s) <= APART_S
    )
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for _, at_new, at_old in distances:
        if at_new not in partners and at_old not in taken:
            partners[at_new] = at_old
            taken.add(at_old)
    for at_new, new in enumerate(now):
        if at_new not in partners:
            yield Change(kind=NEW, after_s=None, finding=new)
            continue
        after_s = new.time_s - before[partners[at_new]].time_s
        kind = SAME if after_s == 0.0 else LATER if after_s > 0.0 else EARLIER
        yield Change(kind=kind, after_s=after_s, finding=new)
    for at_old, old in enumerate(before):
        if at_old not in taken:
            yield Change(kind=GONE, after_s=None, finding=old)


def tally(changes: Iterable[Change]) -> dict[str, int]:
    """How many lines there are of each kind, all of them named."""
    counts = Counter(change.kind for change in changes)
    return {kind: counts[kind] for kind in (NEW, GONE, EARLIER, LATER, SAME)}
