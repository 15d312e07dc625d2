"""Whatever a record holds, a codec returns or raises `UndecodableError`: anything else would end the worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.types import InferenceEvent
from streams.codecs import Decoded, Reject, UndecodableError
from streams.codecs._checks import check
from tests.codecs.test_fixtures import CASES, FORMATS, case_id, codec

if TYPE_CHECKING:
    from pathlib import Path

DEEP = 10_000
LONGEST_REASON = 500
HOSTILE = {
    "nothing": b"",
    "white space": b" \n\t",
    "10,000 nested arrays": b"[" * DEEP + b"]" * DEEP,
    "10,000 arrays never closed": b"[" * DEEP,
    "10,000 nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "an integer of 5,000 digits": b"9" * 5_000,
    "an object with an integer of 5,000 digits": b'{"deployment":"d","input_tokens":' + b"9" * 5_000 + b"}",
    "NaN": b"NaN",
    "an object with Infinity": b'{"deployment":"d","latency_s":Infinity}',
    "bytes that are not UTF-8": b'{"deployment":"\xff\xfe"}',
    "UTF-16": '{"deployment":"d"}'.encode("utf-16"),
    "a number": b"42",
    "a text": b'"resourceSpans"',
    "null": b"null",
    "an unfinished object": b'{"deployment":"d"',
    "zeros": bytes(64),
    "protobuf nested without end": b"\n\x7f" * 5_000,
    "a length beyond the end": b"\n\xff\xff\xff\xff\x07",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}
REFUSED = sorted(set(HOSTILE) - {"an object with an integer of 5,000 digits"})

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(name: str, value: bytes) -> list[InferenceEvent | Reject]:
    """Decode as the pipeline does; a record that is refused as a whole counts as one rejected event."""
    try:
        decoded: Decoded = codec(name).decode(value)
    except UndecodableError as error:
        return [Reject(str(error))]
    return decoded.items


def survives(name: str, value: bytes) -> None:
    """Decode, check and sniff: only `UndecodableError` may come out."""
    assert codec(name).sniff(value) in {True, False}
    for item in outcome(name, value):
        if isinstance(item, Reject):
            assert item.reason
        else:
            assert item.source == name
            assert isinstance(check(item), InferenceEvent | Reject)


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", FORMATS)
def test_hostile_bytes_are_survived(name: str, what: str) -> None:
    survives(name, HOSTILE[what])


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_record_is_refused_briefly_and_never_recognized(name: str, what: str) -> None:
    assert not codec(name).sniff(HOSTILE[what])
    items = outcome(name, HOSTILE[what])
    assert items
    assert all(isinstance(item, Reject) and len(item.reason) < LONGEST_REASON for item in items)


@pytest.mark.parametrize("name", FORMATS)
def test_ten_megabytes_are_survived_within_seconds(name: str) -> None:
    value = b'{"deployment":"d","system":"' + b"x" * 10_000_000 + b'"}'
    began = time.monotonic()
    survives(name, value)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("name", FORMATS)
@few
@given(value=st.binary(max_size=200))
def test_arbitrary_bytes_are_survived(name: str, value: bytes) -> None:
    survives(name, value)


@pytest.mark.parametrize("path", CASES, ids=case_id)
@few
@given(data=st.data())
def test_a_record_with_damage_is_survived(path: Path, data: st.DataObject) -> None:
    value = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        size = data.draw(st.integers(0, 12))
        value[at : at + size] = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b"null", b"[]", b"{}", b'"', b"-1", b"1e400", b"true", b'"\\ud800"', b"9" * 40, b"[[[{"])
        )
    survives(path.parent.name, bytes(value))


@pytest.mark.parametrize("path", CASES, ids=case_id)
@few
@given(share=st.floats(0.0, 1.0))
def test_a_record_that_was_cut_is_survived(path: Path, share: float) -> None:
    value = path.read_bytes()
    survives(path.parent.name, value[: int(len(value) * share)])
