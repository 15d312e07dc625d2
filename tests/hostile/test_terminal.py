"""What the verbs print of texts that are made for a terminal: visible, and nothing more."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable

import msgspec
import pytest
from rich.console import Console

from detectors.bank import discover
from detectors.types import Finding
from streams import dlq, show
from streams.cases.case_files import Case, Extent
from streams.cases.case_provenance import Decision, Provenance, Report
from streams.cases.incident_lines import line
from streams.cases.incident_page import Record, page, pages
from streams.cases.incidents import OPEN, Incident, Verdict
from streams.doctor import OK, WARN, Check
from streams.verbs import dead_letters as verbs_dead_letters
from tests.report.attacks import ATTACKS, poisoned
from tests.report.scene import findings, incidents

LONGEST = 120_000
"""Characters that one thing may take on a terminal, whatever a text in it is."""


def printed(print_: Callable[[Console], None]) -> str:
    written = io.StringIO()
    print_(Console(file=written, force_terminal=False, color_system=None, width=120))
    return written.getvalue()


def check_inert(text: str, attack: str) -> None:
    assert {each for each in text if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}} <= {"\n"}
    assert len(text) < LONGEST
    assert dlq.printable(ATTACKS[attack][:20])[:12] in text.replace("\n", "").replace("   ", "")


def attacked_incident(attack: str) -> Incident:
    serving = next(each for each in incidents() if each.component == "serving")
    quiet = msgspec.structs.replace(serving, quiet="maintenance", kept_quiet=("night",), merged_into="inc-1")
    return poisoned(quiet, ATTACKS[attack])


RECORD = Record(
    extent=Extent(events=1, principals=1, sessions=1, busiest=("p",) * 8),
    provenance=Provenance(
        decisions=(
            Decision(
                change_id="c", component="weights", state="approved", new="sha256:1", old="sha256:0", who="kim",
                ticket="T-1", decided_s=1.0, from_s=None, until_s=2.0,
            ),
        ),
        reports=(Report(subject="model", source="ci", attested_s=1.0, components={"weights": "1"}, risks=("pickle",)),),
    ),
    history=(Verdict(incident_id="inc-1", verdict="true", note="why", said_by="kim", assignee="lee", said_s=1.0),),
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_finding_is_one_inert_line(attack: str) -> None:
    finding: Finding = poisoned(findings()[0], ATTACKS[attack])
    text = printed(lambda console: show.finding_printer(console, as_json=False)(finding))
    assert text.count("\n") == 1
    check_inert(text, attack)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_incident_is_inert_as_a_line_and_as_a_page(attack: str) -> None:
    incident = attacked_incident(attack)
    case = Case(incident=incident, state=OPEN, verdict=ATTACKS[attack], note=ATTACKS[attack], assignee=ATTACKS[attack])
    record = poisoned(RECORD, ATTACKS[attack])
    text = printed(lambda console: console.print(line(case), soft_wrap=True))
    assert text.count("\n") == 1
    check_inert(text, attack)
    check_inert(printed(lambda console: page(console, case, record)), attack)
    check_inert(printed(lambda console: pages(console, [incident], as_json=False)), attack)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_doctor_says_of_a_deployment_is_inert(attack: str) -> None:
    found = [
        Check(name=f"sight of {ATTACKS[attack]}", status=status, saw=ATTACKS[attack], advice=ATTACKS[attack])
        for status in (OK, WARN)
    ]
    text = printed(lambda console: show.checks(console, found, as_json=False))
    assert text.count("\n") == 3
    check_inert(text, attack)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_dead_letter_is_one_inert_line(attack: str) -> None:
    text = ATTACKS[attack]
    record = dlq.Record(
        topic="inference-logs", partition=0, offset=1, time_s=1.0, value=text.encode("utf-8", "replace")
    )
    letter = dlq.dead_letter(record, "t", text, -1, lambda head: head)
    row = msgspec.to_builtins(letter) | {"id": text, "reason": text}
    shown = printed(lambda console: console.print(verbs_dead_letters._line(row), soft_wrap=True))
    assert shown.count("\n") == 1
    check_inert(shown, attack)
    check_inert(letter.reason, attack)


def test_a_detector_s_page_and_the_catalog_are_plain_text() -> None:
    catalog = discover()
    check_inert(printed(lambda console: show.detectors(console, catalog, as_json=False)) + ATTACKS["markup"], "markup")
    for name, kind in catalog.items():
        text = printed(lambda console, name=name, kind=kind: show.detector(console, name, kind.metadata, as_json=False))  # type: ignore[misc]  # bound at once
        check_inert(text + ATTACKS["markup"], "markup")
