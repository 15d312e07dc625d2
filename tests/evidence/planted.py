"""A small installation with one incident and all that is stored beside it, and how a replay and merges stir it."""

from __future__ import annotations

import asyncio

from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases.case_files import Asked, Case, kept, listed
from streams.cases.casework import Casework
from streams.cases.incidents import Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.clickhouse import Store
from streams.components.baselines import Baseline
from streams.components.provenance import Change, ComponentReport, Noted
from streams.sinks import Message, Sender, Writer
from streams.topics import Topic
from streams.triage import Cases
from tests.findings import QUIET_S, START_S, changed, found, new_host, slower

CALLS = 400
FINDINGS = (
    changed("image", "sha256:bb", "sha256:aa"),
    slower(60.0),
    new_host("connection", 120.0),
)
STRANGER = found("leakage", 90.0, subject="p_9", scope="principal")
"""A finding of another incident at the same time and place."""

HOSTILE = "\u202e=cmd|'/c calc'!A1 \x1b[31m</script> ]} \n\\ \u0000 \U0001f600"

_CALLS = """
INSERT INTO inference_events (event_id, topic, partition, offset, event_index, record_time, time, source, deployment,
  model, served_model, components, principal, session, latency_s, prompt, output, conversation, features, egress_hosts,
  style, prompt_hash)
SELECT concat('t:0:', toString(number), ':0'), 't', 0, number, 0, toDateTime64({start:Float64}, 3, 'UTC'),
  toDateTime64({start:Float64} + number - 20, 6, 'UTC'), 'native', if(number % 10 = 9, 'other', 'chat'),
  ['m-1', 'm-2', NULL][number * 7 % 3 + 1], 'm-2', map('image', 'sha256:bb', 'weights', toString(number % 3)),
  concat('p_', toString(number % 7)), 's', number / 7,
  if(number = 50, {hostile:String}, if(number % 20 = 3, NULL, concat('word ', toString(cityHash64(number))))),
  repeat(hex(sipHash64(number)), 20), '[]', '{}', ['h.example'], [0.5, number], number
FROM numbers({first:UInt32}, {count:UInt32})
"""


class _Nowhere:
    async def send(self, topic: str, message: Message) -> None:
        """Take everything."""


def insert_calls(store: Store, first: int = 0, count: int = CALLS) -> None:
    """Calls by their numbers, one a second from 20 s before the onset; the same each time."""
    store._client.command(_CALLS, parameters={"start": START_S, "first": first, "count": count, "hostile": HOSTILE})


def take(store: Store, *findings: Finding) -> None:
    """What a worker makes of findings."""
    store.insert_findings(findings)
    catalog = {name: kind.metadata for name, kind in discover().items()}
    sender = Sender(_Nowhere(), Topic("incidents", 4, "0" * 32))
    for finding in findings:
        asyncio.run(Casework(Cases(QUIET_S, catalog, {"*": "on-call"}), Writer(store), sender).take([finding]))


def said(store: Store, *, repeated: bool = False) -> None:
    """What people and attestations said; of what has the store's own time nothing is `repeated`."""
    report = ComponentReport(
        deployment="chat", subject="model", digest="sha256:1", components={"weights": "sha256:1"}, attested_s=START_S
    )
    store.insert_component_reports([Noted(said=report, event_id="t:0:0:0", time_s=START_S)])
    change = Change(deployment="chat", component="weights", new="sha256:1", ticket="CHG-1")
    store.insert_changes([Noted(said=change, event_id="t:0:1:0", time_s=START_S)])
    store.insert_baseline(
        Baseline(
            name="may",
            deployment="chat",
            since_s=START_S - 90,
            until_s=START_S,
            events=9,
            principals=2,
            numbers={},
            components={},
            frozen_s=START_S,
        )
    )
    store.insert_suppression(
        Suppression(
            suppression_id="s-1", reason=HOSTILE, until_s=START_S + 600, made_s=START_S - 60, severity=Severity.LOW
        )
    )
    if not repeated:
        incident_id = incident(store).incident_id
        store.insert_verdict(Verdict(incident_id=incident_id, verdict="true", note="it was", said_by="kim"))


def plant(store: Store) -> Incident:
    """All of it, stored once; the incident."""
    insert_calls(store)
    take(store, *FINDINGS, STRANGER)
    said(store)
    return incident(store)


def stir(store: Store) -> None:
    """What a replay and ClickHouse's merges do to the same rows."""
    insert_calls(store, 100, 250)
    store.insert_findings([*FINDINGS[1:], STRANGER])
    take(store, *FINDINGS)
    said(store, repeated=True)
    insert_calls(store, 0, 30)
    for table in ("inference_events", "findings", "incidents", "incident_revisions", "baselines", "changes"):
        store._client.command(f"OPTIMIZE TABLE {table} FINAL")
    insert_calls(store, 350, 50)


def cases(store: Store) -> list[Case]:
    """What is listed."""
    return listed(store, Asked())


def incident(store: Store) -> Incident:
    """The one about the deployment, held or not."""
    (case,) = [case for case in kept(store, Asked()) if case.incident.scope == "deployment"]
    return case.incident
