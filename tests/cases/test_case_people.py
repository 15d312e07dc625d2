"""What people say of incidents and do not want to be told: stored with who and when, heeded by triage, shown."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import streams
from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases import case_files, case_provenance, suppression_files
from streams.cases.case_files import Asked, Case, listed
from streams.cases.case_provenance import Decision, Provenance, Report
from streams.cases.casework import Casework
from streams.cases.incident_lines import span
from streams.cases.incident_page import Record, page
from streams.cases.incidents import OPENED, WORSE, Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.cli import app
from streams.clickhouse import Store
from streams.settings import Settings
from streams.sinks import Message, Sender, Writer
from streams.topics import Topic
from streams.triage import Cases
from tests.chdb_directory import empty, fresh_database
from tests.findings import QUIET_S, START_S, changed, found, slower

pytest.importorskip("chdb")

CATALOG = {name: kind.metadata for name, kind in discover().items()}
NOW_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with fresh_database() as settings:
        yield settings


@pytest.fixture
def store(database: Settings) -> Iterator[Store]:
    store = Store.connect(database)
    empty(store)
    yield store
    store.close()


class Topics:
    """What was sent; `fails` is how many sends are refused by a crash."""

    def __init__(self, fails: int = 0) -> None:
        self.sent: list[Incident] = []
        self.fails = fails

    async def send(self, topic: str, message: Message) -> None:
        self.sent.append(msgspec.json.decode(message.value, type=Incident))
        if len(self.sent) <= self.fails:
            raise RuntimeError


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def casework(store: Store, clock: Clock | None = None, topics: Topics | None = None) -> Casework:
    sender = Sender(topics or Topics(), Topic("incidents", 4, "0" * 32))
    return Casework(Cases(QUIET_S, CATALOG, {}), Writer(store), sender, clock or Clock())


def take(work: Casework, *findings: Finding) -> None:
    assert asyncio.run(work.take(findings))


def suppression(**fields: object) -> Suppression:
    given = {"suppression_id": "sup-00000001", "reason": "A/B test", "detector": "output_drift", "made_s": NOW_S - 60.0}
    return msgspec.convert({**given, "until_s": NOW_S + 86_400.0, "by": "kim", **fields}, type=Suppression)


def only(store: Store) -> Case:
    (case,) = listed(store, Asked())
    return case


def shown(case: Case, record: Record) -> str:
    out = io.StringIO()
    page(Console(file=out, width=120), case, record)
    return out.getvalue()


def test_a_suppression_reads_back_as_it_was_made_until_it_runs_out_or_is_ended(store: Store) -> None:
    made = suppression(severity="critical", subject="p_1", cause="load", deployment="chat")
    store.insert_suppression(made)
    assert suppression_files.active(store, NOW_S) == [made]
    assert suppression_files.active(store, made.until_s) == []
    store.insert_suppression(msgspec.structs.replace(made, ended_s=NOW_S + 1.0, ended_by="lee"))
    assert suppression_files.active(store, NOW_S) == []
    (kept,) = suppression_files.all_made(store, 10)
    assert (kept.ended_by, kept.reason, kept.by) == ("lee", "A/B test", "kim")


def test_triage_keeps_quiet_about_what_is_suppressed_stores_it_and_tells_it_afterwards(store: Store) -> None:
    clock = Clock()
    work = casework(store, clock)
    store.insert_suppression(suppression())
    take(work, found("output_drift"))
    case = only(store)
    assert (case.incident.news, case.incident.quiet) == (OPENED, "suppressed by sup-00000001: A/B test")
    (row,) = store.query("SELECT news, quiet, findings FROM incidents_latest")
    assert row == {"news": "opened", "quiet": case.incident.quiet, "findings": 1}
    assert "nobody is told: suppressed by sup-00000001: A/B test" in shown(case, Record())
    clock.now_s += 2 * 86_400.0
    take(work, found("output_drift", 60.0))
    assert only(store).incident.news_id is not None
    assert only(store).incident.kept_quiet == (case.incident.quiet,)


def test_a_suppression_that_is_made_or_ended_is_heeded_within_seconds(store: Store) -> None:
    clock = Clock()
    work = casework(store, clock)
    take(work, slower())
    store.insert_suppression(suppression())
    take(work, found("output_drift", 10.0, subject="search", deployment="search"))
    clock.now_s += 6.0
    take(work, found("output_drift", 20.0, subject="mail", deployment="mail"))
    quiet = {case.incident.deployment: case.incident.quiet is not None for case in listed(store, Asked())}
    assert quiet == {"chat": False, "search": False, "mail": True}


def test_findings_dated_into_a_suppression_that_has_run_out_are_told(store: Store) -> None:
    store.insert_suppression(suppression(until_s=NOW_S - 1.0))
    take(casework(store), found("output_drift"))
    assert START_S < NOW_S - 1.0
    assert only(store).incident.news_id is not None


def test_a_crash_between_telling_and_storing_repeats_the_same_news_with_the_same_identity(store: Store) -> None:
    topics = Topics(fails=1)
    findings = (slower(), found("canary", 60.0))
    with pytest.raises(RuntimeError):
        take(casework(store, topics=topics), *findings)
    take(casework(store, topics=topics), *findings)
    take(casework(store, topics=topics), *findings)
    first, *again = topics.sent
    assert first.news == OPENED
    assert first == again[0]
    assert [each.news_id for each in again] == [first.news_id, again[1].news_id]
    assert again[1].news == WORSE, "a batch tells all its news, not only the last revision's"


def test_what_people_say_is_kept_with_who_and_when_and_shown_in_order(store: Store) -> None:
    take(casework(store), slower())
    incident_id = only(store).incident.incident_id
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="assigned", assignee="kim", said_by="lee"))
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="false", note="a test", said_by="kim"))
    store.insert_verdict(Verdict(incident_id=incident_id, verdict="closed", note="done", said_by="kim"))
    case = only(store)
    assert (case.assignee, case.verdict, case.note, case.state) == ("kim", "false", "a test", "closed by hand")
    said = case_files.history(store, incident_id)
    assert [(each.said_by, each.verdict) for each in said] == [("lee", "assigned"), ("kim", "false"), ("kim", "closed")]
    assert all(each.said_s > 1_600_000_000.0 for each in said)
    text = shown(case, Record(history=said))
    assert "closed by hand, kim works on it" in text
    assert "Z lee: assigned to kim" in text and "Z kim: false: a test" in text


def test_precision_counts_the_last_verdict_of_each_incident_for_all_its_detectors(store: Store) -> None:
    work = casework(store)
    verdicts = ["true", "true", "true", "false", "benign", ""]
    for place in range(len(verdicts)):
        name = f"d{place}"
        take(work, found("canary", 0.0, deployment=name, subject=name))
        if place < 2:
            take(work, found("leakage", 1.0, deployment=name, subject=name))
    for case in listed(store, Asked()):
        said = verdicts[int(case.incident.deployment[1:])]
        if said:
            store.insert_verdict(Verdict(incident_id=case.incident.incident_id, verdict="false"))
            store.insert_verdict(Verdict(incident_id=case.incident.incident_id, verdict=said))
            store.insert_verdict(Verdict(incident_id=case.incident.incident_id, verdict="closed"))
    canary, leakage = case_files.precision(store)
    assert (canary.confirmed, canary.refuted, canary.benign, canary.precision) == (3, 1, 1, 0.75)
    assert (canary.low, canary.high) == (pytest.approx(0.3006, abs=1e-3), pytest.approx(0.9544, abs=1e-3)), "Wilson"
    assert (leakage.detector, leakage.precision) == ("leakage", 1.0)
    assert leakage.low == pytest.approx(0.342, abs=1e-3)


def test_a_detector_of_which_only_harmless_incidents_are_known_has_no_precision(store: Store) -> None:
    take(casework(store), slower())
    store.insert_verdict(Verdict(incident_id=only(store).incident.incident_id, verdict="benign"))
    (row,) = case_files.precision(store)
    assert (row.benign, row.precision, row.low, row.high) == (1, None, None, None)


def test_the_page_cites_decisions_and_attestations_around_the_onset_and_the_last_good_digest(store: Store) -> None:
    at = "toDateTime64({}, 6, 'UTC')"
    rows = "(change_id, deployment, component, state, new, who, ticket, decided)"
    values = "('{0}', '{1}', 'image', 'approved', '{2}', 'kim', 'CHG-7', " + at + ")"
    for change_id, deployment, digest, time_s in (
        ("c1", "chat", "sha256:aa", START_S - 7_200.0),
        ("c2", "search", "sha256:cc", START_S - 60.0),
        ("c3", "chat", "sha256:dd", START_S + 40 * 86_400.0),
    ):
        text = values.replace("{}", str(time_s)).format(change_id, deployment, digest)
        store._client.command(f"INSERT INTO changes {rows} VALUES {text}")  # noqa: S608 - our own values
    reported = at.replace("{}", str(START_S - 90_000.0))
    rows = "(report_id, deployment, subject, source, attested, components, risks)"
    text = f"('r1', 'chat', 'model', '/srv', {reported}, map('weights', 'sha256:11'), ['unsafe_pickle:model.bin'])"
    store._client.command(f"INSERT INTO component_reports {rows} VALUES {text}")  # noqa: S608 - as above
    take(casework(store), changed("image", "sha256:bb", "sha256:00"))
    case = only(store)
    known = case_provenance.around(store, case.incident)
    text = shown(case, Record(provenance=known))
    assert "approved image sha256:aa, by kim, CHG-7  (2 h before it began)" in text
    assert "attested model: weights sha256:11; 1 alarm: unsafe_pickle:model.bin  (1 d 1 h before it began)" in text
    assert "on record before it began: image sha256:aa, approved by kim" in text
    assert "sha256:cc" not in text and "sha256:dd" not in text


def test_nothing_on_record_is_said_with_how_to_have_it_the_next_time(store: Store) -> None:
    take(casework(store), slower())
    text = shown(only(store), Record(provenance=case_provenance.around(store, only(store).incident)))
    assert "no approved change and no attestation" in text


def test_names_from_outside_are_inert_wherever_the_page_has_them(store: Store) -> None:
    bad = "\x1b[2J\u202e[bold red]x[/]\x07"
    take(casework(store), slower())
    decision = Decision(
        change_id=bad, component=bad, state="approved", new=bad, old=bad, who=bad, ticket=bad,
        decided_s=START_S, from_s=START_S, until_s=None,
    )  # fmt: skip
    report = Report(subject=bad, source=bad, attested_s=START_S - 1.0, components={bad: bad}, risks=(bad,))
    record = Record(
        provenance=Provenance(decisions=(decision,), reports=(report,)),
        history=[Verdict(incident_id=bad, verdict="true", note=bad, said_by=bad, assignee=bad, said_s=START_S)],
    )
    case = msgspec.structs.replace(only(store), assignee=bad, note=bad, verdict="true")
    quiet = msgspec.structs.replace(case.incident, quiet=bad, kept_quiet=(bad, f"{bad}2"))
    out = io.StringIO()
    page(Console(file=out, width=120, force_terminal=True), msgspec.structs.replace(case, incident=quiet), record)
    text = out.getvalue()
    assert not any(each in text for each in ("\x1b[2J", "\u202e", "\x07"))
    assert text.count("[bold red]") >= 8


def typed(settings: Settings, *arguments: str) -> Result:
    environ = {
        "INFERWATCH_CLICKHOUSE_URL": settings.clickhouse_url,
        "INFERWATCH_CLICKHOUSE_DATABASE": settings.clickhouse_database,
    }
    return CliRunner().invoke(app, list(arguments), env=environ, catch_exceptions=False)


def test_a_person_suppresses_lists_and_ends_by_verbs(store: Store, database: Settings) -> None:
    added = typed(
        database, "suppress", "add", "--detector", "output_drift", "--for", "2d", "--reason", "A/B", "--by", "kim"
    )
    suppression_id = added.stdout.split()[0]
    assert added.stdout.strip().endswith("detector output_drift, up to high")
    row = json.loads(typed(database, "suppress", "list", "--json").stdout)
    assert (row["suppression_id"], row["by"], row["reason"], row["severity"]) == (suppression_id, "kim", "A/B", "high")
    assert 86_400.0 < row["until_s"] - row["made_s"] <= 2 * 86_400.0
    assert typed(database, "suppress", "end", suppression_id[:8], "--by", "lee").exit_code == 0
    assert "nothing is suppressed" in typed(database, "suppress", "list").stdout
    assert "by lee" in typed(database, "suppress", "list", "--all").stdout


def test_a_person_assigns_judges_closes_and_reads_it_on_the_page(store: Store, database: Settings) -> None:
    take(casework(store), slower())
    incident_id = only(store).incident.incident_id
    assert typed(database, "incidents", "assign", incident_id, "kim", "--by", "lee").stdout.endswith("says lee\n")
    typed(database, "incidents", "verdict", incident_id, "true", "--by", "kim", "--note", "it was")
    typed(database, "incidents", "close", incident_id, "--by", "kim")
    text = typed(database, "incidents", "show", incident_id).stdout
    for said in ("kim works on it", "lee: assigned to kim", "kim: true: it was", "kim: closed", "closed by hand"):
        assert said in text
    assert "(kim)" in typed(database, "incidents", "list", "--since", "36500d").stdout
    assert "latency_shift" in typed(database, "incidents", "precision").stdout
    row = json.loads(typed(database, "incidents", "precision", "--json").stdout)
    assert (row["detector"], row["confirmed"]) == ("latency_shift", 1)


def test_nothing_but_the_verb_makes_a_suppression() -> None:
    files = Path(streams.__file__).parent.rglob("*.py")
    makers = [f"{each.parent.name}/{each.name}" for each in files if ".insert_suppression(" in each.read_text()]
    assert makers == ["verbs/suppress.py"], "no record, topic or agent can keep something quiet"


def test_severities_are_listed_with_why_nobody_is_told(store: Store, database: Settings) -> None:
    store.insert_suppression(suppression())
    take(casework(store), found("output_drift", severity=Severity.HIGH))
    assert "[suppressed by sup-00000001: A/B test]" in typed(
        database, "incidents", "list", "--since", "36500d"
    ).stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59.6, "1 min"), (3_725.0, "1 h 2 min"), (180_000.0, "2 d 2 h"), (-5.0, "0 s")]
)
def test_durations_are_written_as_people_say_them(seconds: float, said: str) -> None:
    assert span(seconds) == said
