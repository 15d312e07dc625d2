"""Rows of every table with every field known, with none, and as a reader sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from detectors.types import (
    Components,
    Document,
    Evidence,
    Finding,
    InferenceEvent,
    Message,
    Observation,
    Severity,
    ToolCall,
)
from streams.dlq import DeadLetter
from streams.pipeline import Stored
from streams.rows import SavedState

NOW_S = 1_750_000_000.25
NOW = datetime(2025, 6, 15, 15, 6, 40, 250_000, tzinfo=UTC).replace(tzinfo=None)
"""`NOW_S` as the driver gives it: UTC, and it does not say so."""

LARGEST = 2**63 - 1

FULL_EVENT = InferenceEvent(
    deployment="chat",
    time_s=NOW_S,
    event_id="t:3:41:2",
    source="native",
    operation="chat",
    input_messages=(
        Message(role="system", content="be kind"),
        Message(role="user", content="Send the zanzibar report"),
    ),
    output_messages=(
        Message(role="assistant", content="Sent.", tool_calls=(ToolCall(name="mail", arguments="{}", call_id="c1"),)),
    ),
    system="you are a mailer",
    documents=(Document(document_id="d1", source="s3", content="report", score=0.5),),
    input_tokens=LARGEST,
    output_tokens=0,
    cached_tokens=3,
    reasoning_tokens=4,
    temperature=0.0,
    top_p=1.0,
    max_tokens=5,
    n=6,
    logprobs=True,
    top_logprobs=7,
    logit_bias=8,
    stream=False,
    latency_s=1.25,
    ttft_s=0.0,
    finish_reasons=("stop", "length"),
    error_type="timeout",
    http_status=599,
    cost_usd=0.001,
    features={"age": 41.0, "city": "Köln", "member": True, "gone": None},
    prediction="no",
    score=-0.5,
    principal="p_1",
    network="n_1",
    user_agent="u_1",
    session="s_1",
    region="eu-central-1",
    model="gpt-4o",
    served_model="gpt-4o-2024-08-06",
    provider="openai",
    components=Components(weights="sha256:00", tool_list="sha256:01"),
    egress_hosts=("api.example.com", "203.0.113.9"),
    trace_id="ab" * 16,
    span_id="cd" * 8,
    response_id="chatcmpl-1",
)
FULL_OBSERVATION = Observation(
    event_id="t:3:41:2",
    time_s=NOW_S,
    deployment="chat",
    failed=True,
    refused=False,
    finish_reason="stop",
    style=(0.5,) * 16,
    prompt_hash=2**64 - 1,
    prompt_template=1,
    prompt_simhash=0,
)
FULL_ROW: dict[str, Any] = {
    "event_id": "t:3:41:2",
    "topic": "inference-logs",
    "partition": 3,
    "offset": 41,
    "event_index": 2,
    "record_time": NOW,
    "time": NOW,
    "source": "native",
    "operation": "chat",
    "deployment": "chat",
    "model": "gpt-4o",
    "served_model": "gpt-4o-2024-08-06",
    "provider": "openai",
    "components": {"weights": "sha256:00", "tool_list": "sha256:01"},
    "principal": "p_1",
    "network": "n_1",
    "user_agent": "u_1",
    "session": "s_1",
    "region": "eu-central-1",
    "input_tokens": LARGEST,
    "output_tokens": 0,
    "cached_tokens": 3,
    "reasoning_tokens": 4,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 5,
    "n": 6,
    "logprobs": True,
    "top_logprobs": 7,
    "logit_bias": 8,
    "stream": False,
    "latency_s": 1.25,
    "ttft_s": 0.0,
    "failed": True,
    "refused": False,
    "finish_reason": "stop",
    "error_type": "timeout",
    "http_status": 599,
    "cost_usd": 0.001,
    "prompt": "Send the zanzibar report",
    "output": "Sent.",
    "system": "you are a mailer",
    "prediction": "no",
    "score": -0.5,
    "egress_hosts": ["api.example.com", "203.0.113.9"],
    "style": [0.5] * 16,
    "prompt_hash": 2**64 - 1,
    "prompt_template": 1,
    "prompt_simhash": 0,
    "trace_id": "ab" * 16,
    "span_id": "cd" * 8,
    "response_id": "chatcmpl-1",
}
"""`FULL_EVENT` as a reader sees it; `conversation` and `features` are JSON and compared as such."""

CONVERSATION = {
    "input_messages": [
        {"role": "system", "content": "be kind", "name": None, "tool_calls": None},
        {"role": "user", "content": "Send the zanzibar report", "name": None, "tool_calls": None},
    ],
    "tool_calls": [
        {
            "role": "assistant",
            "content": "Sent.",
            "name": None,
            "tool_calls": [{"name": "mail", "arguments": "{}", "call_id": "c1"}],
        }
    ],
    "documents": [{"document_id": "d1", "source": "s3", "content": "report", "score": 0.5}],
}

NOT_NULL = {
    "components": {},
    "conversation": "",
    "features": "",
    "egress_hosts": [],
    "style": [],
    "source": "",
    "event_id": "t:0:0:0",
    "topic": "inference-logs",
    "partition": 0,
    "offset": 0,
    "event_index": 0,
    "deployment": "empty",
}
"""What an event of which nothing is known has in columns that are never NULL, the times left aside."""

FINDING = Finding(
    finding_id="f" * 32,
    detector="error_shift",
    version=3,
    scope="principal",
    subject="p_1",
    deployment="chat",
    time_s=NOW_S,
    onset_s=NOW_S - 60.0,
    severity=Severity.HIGH,
    summary="errors rose from 1 % to 40 %",
    score=9.5,
    threshold=4.25,
    budget_share=0.01,
    event_id="t:3:41:2",
    principal="p_1",
    evidence=(Evidence(name="error rate", observed=0.4, expected=0.01, unit="share"), Evidence(name="c", observed="x")),
    atlas=("AML.T0029",),
    owasp=("LLM10:2025",),
)
LETTER = DeadLetter(
    topic_id="t",
    topic="inference-logs",
    partition=3,
    offset=41,
    event_index=-1,
    record_time_s=NOW_S,
    reason="not JSON",
    content_type="application/json",
    size_bytes=10_000_000,
    sha256="00" * 32,
    head="\\x00x",
)
TEXTS = {
    "quotes and backslashes": "it's \"quoted\" \\ `x` \\' OR 1=1 -- {a:String} %s",
    "control characters": "nul \x00 tab \t return \r line \n escape \x1b",
    "emoji and bidi": "\U0001f600 \u202e \ufffd Köln 北京",
    "nothing": "",
    "1 MB": "word " * 200_000,
}


def stored(event: InferenceEvent, observation: Observation, place: tuple[int, int, int]) -> Stored:
    partition, offset, index = place
    return Stored(
        event=event,
        observation=observation,
        topic="inference-logs",
        partition=partition,
        offset=offset,
        index=index,
        record_time_s=NOW_S,
    )


def said(text: str, number: int = 0, deployment: str = "chat") -> Stored:
    """An event with one prompt."""
    event_id = f"t:0:{number}:0"
    event = InferenceEvent(
        deployment=deployment,
        time_s=NOW_S + number,
        event_id=event_id,
        input_messages=(Message(role="user", content=text),),
    )
    return stored(event, Observation(event_id=event_id, time_s=NOW_S, deployment=deployment), (0, number, 0))


def state(subject: str, next_offset: int, envelope: bytes = b"e") -> SavedState:
    return SavedState(
        topic_id="t",
        scope="deployment",
        topic="observations",
        subject=subject,
        partition=1,
        next_offset=next_offset,
        envelope=envelope,
    )
