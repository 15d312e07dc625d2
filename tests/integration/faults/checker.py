"""What must be there in the end, by an offline oracle, and whether it is: identity, not counts.

    clients = Clients(settings)                       # straight to the servers, not through a proxy
    expected = oracle(clients)                        # the log as it is in Kafka, replayed without Kafka
    lines = [*delivery(clients, expected), *commits(clients, expected, trace), *learning(clients, expected)]
    lines = problems(clients, trace)                  # all of that

Each function yields one line for each broken promise; a test asserts that there is none. `settings` carry the
worker's key. Call it when the stack is at rest (`unsettled` gives nothing). `Bench.check` does all that.

The oracle is `streams.replay` over the records of the source topic with their real identities, keys and times. A
worker's detectors see a subject's observations in the order of their source partition; between two source
partitions no order is promised. So that one right answer exists, all traffic of a deployment and all traffic of
a principal comes from one source partition. For traffic that does not keep to that, leave `learning` out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from kafka.errors import KafkaError

from detectors.bank import SubjectState, discover
from detectors.base import dump, load
from detectors.types import Finding
from streams import topics
from streams.app import libraries
from streams.cases.incidents import Incident
from streams.composing import make_bank, make_cases, make_pipeline
from streams.dlq import EVENTS, ORIGIN, Record
from streams.keys import load_keys
from streams.replay import Casebook, replay_record
from streams.snapshots import Origin, unseal
from tests.integration.faults.clients import WATCHED, Clients, log
from tests.integration.faults.commits import CommitTrace, early_commits, place_of
from tests.integration.stack import Place

__all__ = ["WATCHED", "Clients", "CommitTrace", "Expected", "log", "oracle", "problems", "unsettled"]

Subject = tuple[str, str]
"""Scope and name."""


class Expected(msgspec.Struct, kw_only=True):
    """What the log must become; `states` are per subject what each detector that fired or learned holds."""

    events: set[Place] = msgspec.field(default_factory=set)
    dead: set[Place] = msgspec.field(default_factory=set)
    findings: dict[str, Finding] = msgspec.field(default_factory=dict)
    states: dict[Subject, object] = msgspec.field(default_factory=dict)


def oracle(clients: Clients) -> Expected:
    """Replay the source topic as it is on the broker."""
    settings = clients.settings
    found = topics.describe(settings)[topics.INFERENCE_LOGS]
    pipeline = make_pipeline(settings, load_keys(settings), found.topic_id)
    banks = [make_bank(settings, scope) for scope in WATCHED]
    expected = Expected()
    for record in log(clients.settings, topics.INFERENCE_LOGS):
        step = replay_record(record, pipeline, banks)
        expected.events.update(map(place_of, step.event_ids))
        expected.dead.update((letter.partition, letter.offset, letter.event_index) for letter in step.dead_letters)
        expected.findings |= {finding.finding_id: finding for finding in step.findings}
    for bank in banks:
        for name, _partition, _next_offset, state in bank.take_changed():
            expected.states[bank.scope, name] = comparable(state)
    return expected


def problems(clients: Clients, trace: CommitTrace | None = None) -> list[str]:
    """Every promise that is broken, with an example each; empty when all hold."""
    expected = oracle(clients)
    return [
        *delivery(clients, expected),
        *commits(clients, expected, trace),
        *learning(clients, expected),
        *cases(clients),
    ]


def delivery(clients: Clients, expected: Expected) -> Iterator[str]:
    """Each produced event is in exactly one of {stored event, dead letter}, once."""
    stored = Counter(map(tuple, clients.rows("SELECT partition, offset, event_index FROM events_latest")))
    dead = Counter(map(tuple, clients.rows("SELECT partition, offset, event_index FROM dead_letters_latest")))
    letters = Counter(origin for record in log(clients.settings, topics.DEAD_LETTERS) for origin in _origins(record))
    yield from _compared("events", expected.events, stored.keys())
    yield from _compared("dead letters", expected.dead, dead.keys())
    yield from _compared("dead letters in Kafka", expected.dead, letters.keys())
    twice = [place for place, count in (stored + dead).items() if count > 1]
    if twice:
        yield f"{len(twice)} places are there twice, e.g. {twice[:3]}"


def learning(clients: Clients, expected: Expected) -> Iterator[str]:
    """The findings are the oracle's, and so is what every detector has learned."""
    sql = "SELECT finding_id, detector, subject, toString(severity), summary FROM findings_latest"
    rows = clients.rows(sql)
    found = {finding_id: rest for finding_id, *rest in rows}
    said = {
        name: [each.detector, each.subject, str(each.severity), each.summary]
        for name, each in expected.findings.items()
    }
    if len(found) != len(rows):
        yield "a finding is there twice"
    for name in sorted(said.keys() - found.keys()):
        yield f"finding missing: {said[name]}"
    for name in sorted(found.keys() - said.keys()):
        yield f"finding that should not be: {found[name]}"
    for name in sorted(found.keys() & said.keys()):
        if found[name] != said[name]:
            yield f"finding differs: {found[name]} instead of {said[name]}"
    states = {subject: comparable(state) for subject, (_, state) in saved_states(clients).items()}
    yield from _compared("subjects with state", expected.states.keys(), states.keys())
    wrong = sorted(each for each in states.keys() & expected.states.keys() if states[each] != expected.states[each])
    for each in wrong[:3]:
        yield f"state differs ({len(wrong)} do): {each}: {_difference(states[each], expected.states[each])}"


