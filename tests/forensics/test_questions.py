"""What a question is: a header that fits its SQL, values that are typed before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.features import STYLE
from streams.forensics.questions import Parameter, QuestionError, named, parse, questions
from streams.forensics.values import ValueRefusedError, resolved, typed, value_of

NOW_S = 1_790_000_000.5
GOOD = """\
-- question: Who sent this?
-- parameter: token String -- a word
-- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when,
--   counted back from now
-- parameter: names Array(String) = [] -- of whom
-- column: first DateTime64(6, 'UTC') -- when
-- column: latency_p95_s Float64 s -- 95th percentile
-- text: no
-- cost: little
SELECT now64(6, 'UTC') AS first, 1.5 AS latency_p95_s
WHERE {token:String} != '' AND {since:DateTime64(3, 'UTC')} > 0 AND empty({names:Array(String)})
"""


def test_a_header_says_what_a_question_takes_and_answers() -> None:
    question = parse("sent", GOOD)
    token, since, names = question.parameters
    assert (token.name, token.kind, token.default) == ("token", "String", None)
    assert (since.default, since.about) == ("now - 90d", "from when, counted back from now")
    assert names.default == "[]"
    assert [(each.name, each.unit) for each in question.columns] == [("first", ""), ("latency_p95_s", "s")]
    assert not question.texts and question.sql.startswith("SELECT")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("-- question: Who sent this?\n", "", "one line of `-- question:`"),
        ("-- text: no", "-- text: maybe", "yes or no"),
        ("-- cost: little", "-- price: little", "one of question"),
        ("token String --", "token Stringy --", "none of"),
        ("token String -- a word", "token String", "is not `name Type"),
        ("token String", "limit UInt32", "differ in parameters: limit:UInt32, token:String"),
        ("{token:String}", "{token:FixedString(3)}", "differ in parameters"),
        ("SELECT", "INSERT INTO t SELECT", "begins with SELECT"),
        ("SELECT now64", "SELECT 1; SELECT now64", "one statement"),
        ("empty(", "1 FORMAT Null SETTINGS a = 1 AND empty(", "one statement"),
        ("SELECT now64", "SELECT * FROM url('http://example.com') UNION ALL SELECT now64", "no files, addresses"),
        ("SELECT now64", "SELECT * FROM remote ('other', 'a') UNION ALL SELECT now64", "no files, addresses"),
        ("-- column: first DateTime64(6, 'UTC') -- when\n", "-- column: first -- when\n", "is not `name Type"),
        ("names Array(String)", "token Array(String)", "differ in parameters"),
        (GOOD[GOOD.index("SELECT") :], "", "no SELECT"),
    ],
    ids=lambda each: each.strip()[:40],
)
def test_a_header_that_does_not_fit_is_refused(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(QuestionError, match=r"sent\.sql: ") as caught:
        parse("sent", GOOD.replace(old, new, 1))
    assert says in str(caught.value)


def test_a_name_must_be_one() -> None:
    with pytest.raises(QuestionError, match="lower-case"):
        parse("../etc", GOOD)


def test_a_name_that_is_none_lists_the_others() -> None:
    with pytest.raises(QuestionError, match=r"one of .*timeline"):
        named("x' OR 1=1")


def test_the_questions_of_an_investigation_exist() -> None:
    assert set(questions()) >= {"timeline", "blast_radius", "blast_radius_sessions", "before_after", "everything_by"}


def test_before_after_names_the_features_of_style_in_their_order() -> None:
    assert ", ".join(f"'{name}'" for name in STYLE) in questions()["before_after"].sql


def test_questions_without_texts_read_no_column_with_texts() -> None:
    for name in ("timeline", "blast_radius", "blast_radius_sessions", "before_after", "everything_by"):
        for column in ("prompt", "output", "system", "conversation", "features"):
            assert f"inference_events.{column}," not in questions()[name].sql
            assert f"inference_events.{column})" not in questions()[name].sql


def value(kind: Any, text: str) -> Any:
    return value_of(Parameter("it", kind, None, "it"), text, NOW_S)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("now", "2026-09-21 14:13:20.500"),
        ("90d", "2026-06-23 14:13:20.500"),
        ("24h ago", "2026-09-20 14:13:20.500"),
        ("now - 30m", "2026-09-21 13:43:20.500"),
        ("2026-11-22", "2026-11-22 00:00:00.000"),
        ("2026-11-22T14:05:00Z", "2026-11-22 14:05:00.000"),
        ("2026-11-22 14:05:00.25", "2026-11-22 14:05:00.250"),
        ("2026-11-22T14:05:00+02:00", "2026-11-22 12:05:00.000"),
        ("1790000000", "2026-09-21 14:13:20.000"),
    ],
)
def test_times_are_typed_as_people_write_them(text: str, seen: str) -> None:
    assert value("DateTime64(3, 'UTC')", text) == seen


def test_a_time_keeps_its_microseconds_where_the_column_has_them() -> None:
    assert value("DateTime64(6, 'UTC')", "2026-11-22T14:05:00.123456Z") == "2026-11-22 14:05:00.123456"


@pytest.mark.parametrize(
    "text", ["yesterday", "", "24", "now()", "1969-01-01", "9999999999d", "2026-13-01", "0001-01-01"]
)
def test_a_time_that_is_none_says_what_is(text: str) -> None:
    with pytest.raises(ValueRefusedError, match=r"--param it: .* is not accepted; a time such as"):
        value("DateTime64(3, 'UTC')", text)


@pytest.mark.parametrize(
    ("kind", "text", "seen"),
    [
        ("UInt8", "255", 255),
        ("Int64", "-9223372036854775808", -(2**63)),
        ("UInt64", "18446744073709551615", 2**64 - 1),
        ("Float64", "0.5", 0.5),
        ("Bool", "Yes", True),
        ("Array(String)", "a, b,,c", ["a", "b", "c"]),
        ("Array(String)", '["a,b", ""]', ["a,b", ""]),
        ("Array(String)", "", []),
        ("String", "  as it is\n", "  as it is\n"),
    ],
)
def test_values_are_typed(kind: str, text: str, seen: object) -> None:
    assert value(kind, text) == seen


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("UInt8", "256"),
        ("UInt8", "-1"),
        ("UInt32", "1e3"),
        ("UInt32", "1 OR 1=1"),
        ("UInt64", "18446744073709551616"),
        ("UInt64", "٣"),
        ("Float64", "nan"),
        ("Float64", "1)"),
        ("Bool", "maybe"),
        ("Array(String)", "[1]"),
        ("Array(String)", "[" * 100_000),
        ("Array(String)", ",".join("x" * 1_001)),
        ("String", "x" * 20_001),
        ("String", "\ud800"),
    ],
)
def test_a_value_of_another_type_is_refused_on_one_line(kind: str, text: str) -> None:
    with pytest.raises(ValueRefusedError) as caught:
        value(kind, text)
    assert "--param it" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_what_is_missing_unknown_or_turned_round_is_said() -> None:
    question = parse("sent", GOOD)
    with pytest.raises(ValueRefusedError, match=r"sent needs --param token=...: a word"):
        typed(question, {}, NOW_S)
    with pytest.raises(ValueRefusedError, match="sent takes token, since, names"):
        typed(question, {"token": "a", "x'; --": "1"}, NOW_S)
    with pytest.raises(ValueRefusedError, match="nothing lies between"):
        typed(questions()["timeline"], {"since": "1h", "until": "2h"}, NOW_S)


def test_a_resolved_time_does_not_move() -> None:
    question = parse("sent", GOOD)
    values = resolved(question, {"token": "a"}, NOW_S)
    assert values == {"token": "a", "since": "2026-06-23 14:13:20.500"}
    assert typed(question, values, NOW_S + 1_000)["since"] == "2026-06-23 14:13:20.500"
