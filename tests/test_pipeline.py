"""Every record becomes events, dead letters or a counted nothing, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from detectors import features
from detectors.types import InferenceEvent, Message, Observation
from streams.codecs import Decoded, Reject
from streams.codecs.native import CONTENT_TYPES as NATIVE_TYPES
from streams.dlq import WHOLE_RECORD, DeadLetter, Record
from streams.pipeline import Codec, Pipeline, by_partition, discover_codecs, partition_of
from streams.privacy import ContentMode, Privacy

KEY = b"k" * 32
TOPIC_ID = "5f" * 16
NOW_S = 1_750_000_000.0
FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = ("azure", "bedrock", "litellm", "native", "otlp")


class FakeCodec:
    """A codec that gives what it is told to; the value decides whether it claims it."""

    CONTENT_TYPES: frozenset[str]

    def __init__(self, name: str, items: list[InferenceEvent | Reject] | Exception, claims: object = "yes") -> None:
        self.FORMAT = name
        self.CONTENT_TYPES = frozenset({f"application/{name}"})
        self._items = items
        self._claims = claims

    def decode(self, value: bytes) -> Decoded:
        if isinstance(self._items, Exception):
            raise self._items
        return Decoded(list(self._items), ignored=1)

    def sniff(self, value: bytes) -> bool:
        if isinstance(self._claims, Exception):
            raise self._claims
        return bool(self._claims)


def pipeline(
    *codecs: Codec, input_format: str = "auto", mode: ContentMode = ContentMode.REDACTED, limit: int = 100_000
) -> Pipeline:
    return Pipeline(
        topic_id=TOPIC_ID,
        privacy=Privacy(KEY, mode),
        mode=mode,
        hash_key=KEY,
        input_format=input_format,
        max_record_bytes=limit,
        codecs={codec.FORMAT: codec for codec in codecs} if codecs else None,
    )


def record(value: bytes, content_type: str | None = None, offset: int = 7, time_s: float = NOW_S) -> Record:
    headers = () if content_type is None else (("content-type", content_type.encode()),)
    return Record(topic="inference-logs", partition=3, offset=offset, time_s=time_s, value=value, headers=headers)


def only_letter(used: Pipeline, *records: Record) -> DeadLetter:
    processed = used.process(records)
    assert not processed.stored
    (letter,) = processed.dead_letters
    return letter


def sources(used: Pipeline, *records: Record) -> list[str | None]:
    """The formats of what was stored; single events may be refused, a whole record may not."""
    processed = used.process(records)
    assert all(letter.event_index != WHOLE_RECORD for letter in processed.dead_letters)
    return [row.event.source for row in processed.stored]


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


SAMPLES = {
    "azure": fixture("azure/event_hub_envelope.input.json"),
    "bedrock": fixture("bedrock/anthropic_stream.input.json"),
    "litellm": fixture("litellm/chat_with_tools_and_identities.input.json"),
    "native": fixture("native/one_object.input.json"),
    "otlp": fixture("otlp/current_names.input.json"),
}


def test_the_formats_are_found_by_their_files() -> None:
    assert tuple(discover_codecs()) == FORMATS


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_record_without_a_telling_header_is_recognized_by_what_it_is(name: str, content_type: str | None) -> None:
    assert set(sources(pipeline(), record(SAMPLES[name], content_type))) == {name}


@pytest.mark.parametrize("name", FORMATS)
def test_a_header_decides_whatever_setting_and_content_say(name: str) -> None:
    codec = discover_codecs()[name]
    other = "native" if name != "native" else "litellm"
    used = pipeline(input_format=other)
    for content_type in codec.CONTENT_TYPES:
        assert set(sources(used, record(SAMPLES[name], f"{content_type.title()}; charset=utf-8"))) == {name}
        wrong = SAMPLES[other] if other == "litellm" else b"]"
        letters = used.process([record(wrong, content_type)]).dead_letters
        assert letters and all(letter.content_type == content_type for letter in letters)


@pytest.mark.parametrize("content_type", [None, "application/json", "application/unheard-of"])
def test_the_setting_decides_where_the_header_does_not(content_type: str | None) -> None:
    letter = only_letter(pipeline(input_format="bedrock"), record(b"[1", content_type))
    assert letter.reason.startswith("bedrock: ")


def test_a_record_that_fits_no_format_says_what_was_tried() -> None:
    letter = only_letter(pipeline(), record(b'{"level":"info"}'))
    assert letter.reason == ("no content-type header; it looks like none of azure, bedrock, litellm, native, otlp")
    assert letter.event_index == WHOLE_RECORD


def test_a_header_that_names_no_format_is_in_the_reason() -> None:
    letter = only_letter(pipeline(), record(b'{"level":"info"}', "application/x-avro"))
    assert letter.reason.startswith("content type 'application/x-avro' names no format; it looks like none of ")
    assert letter.content_type == "application/x-avro"


def test_a_header_that_means_any_json_is_called_not_telling() -> None:
    letter = only_letter(pipeline(), record(b'{"level":"info"}', "application/json"))
    assert letter.reason.startswith("no telling content-type header; it looks like none of ")


def test_a_record_that_two_formats_claim_is_not_guessed() -> None:
    letter = only_letter(pipeline(FakeCodec("one", []), FakeCodec("two", []), FakeCodec("no", [], None)), record(b"x"))
    assert letter.reason == "no content-type header; it could be one or two of one, two, no"


def test_a_sniffer_that_breaks_claims_nothing() -> None:
    event = InferenceEvent(deployment="d")
    processed = pipeline(FakeCodec("broken", [], ValueError("bug")), FakeCodec("sound", [event])).process(
        [record(b"x")]
    )
    assert len(processed.stored) == 1


@pytest.mark.parametrize("error", [ValueError("bob@example.com"), RecursionError(), KeyError("x"), MemoryError()])
def test_a_decoder_that_breaks_costs_its_record_and_its_words_are_not_repeated(error: Exception) -> None:
    letter = only_letter(pipeline(FakeCodec("fake", error)), record(b"x"))
    assert letter.reason == f"fake: the decoder failed with {type(error).__name__}"


WRONGLY_FILLED = {
    "a text for a number": InferenceEvent(deployment="d", latency_s="x"),  # type: ignore[arg-type] # the case
    "a number for a principal": InferenceEvent(deployment="d", principal=5),  # type: ignore[arg-type] # the case
    "bytes for a text": InferenceEvent(deployment="d", system=b"x"),  # type: ignore[arg-type] # the case
    "a number for a message": InferenceEvent(
        deployment="d",
        input_messages=(Message(role="user", content=5),),  # type: ignore[arg-type] # the case
    ),
    "no event at all": None,
}


@pytest.mark.parametrize("item", WRONGLY_FILLED.values(), ids=list(WRONGLY_FILLED))
def test_an_event_that_a_decoder_filled_in_wrongly_costs_itself_and_not_its_neighbors(item: InferenceEvent) -> None:
    sound = InferenceEvent(deployment="d", output_messages=(Message(role="assistant", content="hi"),))
    processed = pipeline(FakeCodec("fake", [sound, item, sound])).process([record(b"x")])
    assert [row.index for row in processed.stored] == [0, 2]
    assert all(row.observation.style for row in processed.stored)
    assert [letter.event_index for letter in processed.dead_letters] == [1]


def test_an_empty_record_and_one_that_is_too_large_say_so() -> None:
    used = pipeline(limit=1_000)
    assert only_letter(used, record(b"")).reason == "it is empty"
    assert only_letter(used, record(b" \n")).reason == "it is empty"
    letter = only_letter(used, record(b"[" + b" " * 1_000))
    assert letter.reason == "it has 1001 bytes; more than 1000 are not read"
    assert letter.size_bytes == 1_001


def test_a_record_of_exactly_the_limit_is_read() -> None:
    value = b'{"deployment":"d"}'
    assert sources(pipeline(limit=1_000), record(value.ljust(1_000))) == ["native"]


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [
        ("null", NOW_S),
        ("-5.0", NOW_S),
        ("0.0", NOW_S),
        ("1700000000.25", 1_700_000_000.25),
        (f"{NOW_S + 86_400}", NOW_S + 86_400),
        (f"{NOW_S + 86_401}", NOW_S),
        ("4102444801.0", NOW_S),
        ("1e300", NOW_S),
    ],
)
def test_an_event_time_that_cannot_be_right_is_the_time_of_the_record(claimed: str, kept: float) -> None:
    value = f'{{"deployment":"d","time_s":{claimed}}}'.encode()
    (row,) = pipeline().process([record(value)]).stored
    assert row.event.time_s == row.observation.time_s == kept
    assert row.record_time_s == NOW_S


def test_an_event_is_identified_by_where_it_stood_whatever_it_says_itself() -> None:
    value = b'[{"deployment":"d","event_id":"mine"},{"deployment":"d"}]'
    processed = pipeline().process([record(value, offset=12), record(value, offset=13)])
    ids = [row.event.event_id for row in processed.stored]
    assert ids == [f"{TOPIC_ID}:3:{offset}:{index}" for offset in (12, 13) for index in (0, 1)]
    assert [row.observation.event_id for row in processed.stored] == ids
    assert [(row.topic, row.partition, row.offset, row.index) for row in processed.stored] == [
        ("inference-logs", 3, offset, index) for offset in (12, 13) for index in (0, 1)
    ]


def test_one_bad_event_of_an_array_is_one_dead_letter_and_the_others_live() -> None:
    bad = (b'{"deployment":"b","input_tokens":-1}', b'{"latency_s":1}')
    value = b'[{"deployment":"a"},%s,{"deployment":"c"},%s,{"deployment":"e"}]' % bad
    processed = pipeline().process([record(value)])
    assert [(row.index, row.event.deployment) for row in processed.stored] == [(0, "a"), (2, "c"), (4, "e")]
    assert [(letter.event_index, letter.offset) for letter in processed.dead_letters] == [(1, 7), (3, 7)]
    assert "input_tokens" in processed.dead_letters[0].reason
    assert "deployment" in processed.dead_letters[1].reason


def test_parts_that_are_no_model_calls_are_counted_and_nothing_else() -> None:
    span = {"name": "SELECT orders", "attributes": [{"key": "db.system.name", "value": {"stringValue": "mysql"}}]}
    value = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span, span]}]}]})
    processed = pipeline().process([record(value, offset=1), record(SAMPLES["native"], offset=2)])
    assert processed.ignored == 2
    assert not processed.dead_letters
    assert [row.offset for row in processed.stored] == [2]


def test_the_codec_content_types_of_our_own_producer_are_known() -> None:
    from streams.producer import CONTENT_TYPE  # noqa: PLC0415 - kafka-python is slow to import

    assert CONTENT_TYPE in NATIVE_TYPES


def test_features_are_of_what_was_said_and_the_store_gets_what_may_be_kept() -> None:
    said = "Write to alice@example.com, please."
    value = msgspec.json.encode({"deployment": "d", "output_messages": [{"role": "assistant", "content": said}]})
    (row,) = pipeline().process([record(value)]).stored
    assert row.observation.style == tuple(features.style([said])[0].tolist())
    assert features.output_text(row.event) == "Write to [email], please."


def test_hosts_of_answers_are_observed_by_name_unless_no_text_may_be_stored() -> None:
    said = "See https://evil.example/?q=1"
    value = msgspec.json.encode({"deployment": "d", "output_messages": [{"role": "assistant", "content": said}]})
    (row,) = pipeline().process([record(value)]).stored
    assert row.observation.hosts == ("answer:evil.example",)
    (row,) = pipeline(mode=ContentMode.FEATURES).process([record(value)]).stored
    assert row.observation.hosts is not None
    assert "evil" not in row.observation.hosts[0]


def observation(deployment: str, principal: str | None) -> Observation:
    return Observation(event_id="e", time_s=1.0, deployment=deployment, principal=principal)


def test_observations_are_packed_by_the_partition_of_their_subject_in_order() -> None:
    rows = [observation(f"d{number % 5}", None) for number in range(50)]
    packed = by_partition(rows, lambda row: row.deployment, 8)
    assert sum(map(len, packed.values())) == 50
    for partition, group in packed.items():
        assert {partition_of(row.deployment, 8) for row in group} == {partition}
        assert [rows.index(row) for row in group] == sorted(rows.index(row) for row in group)


def test_an_observation_without_a_subject_is_packed_nowhere() -> None:
    rows = [observation("d", None), observation("d", "p_1")]
    packed = by_partition(rows, lambda row: row.principal, 4)
    assert [row for group in packed.values() for row in group] == [rows[1]]


@pytest.mark.parametrize(("subject", "partition"), [("support-chat", 854), ("p_1", 227), ("ä", 387)])
def test_the_partition_of_a_subject_never_changes_between_releases(subject: str, partition: int) -> None:
    assert partition_of(subject, 1_024) == partition
