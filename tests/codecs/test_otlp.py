"""OpenTelemetry requests, as the real SDK and its exporter write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Status, StatusCode

from detectors.types import Components, InferenceEvent, Message
from streams.codecs import Reject, otlp
from streams.codecs._genai_messages import MAX_STEPS, nest
from tests.codecs.instrumented import CHAT, START_NS, Application, only, sent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def test_a_call_from_the_sdk_becomes_one_event() -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "where is my order"}]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "shipped"}], "finish_reason": "stop"}]
    application = Application(service_name="shop", cloud_region="eu-west-1")
    with application.tracer.start_as_current_span("chat gpt-4o") as span:
        span.set_attributes(CHAT)
        span.set_attributes(
            {
                "gen_ai.usage.input_tokens": 100,
                "gen_ai.usage.output_tokens": 50,
                "gen_ai.response.finish_reasons": ["stop", "length"],
                "gen_ai.input.messages": json.dumps(messages),
                "gen_ai.output.messages": json.dumps(answer),
                "enduser.id": "alice",
            }
        )
    event = only(application.request())
    context = span.get_span_context()
    assert event.latency_s is not None
    assert 0.0 <= event.latency_s < 60.0
    assert msgspec.structs.replace(event, time_s=None, latency_s=None) == InferenceEvent(
        deployment="shop",
        source="otlp",
        operation="chat",
        input_messages=(Message(role="user", content="where is my order"),),
        output_messages=(Message(role="assistant", content="shipped"),),
        input_tokens=100,
        output_tokens=50,
        finish_reasons=("stop", "length"),
        principal="alice",
        region="eu-west-1",
        provider="openai",
        model="gpt-4o",
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
    )


def test_times_are_seconds() -> None:
    event = sent(CHAT)
    assert (event.time_s, event.latency_s, event.ttft_s) == (1_700_000_000.0, 1.5, None)


def test_protobuf_and_json_of_one_request_give_the_same_events() -> None:
    application = Application(service_name="shop")
    for number in range(20):
        application.call(
            {**CHAT, "gen_ai.usage.input_tokens": number, "gen_ai.response.finish_reasons": ["stop"], "user.id": "u"}
        )
        application.call({"http.request.method": "GET"})
    request = ExportTraceServiceRequest.FromString(application.request())
    as_json = json.dumps(MessageToDict(request)).encode()
    decoded = otlp.decode(application.request())
    assert [item.input_tokens for item in decoded.items if isinstance(item, InferenceEvent)] == list(range(20))
    assert decoded.ignored == 20
    assert otlp.decode(as_json) == decoded


def test_a_log_event_from_the_sdk_becomes_one_event() -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK left it untyped
    provider = LoggerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("test")
    details = {
        **CHAT,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}],
    }
    logger.emit(
        LogRecord(
            timestamp=START_NS,
            event_name="gen_ai.client.inference.operation.details",
            attributes=details,  # type: ignore[arg-type]  # structured attributes, which logs may have
        )
    )
    logger.emit(LogRecord(timestamp=START_NS, body="started", severity_number=SeverityNumber.INFO))
    value = encode_logs(exporter.get_finished_logs()).SerializeToString()
    decoded = otlp.decode(value)
    assert decoded.ignored == 1
    assert decoded.items == [
        InferenceEvent(
            deployment="shop",
            source="otlp",
            time_s=1_700_000_000.0,
            operation="chat",
            provider="openai",
            model="gpt-4o",
            input_tokens=7,
            input_messages=(Message(role="user", content="hello"),),
        )
    ]
    assert otlp.sniff(value)


def test_a_failed_call_says_how_it_failed() -> None:
    application = Application(service_name="shop")
    with application.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        span.record_exception(TimeoutError("too late"))
    assert only(application.request()).error_type == "TimeoutError"

    silent = Application()
    span = silent.tracer.start_span("chat", attributes=CHAT)
    span.set_status(Status(StatusCode.ERROR))
    span.end()
    assert only(silent.request()).error_type == "error"
    assert sent({**CHAT, "error.type": "429"}).error_type == "429"
    assert sent(CHAT).error_type is None


def test_a_deployment_is_what_the_operator_calls_it() -> None:
    endpoint = {**CHAT, "server.address": "api.openai.com"}
    assert sent({**endpoint, "inferwatch.deployment": "d"}, service_name="shop").deployment == "d"
    assert sent(endpoint, service_name="shop").deployment == "shop"
    assert sent(endpoint, service_name="unknown_service:python").deployment == "openai/api.openai.com"
    assert sent(CHAT).deployment == "openai"
    assert sent({"gen_ai.request.model": "m"}).deployment == "unknown"


def test_a_span_says_better_than_its_resource_who_called() -> None:
    assert sent({**CHAT, "user.id": "alice"}, user_id="tenant", enduser_id="tenant").principal == "alice"
    assert sent(CHAT, user_id="tenant").principal == "tenant"
    assert sent({**CHAT, "enduser.id": "", "user.id": 42}).principal == "42"


def test_the_newest_name_wins_wherever_it_stands() -> None:
    both = {"gen_ai.usage.prompt_tokens": 999, "gen_ai.usage.input_tokens": 5}
    assert sent({**CHAT, **both}).input_tokens == 5
    assert sent({**CHAT, **dict(reversed(both.items()))}).input_tokens == 5


def test_a_prompt_that_is_json_is_kept_and_not_believed() -> None:
    prompt = '[{"type":"image","inputTokenCount":999999}, {"role":"system","secret":1}]'
    event = sent({**CHAT, "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": prompt})
    assert event.input_messages == (Message(role="user", content=prompt),)
    assert event.input_tokens is None


def test_two_flattened_conventions_in_one_span_are_not_mixed() -> None:
    flat = {"llm.input_messages.0.message.content": "theirs", "gen_ai.prompt.0.content": "ours"}
    for attributes in (flat, dict(reversed(flat.items()))):
        event = sent({**CHAT, **attributes})
        assert event.input_messages == (Message(role="user", content="ours"),)


def test_a_failed_call_was_served_by_no_model_unless_one_answered() -> None:
    call = {"openinference.span.kind": "LLM", "llm.model_name": "m"}
    assert sent(call).served_model == "m"
    assert sent({**call, "error.type": "429"}).served_model is None
    assert sent({**call, "error.type": "429", "gen_ai.response.model": "m-1"}).served_model == "m-1"


def test_a_plain_input_value_is_the_prompt_and_a_whole_request_is_not() -> None:
    call = {"openinference.span.kind": "LLM", "input.value": "hi", "output.value": "hello"}
    event = sent(call)
    assert event.input_messages == (Message(role="user", content="hi"),)
    assert event.output_messages == (Message(role="assistant", content="hello"),)
    assert sent({**call, "input.mime_type": "application/json"}).input_messages is None


def test_messages_that_were_cut_are_kept_as_text() -> None:
    cut = '[{"role":"user","parts":[{"type":"text","content":"my name is'
    assert sent({**CHAT, "gen_ai.input.messages": cut}).input_messages == (Message(role="user", content=cut),)


def test_a_tool_list_has_one_digest_however_it_is_spelled() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"a": 1, "b": 2}}]
    respelled = [{"parameters": {"b": 2, "a": 1}, "name": "f", "type": "function"}]
    first = sent({**CHAT, "gen_ai.tool.definitions": json.dumps(tools)}).components
    second = sent({**CHAT, "gen_ai.tool.definitions": json.dumps(respelled, indent=2)}).components
    other = sent({**CHAT, "gen_ai.tool.definitions": json.dumps([*tools, *tools])}).components
    assert first == second != other
    assert first is not None
    assert first.tool_list is not None
    assert first.tool_list.startswith("sha256:")


def test_components_come_from_the_span_before_the_resource() -> None:
    application = Application()
    attributes = {**CHAT, "inferwatch.component.weights": "w2", "inferwatch.component.no_such": "x"}
    application.call(attributes)
    request = ExportTraceServiceRequest.FromString(application.request())
    for name, version in (("weights", "w1"), ("prompt_template", "t1")):
        entry = request.resource_spans[0].resource.attributes.add()
        entry.key, entry.value.string_value = f"inferwatch.component.{name}", version
    event = only(request.SerializeToString())
    assert event.components == Components(weights="w2", prompt_template="t1")


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.request.method": "GET", "http.response.status_code": 200},
        {"db.system.name": "postgresql"},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f", "gen_ai.request.model": "m"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 5},
        {"gen_ai.operation.name": "something_new"},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "m"},
        {"openinference.span.kind": "TOOL", "input.value": "x"},
        {"traceloop.span.kind": "workflow", "gen_ai.request.model": "m"},
        {"gen_ai.tool.name": "f", "gen_ai.request.model": "m"},
        {"gen_ai.system": "openai"},
        {},
    ],
)
def test_what_is_no_model_call_is_counted_and_nothing_more(attributes: dict[str, object]) -> None:
    application = Application()
    application.call(attributes)
    decoded = otlp.decode(application.request())
    assert (decoded.items, decoded.ignored) == ([], 1)


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"gen_ai.operation.name": "chat"}, "chat"),
        ({"gen_ai.operation.name": "embeddings"}, "embeddings"),
        ({"gen_ai.operation.name": "something_new", "gen_ai.request.model": "m"}, "something_new"),
        ({"openinference.span.kind": "LLM"}, "chat"),
        ({"openinference.span.kind": "EMBEDDING"}, "embeddings"),
        ({"llm.request.type": "completion"}, "text_completion"),
        ({"gen_ai.usage.completion_tokens": 3}, None),
    ],
)
def test_what_is_a_model_call_says_which(attributes: dict[str, object], operation: str | None) -> None:
    assert sent(attributes).operation == operation


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("gen_ai.usage.input_tokens", -1),
        ("gen_ai.usage.output_tokens", "many"),
        ("gen_ai.usage.output_tokens", 1.5),
        ("gen_ai.usage.input_tokens", True),
        ("gen_ai.latency.e2e", float("inf")),
        ("gen_ai.response.model", 4),
        ("gen_ai.response.finish_reasons", [1]),
    ],
)
def test_a_field_of_the_wrong_kind_rejects_its_event_by_name_and_no_other(name: str, bad: object) -> None:
    application = Application()
    application.call({**CHAT, "user.id": "first"})
    application.call({**CHAT, name: bad})
    application.call({**CHAT, "user.id": "last"})
    first, middle, last = otlp.decode(application.request()).items
    assert isinstance(middle, Reject)
    assert middle.reason.startswith(name)
    assert isinstance(first, InferenceEvent)
    assert isinstance(last, InferenceEvent)
    assert (first.principal, last.principal) == ("first", "last")


def test_a_flattened_name_of_a_million_dots_is_survived() -> None:
    event = sent({**CHAT, "gen_ai.prompt.0.content": "hi", "gen_ai.prompt.0" + ".a" * 1_000_000: "x"})
    assert event.input_messages == (Message(role="user", content="hi"),)
    nested = nest([("a." * 1_000_000, "x")])
    assert len(msgspec.json.encode(nested)) - len("a." * 1_000_000) < 10 * MAX_STEPS


def test_real_exports_of_others_decode(shared_data: Path) -> None:
    value = (shared_data / "payloads" / "otlp_json_genai_current.json").read_bytes()
    assert otlp.sniff(value)
    event = only(value)
    assert (event.model, event.input_tokens, event.output_tokens) == ("gpt-4o", 1000, 500)
    assert event.output_messages == (Message(role="assistant", content="it shipped"),)


def test_openinference_spans_of_others_decode(shared_data: Path) -> None:
    spans = json.loads((shared_data / "payloads" / "openinference_llm_spans.json").read_text("utf-8"))
    for span in spans:
        attributes = flattened(span["attributes"])
        event = sent(attributes)
        assert event.model == "gpt-3.5-turbo-0613"
        assert event.input_tokens == span["attributes"]["llm.token_count.prompt"]
        expected = [entry.get("message.content") for entry in span["attributes"]["llm.input_messages"]]
        assert [message.content for message in event.input_messages or ()] == expected
        answers = event.output_messages or ()
        assert any(answer.content or answer.tool_calls for answer in answers)


def flattened(value: Mapping[str, object], beginning: str = "") -> dict[str, object]:
    """The attributes as OpenInference puts them on the wire."""
    flat: dict[str, object] = {}
    for key, held in value.items():
        if isinstance(held, list):
            for at, entry in enumerate(held):
                flat.update(flattened(entry, f"{beginning}{key}.{at}."))
        elif held is not None:
            flat[beginning + key] = held
    return flat
