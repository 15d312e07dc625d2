"""The choices that `streams.codecs.litellm` makes, and the real sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detectors.types import InferenceEvent, Message, ToolCall
from streams.codecs import Reject, litellm

PAYLOAD: dict[str, object] = {
    "id": "chatcmpl-1",
    "call_type": "acompletion",
    "status": "success",
    "stream": False,
    "custom_llm_provider": "openai",
    "startTime": 1770112800.0,
    "endTime": 1770112801.5,
    "completionStartTime": 1770112801.5,
    "response_time": 1.5,
    "model": "gpt-4o",
    "metadata": {},
    "model_parameters": {},
    "hidden_params": {},
}


def event(**changes: object) -> InferenceEvent:
    (item,) = litellm.decode(json.dumps(PAYLOAD | changes).encode()).items
    assert isinstance(item, InferenceEvent)
    return item


def reason(**changes: object) -> str:
    (item,) = litellm.decode(json.dumps(PAYLOAD | changes).encode()).items
    assert isinstance(item, Reject)
    return item.reason


def test_the_real_sample_decodes(shared_data: Path) -> None:
    value = (shared_data / "payloads" / "litellm_standard_logging_payload.json").read_bytes()
    assert litellm.sniff(value)
    (item,) = litellm.decode(value).items
    assert isinstance(item, InferenceEvent)
    assert item.time_s == pytest.approx(1737710446.847371)
    assert (item.deployment, item.model, item.served_model) == ("openai/gpt-4o", "gpt-4o", "gpt-4o")
    assert (item.input_tokens, item.output_tokens, item.finish_reasons) == (10, 20, ("stop",))
    assert (item.principal, item.network, item.user_agent, item.trace_id) == (None, None, None, None)
    assert item.output_messages == (Message(role="assistant", content="hi"),)


@pytest.mark.parametrize(
    "start", ["2026-02-03 10:00:00", "2026-02-03T10:00:00Z", "2026-02-03T11:00:00+01:00", 1770112800]
)
def test_a_time_is_the_same_however_it_is_written(start: object) -> None:
    assert event(startTime=start).time_s == 1770112800.0


def test_the_latency_of_a_stream_is_not_its_response_time_which_is_the_first_token() -> None:
    streamed = event(stream=True, completionStartTime=1770112800.25, response_time=0.25)
    assert (streamed.latency_s, streamed.ttft_s) == (1.5, 0.25)


def test_a_call_that_is_no_stream_has_no_time_to_first_token() -> None:
    assert event().ttft_s is None
    assert event(endTime=None).latency_s == 1.5


@pytest.mark.parametrize(
    ("metadata", "end_user", "expected"),
    [
        ({"user_api_key_hash": "h", "user_api_key_user_id": "u", "user_api_key_end_user_id": "e"}, "e", "h"),
        ({"user_api_key_hash": "", "user_api_key_user_id": "u"}, "e", "u"),
        ({"user_api_key_hash": None, "user_api_key_user_id": 7}, "", "7"),
        ({"user_api_key_end_user_id": "e"}, "", "e"),
        ({}, "e", "e"),
        ({"user_api_key_hash": None}, "", None),
        (None, None, None),
    ],
)
def test_the_principal_is_the_first_identity_that_is_known(
    metadata: object, end_user: object, expected: object
) -> None:
    assert event(metadata=metadata, end_user=end_user).principal == expected


def test_failures_count_where_successes_do_and_nothing_served_them() -> None:
    failed = event(status="failure", response={}, model_group="", api_base="", error_information={"error_code": "500"})
    assert failed.deployment == event().deployment
    assert (failed.served_model, failed.error_type, failed.http_status) == (None, "500", 500)


def test_a_failure_without_any_details_is_still_a_failure() -> None:
    failed = event(status="failure", response=None, error_information={"error_code": "None-ish", "error_class": ""})
    assert (failed.error_type, failed.http_status) == ("None-ish", None)
    assert event(status="failure").error_type == "failure"


@pytest.mark.parametrize("status", ["success", "failure"])
def test_zero_tokens_in_and_out_are_unknown_and_so_is_their_cost(status: str) -> None:
    filled_in = {"prompt_tokens": 0, "completion_tokens": 0}
    details = {"completion_tokens_details": {"reasoning_tokens": 0}}
    unknown = event(status=status, response={"usage": {**filled_in, **details}}, response_cost=0.0, **filled_in)
    assert (unknown.input_tokens, unknown.output_tokens, unknown.reasoning_tokens, unknown.cost_usd) == (None,) * 4


def test_zero_tokens_of_one_kind_and_a_cost_of_nothing_are_known_where_tokens_are() -> None:
    known = event(prompt_tokens=6, completion_tokens=0, response_cost=0.0)
    assert (known.input_tokens, known.output_tokens, known.cost_usd) == (6, 0, 0.0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"user": "u"}, "u"),
        ({"user": 7}, "7"),
        ({"user": "u", "safety_identifier": "s"}, "s"),
        ({"user": {"a": 1}}, None),
    ],
)
def test_without_a_proxy_the_principal_is_what_the_caller_wrote(asked: object, expected: str | None) -> None:
    assert event(model_parameters=asked).principal == expected
    assert event(model_parameters=asked, end_user="e").principal == "e"


def test_what_a_caller_wrote_of_a_wrong_type_is_unknown_and_hides_nothing() -> None:
    odd = event(end_user={"a": 1}, stream="yes", trace_id=[1], request_tags="t", user_agent=7, session_id=[])
    assert (odd.principal, odd.stream, odd.trace_id, odd.user_agent, odd.session) == (None,) * 5
    assert odd.latency_s == 1.5


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": "s"},
        {"metadata": {"session_id": "s"}},
        {"session_id": "", "metadata": {"requester_metadata": {"session_id": "s"}}},
    ],
)
def test_a_session_is_found_wherever_a_version_puts_it(changes: dict[str, object]) -> None:
    assert event(**changes).session == "s"
    assert event(metadata={"requester_metadata": "s"}).session is None


@pytest.mark.parametrize(
    ("code", "normalized", "status"),
    [("429", "", 429), ("content_policy_violation", "400_INVALID_REQUEST", 400), ("", "odd", None), (None, [], None)],
)
def test_the_status_of_a_failure_is_its_code_or_begins_its_normalized_name(
    code: object, normalized: object, status: int | None
) -> None:
    information = {"error_code": code, "error_class": "E", "normalized_error": normalized}
    assert event(status="failure", error_information=information).http_status == status


def test_an_entry_of_null_is_refused_and_the_record_is_still_recognized() -> None:
    value = json.dumps([None, PAYLOAD]).encode()
    assert litellm.sniff(value)
    nothing, one = litellm.decode(value).items
    assert nothing == Reject("expected a JSON object")
    assert one == event()


def test_the_user_agent_is_the_one_named_or_the_longest_of_the_tags() -> None:
    tags = ["User-Agent: curl", "User-Agent: curl/8.5", "team-a", 7]
    assert event(request_tags=tags).user_agent == "curl/8.5"
    assert event(request_tags=tags, user_agent="app/1").user_agent == "app/1"


def test_what_a_caller_asked_for_never_hides_the_call() -> None:
    odd = event(
        model_parameters={
            "temperature": [],
            "top_p": 9,
            "logit_bias": "x",
            "n": "many",
            "tools": {},
            "logprobs": "yes",
        },
        messages=[7, None, {"role": 7, "content": {"a": 1}}, {"content": [None, {"text": 3}], "tool_calls": [{}]}],
    )
    assert (odd.temperature, odd.top_p, odd.logit_bias, odd.n, odd.logprobs) == (None,) * 5
    assert odd.input_messages == (Message(role="user"), Message(role="user"))


def test_content_that_was_taken_out_is_not_delivered() -> None:
    taken_out = event(messages=[{"role": "user", "content": "redacted-by-litellm"}], response="redacted-by-litellm")
    assert (taken_out.input_messages, taken_out.output_messages) == (None, None)


def test_of_a_tool_call_that_was_taken_out_its_name_is_delivered() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "redacted-by-litellm"}}
    choice = {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    messages = [{"role": "user", "content": "redacted-by-litellm"}, {"role": "user", "content": "kept"}]
    taken_out = event(messages=messages, response={"choices": [choice]})
    assert taken_out.input_messages == (Message(role="user"), Message(role="user", content="kept"))
    assert taken_out.output_messages == (
        Message(role="assistant", tool_calls=(ToolCall(name="f", arguments=None, call_id="c"),)),
    )


def test_equal_tool_lists_have_equal_digests_whatever_the_order_of_keys() -> None:
    one = event(model_parameters={"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]})
    same = event(model_parameters={"tools": [{"function": {"strict": True, "name": "f"}, "type": "function"}]})
    other = event(model_parameters={"tools": [{"function": {"strict": True, "name": "g"}, "type": "function"}]})
    assert one.components is not None
    assert one.components == same.components != other.components


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"response_cost": "free"}, "response_cost"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"user_api_key_hash": {}}}, "metadata.user_api_key_hash"),
        ({"endTime": "soon"}, "endTime"),
        (
            {"response": {"usage": {"prompt_tokens_details": {"cached_tokens": "x"}}}},
            "response.usage.prompt_tokens_details",
        ),
    ],
)
def test_a_wrong_type_from_the_gateway_is_refused_by_its_name(changes: dict[str, object], named: str) -> None:
    assert reason(**changes).startswith(named)
