"""What the instrumentations of OpenAI's client put on a span besides the plain case, and what callers can do to it."""

from __future__ import annotations

import json

import pytest
from google.protobuf.json_format import MessageToJson  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from detectors.types import InferenceEvent
from streams.codecs import otlp
from tests.codecs.instrumented import CHAT, SECOND_NS, START_NS, Application, only, sent

ANSWER = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Ebb."}},
        {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "Flood, then"}},
    ],
}
LLM = {
    "openinference.span.kind": "LLM",
    "llm.finish_reason": "stop",
    "output.value": json.dumps(ANSWER),
    "output.mime_type": "application/json",
}


def streamed(*times_s: float, name: str, dropped: int = 0) -> InferenceEvent:
    """A stream whose chunks are events of its span at `times_s`, of which the sender dropped some."""
    application = Application()
    application.call(CHAT)
    request = ExportTraceServiceRequest.FromString(application.request())
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for time_s in times_s:
        span.events.add(name=name, time_unix_nano=START_NS + int(time_s * SECOND_NS))
    span.dropped_events_count = dropped
    event = only(request.SerializeToString())
    assert only(MessageToJson(request).encode()) == event
    return event


@pytest.mark.parametrize(
    "name", ["gen_ai.content.completion.chunk", "llm.content.completion.chunk", "First Token Stream Event"]
)
def test_the_first_chunk_of_a_stream_is_its_first_token(name: str) -> None:
    assert streamed(0.25, 0.5, 0.75, name=name).ttft_s == pytest.approx(0.25)


def test_the_first_token_is_unknown_where_the_first_chunks_were_dropped() -> None:
    assert streamed(0.5, 0.75, name="gen_ai.content.completion.chunk", dropped=1).ttft_s is None
    assert streamed(0.5, name="First Token Stream Event", dropped=1).ttft_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("gen_ai.request.temperature", "hot"),
        ("gen_ai.request.temperature", float("nan")),
        ("gen_ai.request.temperature", -0.5),
        ("gen_ai.request.temperature", [1]),
        ("gen_ai.request.top_p", "most"),
        ("gen_ai.request.max_tokens", 1.5),
        ("gen_ai.request.max_tokens", -4),
        ("gen_ai.request.choice.count", "three"),
        ("gen_ai.request.logprobs", [True]),
        ("gen_ai.request.top_logprobs", "many"),
        ("gen_ai.request.logit_bias", "all of them"),
        ("gen_ai.request.stream", "perhaps"),
        ("gen_ai.request.model", 4),
        ("user.id", [1]),
        ("gen_ai.conversation.id", 0.5),
    ],
)
def test_what_a_caller_wrote_of_a_wrong_type_is_unknown_and_hides_no_call(name: str, odd: object) -> None:
    plain = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    expected = sent(plain)
    event = sent({**plain, name: odd})
    assert (event.trace_id, event.span_id) != (expected.trace_id, expected.span_id)
    shown = {field: getattr(event, field) for field in event.__struct_fields__ if not field.endswith("_id")}
    assert shown == {field: getattr(expected, field) for field in shown}


def test_parameters_within_json_of_a_wrong_type_are_unknown_and_the_others_are_known() -> None:
    asked = {"model": "gpt-4o", "temperature": "hot", "n": 2.5, "max_tokens": 9, "logit_bias": "q", "user": {"a": 1}}
    event = sent({"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps(asked)})
    assert (event.temperature, event.n, event.logit_bias, event.principal) == (None,) * 4
    assert (event.model, event.max_tokens) == ("gpt-4o", 9)


@pytest.mark.parametrize(
    ("asked", "attributes", "principal"),
    [
        ({"user": "u-7"}, {}, "u-7"),
        ({"user": 7}, {}, "7"),
        ({"user": "u-7", "safety_identifier": "s-7"}, {}, "s-7"),
        ({"user": "u-7"}, {"user.id": "known"}, "known"),
    ],
)
def test_whom_the_caller_named_in_the_parameters_is_the_principal_where_no_attribute_says(
    asked: dict[str, object], attributes: dict[str, object], principal: str
) -> None:
    call = {"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps(asked), **attributes}
    assert sent(call).principal == principal


def test_the_whole_answer_has_every_finish_reason_and_the_id() -> None:
    event = sent(LLM)
    assert (event.finish_reasons, event.response_id) == (("stop", "length"), "chatcmpl-9")


@pytest.mark.parametrize("value", ["[1]", '{"id": 7, "choices": 7}', "{", '{"generations": [[]]}', "__REDACTED__"])
def test_another_value_than_a_whole_answer_changes_nothing(value: str) -> None:
    event = sent({**LLM, "output.value": value})
    assert (event.finish_reasons, event.response_id) == (("stop",), None)


def test_the_model_asked_for_of_an_embedding_is_not_the_one_that_answered() -> None:
    call = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.invocation_parameters": '{"model": "small", "encoding_format": "float"}',
    }
    answered = sent({**call, "embedding.model_name": "small-2026"})
    assert (answered.model, answered.served_model) == ("small", "small-2026")
    assert sent({**call, "error.type": "500"}).model == "small"


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"llm.prompts.0.prompt.text": "Once"}, "text_completion"),
        ({"llm.prompts": ["Once"]}, "text_completion"),
        ({"llm.prompts": ["Human: hi"], "llm.input_messages.0.message.role": "user"}, "chat"),
        ({"llm.choices.0.completion.text": " upon"}, "text_completion"),
    ],
)
def test_prompts_without_messages_are_a_text_completion(attributes: dict[str, object], operation: str) -> None:
    assert sent({"openinference.span.kind": "LLM", **attributes}).operation == operation


def test_model_calls_are_told_from_the_http_spans_around_them() -> None:
    application = Application(service_name="tide")
    application.call({"http.request.method": "POST", "http.route": "/ask"})
    application.call({**CHAT, "server.address": "127.0.0.1"})
    application.call({"http.request.method": "POST", "http.response.status_code": 200, "server.address": "127.0.0.1"})
    decoded = otlp.decode(application.request())
    assert ([type(item) for item in decoded.items], decoded.ignored) == ([InferenceEvent], 2)