def cases(clients: Clients) -> Iterator[str]:
    """The incidents are those that one pass over the findings in Kafka gives, whoever died in between."""
    book = Casebook(make_cases(clients.settings))
    for record in log(clients.settings, topics.FINDINGS):
        book.take(msgspec.json.decode(record.value, type=Finding))
    said = {each.incident_id: each for each in book.incidents}
    rows = clients.rows("SELECT incident_id, body FROM incidents_latest WHERE state != 'merged'")
    stored = {name: msgspec.json.decode(body, type=Incident) for name, body in rows}
    yield from _compared("incidents", said.keys(), stored.keys())
    for name in sorted(said.keys() & stored.keys()):
        if stored[name] != said[name]:
            yield f"incident differs: {stored[name].count} findings instead of {said[name].count}"
    sent = [msgspec.json.decode(record.value, type=Incident) for record in log(clients.settings, topics.INCIDENTS)]
    yield from _compared("incidents in Kafka", said.keys(), {each.incident_id for each in sent} & said.keys())
    steps = {f"{each.incident_id}:{step + 1}" for each in said.values() if each.told for step in range(each.told.count)}
    yield from _compared("news of incidents in Kafka", steps, {each.news_id or "" for each in sent} & steps)


def commits(clients: Clients, expected: Expected, trace: CommitTrace | None) -> Iterator[str]:
    """No offset was ever committed past something that was not durable then."""
    yield from early_commits(clients, expected.events, expected.dead, trace)


def unsettled(clients: Clients) -> list[str]:
    """What is still on its way: partitions whose end is not committed.

    In the order data walks, so that one look is enough: when a topic is done, all it causes is in the next one.
    """
    waiting = []
    for topic in (topics.INFERENCE_LOGS, *WATCHED.values(), topics.FINDINGS):
        try:
            ends, committed = clients.ends(topic), clients.committed(topic)
        except KafkaError as error:
            return [f"{topic}: {error}"]
        waiting += [
            f"{topic} {partition}: {committed.get(partition, 0)} of {end}"
            for partition, end in ends.items()
            if committed.get(partition, 0) != end
        ]
    return waiting


def saved_states(clients: Clients) -> dict[Subject, tuple[int, bytes]]:
    """The newest saved state of every subject and its next offset, authenticated."""
    key = load_keys(clients.settings).snapshots
    found = topics.describe(clients.settings)
    states = {}
    for scope, topic in WATCHED.items():
        columns = "SELECT subject, partition, next_offset, envelope FROM detector_snapshots FINAL"
        sql = columns + " WHERE scope = {scope:String}"
        for subject, partition, next_offset, envelope in clients.rows(sql, {"scope": scope}, {"envelope": "bytes"}):
            origin = Origin(
                topic_id=found[topic].topic_id,
                topic=found[topic].name,
                partition=partition,
                scope=scope,
                subject=subject,
                next_offset=next_offset,
            )
            states[scope, subject] = next_offset, unseal(envelope, origin, libraries(), (key,))
    return states


def comparable(state: bytes) -> object:
    """A subject's state without the offsets of the topic it was learned from, in one spelling.

    Every detector is loaded and dumped again: a pickle of an object that was itself pickled before may share
    its parts differently and mean the same.
    """
    saved = msgspec.msgpack.decode(state, type=SubjectState)
    kinds = discover()
    detectors = {name: (version, dump(load(kinds[name], data))) for name, (version, data) in saved.detectors.items()}
    return {"fired": saved.fired, **detectors}


def _origins(record: Record) -> Iterator[Place]:
    headers = dict(record.headers)
    if ORIGIN in headers:
        _topic, partition, offset = headers[ORIGIN].decode().rsplit(":", 2)
        for index in headers[EVENTS].decode().split(","):
            yield int(partition), int(offset), int(index)


def _compared(what: str, expected: Iterable[object], found: Iterable[object]) -> Iterator[str]:
    missing, extra = set(expected) - set(found), set(found) - set(expected)
    if missing:
        yield f"{len(missing)} {what} are lost, e.g. {sorted(missing)[:3]}"  # type: ignore[type-var]
    if extra:
        yield f"{len(extra)} {what} were never produced, e.g. {sorted(extra)[:3]}"  # type: ignore[type-var]


def _difference(found: object, expected: object) -> str:
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return "shape"
    return ", ".join(
        f"{name}: {found.get(name)!r:.300} instead of {expected.get(name)!r:.300}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    )
