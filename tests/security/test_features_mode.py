"""Where no text may be stored none is, and every detector still says what it says elsewhere."""

from __future__ import annotations

import re

import msgspec
import pytest

from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Components, Finding, InferenceEvent
from streams.composing import make_bank, make_pipeline
from streams.dlq import Record
from streams.keys import derive
from streams.pipeline import Stored
from streams.plays.traffic import encode, synthetic
from streams.replay import TOPIC, replay
from streams.rows import EVENTS, columns
from streams.settings import Settings

KEY = "0123456789abcdef" * 4
END_S = 1_790_000_000.0
TEXTS = ("prompt", "output", "system", "conversation")


@pytest.fixture(scope="module")
def traffic() -> list[InferenceEvent]:
    return list(synthetic(seed=1, end_s=END_S, events=6_000).events)


def settings(mode: str) -> Settings:
    return Settings(content_mode=mode, key=KEY)


def findings(mode: str, events: list[InferenceEvent]) -> list[Finding]:
    chosen = settings(mode)
    banks = [make_bank(chosen, scope) for scope in (DEPLOYMENT, PRINCIPAL)]
    steps = replay(encode(events), END_S, make_pipeline(chosen, derive(KEY), TOPIC), banks)
    return [finding for step in steps for finding in step.findings]


def stored(mode: str, events: list[InferenceEvent]) -> list[Stored]:
    values = list(encode(events))
    records = [Record(topic=TOPIC, partition=0, offset=at, time_s=END_S, value=each) for at, each in enumerate(values)]
    return make_pipeline(settings(mode), derive(KEY), TOPIC).process(records).stored


def test_the_findings_are_the_same_whatever_is_stored_of_texts(traffic: list[InferenceEvent]) -> None:
    full = findings("full", traffic)
    assert len({finding.detector for finding in full}) >= 3, "the incident is found"
    assert findings("redacted", traffic) == full
    assert findings("features", traffic) == full


def test_the_observations_are_the_same_whatever_is_stored_of_texts(traffic: list[InferenceEvent]) -> None:
    full = [row.observation for row in stored("full", traffic[:2_000])]
    assert any(observation.style for observation in full) and any(observation.prompt_simhash for observation in full)
    for mode in ("redacted", "features"):
        assert [row.observation for row in stored(mode, traffic[:2_000])] == full


def test_no_column_holds_a_text(traffic: list[InferenceEvent]) -> None:
    events = traffic[:500]
    words = {
        word
        for event in events
        for message in (*(event.input_messages or ()), *(event.output_messages or ()))
        for word in (message.content or "").split()
        if len(word) > 7 and word.isalpha()
    }
    words -= set(Components.__struct_fields__)
    assert len(words) > 50
    rows = columns(EVENTS, stored("features", events))
    by_name = {name: values for (name, _, _), values in zip(EVENTS, rows, strict=True)}
    for name in TEXTS:
        assert not any(by_name[name]), name
    assert not words & set(re.findall(r"\w+", repr(rows)))
    assert words & set(re.findall(r"\w+", repr(columns(EVENTS, stored("full", events))))), "the search finds them"


def test_an_answer_in_a_field_that_should_be_a_label_is_no_text_in_the_store() -> None:
    sentence = "the patient said that it hurts"
    event = {
        "deployment": "d",
        "error_type": sentence,
        "prediction": sentence,
        "finish_reasons": [sentence],
        "features": {sentence: sentence, "age": 41.0},
    }
    records = [Record(topic=TOPIC, partition=0, offset=0, time_s=END_S, value=msgspec.json.encode(event))]
    (row,) = make_pipeline(settings("features"), derive(KEY), TOPIC).process(records).stored
    assert "patient" not in repr(columns(EVENTS, [row]))
    assert b"patient" not in msgspec.msgpack.encode(row.observation)
    assert row.event.error_type == row.event.prediction == row.observation.finish_reason, "equal ones stay equal"
