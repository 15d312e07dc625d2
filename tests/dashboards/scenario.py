"""A few hours of several deployments, as the product would have stored them, so that every panel has something to show.

The same for the same `now_s`: events are a function of their number, findings go through the worker's own triage and
writer, and the numbers of workers are those that a worker's page has.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from clickhouse_connect.driver.client import Client

from detectors.bank import discover
from detectors.types import Evidence, Finding, Severity
from streams import schema
from streams.cases.incidents import Incident, Verdict, closed
from streams.clickhouse import Store
from streams.metrics import Metrics
from streams.migrations import Migration
from streams.readiness import Readiness
from streams.rows import SavedState
from streams.settings import Settings
from streams.triage import Cases

HOSTILE = (
    "x\\' OR 1=1 -- <script>alert(1)</script> {{7*7}} ${deployment} $__timeFilter(time) [a](javascript:1) "
    "\x1b[31m\u202e"
)
"""A name that means something to SQL, HTML, templates, Grafana, Markdown and terminals."""

CHAT = "chat"
COHORT = "cohort-1"
DEPLOYMENTS = {CHAT: 3_600, "search": 1_800, HOSTILE: 1_200}
"""Names, and how many calls each has made."""

HOUR_S = 3_600
QUIET_S = 21_600.0
WORKERS = ("worker-1:7", "worker-2:9")

CHOICES: Mapping[str, str] = {
    "words": "question 42",
    "event": "chat2",
    "principal": "principal-1",
    "cohort": COHORT,
    "sighted": "22",
    "pseudonym": "principal-1",
}
"""What is chosen on a dashboard where its variable's first choice, or nothing, would show too little."""

EVENTS = """\
INSERT INTO inference_events (event_id, topic, partition, offset, event_index, record_time, time, source, operation,
  deployment, model, served_model, provider, principal, network, user_agent, session, input_tokens, output_tokens,
  cached_tokens, temperature, n, logprobs, top_logprobs, logit_bias, stream, latency_s, ttft_s, failed, refused,
  finish_reason, error_type, http_status, cost_usd, prompt, output, system, style, prompt_hash, prompt_template,
  prompt_simhash, trace_id, response_id, conversation, features, components, egress_hosts)
WITH number % 1000 AS few,
  toDateTime64({now_s:UInt32}, 6, 'UTC') - toIntervalMillisecond(number * {every_ms:UInt32}) AS at
SELECT concat({id:String}, toString(number)), 'inference-logs', number % 8, intDiv(number, 8), 0, at, at,
  if(number % 3 = 0, 'otlp', 'native'), if(number % 50 = 7, 'canary', 'chat'),
  if({spread:UInt32} = 1, {name:String}, concat({name:String}, toString(number % {spread:UInt32}))),
  if(number % 5 = 0, 'm-2', 'm-1'), if(number < 600, 'm-1-late', 'm-1-early'), 'openai',
  concat('principal-', toString(number % {callers:UInt32})), concat('203.0.113.', toString(number % 7)),
  ['curl/8', 'python-requests/2', {name:String}][number % 3 + 1], concat('session-', toString(intDiv(number, 20))),
  100 + number % 50, 20 + number % 30, number % 9, if(number % 4 = 0, 0, 0.7), if(number % 6 = 0, 4, 1), number % 8 = 0,
  number % 5, number % 2, 1, 0.5 + few / 500 + if(number < 600, 0.5, 0), 0.1 + (number % 10) / 100, number % 20 = 0,
  number % 33 = 0, if(number % 20 = 0, NULL, 'stop'), if(number % 40 = 0, 'timeout', NULL),
  if(number % 20 = 0, 500, 200), 0.0001 * (100 + number % 50),
  concat('question ', toString(number % 500), ' of <b>markup</b> about ', {name:String}),
  concat('answer ', if(number % 50 = 7, '', toString(number)), ' with <img src=x onerror=alert(1)> to ', {name:String}),
  'be kind', arrayMap(i -> toFloat32(i + (number % 10) / 10), range(16)), if(number % 50 = 7, 7, number % 500),
  number % 11, number % 13, concat('trace-', toString(number)), concat('response-', toString(number)), '', '',
  map('weights', if(number < 900, 'sha256:22', 'sha256:11'), 'tokenizer', 'sha256:1'), []
FROM numbers({count:UInt32})"""

DEAD_LETTERS = """\
INSERT INTO dead_letters (topic, partition, offset, event_index, record_time, topic_id, reason, content_type,
  size_bytes, sha256, head)
SELECT 'inference-logs', 0, number, -1, toDateTime64({now_s:UInt32}, 3, 'UTC') - toIntervalSecond(30 * number), 't',
  if(number % 2 = 0, 'native: not JSON', {name:String}), '', 10, '', {name:String}
FROM numbers({count:UInt32})"""

