"""Values to columns: what each table of the schema is filled with. Pure."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from detectors import features
from detectors.types import MAX_TIME_S, Finding, Message
from streams.cases.incidents import Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.components.baselines import Baseline
from streams.components.provenance import Noted
from streams.dlq import DeadLetter
from streams.pipeline import Stored

Column = tuple[str, str, Callable[[Any], Any]]
"""Name, ClickHouse type, and how to read it from a value."""


class SavedState(msgspec.Struct, frozen=True, kw_only=True):
    """One subject's sealed detector state as it is stored; `next_offset` is the first not learned yet."""

    topic_id: str
    scope: str
    topic: str
    subject: str
    partition: int
    next_offset: int
    envelope: bytes


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one worker at one time, unix seconds, by the names of its page `/metrics`."""

    worker: str
    time_s: float
    numbers: dict[str, float]


_MICROSECONDS = 1_000_000


def _time(seconds: float) -> int:
    return round(_bounded(seconds) * _MICROSECONDS)


def _time_if_any(seconds: float | None) -> int | None:
    return None if seconds is None else _time(seconds)


def _millis(seconds: float) -> int:
    return round(_bounded(seconds) * 1_000)


def _bounded(seconds: float) -> float:
    """A producer chooses the timestamps of its records: one no column holds would fail its batch for ever."""
    return min(max(seconds, 0.0), MAX_TIME_S)


def _event(name: str) -> Callable[[Stored], Any]:
    return operator.attrgetter(f"event.{name}")


def _seen(name: str) -> Callable[[Stored], Any]:
    return operator.attrgetter(f"observation.{name}")


def _said(name: str) -> Callable[[Noted], Any]:
    return operator.attrgetter(f"said.{name}")


def _own(name: str) -> Callable[[Any], Any]:
    return operator.attrgetter(name)


def _conversation(row: Stored) -> str:
    """Everything said that has no column of its own, as JSON; "" when there is nothing of the kind."""
    event = row.event
    earlier = event.input_messages or ()
    if len(earlier) == 1 and earlier[0].role == "user" and earlier[0].tool_calls is None:
        earlier = ()
    calls = tuple(message for message in event.output_messages or () if message.tool_calls)
    if not earlier and not calls and not event.documents:
        return ""
    parts: dict[str, tuple[Message, ...] | Any] = {
        "input_messages": earlier,
        "tool_calls": calls,
        "documents": event.documents or (),
    }
    return msgspec.json.encode({name: part for name, part in parts.items() if part}).decode()


def _components(row: Stored) -> dict[str, str]:
    return {} if row.event.components is None else msgspec.to_builtins(row.event.components)


_TEXT = "Nullable(String)"
_WORD = "LowCardinality(Nullable(String))"
_COUNT = "Nullable(Int64)"
_REAL = "Nullable(Float64)"
_FLAG = "Nullable(Bool)"
_HASH = "Nullable(UInt64)"

EVENTS: tuple[Column, ...] = (
    ("event_id", "String", _event("event_id")),
    ("topic", "LowCardinality(String)", _own("topic")),
    ("partition", "UInt32", _own("partition")),
    ("offset", "Int64", _own("offset")),
    ("event_index", "UInt32", _own("index")),
    ("record_time", "DateTime64(3, 'UTC')", lambda row: _millis(row.record_time_s)),
    ("time", "DateTime64(6, 'UTC')", lambda row: _time(row.event.time_s)),
    ("source", "LowCardinality(String)", lambda row: row.event.source or ""),
    ("deployment", "LowCardinality(String)", _event("deployment")),
    *((name, _WORD, _event(name)) for name in ("operation", "model", "served_model", "provider", "region")),
    ("components", "Map(LowCardinality(String), String)", _components),
    *((name, _TEXT, _event(name)) for name in ("principal", "network", "user_agent", "session")),
    *((name, _COUNT, _event(name)) for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")),
    *((name, _REAL, _event(name)) for name in ("temperature", "top_p", "latency_s", "ttft_s", "cost_usd", "score")),
    *((name, _COUNT, _event(name)) for name in ("max_tokens", "n", "top_logprobs", "logit_bias")),
    *((name, _FLAG, _event(name)) for name in ("logprobs", "stream")),
    *((name, _FLAG, _seen(name)) for name in ("failed", "refused")),
    ("finish_reason", _WORD, _seen("finish_reason")),
    ("error_type", _WORD, _event("error_type")),
    ("http_status", "Nullable(UInt16)", _event("http_status")),
    ("prompt", _TEXT, lambda row: features.prompt_text(row.event)),
    ("output", _TEXT, lambda row: features.output_text(row.event)),
    ("system", _TEXT, _event("system")),
    ("conversation", "String", _conversation),
    ("features", "String", lambda row: json.dumps(row.event.features) if row.event.features else ""),
    ("prediction", _TEXT, _event("prediction")),
    ("egress_hosts", "Array(String)", lambda row: row.event.egress_hosts or ()),
    ("style", "Array(Float32)", lambda row: row.observation.style or ()),
    *((name, _HASH, _seen(name)) for name in ("prompt_hash", "prompt_template", "prompt_simhash")),
    *((name, _TEXT, _event(name)) for name in ("trace_id", "span_id", "response_id")),
)

FINDINGS: tuple[Column, ...] = (
    ("finding_id", "String", _own("finding_id")),
    ("detector", "LowCardinality(String)", _own("detector")),
    ("version", "UInt16", _own("version")),
    ("scope", "LowCardinality(String)", _own("scope")),
    ("subject", "String", _own("subject")),
    ("deployment", "LowCardinality(String)", _own("deployment")),
    ("principal", _TEXT, _own("principal")),
    ("time", "DateTime64(6, 'UTC')", lambda row: _time(row.time_s)),
    ("onset", "DateTime64(6, 'UTC')", lambda row: _time(row.onset_s)),
    ("severity", "Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4)", _own("severity")),
    ("summary", "String", _own("summary")),
    *((name, "Float64", _own(name)) for name in ("score", "threshold", "budget_share")),
    ("event_id", "String", _own("event_id")),
    ("evidence", "String", lambda row: msgspec.json.encode(row.evidence).decode()),
    ("atlas", "Array(LowCardinality(String))", _own("atlas")),
    ("owasp", "Array(LowCardinality(String))", _own("owasp")),
)

DEAD_LETTERS: tuple[Column, ...] = (
    ("topic", "LowCardinality(String)", _own("topic")),
    ("partition", "UInt32", _own("partition")),
    ("offset", "Int64", _own("offset")),
    ("event_index", "Int32", _own("event_index")),
    ("record_time", "DateTime64(3, 'UTC')", lambda row: _millis(row.record_time_s)),
    ("topic_id", "LowCardinality(String)", _own("topic_id")),
    ("reason", "String", _own("reason")),
    ("content_type", "LowCardinality(String)", _own("content_type")),
    ("size_bytes", "UInt64", _own("size_bytes")),
    ("sha256", "String", _own("sha256")),
    ("head", "String", _own("head")),
)


SNAPSHOTS: tuple[Column, ...] = (
    ("topic_id", "LowCardinality(String)", _own("topic_id")),
    ("scope", "LowCardinality(String)", _own("scope")),
    ("topic", "LowCardinality(String)", _own("topic")),
    ("subject", "String", _own("subject")),
    ("partition", "UInt32", _own("partition")),
    ("next_offset", "Int64", _own("next_offset")),
    ("envelope", "String", _own("envelope")),
)


INCIDENTS: tuple[Column, ...] = (
    ("incident_id", "String", _own("incident_id")),
    ("revision", "UInt64", _own("revision")),
    *((name, "LowCardinality(String)", _own(name)) for name in ("deployment", "scope", "component")),
    ("subject", "String", _own("subject")),
    ("state", "Enum8('open' = 0, 'closed' = 1, 'merged' = 2)", _own("state")),
    ("severity", "Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4)", _own("severity")),
    ("cause", "LowCardinality(String)", lambda row: row.causes[0].name if row.causes else ""),
    ("summary", "String", _own("summary")),
    ("onset", "DateTime64(6, 'UTC')", lambda row: _time(row.onset_s)),
    ("first", "DateTime64(6, 'UTC')", lambda row: _time(row.first_s)),
    ("last", "DateTime64(6, 'UTC')", lambda row: _time(row.last_s)),
    ("findings", "UInt64", _own("count")),
    ("detectors", "Array(LowCardinality(String))", lambda row: list(row.detectors)),
    ("news", "LowCardinality(String)", lambda row: row.news or ""),
    ("quiet", "String", lambda row: row.quiet or ""),
    ("body", "String", lambda row: msgspec.json.encode(row).decode()),
)

VERDICTS: tuple[Column, ...] = (
    *((name, "String", _own(name)) for name in ("incident_id", "note", "said_by", "assignee")),
    ("verdict", "LowCardinality(String)", _own("verdict")),
)

SUPPRESSIONS: tuple[Column, ...] = (
    *((name, "String", _own(name)) for name in ("suppression_id", "subject", "reason", "ended_by")),
    ("made_by", "String", _own("by")),
    *((name, "LowCardinality(String)", _own(name)) for name in ("deployment", "detector", "cause")),
    ("severity", "Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4)", _own("severity")),
    *(
        (name, "DateTime64(3, 'UTC')", lambda row, field=field: _millis(getattr(row, field)))
        for name, field in (("made_at", "made_s"), ("until", "until_s"), ("ended_at", "ended_s"))
    ),
)


CHANGES: tuple[Column, ...] = (
    ("change_id", "String", _said("change_id")),
    *((name, "LowCardinality(String)", _said(name)) for name in ("deployment", "component", "state")),
    ("new", "String", _said("new")),
    ("old", _TEXT, _said("old")),
    *((name, "String", _said(name)) for name in ("who", "ticket", "reason")),
    ("holds_from", "Nullable(DateTime64(6, 'UTC'))", lambda row: _time_if_any(row.said.from_s)),
    ("holds_until", "Nullable(DateTime64(6, 'UTC'))", lambda row: _time_if_any(row.said.until_s)),
    ("decided", "DateTime64(6, 'UTC')", lambda row: _time(row.time_s)),
    ("event_id", "String", _own("event_id")),
)

COMPONENT_REPORTS: tuple[Column, ...] = (
    ("report_id", "String", _said("report_id")),
    *((name, "LowCardinality(String)", _said(name)) for name in ("deployment", "subject")),
    ("source", "String", _said("source")),
    ("attested", "DateTime64(6, 'UTC')", lambda row: _time(row.time_s)),
    ("digest", _TEXT, _said("digest")),
    ("components", "Map(LowCardinality(String), String)", _said("components")),
    ("risks", "Array(String)", _said("risks")),
    ("tools", "String", lambda row: msgspec.json.encode(row.said.tools).decode()),
    ("abilities", "Map(LowCardinality(String), UInt64)", _said("abilities")),
    ("event_id", "String", _own("event_id")),
)

BASELINES: tuple[Column, ...] = (
    ("name", "String", _own("name")),
    ("deployment", "LowCardinality(String)", _own("deployment")),
    ("since", "DateTime64(6, 'UTC')", lambda row: _time(row.since_s)),
    ("until", "DateTime64(6, 'UTC')", lambda row: _time(row.until_s)),
    ("events", "UInt64", _own("events")),
    ("who", "String", _own("who")),
    ("frozen", "DateTime64(6, 'UTC')", lambda row: _time(row.frozen_s)),
    ("approved", "Nullable(DateTime64(6, 'UTC'))", lambda row: _time_if_any(row.approved_s)),
    ("body", "String", lambda row: msgspec.json.encode(row).decode()),
)


WORKER_METRICS: tuple[Column, ...] = (
    ("worker", "LowCardinality(String)", _own("worker")),
    ("time", "DateTime64(3, 'UTC')", lambda row: _millis(row.time_s)),
    ("numbers", "Map(LowCardinality(String), Float64)", _own("numbers")),
)


def columns(
    table: Sequence[Column],
    rows: Sequence[
        Stored | Finding | DeadLetter | SavedState | Incident | Verdict | Suppression | Noted | Baseline | Vitals
    ],
) -> list[list[Any]]:
    """One list of values a column, in the order of `table`."""
    return [list(map(read, rows)) for _, _, read in table]
