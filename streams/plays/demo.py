"""`inferwatch demo`: the whole product on one machine, with an incident to find.

1. Start the embedded broker and engine, then a worker as a process of its own.
2. Send traffic with a planted incident, at a pace the eye can follow.
3. Show findings as they become visible in ClickHouse, the way every other reader sees them.
4. When all is stored and the detectors are at rest, say what was found and how soon.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from bisect import bisect_left
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.base import PRINCIPAL
from detectors.types import Finding, InferenceEvent, Severity
from streams import show
from streams.addressing import DEMO
from streams.asking import Filter, list_findings
from streams.cases import incident_lines
from streams.cases.case_files import Asked, Case, listed
from streams.clickhouse import Store
from streams.keys import load_keys
from streams.plays.demo_play import Play
from streams.plays.demo_stack import command, fresh, running
from streams.plays.recorded import recorded
from streams.plays.traffic import Planted, Traffic, encode, synthetic
from streams.privacy import Pseudonymizer
from streams.producer import CONTENT_TYPE, RecordProducer
from streams.settings import Settings

_PER_RECORD = 50
_EVENTS_PER_S = 700.0
_POLL_S = 0.25
_EVERYTHING = Filter(severity=Severity.INFO, detector="", deployment="", since_s=365 * 86_400.0, limit=10_000)
_NEXT = {
    "incidents list": "what the findings come to; `incidents show ID` prints one as a page",
    "findings --severity high": "what was found, from the database that is left",
    "detectors show extraction": "what one detector sees, and what to do when it speaks",
    "demo --keep": "the same, staying up for a second terminal",
}


def run(settings: Settings, *, source: Path | None, seed: int, events: int, keep: bool) -> int:
    """Play the demo and return the exit status: 0 when every planted part was found.

    Raises `LocalStackError`, `TrafficError`, `BrokerError`, `StoreError`.
    """
    began_s = time.monotonic()
    console = Console()
    logging.getLogger("streams.keys").setLevel(logging.ERROR)  # the demo's own key is made and thrown away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with console.status("making traffic"):
        now_s = time.time()
        traffic = recorded(source, seed, now_s, events) if source else synthetic(seed, now_s, events)
    console.print(traffic.description, style="dim", markup=False)
    with running(settings, fresh((settings.data_dir / DEMO).resolve())) as (here, check):
        console.print(f"broker, engine and worker started after {time.monotonic() - began_s:.1f} s", style="dim")
        play = _Play(here, traffic, began_s)
        play.watch(console, check)
        play.summarize(console)
        if keep:
            console.print("\nstays up until Ctrl-C; try `inferwatch findings --follow` in a second terminal")
            while True:
                check()
                time.sleep(_POLL_S)
    return 0 if all(play.sightings(planted) for planted in traffic.planted) else 1


class _Play(Play):
    """The traffic on its way: when each record was sent and when each finding became visible."""

    def __init__(self, settings: Settings, traffic: Traffic, began_s: float) -> None:
        super().__init__(settings, len(traffic.events))
        self._traffic = traffic
        self._began_s = began_s
        self._times_s = [event.time_s or 0.0 for event in traffic.events]
        self._sent_s: list[float] = []
        self._findings: list[tuple[Finding, float]] = []
        self._cases: list[Case] = []
        pseudonyms = Pseudonymizer(load_keys(settings).pseudonyms)
        self._subjects = {
            planted.name: pseudonyms.pseudonym(PRINCIPAL, planted.subject)
            if planted.scope == PRINCIPAL
            else planted.subject
            for planted in traffic.planted
        }

    def sightings(self, planted: Planted) -> list[tuple[Finding, float]]:
        """The findings that saw a planted part, each with when it became visible (monotonic seconds)."""
        return [
            (finding, visible_s)
            for finding, visible_s in self._findings
            if finding.detector in planted.detectors
            and finding.subject == self._subjects[planted.name]
            and finding.time_s >= planted.time_s
        ]

    def summarize(self, console: Console) -> None:
        """What was planted, what was found and how soon, and what to type next."""
        table = Table(title="planted in the traffic", title_justify="left", box=None, pad_edge=False)
        for column in ("planted", "found by", "after", "of traffic", "visible"):
            table.add_column(column)
        hits: set[str] = set()
        for planted in self._traffic.planted:
            seen = self.sightings(planted)
            hits.update(finding.finding_id for finding, _ in seen)
            if not seen:
                table.add_row(planted.name, "[red]not found[/red]", "", "", "")
                continue
            first, visible_s = seen[0]
            between = sum(
                planted.time_s <= event.time_s <= first.time_s
                for event in self._traffic.events
                if event.time_s is not None and _is_about(event, planted)
            )
            delay_s = visible_s - self._sent_at(first.time_s)
            minutes = (first.time_s - planted.time_s) / 60.0
            table.add_row(
                planted.name,
                first.detector,
                f"{between} calls",
                f"{minutes:.1f} min",
                f"{delay_s:.1f} s after the call",
            )
        others = [finding for finding, _ in self._findings if finding.finding_id not in hits]
        console.print()
        console.print(table)
        console.print(
            f"\n{self._stored} events in, {self._dead} dead letters, {len(self._findings)} findings out, "
            f"{len(others)} of them about nothing that was planted",
            soft_wrap=True,
        )
        if self._findings:
            first_s = min(visible_s for _, visible_s in self._findings) - self._began_s
            console.print(f"first finding {first_s:.0f} s after the command, all of it in {self._elapsed_s():.0f} s")
        if self._cases:
            console.print("\nincidents", style="bold")
            for case in self._cases:
                console.print(incident_lines.line(case), soft_wrap=True)
        console.print("\nworth typing next", style="bold")
        for arguments, why in _NEXT.items():
            console.print(f"  {command()} {arguments:<26} {why}", markup=False, highlight=False, soft_wrap=True)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _send(self, producer: RecordProducer) -> None:
        records = list(encode(self._traffic.events, _PER_RECORD))
        began_s = time.monotonic()
        for number, value in enumerate(records):
            due_s = began_s + number * _PER_RECORD / _EVENTS_PER_S
            if self._ended.wait(max(due_s - time.monotonic(), 0.0)):
                return
            producer.send(value, CONTENT_TYPE)
            self._sent_s.append(time.monotonic())
            self._sent = min(len(self._sent_s) * _PER_RECORD, self._events)

    def _sent_at(self, time_s: float) -> float:
        """When the event of that time was sent."""
        return self._sent_s[min(bisect_left(self._times_s, time_s) // _PER_RECORD, len(self._sent_s) - 1)]

    def _news(self, store: Store) -> list[Text]:
        known = {finding.finding_id for finding, _ in self._findings}
        found = [
            finding for finding in list_findings(store, _EVERYTHING, time.time()) if finding.finding_id not in known
        ]
        visible_s = time.monotonic()
        self._findings += ((finding, visible_s) for finding in found)
        return [show.finding_line(finding) for finding in found]

    def _at_rest(self, store: Store) -> None:
        self._cases = listed(store, Asked(limit=20))


def _is_about(event: InferenceEvent, planted: Planted) -> bool:
    return planted.subject == (event.principal if planted.scope == PRINCIPAL else event.deployment)