PROVENANCE = {
    "changes": """\
INSERT INTO changes (change_id, deployment, component, state, new, old, who, ticket, reason, decided, event_id)
SELECT concat({name:String}, '-change-', toString(number)), {name:String},
  ['weights', 'served_model', ''][number % 3 + 1],
  ['approved', 'rejected', 'baseline'][number % 3 + 1], {name:String}, 'sha256:11', 'ada', 'OPS-1', {name:String},
  toDateTime64({now_s:UInt32}, 6, 'UTC') - toIntervalMinute(10 * number + 10), ''
FROM numbers(6)""",
    "component_reports": """\
INSERT INTO component_reports (report_id, deployment, subject, source, attested, digest, components, risks, tools,
  abilities, event_id)
SELECT concat('report-', toString(number)), {name:String}, ['model', 'packages', 'tools', 'code'][number % 4 + 1],
  {name:String}, toDateTime64({now_s:UInt32}, 6, 'UTC') - toIntervalMinute(5 * number + 5), 'sha256:22',
  map('weights', 'sha256:22'), [{name:String}], '[]', map('network', 1), ''
FROM numbers(8)""",
    "suppressions": """\
INSERT INTO suppressions (suppression_id, deployment, detector, subject, cause, severity, reason, made_by, made_at,
  until)
SELECT concat({name:String}, toString(number)), {name:String}, {name:String}, {name:String}, '', 'high', {name:String},
  {name:String}, toDateTime64({now_s:UInt32}, 3, 'UTC'), now64(3, 'UTC') + toIntervalDay(1)
FROM numbers(2)""",
    "baselines": """\
INSERT INTO baselines (name, deployment, since, until, events, who, frozen, approved, body)
SELECT concat({name:String}, toString(number)), {name:String}, at - toIntervalDay(1), at, 1000, 'ada', at,
  if(number = 0, at, NULL), '{}'
FROM
(
  SELECT number, toDateTime64({now_s:UInt32}, 6, 'UTC') - toIntervalMinute(20 * number + 20) AS at FROM numbers(2)
)""",
}
"""Tables that a migration of its own brings, filled where it is there."""

EVIDENCE = (
    Evidence(name="members", observed="principal-1 principal-2 principal-3"),
    Evidence(name="weights", observed="sha256:22", expected="sha256:11"),
    Evidence(name="median", observed=1.5, expected=1.0, unit="s"),
)


GROWING = tuple(f"inferwatch_{name}" for name in ("events", "dead_letters", "batch", "findings", "retries", "alerts"))
"""Counters of a worker that go up all the time here."""


