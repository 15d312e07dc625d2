"""The values that everybody tries first, each as the whole way through the pipeline takes it."""

from __future__ import annotations

import gzip
import time

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.bank import Bank
from detectors.base import DEPLOYMENT
from streams.codecs import MAX_EVENTS
from streams.dlq import WHOLE_RECORD, Record, Unreadable
from streams.pipeline import PART_EVENTS, Pipeline, Processed, discover_codecs
from streams.privacy import ContentMode, Privacy
from tests.hostile.mutations import corpus

KEY = b"k" * 32
DEEP = 10_000
MEGABYTES_4 = 3_900_000


def make_pipeline(input_format: str = "auto") -> Pipeline:
    mode = ContentMode.REDACTED
    return Pipeline(topic_id="t", privacy=Privacy(KEY, mode), mode=mode, hash_key=KEY, input_format=input_format)


def process(value: bytes, input_format: str = "native", **fields: object) -> Processed:
    record = Record(topic="inference-logs", partition=0, offset=7, time_s=1_763_000_000.0, value=value)
    return make_pipeline(input_format).process([msgspec.structs.replace(record, **fields)])


def native(field: str, raw: bytes) -> bytes:
    return b'{"deployment":"d","%b":%b}' % (field.encode(), raw)


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        *(("latency_s", raw) for raw in (b"NaN", b"Infinity", b"-Infinity", b"-0.1", b"1e309")),
        *(
            ("input_tokens", raw)
            for raw in (b"-1", b"9" * 5_000, b"-" + b"9" * 5_000, b"1e308", b"9223372036854775808")
        ),
        *(("system", raw) for raw in (b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP)),
    ],
)
def test_a_value_that_is_none_is_one_dead_letter_with_a_short_reason(field: str, raw: bytes) -> None:
    processed = process(native(field, raw))
    assert not processed.stored
    (letter,) = processed.dead_letters
    assert letter.event_index in {WHOLE_RECORD, 0}
    assert 0 < len(letter.reason) < 500


@pytest.mark.parametrize(("raw", "read"), [(b"1e308", 1e308), (b"0", 0.0), (b"5e-324", 5e-324)])
def test_an_extreme_latency_that_is_a_number_is_stored_as_it_is(raw: bytes, read: float) -> None:
    (row,) = process(native("latency_s", raw)).stored
    assert row.event.latency_s == read


def test_texts_that_no_terminal_survives_are_stored_and_half_a_surrogate_is_mended() -> None:
    (row,) = process(native("system", '"\\ud800 \u202e \\u001b[2J"'.encode())).stored
    assert row.event.system == "\ufffd \u202e \x1b[2J"
    assert row.event.system.encode()


def test_of_duplicate_keys_the_last_wins() -> None:
    (row,) = process(b'{"deployment":"first","deployment":"second"}').stored
    assert row.event.deployment == "second"


@pytest.mark.parametrize("name", ["content-encoding", "Content-Encoding"])
def test_a_value_compressed_by_the_sender_itself_is_a_dead_letter(name: str) -> None:
    value = gzip.compress(b'{"deployment":"d"}')
    processed = process(value, headers=((name, b"gzip"), ("content-type", b"application/vnd.inferwatch.event+json")))
    assert [letter.event_index for letter in processed.dead_letters] == [WHOLE_RECORD]


