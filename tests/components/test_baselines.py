"""Baselines and decided changes: measured from stored events, kept, compared; over the embedded engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from detectors.features import STYLE
from detectors.types import Components, InferenceEvent, Observation
from streams.backtesting.recollecting import Wanted, recollect
from streams.clickhouse import Store
from streams.components import change_files
from streams.components.baseline_files import kept, measured
from streams.components.baselines import Baseline, Number, compared
from streams.components.change_files import decided
from streams.components.provenance import Change, ComponentReport, Noted
from streams.pipeline import Stored
from streams.settings import Settings
from tests.chdb_directory import empty, fresh_database

START_S = 1_750_000_000.0
EMPTY = Baseline(
    name="a", deployment="chat", since_s=0.0, until_s=1.0, events=1, principals=1, numbers={}, components={}
)


def number(mean: float, sd: float = 0.0, count: int = 10) -> Number:
    return Number(mean=mean, sd=sd, count=count)


def with_numbers(**numbers: Number) -> Baseline:
    return msgspec.structs.replace(EMPTY, numbers=numbers)


def test_differences_are_in_standard_deviations_and_the_largest_is_first() -> None:
    before = with_numbers(small=number(1.0, 2.0), large=number(1.0, 1.0), same=number(5.0, 1.0))
    after = with_numbers(small=number(2.0, 2.0), large=number(-2.0, 1.0), same=number(5.0, 1.0))
    found = [(each.name, each.size) for each in compared(before, after).numbers]
    assert found == [("large", -3.0), ("small", 0.5), ("same", 0.0)]


def test_what_never_varied_and_is_another_now_comes_first_and_what_was_not_measured_last() -> None:
    before = with_numbers(frozen=number(1.0), moved=number(0.0, 1.0), gone=number(1.0, 1.0))
    after = with_numbers(frozen=number(2.0), moved=number(4.0, 1.0), arrived=number(1.0, 1.0))
    assert [each.name for each in compared(before, after).numbers] == ["frozen", "moved", "arrived", "gone"]


def test_a_value_that_was_never_seen_had_a_share_of_nothing() -> None:
    share = number(0.5, 0.5)
    before = msgspec.structs.replace(EMPTY, numbers={"prediction=a": number(1.0)})
    after = msgspec.structs.replace(EMPTY, numbers={"prediction=a": share, "prediction=b": share})
    (found,) = [each for each in compared(before, after).numbers if each.name == "prediction=b"]
    assert found.before == 0.0
    assert found.size == pytest.approx(math.sqrt(2.0))


def test_components_that_only_one_saw_are_named() -> None:
    before = msgspec.structs.replace(EMPTY, components={"weights": {"w1": 5, "w0": 1}, "image": {"i": 6}})
    after = msgspec.structs.replace(EMPTY, components={"weights": {"w1": 5, "w2": 1}, "image": {"i": 1}})
    (found,) = compared(before, after).components
    assert (found.component, found.gone, found.new) == ("weights", ("w0",), ("w2",))


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with fresh_database() as settings:
        yield settings


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store.connect(settings)
    empty(store)
    yield store
    store.close()


def stored(number: int, **fields: Any) -> Stored:
    seen = {name: fields.pop(name) for name in ("style", "refused", "failed", "finish_reason") if name in fields}
    event = InferenceEvent(**{"deployment": "chat", **fields}, time_s=START_S + number, event_id=f"t:0:{number}:0")
    return Stored(
        event=event,
        observation=Observation(event_id=f"t:0:{number}:0", time_s=START_S + number, deployment="chat", **seen),
        topic="t",
        partition=0,
        offset=number,
        index=0,
        record_time_s=START_S + number,
    )


def test_the_numbers_are_those_of_the_events_of_that_time_and_deployment(store: Store) -> None:
    style = tuple(float(place) for place in range(len(STYLE)))
    rows = [
        stored(0, latency_s=1.0, output_tokens=10, principal="a", style=style, refused=True, finish_reason="stop"),
        stored(1, latency_s=3.0, output_tokens=30, principal="b", style=style, refused=False, finish_reason="length"),
        stored(2, principal="b", failed=True, prediction="cat", components=Components(weights="w1", image="i")),
        stored(3, principal="b", failed=False, served_model="m", components=Components(weights="w2")),
        stored(900, latency_s=99.0),
        stored(4, latency_s=99.0, deployment="other"),
    ]
    store.insert_events(rows)
    store.insert_events(rows)  # a replay: they count once
    found = measured(store, "chat", START_S, START_S + 10, "b1")
    assert (found.events, found.principals) == (4, 2)
    assert found.numbers["latency_s"] == number(2.0, 1.0, 2)
    assert found.numbers["output_tokens"] == number(20.0, 10.0, 2)
    assert found.numbers["refused"] == number(0.5, 0.5, 2)
    assert found.numbers["failed"] == number(0.5, 0.5, 2)
    assert found.numbers[f"style.{STYLE[3]}"] == number(3.0, 0.0, 2)
    assert found.numbers["finish_reason=stop"] == number(0.5, 0.5, 2)
    assert found.numbers["prediction=cat"] == number(1.0, 0.0, 1)
    assert found.numbers["served_model=m"] == number(1.0, 0.0, 1)
    assert 1.0 <= found.numbers["latency_s.p50"].mean < found.numbers["latency_s.p95"].mean <= 3.0
    assert "ttft_s" not in found.numbers
    assert found.components == {"weights": {"w1": 1, "w2": 1}, "image": {"i": 1}}


def test_a_time_without_events_has_no_numbers(store: Store) -> None:
    found = measured(store, "chat", START_S, START_S + 10, "b1")
    assert (found.events, found.numbers, found.components) == (0, {}, {})


def test_a_baseline_reads_back_as_it_was_and_is_replaced_by_its_name(store: Store) -> None:
    first = msgspec.structs.replace(EMPTY, numbers={"latency_s": number(1.5, 0.5)}, note="\u202enote", frozen_s=START_S)
    store.insert_baseline(first)
    assert kept(store, name="a") == [first]
    approved = msgspec.structs.replace(first, approved_s=START_S + 1, approved_by="ana")
    store.insert_baseline(approved)
    store.insert_baseline(msgspec.structs.replace(first, name="z", deployment="other", frozen_s=START_S + 5))
    assert kept(store, deployment="chat") == [approved]
    assert [each.name for each in kept(store)] == ["a", "z"]


def told(said: Change | ComponentReport, time_s: float = START_S) -> Noted:
    return Noted(said=said, event_id="t:0:0:0", time_s=time_s)


APPROVAL = Change(
    deployment="chat", component="weights", new="w2", ticket="CHG-1", from_s=START_S, until_s=START_S + 60.0
)


def test_a_change_that_is_decided_again_replaces_itself_and_the_latest_decision_counts(store: Store) -> None:
    store.insert_changes([told(APPROVAL)])
    store.insert_changes([told(msgspec.structs.replace(APPROVAL, state="rejected", reason="no"), START_S + 9)])
    store.insert_changes([told(APPROVAL)])  # the first batch again, after a crash
    (found,) = decided(store, "", 0.0, 10)
    assert (found.change_id, found.state, found.reason) == (APPROVAL.change_id, "rejected", "no")
    assert found.decided_s == START_S + 9


def test_a_list_says_whether_a_change_was_served(store: Store) -> None:
    other = msgspec.structs.replace(APPROVAL, new="w9", old="w2")
    model = Change(deployment="chat", component="served_model", new="m-2025")
    store.insert_changes([told(APPROVAL), told(other, START_S + 1), told(model, START_S + 2)])
    store.insert_events(
        [
            stored(5, components=Components(weights="w2", image="w9")),
            stored(6, served_model="m-2025"),
            stored(8, components=Components(weights="w2")),
            stored(9, components=Components(weights="w9"), deployment="other"),
        ]
    )
    found = decided(store, "chat", 0.0, 10)
    assert [(each.new, each.first_served_s, each.last_served_s) for each in found] == [
        ("w2", START_S + 5, START_S + 8),
        ("w9", None, None),
        ("m-2025", START_S + 6, START_S + 6),
    ]
    assert [found[0].standing(START_S + after) for after in (-1, 1, 61)] == [
        "approved, not yet",
        "approved",
        "approved, over",
    ]
    assert decided(store, "nobody", 0.0, 10) == []
    assert decided(store, "chat", START_S + 1, 10)[0].new == "w9"


def test_a_report_is_a_row_with_all_it_said_once(store: Store) -> None:
    report = ComponentReport(
        deployment="chat",
        subject="tools",
        digest="sha256:1",
        components={"tool_list": "sha256:1"},
        risks=("unsafe_tool:a",),
        tools=(("a", "sha256:2"),),
        abilities={"process": 2},
        attested_s=START_S,
    )
    store.insert_component_reports([told(report)])
    store.insert_component_reports([told(report)])
    (row,) = store.query("SELECT * FROM component_reports_latest")
    assert row["components"] == {"tool_list": "sha256:1"}
    assert (row["risks"], row["tools"], row["abilities"]) == (["unsafe_tool:a"], '[["a","sha256:2"]]', {"process": 2})
    assert row["report_id"] == report.report_id


def test_the_past_tells_detectors_of_changes_and_reports_at_their_time_among_the_calls(store: Store) -> None:
    report = ComponentReport(
        deployment="chat", subject="tools", components={"tool_list": "t1"}, tools=(("a", "sha256:2"),), digest="t1"
    )
    early, late = told(APPROVAL, START_S - 99.0), told(msgspec.structs.replace(APPROVAL, new="w3"), START_S + 50.0)
    store.insert_changes([late, early, told(msgspec.structs.replace(APPROVAL, deployment="other"))])
    store.insert_component_reports([told(report, START_S + 1.5)])
    store.insert_events([stored(number) for number in range(3)])
    wanted = Wanted(since_ms=int(START_S * 1e3), until_ms=int((START_S + 60.0) * 1e3), deployment="chat")
    seen = [each for page in recollect(store, wanted, b"k" * 32) for each in page]
    offsets = [each.time_s - START_S for each in seen]
    assert offsets == [-99.0, 0.0, 1.0, 1.5, 2.0, 50.0]
    assert [each.notice for each in seen] == [
        APPROVAL.notice(),
        None,
        None,
        report.notice(),
        None,
        late.said.notice(),
    ]
    assert seen[3].components == told(report).observation.components
    assert change_files.told(store, "chat", int(START_S * 1e3)) == [early.observation]
    of_a_caller = msgspec.structs.replace(wanted, principal="p")
    assert [each for page in recollect(store, of_a_caller, b"k" * 32) for each in page] == []
