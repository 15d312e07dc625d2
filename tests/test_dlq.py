"""A dead letter can be read on any terminal and leads back to its record."""

from __future__ import annotations

import hashlib

import pytest

from streams.dlq import WHOLE_RECORD, DeadLetter, Record, dead_letter, printable
from streams.redaction import Redactor


def record(value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record(topic="inference-logs", partition=2, offset=41, time_s=1_750_000_000.5, value=value, headers=headers)


def buried(value: bytes, reason: str = "why", headers: tuple[tuple[str, bytes], ...] = ()) -> DeadLetter:
    return dead_letter(record(value, headers), "topic-uuid", reason, WHOLE_RECORD, lambda text: text)


def test_a_dead_letter_names_where_the_record_is_and_what_it_was() -> None:
    value = b"\x00not json"
    assert buried(value, "not JSON", (("content-type", b"application/json"),)) == DeadLetter(
        topic_id="topic-uuid",
        topic="inference-logs",
        partition=2,
        offset=41,
        event_index=-1,
        record_time_s=1_750_000_000.5,
        reason="not JSON",
        content_type="application/json",
        size_bytes=9,
        sha256=hashlib.sha256(value).hexdigest(),
        head="\\x00not json",
    )


@pytest.mark.parametrize(
    ("value", "head"),
    [
        (b"\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("safe\u202etxt.exe".encode(), "safe\\u202etxt.exe"),
        ("\u2028\u00e9\U0001f600".encode(), "\\u2028\\xe9\\U0001f600"),
        (b"a\r\nb\tc", "a\\r\\nb\\tc"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\x9b31m", "\\x9b31m"),
        (b"", ""),
    ],
    ids=["escape sequences", "bidi override", "beyond ASCII", "line ends", "no UTF-8", "8-bit CSI", "nothing"],
)
def test_the_head_shows_only_printable_ascii(value: bytes, head: str) -> None:
    shown = buried(value).head
    assert shown == head
    assert all(" " <= each <= "~" for each in shown)


def test_the_head_of_a_large_record_is_short_and_its_size_and_hash_are_of_the_whole() -> None:
    value = b"a" * 10_000_000
    letter = buried(value)
    assert letter.head == "a" * 256
    assert letter.size_bytes == 10_000_000
    assert letter.sha256 == hashlib.sha256(value).hexdigest()


def test_a_secret_across_the_end_of_the_head_is_recognized_before_the_cut() -> None:
    value = b"x" * 243 + b" alice.longname@example.com and more"
    head = dead_letter(record(value), "t", "r", 0, Redactor(ips=True).redact).head
    assert "alice" not in head
    assert head == "x" * 243 + " [email] and "


def test_the_reason_is_escaped_and_cut() -> None:
    letter = buried(b"x", "\x1b[31m" + "r" * 10_000)
    assert letter.reason.startswith("\\x1b[31mrrr")
    assert len(letter.reason) == 500


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ((), ""),
        ((("Content-Type", b"Application/JSON; charset=utf-8"),), "application/json"),
        ((("x", b"1"), ("content-type", b" text/plain ")), "text/plain"),
        ((("content-type", b"first/one"), ("content-type", b"second/one")), "first/one"),
        ((("content-type", b"\xff\x1b[2J"),), "\\ufffd\\x1b[2j"),
    ],
    ids=["none", "with a parameter and capitals", "not the first header", "twice", "no text"],
)
def test_the_content_type_is_read_without_parameters(headers: tuple[tuple[str, bytes], ...], content_type: str) -> None:
    assert buried(b"x", headers=headers).content_type == content_type


def test_a_content_type_of_a_megabyte_is_cut() -> None:
    assert len(buried(b"x", headers=(("content-type", b"a" * 1_000_000),)).content_type) == 200


def test_half_a_surrogate_can_be_printed() -> None:
    assert printable("\ud800") == "\\ud800"
