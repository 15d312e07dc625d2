"""A refusal names the user to come back as."""

from __future__ import annotations

import pytest

from streams.allowed import who_may

NEEDS = "analyst: Not enough privileges. To execute this query, it's necessary to have the grant"


@pytest.mark.parametrize(
    ("grant", "who"),
    [
        ("SELECT ON inferwatch.inference_events", "investigator (texts of calls)"),
        (
            "SELECT ON inferwatch.events_kept. (Missing permissions: SELECT ON inferwatch.events_kept)",
            "investigator (texts of calls)",
        ),
        ("SELECT(prompt, output) ON inferwatch.events_latest", "investigator (texts of calls)"),
        ("SELECT for at least one column on inferwatch.incidents_latest", "analyst"),
        ("SELECT(envelope) ON inferwatch.detector_snapshots", "inferwatch"),
        ("SELECT(who) ON inferwatch.access_log", "custodian"),
        ("INSERT(incident_id, verdict) ON inferwatch.incident_verdicts", "responder"),
        ("INSERT(who, why) ON inferwatch.access_log", "investigator or custodian"),
        ("INSERT(hold_id) ON inferwatch.holds", "custodian"),
        ("INSERT ON inferwatch.held_findings", "custodian"),
        ("INSERT(finding_id) ON inferwatch.findings", "inferwatch"),
        ("ALTER DELETE ON inferwatch.inference_events", "custodian"),
        ("CREATE TABLE ON inferwatch.x", "migrator"),
    ],
)
def test_a_refusal_names_who_may(grant: str, who: str) -> None:
    assert who_may(f"{NEEDS} {grant}. (ACCESS_DENIED)") == who


def test_who_only_reads_is_told_who_adds() -> None:
    said = "Code: 164. DB::Exception: analyst: Cannot execute query in readonly mode. (READONLY)"
    assert who_may(said) == "responder, investigator or custodian"


def test_of_a_refusal_in_other_words_nothing_is_guessed() -> None:
    assert who_may("Not enough privileges") == "another one"
