"""JSON that a stranger wrote, and the typed readers of its fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import UndecodableError
from streams.codecs._json import (
    MAX_DEPTH,
    FieldError,
    amount,
    count,
    embedded,
    flag,
    identity,
    mapping,
    number,
    parse,
    sequence,
    text,
)

Reader = Callable[[Mapping[str, object], str, str], object]

READERS: list[Reader] = [text, identity, count, number, amount, flag, mapping, sequence]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        # text without surrogates is what JSON can hold
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
        max_leaves=20,
    )
)
def test_what_json_holds_is_read_back(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"NaN", "not JSON"),
        (b"[-Infinity]", "not JSON"),
        (b"1e999", "out of range"),
        (b"9" * 5_000, "out of range"),
        (b'"\xff"', "invalid UTF-8"),
        (b'{"\xed\xa0\x80":1}', "invalid UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "nested"),
        (b'{"a":' * 10_000, "nested"),
        (b'"\\ud83d', "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match=reason):
        parse(value)


def test_nesting_is_allowed_up_to_its_limit() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(UndecodableError, match="nested"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert parse(b"[" + b",".join([b"[[]]"] * 1_000) + b"]")


def test_a_mark_is_skipped_and_the_last_of_two_keys_wins() -> None:
    assert parse(b'\xef\xbb\xbf{"a":1,"a":2}') == {"a": 2}


def test_only_lone_surrogates_are_replaced() -> None:
    assert parse(rb'["\ud83d", "\ude00x", "\ud83d\ude00", "\\ud83d", "\\\ud83d", "\uD83D\uD83D\uDE00"]') == [
        "\ufffd",
        "\ufffdx",
        "😀",
        r"\ud83d",
        "\\\ufffd",
        "\ufffd😀",
    ]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("absent", [{}, {"key": None}, {"key": ""}], ids=["absent", "null", "empty"])
def test_what_is_not_there_is_unknown(read: Reader, absent: dict[str, object]) -> None:
    assert read(absent, "key", "") is None


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (text, "t", "t"),
        (identity, 42, "42"),
        (identity, "u", "u"),
        (count, 0, 0),
        (count, 2**63 - 1, 2**63 - 1),
        (count, "12", 12),
        (count, 12.0, 12),
        (number, 3, 3.0),
        (number, "-1.5e3", -1500.0),
        (number, ".5", 0.5),
        (amount, "0", 0.0),
        (flag, False, False),
        (flag, "True", True),
        (mapping, {}, {}),
        (sequence, [], []),
        (embedded, '{"a":[1]}', {"a": [1]}),
        (embedded, {"a": 1}, {"a": 1}),
        (embedded, "", None),
    ],
)
def test_a_reader_reads_each_spelling(read: Reader, value: object, result: object) -> None:
    found = read({"key": value}, "key", "")
    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (text, 7),
        (text, ["t"]),
        (identity, True),
        (identity, 1.5),
        (identity, 10**30),
        (count, -1),
        (count, True),
        (count, 2**63),
        (count, 1.5),
        (count, 1e300),
        (count, "9" * 5_000),
        (count, "twelve"),
        (count, "\u0661"),
        (count, []),
        (number, float("nan")),
        (number, float("inf")),
        (number, "nan"),
        (number, "1e999"),
        (number, True),
        (number, 10**400),
        (amount, -0.001),
        (flag, 1),
        (flag, "yes"),
        (mapping, []),
        (sequence, {}),
        (embedded, "{"),
    ],
)
def test_a_reader_refuses_what_does_not_fit_by_its_path(read: Reader, bad: object) -> None:
    with pytest.raises(FieldError, match=r"^usage\.key: expected "):
        read({"key": bad}, "key", "usage")
    with pytest.raises(FieldError, match=r"^key: expected "):
        read({"key": bad}, "key", "")