def migrate(client: Client) -> None:
    """Make our tables and views."""
    for file in sorted(importlib.resources.files(schema).iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            for statement in Migration(file.name, file.read_text()).statements(30):
                client.command(statement)


def events(client: Client, name: str, count: int, now_s: int, **shape: int) -> None:
    """`count` calls to `name`, the newest at `now_s`: of `callers`, one each `every_ms`, over `spread` deployments."""
    given = {"every_ms": 2_000, "callers": 7, "spread": 1} | shape
    client.command(EVENTS, parameters={"name": name, "id": name, "count": count, "now_s": now_s, **given})


def fill(client: Client, url: str, now_s: int) -> None:
    """Everything, into a migrated database."""
    for name, count in DEPLOYMENTS.items():
        events(client, name, count, now_s)
        for table, statement in PROVENANCE.items():
            if client.command(f"EXISTS TABLE {table}"):
                client.command(statement, parameters={"name": name, "now_s": now_s})
    client.command(DEAD_LETTERS, parameters={"name": HOSTILE, "now_s": now_s, "count": 40})
    store = Store.connect(Settings(clickhouse_url=url, clickhouse_database=str(client.database)))
    cases(store, now_s)
    client.insert(
        "worker_metrics",
        [
            (worker, datetime.fromtimestamp(at_s, UTC), numbers(at_s, now_s))
            for at_s in range(now_s - 2 * HOUR_S, now_s, 60)
            for worker in WORKERS
        ],
        column_names=["worker", "time", "numbers"],
    )
    store.insert_snapshots(list(_snapshots()))
    store.close()


def cases(store: Store, now_s: int, deployments: tuple[str, ...] = tuple(DEPLOYMENTS)) -> None:
    """Findings, the incidents that triage makes of them, some of them closed, and what people said."""
    found = sorted((each for name in deployments for each in _findings(name, now_s)), key=lambda each: each.time_s)
    store.insert_findings(found)
    triage = Cases(QUIET_S, {name: kind.metadata for name, kind in discover().items()}, {"*": "on-call"})
    made: dict[str, Incident] = {each.incident_id: each for finding in found for each in triage.take(finding)}
    incidents = list(made.values())
    last = [each for each in incidents if each.state == "open" and each.scope == "principal"]
    store.insert_incidents([*incidents, *(closed(each, QUIET_S) for each in last[::2])])
    for each in incidents:
        store.insert_verdict(Verdict(incident_id=each.incident_id, verdict="assigned", assignee=HOSTILE, said_by="ada"))
    for number, each in enumerate(incidents[: len(incidents) // 2]):
        store.insert_verdict(
            Verdict(incident_id=each.incident_id, verdict=("true", "false", "benign")[number % 3], note=HOSTILE)
        )


def _findings(deployment: str, now_s: int) -> Iterator[Finding]:
    """Two of each detector of the catalog, newest last, and a cohort."""
    severities = list(Severity)
    for number, (detector, kind) in enumerate(sorted(discover().items()) * 2):
        known = kind.metadata
        principal = f"principal-{number % 3}" if known.scope == "principal" else None
        at_s = now_s - 60.0 * (number % 40 + 1)
        yield Finding(
            finding_id=f"{deployment}-{number}",
            detector=detector,
            version=known.version,
            scope=known.scope,
            subject={"principal": principal or "", "cohort": COHORT}.get(known.scope, deployment),
            deployment=deployment,
            principal=principal,
            time_s=at_s,
            onset_s=at_s - 30,
            severity=severities[number % len(severities)],
            summary=f"what {detector} saw of {deployment}",
            score=12.5 + number,
            threshold=10.0,
            budget_share=0.01,
            event_id=f"{deployment}2",
            evidence=EVIDENCE,
            atlas=known.atlas,
            owasp=known.owasp,
        )
    yield msgspec.structs.replace(
        _cohort(deployment, now_s), finding_id=f"{deployment}-cohort-before", time_s=now_s - 1_200.0
    )
    yield _cohort(deployment, now_s)


def _cohort(deployment: str, now_s: int) -> Finding:
    return Finding(
        finding_id=f"{deployment}-cohort",
        detector="coordinated_extraction",
        version=1,
        scope="cohort",
        subject=COHORT,
        deployment=deployment,
        principal=None,
        time_s=now_s - 600.0,
        onset_s=now_s - 1_500.0,
        severity=Severity.HIGH,
        summary=f"callers of {deployment} act as one",
        score=21.0,
        threshold=10.0,
        budget_share=0.01,
        event_id=f"{deployment}2",
        evidence=EVIDENCE,
        atlas=("AML.T0024",),
        owasp=("LLM10",),
    )


def numbers(at_s: int, now_s: int) -> dict[str, float]:
    """What the page `/metrics` of a busy worker says, counters growing with time."""
    grown = at_s - now_s + 3 * HOUR_S
    said = dict(_page())
    for name in said:
        if name.startswith(GROWING):
            said[name] += grown / (50.0 if "_sum" in name else 5.0)
        elif "timestamp_seconds" in name:
            said[name] = at_s - 2.0
    return said


@functools.cache
def _page() -> dict[str, float]:
    readiness = Readiness()
    readiness.retry("store", "clickhouse", "not there")
    metrics = Metrics(readiness)
    for scope, subjects in (("deployment", 3), ("principal", 7)):
        metrics.watch_bank(scope, functools.partial(int, subjects), lambda: 0.0)
        metrics.watch_detectors(scope, 0.01, lambda: {"latency_shift": 1, "output_drift": 0})
    metrics.watch_lag(lambda: [("inference-logs", 0, 5), ("findings", 0, 0)])
    metrics.found(_findings(CHAT, 0))
    metrics.alerted("pager", "taken")
    for role in ("ingest", "watch-deployments", "watch-principals", "triage", "notify"):
        with metrics.batch(role):
            pass
    return metrics.numbers()


def _snapshots() -> Iterator[SavedState]:
    for scope, subjects in (("deployment", list(DEPLOYMENTS)), ("principal", [f"principal-{n}" for n in range(7)])):
        for number, subject in enumerate(subjects):
            yield SavedState(
                topic_id="t",
                scope=scope,
                topic=f"observations-by-{scope}",
                subject=subject,
                partition=number,
                next_offset=number,
                envelope=b"state",
            )
