"""The choices that `streams.codecs.azure` makes, and the real sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detectors.types import InferenceEvent
from streams.codecs import Decoded, Reject, azure

PROPERTIES: dict[str, object] = {
    "requestTime": 639057096000000000,
    "requestLength": 128,
    "responseLength": 1411,
    "objectId": "",
    "streamType": "Non-Streaming",
    "modelDeploymentName": "Chat-Pilot",
    "modelName": "gpt-4o",
    "modelVersion": "2024-11-20",
}
LOG: dict[str, object] = {
    "callerIpAddress": "203.0.113.***",
    "category": "RequestResponse",
    "correlationId": "c-1",
    "durationMs": 102,
    "location": "eastus",
    "operationName": "ChatCompletions_Create",
    "properties": PROPERTIES,
    "resourceId": "/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.COGNITIVESERVICES/ACCOUNTS/OPENAI-01",
    "resultSignature": "200",
    "time": "2026-02-03T10:00:02.4350000Z",
}


def decoded(**changes: object) -> Decoded:
    return azure.decode(json.dumps(LOG | changes).encode())


def event(**changes: object) -> InferenceEvent:
    (item,) = decoded(**changes).items
    assert isinstance(item, InferenceEvent)
    return item


def test_the_real_sample_decodes(shared_data: Path) -> None:
    value = (shared_data / "payloads" / "azure_request_response.jsonl").read_bytes()
    assert azure.sniff(value)
    (item,) = azure.decode(value).items
    assert isinstance(item, InferenceEvent)
    assert (item.operation, item.latency_s, item.http_status) == ("Create_Thread", 0.102, 200)
    assert (item.network, item.principal, item.deployment) == ("81.2.69.***", None, "obs-openai-test-01")
    assert (item.input_tokens, item.output_tokens) == (None, None)


def test_properties_mean_the_same_as_an_object_and_as_text() -> None:
    assert event(properties=json.dumps(PROPERTIES)) == event()


def test_a_negative_duration_is_unknown() -> None:
    assert event(durationMs=-1021).latency_s is None
    assert event(durationMs=1021).latency_s == 1.021


def test_lengths_in_bytes_are_no_tokens() -> None:
    assert (event().input_tokens, event().output_tokens) == (None, None)


def test_a_call_began_at_its_request_time_unless_that_clock_is_far_off() -> None:
    assert event().time_s == 1770112800.0
    assert event(properties=PROPERTIES | {"requestTime": 1}).time_s == 1770112802.435
    assert event(properties={}).time_s == 1770112802.435


@pytest.mark.parametrize(
    ("signature", "status", "error"), [("200", 200, None), (429, 429, "429"), ("Unknown", None, None)]
)
def test_the_status_is_the_result_signature(signature: object, status: int | None, error: str | None) -> None:
    answered = event(resultSignature=signature)
    assert (answered.http_status, answered.error_type) == (status, error)


@pytest.mark.parametrize(("said", "stream"), [("Streaming", True), ("Non-Streaming", False), ("", None), ("?", None)])
def test_the_stream_type_is_a_flag(said: str, stream: object) -> None:
    assert event(properties=PROPERTIES | {"streamType": said}).stream is stream


def test_somebody_is_named_only_by_an_object_id() -> None:
    assert event().principal is None
    assert event(properties=PROPERTIES | {"objectId": "0b1c"}).principal == "0b1c"


def test_account_and_deployment_are_one_name_in_lower_case() -> None:
    assert event().deployment == "openai-01/chat-pilot"


def test_operations_that_call_no_model_are_events_by_their_own_name() -> None:
    assert event(operationName="ListModels").operation == "ListModels"


@pytest.mark.parametrize("category", ["Audit", "Trace", "AzureOpenAIRequestUsage"])
def test_other_categories_are_ignored(category: str) -> None:
    assert decoded(category=category, properties="{") == Decoded([], ignored=1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"properties": "{"}, "properties"),
        ({"properties": [1]}, "properties"),
        ({"durationMs": "long"}, "durationMs"),
        ({"category": None}, "category"),
        ({"resourceId": None, "properties": {}}, "resourceId"),
        ({"time": "now"}, "time"),
    ],
)
def test_a_wrong_type_is_refused_by_its_name(changes: dict[str, object], named: str) -> None:
    (item,) = decoded(**changes).items
    assert isinstance(item, Reject)
    assert item.reason.startswith(named)


def test_a_gateway_log_and_a_diagnostic_log_name_the_same_deployment() -> None:
    url = "https://openai-01.openai.azure.com/openai/deployments/Chat-Pilot/chat/completions"
    assert event(category="GatewayLogs", properties={"backendUrl": url}).deployment == event().deployment


def test_logs_of_other_resources_are_not_recognized() -> None:
    other = LOG | {"resourceId": "/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.SQL/SERVERS/A"}
    assert not azure.sniff(json.dumps(other).encode())
    assert azure.sniff(json.dumps({"records": [LOG]}).encode())
