"""A dead letter can be read on any terminal and leads back to its record."""

from __future__ import annotations

import hashlib

import pytest

from streams.dlq import (
    WHOLE_RECORD,
    WINDOW,
    DeadLetter,
    DeadLetterLimitError,
    LimitPolicy,
    Record,
    Tally,
    Unreadable,
    dead_letter,
    printable,
    sibling,
)
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


def test_another_event_of_a_record_differs_in_its_index_and_reason_only() -> None:
    value = b"[1,2]"
    first = buried(value, "a")
    assert sibling(first, "b\x1b", 3) == DeadLetter(
        **{name: getattr(first, name) for name in DeadLetter.__struct_fields__} | {"event_index": 3, "reason": "b\\x1b"}
    )


def test_what_was_cut_before_it_came_here_says_what_it_was_as_a_whole() -> None:
    letter = buried(Unreadable(b"abc", "why", b"abcdef"))
    assert (letter.size_bytes, letter.sha256) == (6, hashlib.sha256(b"abcdef").hexdigest())
    assert letter.head == "abc"
    assert buried(Unreadable(b"abc", "why")).sha256 == "", "what nobody saw whole must never look whole"


@pytest.mark.parametrize(
    ("said", "indexes"),
    [(b"3,7", {3, 7}), (b"0", {0}), (b"", None), (b"-1", None), (b"3,x", None), (b"9" * 5_000, None), (b"\xff", None)],
)
def test_a_requeued_record_says_which_events_to_read(said: bytes, indexes: set[int] | None) -> None:
    assert record(b"x", (("only-events", said),)).only_events == indexes


def outcomes(pattern: str, times: int = 1) -> list[tuple[bool, str]]:
    """``x`` is a dead record, anything else a good one."""
    return [(each == "x", "not JSON") for each in pattern * times]


def passes(policy: LimitPolicy, pattern: str, times: int = 1) -> bool:
    try:
        Tally(policy).count(outcomes(pattern, times))
    except DeadLetterLimitError:
        return False
    return True


def test_a_run_of_dead_records_ends_at_the_limit_and_says_what_to_check() -> None:
    tally = Tally(LimitPolicy(ratio=1.0, run=5))
    tally.count(outcomes("xxxx.xxxx.xxxx"))
    with pytest.raises(DeadLetterLimitError, match=r"5 records in a row.*not JSON.*INFERWATCH_INPUT_FORMAT"):
        tally.count(outcomes("x"))


@pytest.mark.parametrize(
    ("ratio", "pattern", "passed"),
    [(0.5, "x.", True), (0.5, "xx.", False), (0.9, "xxxxxxxxx.", True), (0.9, "xxxxxxxxxxx.", False), (1.0, "x", True)],
)
def test_the_share_of_dead_records_among_the_last_thousand_is_limited(ratio: float, pattern: str, passed: bool) -> None:  # noqa: FBT001 - a column of the table
    assert passes(LimitPolicy(ratio=ratio, run=0), pattern, 2 * WINDOW) is passed


def test_the_share_says_nothing_before_a_thousand_records_were_seen() -> None:
    assert passes(LimitPolicy(ratio=0.5, run=0), "x", WINDOW - 1)
    assert not passes(LimitPolicy(ratio=0.5, run=0), "x", WINDOW)


def test_what_was_long_ago_is_not_counted() -> None:
    assert passes(LimitPolicy(ratio=0.5, run=0), "x" * 400 + "." * 600, 20)


def test_nine_bad_records_for_each_good_one_are_what_the_shipped_limit_lets_pass() -> None:
    assert passes(LimitPolicy(), "xxxxxxxxx.", 1_000)
    assert not passes(LimitPolicy(), "x", 1_000)
    assert passes(LimitPolicy(ratio=1.0, run=0), "x", 10_000)
