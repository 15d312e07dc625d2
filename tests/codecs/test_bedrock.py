"""The choices that `streams.codecs.bedrock` makes, and the real sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detectors.types import InferenceEvent, Message
from streams.codecs import Reject, bedrock

LOG: dict[str, object] = {
    "schemaType": "ModelInvocationLog",
    "schemaVersion": "1.0",
    "timestamp": "2026-02-03T10:00:00Z",
    "accountId": "111122223333",
    "identity": {"arn": "arn:aws:iam::111122223333:user/app"},
    "region": "us-east-1",
    "requestId": "r-1",
    "operation": "Converse",
    "modelId": "anthropic.claude-v2:1",
}


def event(request: object = None, response: object = None, **changes: object) -> InferenceEvent:
    bodies = {"input": {"inputBodyJson": request}, "output": {"outputBodyJson": response}}
    (item,) = bedrock.decode(json.dumps(LOG | bodies | changes).encode()).items
    assert isinstance(item, InferenceEvent)
    return item


def test_the_real_sample_decodes(shared_data: Path) -> None:
    value = (shared_data / "payloads" / "bedrock_converse.jsonl").read_bytes()
    assert bedrock.sniff(value)
    (item,) = bedrock.decode(value).items
    assert isinstance(item, InferenceEvent)
    assert (item.input_tokens, item.output_tokens, item.latency_s) == (16, 82, 2.435)
    assert (item.temperature, item.top_p, item.max_tokens) == (1.0, 0.999, 4096)
    assert item.principal == "arn:aws:iam::000000000000:user/example"
    assert item.input_messages == (Message(role="user", content="\nTEsting the model\n    "),)
    assert item.finish_reasons == ("end_turn",)


def test_without_bodies_there_is_no_content_and_no_latency() -> None:
    bare = event(input={"inputTokenCount": 5}, output={"outputTokenCount": 6})
    assert (bare.input_tokens, bare.output_tokens) == (5, 6)
    assert (bare.input_messages, bare.output_messages, bare.latency_s, bare.ttft_s) == (None, None, None, None)


@pytest.mark.parametrize("absent", ["input", "output"])
def test_a_missing_half_is_survived(absent: str) -> None:
    assert event(**{absent: None}).deployment == "111122223333/us-east-1/anthropic.claude-v2:1"


def test_what_a_prompt_says_about_itself_is_only_text() -> None:
    lookalike = '","inputTokenCount":999999,"identity":{"arn":"forged"},"x":"'
    spoken = event({"messages": [{"role": "user", "content": [{"text": lookalike}]}], "inputTokenCount": 999_999})
    assert spoken.principal == "arn:aws:iam::111122223333:user/app"
    assert spoken.input_tokens is None
    assert spoken.input_messages == (Message(role="user", content=lookalike),)


def test_cached_tokens_are_part_of_the_input() -> None:
    counts = {"inputTokenCount": 10, "cacheReadInputTokenCount": 100, "cacheWriteInputTokenCount": 5}
    cached = event(input=counts)
    assert (cached.input_tokens, cached.cached_tokens) == (115, 100)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta.llama3-8b", "meta.llama3-8b"),
        ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-8b", "meta.llama3-8b"),
        ("arn:aws:bedrock:us-east-1:1:provisioned-model/abc", "abc"),
    ],
)
def test_a_deployment_is_account_region_and_model_without_the_front_of_its_arn(model: str, name: str) -> None:
    named = event(modelId=model)
    assert (named.deployment, named.model) == (f"111122223333/us-east-1/{name}", model)


def test_what_a_guardrail_answered_is_told_apart() -> None:
    body = {"content": [{"type": "text", "text": "No."}], "stop_reason": "end_turn"}
    assert event(None, body).finish_reasons == ("end_turn",)
    blocked = event(None, {**body, "amazon-bedrock-guardrailAction": "INTERVENED"})
    assert blocked.finish_reasons == ("guardrail_intervened",)


def test_the_time_to_the_first_byte_of_a_stream_is_known() -> None:
    metrics = {"invocationLatency": 1850, "firstByteLatency": 410, "inputTokenCount": 3, "outputTokenCount": 4}
    chunks = [{"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}]
    streamed = event(None, chunks, operation="InvokeModelWithResponseStream")
    assert (streamed.latency_s, streamed.ttft_s, streamed.stream) == (1.85, 0.41, True)
    assert (streamed.input_tokens, streamed.output_tokens) == (3, 4)


def test_the_last_count_of_a_stream_is_the_whole() -> None:
    chunks = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 21}},
    ]
    streamed = event(None, chunks)
    assert (streamed.input_tokens, streamed.output_tokens) == (7, 21)


def test_a_stream_of_a_hundred_thousand_chunks_takes_no_square_time() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f", "input": {}}}
    chunk = {"type": "content_block_delta", "index": 0, "delta": {"partial_json": "x" * 20}}
    streamed = event(None, [start, *[chunk] * 100_000])
    assert streamed.output_messages is not None
    assert streamed.output_messages[0].tool_calls is not None
    assert len(streamed.output_messages[0].tool_calls[0].arguments or "") == 2_000_000


@pytest.mark.parametrize("body", ["text that is no JSON", 7, [], [7, "[DONE]"], {"messages": 7}, {"content": [None]}])
def test_an_odd_body_says_nothing_and_refuses_nothing(body: object) -> None:
    odd = event(body, body)
    assert odd.response_id == "r-1"
    assert odd.output_tokens is None


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": "1.1"},
        {"schemaVersion": 2},
        {"schemaType": "Other"},
        {"modelId": ""},
        {"input": {"inputTokenCount": "x"}},
        {"timestamp": "now"},
        {"identity": "root"},
    ],
)
def test_another_version_or_a_wrong_type_is_refused(changes: dict[str, object]) -> None:
    (item,) = bedrock.decode(json.dumps(LOG | changes).encode()).items
    assert isinstance(item, Reject)
    assert item.reason.startswith(next(iter(changes)))
