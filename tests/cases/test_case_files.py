"""Incidents in the embedded engine: kept by a worker's casework, read back, judged, printed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console

from detectors.bank import discover
from detectors.types import Finding, InferenceEvent, Observation, Severity
from streams.cases import case_files
from streams.cases.case_files import Asked, listed, recalled
from streams.cases.casework import Casework
from streams.cases.incident_page import Record, page
from streams.cases.incidents import CLOSED, OPEN, Incident, Verdict, closed
from streams.clickhouse import Store
from streams.settings import Settings
from streams.sinks import Message, Sender, Writer
from streams.topics import Topic
from streams.triage import Cases
from tests.chdb_directory import empty, fresh_database
from tests.findings import QUIET_S, START_S, changed, found, new_host, slower
from tests.store_values import stored

pytest.importorskip("chdb")

CATALOG = {name: kind.metadata for name, kind in discover().items()}
LONG_AFTER_S = 4_000_000_000.0


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


class Kafka:
    """What was sent to the topic of incidents; while it is `away`, nothing can be."""

    def __init__(self) -> None:
        self.sent: list[Incident] = []
        self.away = False

    async def send(self, topic: str, message: Message) -> None:
        if self.away:
            raise RuntimeError
        assert (topic, message.key) == ("incidents", b"chat")
        self.sent.append(msgspec.json.decode(message.value, type=Incident))


class Nowhere(Kafka):
    async def send(self, topic: str, message: Message) -> None:
        """Take everything."""


def casework(store: Store, kafka: Kafka | None = None) -> Casework:
    """A worker that has just started."""
    sender = Sender(kafka or Nowhere(), Topic("incidents", 4, "0" * 32))
    return Casework(Cases(QUIET_S, CATALOG, {"*": "on-call"}), Writer(store), sender)


def take(work: Casework, *findings: Finding) -> bool:
    return asyncio.run(work.take(findings))


TAMPERED = (changed("image", "sha256:bb", "sha256:aa"), slower(60.0), new_host("connection", 120.0))


def test_an_incident_reads_back_as_it_was_made(store: Store) -> None:
    expected = Cases(QUIET_S, CATALOG, {"*": "on-call"})
    made = [expected.take(finding) for finding in TAMPERED][-1]
    assert take(casework(store), *TAMPERED)
    (case,) = listed(store, Asked())
    assert [case.incident] == made
    assert (case.state, case.verdict, case.note) == (OPEN, None, None)
    (row,) = store.query("SELECT cause, findings, state FROM incidents_latest")
    assert row == {"cause": "code_tampered", "findings": 3, "state": "open"}


def test_a_worker_that_was_killed_before_it_acked_writes_the_same_again(store: Store) -> None:
    take(casework(store), *TAMPERED[:2])
    (before,) = listed(store, Asked())
    take(casework(store), *TAMPERED[:2])
    assert listed(store, Asked()) == [before]
    take(casework(store), *TAMPERED[1:])
    (after,) = listed(store, Asked())
    assert (after.incident.incident_id, after.incident.count) == (before.incident.incident_id, 3)


def test_what_is_stored_was_sent_before_with_the_actions_it_proposes(store: Store) -> None:
    kafka = Kafka()
    work = casework(store, kafka)
    take(work, *TAMPERED)
    take(work, *TAMPERED)
    asyncio.run(work.close_quiet(LONG_AFTER_S))
    assert [(each.count, each.news) for each in kafka.sent] == [(1, "opened"), (2, "worse"), (3, None), (3, "closed")]
    assert [each.state for each in kafka.sent] == [OPEN, OPEN, OPEN, CLOSED]
    plan = kafka.sent[2].plan
    assert plan is not None
    assert {each.kind for each in plan.actions} == {"pin_component", "isolate_deployment"}
    kafka.away = True
    with pytest.raises(RuntimeError):
        take(work, found("output_drift", 180.0))
    (case,) = listed(store, Asked())
    assert case.incident.count == 3, "a row that was not sent would never be sent again"


def test_a_message_that_kafka_would_refuse_is_sent_without_what_it_quotes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.cases.casework.MAX_MESSAGE_BYTES", 500_000)
    kafka = Kafka()
    rows = [("\U0001f512" * 500 + str(each), "\U0001f512" * 500, "\U0001f512" * 500) for each in range(8)]
    names = ("output_drift", "canary", "refusal_shift", "error_shift")
    take(casework(store, kafka), *(found(names[each % 4], float(each), *rows) for each in range(40)))
    (case,) = listed(store, Asked())
    assert len(msgspec.json.encode(case.incident)) > 500_000
    sent = kafka.sent[-1]
    assert len(msgspec.json.encode(sent)) < 500_000
    assert (sent.causes, sent.plan, sent.cited) == (case.incident.causes, case.incident.plan, ())


def test_partitions_that_move_while_incidents_are_recalled_leave_the_findings_to_another(store: Store) -> None:
    work = casework(store)

    class Moving(Writer):
        async def run(self, call: Callable[[Store], Any]) -> Any:
            work.forget()
            return await super().run(call)

    work._writer = Moving(store)
    assert not take(work, *TAMPERED)
    assert listed(store, Asked()) == []


def test_what_is_quiet_is_closed_once_and_opened_again_by_the_next_finding(store: Store) -> None:
    work = casework(store)
    take(work, found("output_drift"))
    asyncio.run(work.close_quiet(START_S + QUIET_S + 1.0))
    (case,) = listed(store, Asked())
    assert case.state == OPEN, "it was stored a moment ago: logs that are sent late are not shut at once"
    asyncio.run(work.close_quiet(LONG_AFTER_S))
    (case,) = listed(store, Asked())
    assert (case.state, case.incident.closed_s) == (CLOSED, START_S + QUIET_S)
    take(casework(store), found("output_drift", 2 * QUIET_S))
    (case,) = listed(store, Asked())
    assert (case.state, case.incident.count, case.incident.reopened) == (OPEN, 2, 1)


def test_a_late_closing_does_not_hide_a_finding_that_came_meanwhile(store: Store) -> None:
    work = casework(store)
    take(work, found("output_drift"))
    stale = case_files.overdue(store, LONG_AFTER_S, QUIET_S)
    take(work, found("output_drift", 60.0))
    store.insert_incidents([closed(each, QUIET_S) for each in stale])
    (case,) = listed(store, Asked())
    assert (case.state, case.incident.count) == (OPEN, 2)


def test_what_people_say_stays_beside_what_triage_says(store: Store) -> None:
    take(casework(store), *TAMPERED)
    (case,) = listed(store, Asked())
    incident_id = case.incident.incident_id
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="false", note="too early"))
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="true", note="confirmed"))
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="closed", note="rolled back"))
    (case,) = listed(store, Asked())
    assert (case.verdict, case.note, case.state) == ("true", "confirmed", "closed by hand")
    take(casework(store), found("output_drift", 180.0))
    (case,) = listed(store, Asked())
    assert (case.verdict, case.state) == ("true", OPEN)


def test_only_what_is_asked_for_is_listed(store: Store) -> None:
    take(casework(store), *TAMPERED, found("load_anomaly", deployment="search", subject="search"))
    take(casework(store), found("probing", 9_000.0, scope="principal", subject="p_1"))
    everything = listed(store, Asked())
    assert [case.incident.last_s for case in everything] == sorted(case.incident.last_s for case in everything)
    assert len(everything) == 3
    assert [case.incident.deployment for case in listed(store, Asked(deployment="search"))] == ["search"]
    assert [case.incident.severity for case in listed(store, Asked(severity=Severity.CRITICAL))] == [Severity.CRITICAL]
    assert [case.incident.subject for case in listed(store, Asked(since_s=START_S + 8_000.0))] == ["p_1"]
    assert len(listed(store, Asked(incident_id=everything[0].incident.incident_id[:12]))) == 1
    assert len(listed(store, Asked(limit=2))) == 2


def test_an_incident_of_a_version_that_is_not_ours_is_left_out(store: Store) -> None:
    take(casework(store), found("output_drift"))
    store._client.command("INSERT INTO incidents (incident_id, deployment, body) VALUES ('inc-0', 'chat', '{')")
    assert [each.count for each in recalled(store, ["chat", "nobody"])["chat"]] == [1]
    assert recalled(store, ["nobody"]) == {"nobody": []}


def calls(store: Store, deployment: str, times_s: list[float]) -> None:
    rows = []
    for number, time_s in enumerate(times_s):
        event_id = f"t:0:{number}:0"
        rows.append(
            stored(
                InferenceEvent(
                    deployment=deployment,
                    event_id=event_id,
                    time_s=time_s,
                    principal=f"p_{number % 3}",
                    session=f"s_{number}",
                ),
                Observation(event_id=event_id, deployment=deployment, time_s=time_s),
                (0, number, 0),
            )
        )
    store.insert_events(rows)


def test_the_page_has_everything_a_responder_needs_and_counts_who_was_touched(store: Store) -> None:
    calls(store, "chat", [START_S - 10.0, *(START_S + each for each in range(10))])
    calls(store, "other", [START_S + 1.0])
    take(casework(store), *TAMPERED)
    (case,) = listed(store, Asked())
    assert case.incident.plan is not None
    counted = case_files.extent(store, case.incident.plan.radius)
    assert (counted.events, counted.principals, counted.sessions) == (10, 3, 10)
    assert len(store.query(case.incident.plan.radius.query)) == 10, "the query that is printed lists the same calls"
    out = io.StringIO()
    page(Console(file=out, width=120), case, Record(extent=counted))
    text = out.getvalue()
    assert "\x1b" not in text, "plain where it is no terminal"
    for said in (
        "CRITICAL",
        case.incident.incident_id,
        "most likely: The inference code or its image was tampered with",
        "image is now sha256:bb, before sha256:aa",
        "began   2025-06-15 15:06:40Z",
        "3 independent kinds",
        "step 40",
        "10 calls, 3 callers, 10 sessions",
        "last known good: image sha256:aa",
        "pin_component chat image at sha256:aa",
        "isolate_deployment chat",
        "on-call",
    ):
        assert said in text, text
    sections = [
        text.index(f"\n{title}") for title in ("What", "Since when", "Evidence", "Ranked causes", "Blast", "Next")
    ]
    assert sections == sorted(sections)


def test_a_page_is_colored_on_a_terminal_and_inert_whatever_was_named(store: Store) -> None:
    hostile = "\x1b[2J\u202e[bold red]x[/]"
    finding = msgspec.structs.replace(
        found("extraction", 0.0, ("a\x1b[31m", "b\x07"), deployment=hostile, subject=hostile, scope="principal"),
        summary=hostile,
    )
    take(casework(store), finding)
    (case,) = listed(store, Asked())
    assert case.incident.plan is not None
    out = io.StringIO()
    counted = case_files.extent(store, case.incident.plan.radius)
    page(Console(file=out, width=120, force_terminal=True), case, Record(extent=counted))
    text = out.getvalue()
    assert "\x1b[1m" in text
    assert not any(bad in text for bad in ("\x1b[2J", "\u202e", "\x07", "\x1b[31ma"))
    assert "[bold red]" in text