@pytest.mark.parametrize("filler", [b"1,", b"{},", b'{"deployment":7},', b'{"deployment":"d"},'])
@pytest.mark.parametrize("name", sorted(discover_codecs()))
def test_a_record_of_many_thousand_events_is_one_dead_letter_within_seconds(name: str, filler: bytes) -> None:
    """Each of two million dead letters used to hash the whole record again, and to send its bytes along."""
    began_s = time.process_time()
    processed = process(b"[" + filler * (MEGABYTES_4 // len(filler)) + b"1]", name)
    assert not processed.stored
    assert [letter.event_index for letter in processed.dead_letters] == [WHOLE_RECORD]
    assert time.process_time() - began_s < 60.0


@pytest.mark.parametrize("name", ["azure", "bedrock", "litellm", "native"])
def test_as_many_bad_events_as_a_record_may_hold_are_a_dead_letter_each_within_seconds(name: str) -> None:
    began_s = time.process_time()
    processed = process(b"[" + b'{"x":"%b"},' % (b"y" * 300) * (MAX_EVENTS - 1) + b"1]", name)
    assert [letter.event_index for letter in processed.dead_letters] == list(range(MAX_EVENTS))
    assert len({letter.sha256 for letter in processed.dead_letters}) == 1
    assert time.process_time() - began_s < 60.0


def test_a_batch_of_full_records_is_processed_in_parts() -> None:
    value = b"[" + b'{"deployment":"d"},' * (MAX_EVENTS - 1) + b'{"deployment":"d"}]'
    records = [Record(topic="t", partition=0, offset=at, time_s=1.0, value=value) for at in range(3)]
    records += [Record(topic="t", partition=1, offset=at, time_s=1.0, value=b"]") for at in range(3)]
    parts = list(make_pipeline("native").parts(records))
    assert [len(part.stored) for part in parts] == [PART_EVENTS] * 3 + [0]
    assert [place for part in parts for place in part.places] == [(each.partition, each.offset) for each in records]
    assert [dead for part in parts for dead, _ in part.outcomes()] == [False] * 3 + [True] * 3


def test_a_record_with_one_good_event_is_not_dead_for_the_limit() -> None:
    dead = {value: next(process(value).outcomes())[0] for value in (b'[{"deployment":"d"},1]', b"[1]", b"[]")}
    assert list(dead.values()) == [False, True, False]


def test_what_the_consumer_could_not_read_is_a_dead_letter_with_its_reason() -> None:
    (letter,) = process(Unreadable(b'{"deployment":"d"}', "its batch inflates to more than 5 bytes")).dead_letters
    assert letter.reason == "its batch inflates to more than 5 bytes"
    assert letter.event_index == WHOLE_RECORD


def test_of_a_requeued_record_only_the_events_that_were_bad_are_read() -> None:
    value = b'[{"deployment":"a"},{"deployment":"b"},{"deployment":"c"},1]'
    processed = process(value, headers=(("only-events", b"1,3"),))
    assert [(row.index, row.event.deployment) for row in processed.stored] == [(1, "b")]
    assert [letter.event_index for letter in processed.dead_letters] == [3]


def test_latencies_next_to_zero_break_no_detector() -> None:
    """The least float there is, in most calls of a baseline, gave a division of zero by zero in its regression."""
    one = {
        "deployment": "d",
        "model": "m",
        "latency_s": 5e-324,
        "ttft_s": 5e-324,
        "input_tokens": 9,
        "output_tokens": 9,
    }
    events = [{**one, "time_s": 1_763_000_000.0 - 10_000 + number} for number in range(2_000)]
    processed = process(msgspec.json.encode(events))
    bank = Bank(DEPLOYMENT, Budget())
    findings = bank.apply(0, 1, [row.observation for row in processed.stored])
    assert len(processed.stored) == 2_000
    assert not [finding.summary for finding in findings if " failed with " in finding.summary]


def test_damaged_protobuf_of_which_nothing_is_left_is_a_dead_letter_and_not_silence() -> None:
    whole = next(each.value for each in corpus() if each.format == "otlp" and not each.values)
    at = whole.index(b"\x12", 50)
    processed = process(whole, "otlp")
    assert processed.stored
    damaged = [whole[:place] + b"\x52" + whole[place + 1 :] for place in range(at, len(whole)) if whole[place] == 0x12]
    for value in damaged:
        outcome = process(value, "otlp")
        assert outcome.stored or outcome.dead_letters or outcome.ignored
