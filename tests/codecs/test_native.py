"""Our own format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from detectors.types import Components, InferenceEvent, Message
from streams.codecs import Reject, UndecodableError, native

if TYPE_CHECKING:
    from pathlib import Path


def encoded(**fields: object) -> bytes:
    return json.dumps({"deployment": "d", **fields}).encode()


def only(value: bytes) -> InferenceEvent | Reject:
    (item,) = native.decode(value).items
    return item


def test_what_a_sender_encodes_is_what_is_decoded() -> None:
    event = InferenceEvent(
        deployment="d",
        time_s=1_700_000_000.5,
        input_messages=(Message(role="user", content="žluťoučký 🐎"),),
        features={"amount": 1.5, "vip": True, "country": "CZ", "age": None},
        components=Components(weights="sha256:ab"),
        finish_reasons=("stop",),
    )
    assert only(msgspec.json.encode(event)) == msgspec.structs.replace(event, source="native")


def test_an_array_lines_and_single_objects_give_the_same_events() -> None:
    records = [encoded(input_tokens=count) for count in range(50)]
    alone = [only(record) for record in records]
    assert native.decode(b"[" + b",".join(records) + b"]").items == alone
    assert native.decode(b"\r\n".join(records)).items == alone
    assert native.decode(b"\n\n".join(records) + b"\n").items == alone


def test_an_object_over_many_lines_is_one_event() -> None:
    assert only(json.dumps({"deployment": "d", "features": {"a": 1}}, indent=2).encode()) == InferenceEvent(
        deployment="d", features={"a": 1.0}, source="native"
    )


def test_one_bad_event_leaves_its_neighbors_and_their_positions_alone() -> None:
    records = [encoded(model=str(count)) for count in range(5)]
    records[2] = encoded(input_tokens="many")
    for value in (b"[" + b",".join(records) + b"]", b"\n".join(records)):
        items = native.decode(value).items
        assert [item.model if isinstance(item, InferenceEvent) else None for item in items] == [
            "0",
            "1",
            None,
            "3",
            "4",
        ]
        assert items[2] == Reject("Expected `int | null`, got `str` - at `$.input_tokens`")


def test_another_version_is_refused_even_where_its_fields_would_fit() -> None:
    refused: list[object] = [2, 0, "1", 1.5, [1], True]
    for version in refused:
        assert only(encoded(schema_version=version)) == Reject("schema_version: unknown version, expected 1")
    for accepted in (1, None):
        assert only(encoded(schema_version=accepted)) == InferenceEvent(deployment="d", source="native")


def test_a_version_is_looked_at_before_the_fields_that_it_may_have_changed() -> None:
    assert only(encoded(schema_version=2, input_tokens={"total": 1})) == Reject(
        "schema_version: unknown version, expected 1"
    )


def test_a_time_in_words_needs_its_offset() -> None:
    assert only(encoded(time="2023-11-14T23:13:20.5+01:00")) == InferenceEvent(
        deployment="d", source="native", time_s=1_700_000_000.5
    )
    assert only(encoded(time="2023-11-14T23:13:20")) == Reject(
        "Expected `datetime` with a timezone component - at `$.time`"
    )
    assert isinstance(only(encoded(time="yesterday")), Reject)


def test_seconds_win_over_a_time_in_words() -> None:
    assert only(encoded(time_s=7.0, time="2023-11-14T23:13:20Z")) == InferenceEvent(
        deployment="d", source="native", time_s=7.0
    )


def test_an_identity_that_a_sender_claims_is_dropped() -> None:
    assert only(encoded(event_id="0:t:0:0:0", source="litellm")) == InferenceEvent(deployment="d", source="native")


def test_half_an_emoji_is_replaced_and_not_fatal() -> None:
    value = b'{"deployment":"d","system":"cut \\ud83d, whole \\ud83d\\ude00, spelled \\\\ud83d"}'
    assert only(value) == InferenceEvent(
        deployment="d", source="native", system="cut \ufffd, whole 😀, spelled \\ud83d"
    )


def test_bad_utf8_is_found_also_in_fields_that_are_skipped() -> None:
    with pytest.raises(UndecodableError, match="invalid UTF-8"):
        native.decode(b'[{"deployment":"d","not_known":"\xff"}]')


@pytest.mark.parametrize("value", [b"", b"  ", b"7", b'"d"', b"null", b"garbage", b'[{"deployment":"d"}', b"{\n]\n"])
def test_what_is_no_record_is_refused_as_a_whole(value: bytes) -> None:
    with pytest.raises(UndecodableError):
        native.decode(value)


def test_an_empty_array_is_a_record_without_events() -> None:
    assert native.decode(b"[]").items == []


@pytest.mark.parametrize(
    ("value", "is_ours"),
    [
        (encoded(), True),
        (encoded(schema_version=1, extra="x"), True),
        (b"[" + encoded(model="m") + b"]", True),
        (encoded() + b"\n" + b"garbage", True),
        (b"\xef\xbb\xbf" + encoded(), True),
        (encoded(extra="x"), False),
        (b'{"model":"m"}', False),
        (b'{"deployment":7}', False),
        (b"[]", False),
        (b"[1]", False),
        (b'{"resourceSpans":[]}', False),
    ],
)
def test_only_what_can_be_nothing_else_is_recognized(value: bytes, is_ours: bool) -> None:  # noqa: FBT001  # a case
    assert native.sniff(value) is is_ours


def test_payloads_of_other_formats_are_not_recognized(shared_data: Path) -> None:
    payloads = [path for path in (shared_data / "payloads").iterdir() if path.suffix in {".json", ".jsonl"}]
    assert payloads
    assert not [path.name for path in payloads if native.sniff(path.read_bytes())]
