"""A hundred thousand mutated records: nothing crashes, every event has one place, all of it can be stored and learned.

``FUZZ_RECORDS`` and ``FUZZ_SEED`` in the environment make the run longer and another one.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.bank import Bank
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Finding, Observation
from streams.clickhouse import Store, migrate
from streams.dlq import WHOLE_RECORD, DeadLetter, Record
from streams.pipeline import Pipeline, Processed, Stored
from streams.privacy import ContentMode, Privacy
from streams.settings import Settings
from streams.sinks import packed
from streams.topics import MAX_MESSAGE_BYTES
from tests.chdb_directory import chdb_url
from tests.detectors.soundness import assert_finite, assert_well_formed, visible
from tests.hostile.mutations import mutated

pytest.importorskip("chdb", reason="the extra `local` is not installed")

RECORDS = int(os.environ.get("FUZZ_RECORDS", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261122"))
BATCH = 500
ROWS_AN_INSERT = 30_000
ALONE = 20
"""One of so many records is processed a second time, by itself: its neighbors must make no difference."""
EMPTY = re.compile(rb"(?:^|:)\s*\[\s*\]")
"""A record that is allowed to be nothing says so: ``[]``, ``{"resourceSpans":[]}``."""
KEY = b"k" * 32
NOW_S = 1_763_000_000.0
TIMES_S = (0.0, -1.0, 1e-3, 4_102_444_800.0, 9.2e15, -9.2e15, 253_402_300_800.0)
"""What a producer may claim as a record's timestamp where the topic takes its word."""


def make_pipeline() -> Pipeline:
    mode = ContentMode.REDACTED
    return Pipeline(topic_id="t", privacy=Privacy(KEY, mode), mode=mode, hash_key=KEY)


def records(count: int, seed: int) -> Iterator[Record]:
    draw = random.Random(seed)
    for offset in range(count):
        value, claimed = mutated(draw)
        headers = () if claimed is None else (("content-type", claimed.encode("utf-8", "surrogatepass")),)
        odd = draw.random() < 0.02
        time_s = draw.choice(TIMES_S) if odd else NOW_S + offset / 100
        yield Record(topic="inference-logs", partition=3, offset=offset, time_s=time_s, value=value, headers=headers)


class Outcome:
    """What becomes of all records; checks what must hold for each batch as it goes."""

    def __init__(self, store: Store) -> None:
        self.pipeline = make_pipeline()
        self.banks = [Bank(scope, Budget()) for scope in (DEPLOYMENT, PRINCIPAL)]
        self.store = store
        self.findings: list[Finding] = []
        self.events = self.letters = 0
        self.rows: list[Stored] = []
        self.dead: list[DeadLetter] = []

    def take(self, batch: Sequence[Record]) -> None:
        processed = self.pipeline.process(batch)
        self.check_places(batch, processed)
        for record in batch[::ALONE]:
            self.check_alone(record, processed)
        self.learn(batch[0].offset, [row.observation for row in processed.stored])
        self.rows += processed.stored
        self.dead += processed.dead_letters
        if len(self.rows) + len(self.dead) > ROWS_AN_INSERT:
            self.insert()
        self.events += len(processed.stored)
        self.letters += len(processed.dead_letters)

    def insert(self) -> None:
        self.store.insert_events(self.rows)
        self.store.insert_dead_letters(self.dead)
        self.rows, self.dead = [], []

    def check_places(self, batch: Sequence[Record], processed: Processed) -> None:
        """Every record is one dead letter, or events and dead letters from 0 without a gap, or nothing but ignored."""
        places: dict[int, list[int]] = {record.offset: [] for record in batch}
        for row in processed.stored:
            places[row.offset].append(row.index)
        for letter in processed.dead_letters:
            assert letter.reason
            places[letter.offset].append(letter.event_index)
        for record in batch:
            indexes = sorted(places[record.offset])
            assert indexes in ([WHOLE_RECORD], list(range(len(indexes)))), record
            if not indexes:
                assert self.pipeline.process([record]).ignored or EMPTY.search(record.value), record

    def check_alone(self, record: Record, processed: Processed) -> None:
        alone = self.pipeline.process([record])
        assert alone.stored == [row for row in processed.stored if row.offset == record.offset]
        assert alone.dead_letters == [each for each in processed.dead_letters if each.offset == record.offset]

    def learn(self, offset: int, observations: Sequence[Observation]) -> None:
        """As the topics carry it: packed, sent, decoded, learned."""
        for bank in self.banks:
            for message in packed(observations, bank.subject_of, 8):
                assert len(message.value) <= MAX_MESSAGE_BYTES
                decoded = msgspec.msgpack.decode(message.value, type=list[Observation])
                self.findings += bank.apply(message.partition, offset, decoded)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database="fuzz", retention_days=36_500)
    migrate(settings)
    store = Store.connect(settings)
    yield store
    store.close()


