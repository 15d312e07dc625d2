"""The pipeline without Kafka: the same pure functions over a file. A demo, a backtest and production agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from detectors.bank import Bank
from detectors.types import Finding, Observation
from streams.cases.incidents import MERGED, Incident
from streams.components.provenance import Noted, kind_of, read
from streams.dlq import DeadLetter, Record
from streams.pipeline import Pipeline
from streams.triage import Cases, deduplicated

TOPIC = "replay"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one record gave; a notice of a change or of components is no event."""

    events: int
    ignored: int
    dead_letters: list[DeadLetter]
    findings: list[Finding]
    event_ids: list[str]
    notices: int = 0


def replay(values: Iterable[bytes], time_s: float, pipeline: Pipeline, banks: Sequence[Bank]) -> Iterator[Step]:
    """Each record through the pipeline and the banks, in order; `time_s` stands in for Kafka's timestamp."""
    for offset, value in enumerate(values):
        yield replay_record(
            Record(topic=TOPIC, partition=0, offset=offset, time_s=time_s, value=value), pipeline, banks
        )


def replay_record(record: Record, pipeline: Pipeline, banks: Sequence[Bank]) -> Step:
    """One record through the pipeline and the banks; as it was in Kafka, it gives the identities a worker gives.

    Records of one topic partition come in offset order, and a subject's come from one partition. A notice takes its
    place among the calls.
    """
    kind = kind_of(record.value)
    if kind is not None:
        return _noticed(record, kind, banks)
    processed = pipeline.process([record])
    observations = [row.observation for row in processed.stored]
    findings = [finding for bank in banks for finding in bank.apply(record.partition, record.offset, observations)]
    return Step(
        events=len(observations),
        ignored=processed.ignored,
        dead_letters=processed.dead_letters,
        findings=deduplicated(findings),
        event_ids=[observation.event_id for observation in observations],
    )


def _noticed(record: Record, kind: str, banks: Sequence[Bank]) -> Step:
    """What a notice gives: it has no principal, so only those who watch deployments learn of it."""
    noted = read(kind, record, TOPIC)
    if not isinstance(noted, Noted):
        return Step(events=0, ignored=0, dead_letters=[noted], findings=[], event_ids=[])
    told = [noted.observation]
    return Step(
        events=0,
        ignored=0,
        dead_letters=[],
        findings=deduplicated(
            finding for bank in banks for finding in bank.apply(record.partition, record.offset, told)
        ),
        event_ids=[noted.event_id],
        notices=1,
    )


def observed(values: Iterable[bytes], time_s: float, pipeline: Pipeline) -> Iterator[list[Observation]]:
    """What detectors see of each record, in order; what cannot be read is left out."""
    for offset, value in enumerate(values):
        record = Record(topic=TOPIC, partition=0, offset=offset, time_s=time_s, value=value)
        kind = kind_of(value)
        if kind is None:
            yield [row.observation for row in pipeline.process([record]).stored]
        else:
            noted = read(kind, record, TOPIC)
            yield [noted.observation] if isinstance(noted, Noted) else []


class Totals(msgspec.Struct, kw_only=True):
    """What a whole replay gave; `reasons` counts why events and records became dead letters."""

    events: int = 0
    notices: int = 0
    ignored: int = 0
    findings: int = 0
    dead_letters: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


def summed(steps: Iterable[Step], show: Callable[[Finding], None]) -> Totals:
    """The totals of `steps`; each finding is shown as it comes."""
    totals = Totals()
    for step in steps:
        totals.events += step.events
        totals.notices += step.notices
        totals.ignored += step.ignored
        totals.findings += len(step.findings)
        totals.dead_letters += len(step.dead_letters)
        totals.reasons.update(letter.reason for letter in step.dead_letters)
        for finding in step.findings:
            show(finding)
    return totals


class Casebook:
    """Findings to incidents without a store: the last revision of each, while it is remembered and after."""

    def __init__(self, cases: Cases) -> None:
        """Nothing was found yet."""
        self._cases = cases
        self._incidents: dict[str, Incident] = {}

    def take(self, finding: Finding) -> None:
        """Put one finding where it belongs."""
        if self._cases.lacks([finding.deployment]):
            earlier = [each for each in self._incidents.values() if each.deployment == finding.deployment]
            self._cases.recall(finding.deployment, earlier)
        self._incidents |= {each.incident_id: each for each in self._cases.take(finding)}

    @property
    def incidents(self) -> list[Incident]:
        """All but those that were merged into another, the latest last."""
        found = [each for each in self._incidents.values() if each.state != MERGED]
        return sorted(found, key=lambda each: (each.last_s, each.incident_id))
