"""What every event must satisfy, whichever codec read it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.types import MAX_TIME_S, Components, Document, InferenceEvent, Message
from streams.codecs import Reject
from streams.codecs._checks import all_checked, check

MINIMAL = InferenceEvent(deployment="d")


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("deployment", ""),
        ("deployment", " \n"),
        ("deployment", "d" * 257),
        ("input_tokens", -1),
        ("output_tokens", 2**63),
        ("cached_tokens", -5),
        ("reasoning_tokens", 10**30),
        ("latency_s", -0.1),
        ("latency_s", math.nan),
        ("ttft_s", math.inf),
        ("http_status", 99),
        ("http_status", 600),
        ("cost_usd", -math.inf),
        ("time_s", math.nan),
        ("score", math.inf),
        ("features", {"a": 1.0, "b": math.nan}),
        ("documents", (Document(score=math.nan),)),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(field: str, bad: object) -> None:
    refused = check(InferenceEvent(**{"deployment": "d", field: bad}))  # type: ignore[arg-type]  # the table has every type
    assert isinstance(refused, Reject)
    assert refused.reason.startswith(field)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("max_tokens", -1),
        ("n", -1),
        ("n", 2**63),
        ("top_logprobs", -1),
        ("logit_bias", -1),
        ("temperature", -1.0),
        ("temperature", math.inf),
        ("top_p", 1.01),
        ("top_p", math.nan),
    ],
)
def test_what_a_caller_asked_for_out_of_range_is_unknown_and_refuses_nothing(field: str, bad: object) -> None:
    asked = InferenceEvent(**{"deployment": "d", "model": "m", field: bad})  # type: ignore[arg-type]  # the table has every type
    assert check(asked) == InferenceEvent(deployment="d", model="m")


def test_bad_documents_are_found_beside_good_features() -> None:
    event = InferenceEvent(deployment="d", features={"a": 1.0}, documents=(Document(score=math.inf),))
    assert check(event) == Reject("documents: expected every score to be finite")


def test_limits_themselves_are_allowed() -> None:
    event = InferenceEvent(
        deployment="d" * 256,
        time_s=MAX_TIME_S,
        input_tokens=2**63 - 1,
        output_tokens=0,
        latency_s=0.0,
        top_p=1.0,
        http_status=599,
        score=-3.5,
        features={"a": -1.0, "b": None, "c": True, "d": "nan"},
    )
    assert check(event) is event


def test_what_is_empty_becomes_unknown() -> None:
    event = InferenceEvent(
        deployment="d",
        model="",
        principal="",
        finish_reasons=(),
        input_messages=(),
        features={},
        components=Components(weights="", tokenizer="v1"),
    )
    assert check(event) == InferenceEvent(deployment="d", components=Components(tokenizer="v1"))
    assert check(InferenceEvent(deployment="d", components=Components(image=""))) == MINIMAL
    assert check(InferenceEvent(deployment="d", components=Components())) == MINIMAL


def test_an_empty_answer_is_an_answer_and_no_documents_are_known_to_be_none() -> None:
    event = InferenceEvent(
        deployment="d", output_messages=(Message(role="assistant", content=""),), documents=(), egress_hosts=()
    )
    assert check(event) is event


@pytest.mark.parametrize("time_s", [0.0, -1.0, MAX_TIME_S + 1.0])
def test_a_time_of_a_broken_clock_becomes_unknown(time_s: float) -> None:
    assert check(InferenceEvent(deployment="d", time_s=time_s)) == MINIMAL


@given(
    st.builds(
        InferenceEvent,
        deployment=st.text(max_size=3),
        model=st.none() | st.text(max_size=1),
        input_tokens=st.none() | st.integers(),
        top_p=st.none() | st.floats(),
        time_s=st.none() | st.floats(),
        features=st.none() | st.dictionaries(st.text(max_size=1), st.floats(), max_size=2),
    )
)
def test_what_passed_once_passes_unchanged(event: InferenceEvent) -> None:
    once = check(event)
    assert isinstance(once, Reject) or check(once) == once


def test_names_and_digests_a_caller_may_choose_are_cut_so_that_they_fit_a_message() -> None:
    long = "x" * 2_000_000
    event = InferenceEvent(
        deployment="d", model=long, served_model=long, components=Components(image=long, adapter="a")
    )
    checked = check(event)
    assert isinstance(checked, InferenceEvent)
    assert checked.model == checked.served_model == "x" * 256
    assert checked.components == Components(image="x" * 256, adapter="a")


ODD: tuple[dict[str, object], ...] = (
    {"deployment": " \n"},
    {"deployment": ""},
    {"deployment": "d" * 257},
    {"input_tokens": -1},
    {"latency_s": math.nan},
    {"time_s": 0.0},
    {"time_s": MAX_TIME_S + 1.0},
    {"temperature": -1.0},
    {"model": ""},
    {"system": ""},
    {"trace_id": "x" * 257},
    {"input_messages": ()},
    {"finish_reasons": ()},
    {"features": {}},
    {"features": {"a": math.inf}},
    {"documents": (Document(score=math.nan),)},
    {"components": Components()},
    {"components": Components(weights="")},
    {"components": Components(weights="w" * 257)},
)
SOUND = InferenceEvent(
    deployment="d",
    model="m",
    time_s=1.0,
    temperature=0.0,
    input_tokens=0,
    input_messages=(Message(role="user", content=""),),
    features={"a": 1.0, "b": "text", "c": None},
    documents=(),
    egress_hosts=(),
    components=Components(weights="w"),
)


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_events_are_checked_together_as_each_alone(odd: dict[str, object]) -> None:
    event = InferenceEvent(**{"deployment": "d", **odd})  # type: ignore[arg-type]  # the table has every type
    assert check(event) != event
    for events in ([event], [SOUND, MINIMAL, event], [event, SOUND, event]):
        assert list(all_checked(events)) == [check(each) for each in events]


def test_sound_events_are_returned_as_they_are() -> None:
    assert all_checked([SOUND, MINIMAL])[0] is SOUND
    assert list(all_checked([])) == []
