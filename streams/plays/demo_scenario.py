"""`inferwatch demo --scenario NAME`: one scenario through the real stack, and what came of it against what must.

Events go to the topic of logs and notices to theirs; findings and incidents are shown as they become visible in
ClickHouse. At the end stands the page of the incident, then what was expected and what is not so.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from detectors.types import Severity
from streams import show
from streams.addressing import DEMO
from streams.asking import Filter, list_findings
from streams.cases import case_files, case_provenance, incident_lines, incident_page
from streams.cases.incidents import MERGED, Incident
from streams.clickhouse import Store
from streams.components.provenance import kind_of
from streams.plays import scenario
from streams.plays.demo_play import Play
from streams.plays.demo_stack import fresh, running
from streams.plays.scenario import Scenario
from streams.producer import CONTENT_TYPE, RecordProducer
from streams.sending import LINES_PER_RECORD, packed, send_record
from streams.settings import Settings

_EVENTS_PER_S = 900.0
_HEED_S = 1.5
"""Notices and events are of different topics: so long before and after a notice nothing else is sent, or hours of
event time would pass before it is heard."""

_SOURCE = b"scenario"
_EVERYTHING = Filter(severity=Severity.INFO, detector="", deployment="", since_s=365 * 86_400.0, limit=10_000)
_MOST_INCIDENTS = 100


def listing(console: Console) -> None:
    """All scenarios, one a line."""
    for each in scenario.discover().values():
        console.print(Text.assemble((f"{each.name:<24}", "bold"), f" {each.title}"), soft_wrap=True)


def write(played: Scenario, seed: int, path: Path) -> int:
    """Write the lines of a scenario that ends now to a file; how many."""
    with path.open("wb") as file:
        return sum(file.write(line) > 0 for line in played.lines(seed, time.time()))


def run(settings: Settings, played: Scenario, seed: int) -> int:
    """Play a scenario and return the exit status: 0 when all is as expected.

    Raises `LocalStackError`, `BrokerError`, `StoreError`.
    """
    console = Console()
    logging.getLogger("streams.keys").setLevel(logging.ERROR)  # the demo's own key is made and thrown away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    end_s = time.time()
    with console.status("making traffic"):
        lines = list(played.lines(seed, end_s))
    notices = sum(kind_of(line) is not None for line in lines)
    console.print(f"{played.name}: {played.title}", style="bold", markup=False)
    console.print(f"seed {seed}: {len(lines) - notices} events, {notices} notices", style="dim", markup=False)
    console.print(f"expected: {scenario.described(played.expected)}", markup=False, highlight=False)
    with running(settings, fresh((settings.data_dir / DEMO).resolve())) as (here, check):
        play = _Play(here, lines, len(lines) - notices)
        play.watch(console, check)
        short = scenario.shortfalls(played.expected, play.incidents, end_s)
        play.conclude(console, played, short)
    return 1 if short else 0


class _Play(Play):
    """The lines on their way, and what became of them."""

    def __init__(self, settings: Settings, lines: list[bytes], events: int) -> None:
        super().__init__(settings, events)
        self._lines = lines
        self._findings: set[str] = set()
        self._shown: dict[str, tuple[str, str]] = {}
        self._cases: list[case_files.Case] = []

    @property
    def incidents(self) -> list[Incident]:
        """As they are in the store, without those merged into others."""
        return [case.incident for case in self._cases if case.incident.state != MERGED]

    def conclude(self, console: Console, played: Scenario, short: list[str]) -> None:
        """The page of the worst incident, what was expected and what is not so."""
        worst = max(self._cases, key=lambda case: (case.incident.severity.rank, case.incident.count), default=None)
        if worst is not None:
            store = Store.connect(self._settings)
            try:
                incident, plan = worst.incident, worst.incident.plan
                record = incident_page.Record(
                    extent=None if plan is None else case_files.extent(store, plan.radius),
                    provenance=case_provenance.around(store, incident),
                )
            finally:
                store.close()
            console.rule()
            incident_page.page(console, worst, record)
            console.rule()
        console.print(f"expected: {scenario.described(played.expected)}", markup=False, highlight=False)
        for case in self._cases:
            console.print(Text("got:      ").append_text(incident_lines.line(case)), soft_wrap=True)
        if not self._cases:
            console.print("got:      no incident")
        for each in short:
            console.print(Text(f"not so:   {each}", "red"), soft_wrap=True)
        console.print("[red]not as expected[/red]" if short else "[green]as expected[/green]")

    def _send(self, producer: RecordProducer) -> None:
        for value in packed(self._lines):
            is_notice = kind_of(value) is not None
            if self._ended.wait(_HEED_S if is_notice else LINES_PER_RECORD / _EVENTS_PER_S):
                return
            send_record(self._settings, producer, value, CONTENT_TYPE, _SOURCE)
            if is_notice:
                producer.flush()
                if self._ended.wait(_HEED_S):
                    return
            else:
                self._sent += value.count(b"\n")

    def _news(self, store: Store) -> Iterator[Text]:
        """Findings that are new, and incidents that are new, worse or of another cause."""
        for finding in list_findings(store, _EVERYTHING, time.time()):
            if finding.finding_id not in self._findings:
                self._findings.add(finding.finding_id)
                yield show.finding_line(finding)
        self._cases = case_files.listed(store, case_files.Asked(limit=_MOST_INCIDENTS))
        for case in self._cases:
            incident = case.incident
            seen = (incident.severity.value, incident.causes[0].name if incident.causes else "")
            if self._shown.get(incident.incident_id) != seen:
                self._shown[incident.incident_id] = seen
                yield Text("  incident: ", "bold").append_text(incident_lines.line(case))
