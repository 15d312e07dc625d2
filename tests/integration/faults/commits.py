"""Every commit a worker makes, with what was durable at that moment, and whether it was made too early."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from io import BytesIO

import msgspec
from aiokafka.protocol.commit import OffsetCommitRequest_v3
from clickhouse_connect.driver.exceptions import ClickHouseError
from kafka.errors import KafkaError

from detectors.base import DEPLOYMENT
from detectors.types import Observation
from streams import topics
from streams.composing import PATIENCE
from streams.dlq import Record
from tests.integration.faults.clients import WATCHED, Clients, log
from tests.integration.faults.proxy import OFFSET_COMMIT, Proxy, kafka_request
from tests.integration.stack import Place

_COMMIT_VERSIONS = {2, 3}


class Durable(msgspec.Struct, kw_only=True):
    """What was durable at one moment; `next_offsets` by scope and subject, those of marks among them."""

    places: set[Place]
    findings: set[str]
    next_offsets: dict[tuple[str, str], int]
    ends: dict[tuple[str, int], int]


class Commit(msgspec.Struct, kw_only=True):
    """One committed offset, with what was durable right before it."""

    topic: str
    partition: int
    offset: int
    durable: Durable


class CommitTrace:
    """Watches the commits that pass a proxy, each before the broker sees it.

    A commit that cannot be looked up, because ClickHouse or the broker is away, is counted in `unknown` and not
    judged; the offset that was committed last is judged at the end in any case.
    """

    def __init__(self, clients: Clients, proxy: Proxy) -> None:
        """`clients` reach the servers directly."""
        self.unknown = 0
        self._clients = clients
        self._commits: list[Commit] = []
        self._lock = threading.Lock()
        proxy.watch(kafka_request(OFFSET_COMMIT), self._see)

    def seen(self) -> list[Commit]:
        """All commits so far."""
        with self._lock:
            return list(self._commits)

    def _see(self, frame: bytes) -> None:
        asked = _committed_by(frame)
        with self._lock:
            try:
                durable = durable_now(self._clients)
            except (ClickHouseError, KafkaError, OSError):
                self.unknown += 1
                return
            prefix = self._clients.settings.topic_prefix
            self._commits += [
                Commit(topic=topic.removeprefix(prefix), partition=partition, offset=offset, durable=durable)
                for topic, partition, offset in asked
            ]


def durable_now(clients: Clients) -> Durable:
    """Everything that would survive if all went dark now. Raises what the clients raise."""
    places = clients.rows(
        "SELECT partition, offset, event_index FROM inference_events "
        "UNION DISTINCT SELECT partition, offset, event_index FROM dead_letters"
    )
    saved = clients.rows("SELECT scope, subject, max(next_offset) FROM detector_snapshots GROUP BY scope, subject")
    return Durable(
        places={(partition, offset, index) for partition, offset, index in places},
        findings={finding_id for (finding_id,) in clients.rows("SELECT finding_id FROM findings")},
        next_offsets={(scope, subject): offset for scope, subject, offset in saved},
        ends={(topic, partition): end for topic in WATCHED.values() for partition, end in clients.ends(topic).items()},
    )


class _Log(msgspec.Struct, kw_only=True):
    """What the log says, by partition of a topic: offsets with what must be durable before one above is committed."""

    places: dict[int, list[Place]]
    findings: dict[int, list[tuple[int, str]]]
    learned: dict[tuple[str, int], list[tuple[int, str]]]
    sent: dict[str, dict[Place, tuple[int, int]]]


def early_commits(clients: Clients, events: set[Place], dead: set[Place], trace: CommitTrace | None) -> Iterator[str]:
    """A line for each commit of an offset past something that was not durable then.

    A record is durable when its events and dead letters are stored and its observations are in both topics; a
    message of observations when the states that learned it are saved, and marks that cover it; a finding when it
    is stored.
    """
    said = _read(clients, events | dead)
    for commit in [*([] if trace is None else trace.seen()), *_last_commits(clients)]:
        missing: list[object]
        if commit.topic == topics.INFERENCE_LOGS:
            missing = _unstored(commit, said, events)
        elif commit.topic == topics.FINDINGS:
            below = said.findings[commit.partition]
            missing = [each for at, each in below if at < commit.offset and each not in commit.durable.findings]
        else:
            missing = _unlearned(commit, said)
        if missing:
            yield (
                f"{commit.topic} {commit.partition} was committed at {commit.offset} before {len(missing)} things "
                f"below were durable, e.g. {missing[:3]}"
            )


def place_of(event_id: str) -> Place:
    """Where the event came from."""
    _topic, partition, offset, index = event_id.rsplit(":", 3)
    return int(partition), int(offset), int(index)


def _read(clients: Clients, places: Iterable[Place]) -> _Log:
    said = _Log(places=defaultdict(list), findings=defaultdict(list), learned=defaultdict(list), sent={})
    for place in places:
        said.places[place[0]].append(place)
    for record in log(clients.settings, topics.FINDINGS):
        finding_id = msgspec.json.decode(record.value)["finding_id"]
        said.findings[record.partition].append((record.offset, finding_id))
    for scope, topic in WATCHED.items():
        first = said.sent[topic] = {}
        sights: Counter[str] = Counter()
        for record, observation in _observations(log(clients.settings, topic)):
            place = place_of(observation.event_id)
            if place in first:
                continue  # sent again, and learned already
            first[place] = record.partition, record.offset
            subject = str(observation.deployment if scope == DEPLOYMENT else observation.principal)
            sights[subject] += 1
            if sights[subject] >= PATIENCE:  # until then it is a number in the marks
                said.learned[topic, record.partition].append((record.offset, subject))
    return said


def _observations(records: Iterable[Record]) -> Iterator[tuple[Record, Observation]]:
    decoder = msgspec.msgpack.Decoder(list[Observation])
    for record in records:
        for observation in decoder.decode(record.value):
            yield record, observation


def _unstored(commit: Commit, said: _Log, events: set[Place]) -> list[object]:
    covered = [place for place in said.places[commit.partition] if place[1] < commit.offset]
    missing: list[object] = [place for place in covered if place not in commit.durable.places]
    for topic, first in said.sent.items():
        for place in covered:
            if place in first:
                partition, offset = first[place]
                if offset >= commit.durable.ends[topic, partition]:
                    missing.append((topic, place))
            elif place in events and topic == topics.BY_DEPLOYMENT:  # an event may have no principal
                missing.append((topic, place))
    return missing


def _unlearned(commit: Commit, said: _Log) -> list[object]:
    scope = next(scope for scope, topic in WATCHED.items() if topic == commit.topic)
    saved = commit.durable.next_offsets
    if saved.get((f"{scope}.marks", str(commit.partition)), 0) < commit.offset:
        return ["its marks"]
    below = said.learned[commit.topic, commit.partition]
    return list({each for at, each in below if at < commit.offset and saved.get((scope, each), 0) <= at})


def _committed_by(frame: bytes) -> list[tuple[str, int, int]]:
    """Topic, partition and offset of each commit in a request of aiokafka's."""
    version = int.from_bytes(frame[6:8], "big")
    if version not in _COMMIT_VERSIONS:
        raise ValueError(f"OffsetCommit version {version} is not read here")
    client_id_bytes = int.from_bytes(frame[12:14], "big", signed=True)
    body = OffsetCommitRequest_v3.decode(BytesIO(frame[14 + max(client_id_bytes, 0) :]))
    return [(topic, partition, offset) for topic, each in body.topics for partition, offset, _metadata in each]


def _last_commits(clients: Clients) -> Iterator[Commit]:
    for topic in (topics.INFERENCE_LOGS, *WATCHED.values(), topics.FINDINGS):
        committed = clients.committed(topic)
        durable = durable_now(clients)
        for partition, offset in committed.items():
            yield Commit(topic=topic, partition=partition, offset=offset, durable=durable)