@pytest.fixture(scope="module")
def outcome(store: Store) -> Outcome:
    outcome = Outcome(store)
    batch: list[Record] = []
    for record in records(RECORDS, SEED):
        batch.append(record)
        if len(batch) == BATCH:
            outcome.take(batch)
            batch = []
    if batch:
        outcome.take(batch)
    outcome.insert()
    return outcome


@pytest.mark.timeout(3_600)
def test_every_mutated_record_is_stored_or_dead_and_nothing_crashes(outcome: Outcome) -> None:
    assert outcome.events > RECORDS // 10, "too few survive for the test to say much of events"
    assert outcome.letters > RECORDS // 10, "too few are refused for the test to say much of dead letters"


def test_all_rows_of_mutated_records_are_in_the_tables_once(outcome: Outcome, store: Store) -> None:
    for table, expected in (("events_latest", outcome.events), ("dead_letters_latest", outcome.letters)):
        sql = "SELECT count() AS rows, uniqExact(offset, event_index) AS places FROM {table:Identifier}"
        (row,) = store.query(sql, {"table": table})
        assert row == {"rows": expected, "places": expected}


def test_what_is_read_back_of_the_nastiest_is_what_was_stored(store: Store) -> None:
    nasty = nastiest(make_pipeline().process(records(10_000, SEED + 1)).stored, 2_000)
    again = [msgspec.structs.replace(row, topic="again") for row in nasty]
    store.insert_events(again)
    sql = """
        SELECT offset, event_index, deployment, model, prompt, output, system, prediction, input_tokens, latency_s,
               cost_usd, score, style, prompt_hash, finish_reason
        FROM events_latest WHERE topic = 'again'
    """
    found = {(row.pop("offset"), row.pop("event_index")): row for row in store.query(sql)}
    assert len(found) == len(nasty)
    for row in nasty:
        read, event = found[row.offset, row.index], row.event
        for name in ("deployment", "model", "system", "prediction", "input_tokens", "latency_s", "cost_usd", "score"):
            assert read[name] == getattr(event, name), name
        assert read["prompt_hash"] == row.observation.prompt_hash
        assert read["style"] == pytest.approx(list(row.observation.style or ()), rel=1e-6)


def nastiest(rows: Sequence[Stored], count: int) -> list[Stored]:
    """Those whose values are farthest from the ordinary: extreme numbers, control characters, long texts."""

    def nastiness(row: Stored) -> float:
        event = row.event
        numbers = (
            event.input_tokens,
            event.output_tokens,
            event.latency_s,
            event.cost_usd,
            event.score,
            event.max_tokens,
        )
        said = repr(event)
        extreme = sum(number is not None and (abs(number) > 1e15 or 0 < abs(number) < 1e-15) for number in numbers)
        return 10.0 * extreme + said.count("\\x") + said.count("\\u") + said.count("\ufffd") + len(said) / 10_000

    return sorted(rows, key=nastiness, reverse=True)[:count]


def test_the_state_of_every_detector_stays_finite_and_is_recalled_as_it_was(outcome: Outcome) -> None:
    for bank in outcome.banks:
        assert len(bank) > 10
        for name, subject in bank._subjects.items():
            for kind, detector in subject.detectors.items():
                assert_finite(msgspec.to_builtins(detector, enc_hook=visible), f"{kind} of {name!r}")
        restored = Bank(bank.scope, Budget())
        saved = bank.take_changed()
        for name, partition, _, state in saved:
            restored.admit(name, partition, state)
        assert len(restored) == len({name for name, *_ in saved})


def test_what_detectors_say_of_mutated_records_is_well_formed_and_can_be_stored(outcome: Outcome, store: Store) -> None:
    broken = Counter(finding.summary for finding in outcome.findings if " failed with " in finding.summary)
    assert not broken
    for finding in outcome.findings:
        assert_well_formed(finding)  # type: ignore[arg-type]  # it looks at what a finding has of its detection
        assert msgspec.json.decode(msgspec.json.encode(finding), type=Finding) == finding
    store.insert_findings(outcome.findings)
    (row,) = store.query("SELECT count() AS rows FROM findings_latest")
    assert row["rows"] == len({finding.finding_id for finding in outcome.findings})
