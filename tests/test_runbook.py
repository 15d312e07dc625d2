"""The response plan: complete, of known ids, and the one that is committed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from detectors import frameworks
from detectors.bank import discover
from detectors.base import COHORT, DEPLOYMENT, PRINCIPAL
from streams.cases.response import ALWAYS, BY_RISK, BY_SCOPE, response_to
from streams.cli import app
from streams.runbook import COMMAND, runbook

COMMITTED = Path(__file__).parents[1] / "streams" / "RUNBOOK.md"
SECTIONS = ("What it may mean", "Confirm", "Contain", "Roll back", "Assess the damage", "Notify", "Maps to")


def pages() -> dict[str, str]:
    _, *found = runbook(discover()).split("\n## ")
    return {page.split("\n", 1)[0]: page for page in found}


def test_the_committed_plan_is_fresh() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == runbook(discover()), f"stale: run `{COMMAND}`"


def test_the_verb_prints_it() -> None:
    result = CliRunner().invoke(app, ["detectors", "runbook"])
    assert result.exit_code == 0
    assert result.stdout == runbook(discover())


def test_every_detector_has_a_page_and_no_other() -> None:
    assert list(pages()) == list(discover())


@pytest.mark.parametrize("name", list(discover()))
def test_a_page_has_a_step_in_every_section(name: str) -> None:
    sections = dict(part.split("\n\n", 1) for part in pages()[name].split("\n### ")[1:])
    for title in SECTIONS:
        assert sections[title].strip().startswith(("- ", "1. ")), f"{name}: {title}"


@pytest.mark.parametrize("name", list(discover()))
def test_a_page_maps_to_all_three_frameworks_by_id_and_looked_up_name(name: str) -> None:
    metadata, page = discover()[name].metadata, pages()[name]
    for identifier in metadata.atlas:
        assert f"`{identifier}` {frameworks.atlas_name(identifier)}" in page
    for identifier in metadata.owasp:
        assert f"`{identifier}` {frameworks.owasp_name(identifier)}" in page
    assert "`MANAGE 4.3` Incidents and errors are communicated" in page


def test_every_risk_and_every_scope_has_a_response_of_known_ids() -> None:
    assert set(BY_SCOPE) == {DEPLOYMENT, PRINCIPAL, COHORT}
    assert list(BY_RISK) == [f"LLM{number:02d}:2025" for number in range(1, 11)]
    for response in (ALWAYS, *BY_SCOPE.values(), *BY_RISK.values()):
        assert all(map(frameworks.nist_outcome, response.nist))


def test_steps_that_two_risks_share_are_said_once() -> None:
    metadata = discover()["output_drift"].metadata
    twice = msgspec.structs.replace(metadata, owasp=metadata.owasp * 2)
    assert response_to(twice) == response_to(metadata)
    assert response_to(metadata).contain[0] == BY_SCOPE[DEPLOYMENT].contain[0]
