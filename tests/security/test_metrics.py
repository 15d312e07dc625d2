"""The numbers of a worker: counted where they become durable, and no label that a sender chose."""

from __future__ import annotations

import re

import msgspec
import pytest

from detectors.types import Finding, InferenceEvent, Observation, Severity
from streams.dlq import DeadLetter
from streams.metrics import Metrics
from streams.pipeline import Processed, Stored
from streams.readiness import Readiness

FINDING = Finding(
    finding_id="f",
    detector="latency_shift",
    version=1,
    scope="deployment",
    subject="a-deployment",
    deployment="a-deployment",
    time_s=1.0,
    onset_s=1.0,
    severity=Severity.HIGH,
    summary="slower",
    score=1.0,
    threshold=1.0,
    budget_share=0.1,
    event_id="e",
)
LETTER = DeadLetter(
    topic_id="t",
    topic="inference-logs",
    partition=0,
    offset=0,
    event_index=-1,
    record_time_s=1.0,
    reason="a-reason",
    content_type="",
    size_bytes=1,
    sha256="",
    head="",
)


def stored(time_s: float) -> Stored:
    return Stored(
        event=InferenceEvent(deployment="a-deployment", time_s=time_s),
        observation=Observation(event_id="e", time_s=time_s, deployment="a-deployment"),
        topic="inference-logs",
        partition=0,
        offset=0,
        index=0,
        record_time_s=time_s,
    )


def numbers(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_what_became_durable_is_counted() -> None:
    metrics = Metrics(Readiness())
    metrics.ingested(Processed(stored=[stored(100.5), stored(90.0)], dead_letters=[LETTER], ignored=3))
    metrics.ingested(Processed(stored=[stored(50.0)], dead_letters=[], ignored=0))
    metrics.found([FINDING, FINDING, msgspec.structs.replace(FINDING, detector="extraction")])
    said = numbers(metrics)
    assert said["inferwatch_events_total"] == 3
    assert said["inferwatch_dead_letters_total"] == 1
    assert said["inferwatch_ignored_total"] == 3
    assert said["inferwatch_last_event_timestamp_seconds"] == 100.5, "the newest, not the last"
    assert said['inferwatch_findings_total{detector="latency_shift",severity="high"}'] == 2
    assert said['inferwatch_findings_total{detector="extraction",severity="high"}'] == 1


def test_what_is_asked_for_is_asked_at_each_scrape() -> None:
    metrics = Metrics(Readiness())
    live, lag = [1, 2, 3], [("inference-logs", 0, 7)]
    metrics.watch_bank("principal", lambda: len(live), lambda: 12.5)
    metrics.watch_lag(lambda: lag)
    live.append(4)
    lag.append(("inference-logs", 1, 0))
    said = numbers(metrics)
    assert said['inferwatch_live_subjects{scope="principal"}'] == 4
    assert said['inferwatch_snapshot_timestamp_seconds{scope="principal"}'] == 12.5
    assert said['inferwatch_lag_records{partition="0",topic="inference-logs"}'] == 7
    assert said['inferwatch_lag_records{partition="1",topic="inference-logs"}'] == 0


def test_a_batch_is_timed_even_when_it_fails() -> None:
    metrics = Metrics(Readiness())
    with pytest.raises(ZeroDivisionError), metrics.batch("ingest"):
        _ = 1 / 0
    assert numbers(metrics)['inferwatch_batch_seconds_count{role="ingest"}'] == 1


def test_readiness_and_retries_are_numbers_and_not_texts() -> None:
    readiness = Readiness()
    metrics = Metrics(readiness)
    assert numbers(metrics)["inferwatch_ready"] == 1
    readiness.retry("a", "kafka", "Kafka: a-host is away")
    readiness.retry("a", "kafka", "Kafka: a-host is away")
    said = numbers(metrics)
    assert (said["inferwatch_ready"], said["inferwatch_not_ready_reasons"]) == (0, 1)
    assert said['inferwatch_retries_total{sink="kafka"}'] == 2
    assert "a-host" not in metrics.exposition().decode()


def test_no_label_holds_what_a_sender_wrote() -> None:
    metrics = Metrics(Readiness())
    metrics.ingested(Processed(stored=[stored(1.0)], dead_letters=[LETTER], ignored=0))
    metrics.found([FINDING])
    text = metrics.exposition().decode()
    assert "a-deployment" not in text
    assert "a-reason" not in text
    assert set(re.findall(r'(\w+)="', text)) <= {
        "detector",
        "severity",
        "sink",
        "role",
        "scope",
        "topic",
        "partition",
        "le",
    }
