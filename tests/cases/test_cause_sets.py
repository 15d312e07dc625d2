"""The likeliest cause of many sets of evidence: whole, in any order, beside false findings, and with parts missing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases import causes
from streams.cases.causes import rank
from streams.cases.incidents import SERVING, Incident, cite
from streams.triage import Cases
from tests import cause_sets
from tests.cause_sets import NOISE, SETS, copied
from tests.findings import QUIET_S

CATALOG = {name: kind.metadata for name, kind in discover().items()}


def likeliest(findings: Sequence[Finding]) -> str:
    return rank([cite(finding) for finding in copied(list(findings))])[0].name


def incidents(findings: Sequence[Finding]) -> list[Incident]:
    triage = Cases(QUIET_S, CATALOG, {})
    return list({each.incident_id: each for finding in findings for each in triage.take(finding)}.values())


@pytest.mark.parametrize("name", SETS)
def test_the_likeliest_cause_is_the_one_written_down_in_whatever_order_findings_come(name: str) -> None:
    expected, findings = SETS[name]
    ranked = rank([cite(finding) for finding in findings])
    assert ranked[0].name == expected, [(each.name, each.points) for each in ranked]
    orders = itertools.islice(itertools.permutations(findings), 24)
    assert {likeliest(order) for order in orders} == {expected}


def test_every_cause_is_somewhere_the_right_one() -> None:
    assert {expected for expected, _ in SETS.values()} == set(causes.TITLES)
    assert len(SETS) > 60


def of_deployments() -> Iterator[tuple[str, str, list[Finding]]]:
    for name, (expected, findings) in SETS.items():
        detector = findings[0].detector
        if findings[0].scope == "deployment" and not detector.startswith(("source", "pipeline", "logging")):
            yield name, expected, findings


def test_a_false_finding_of_another_kind_rarely_changes_the_answer() -> None:
    wrong, tried = [], 0
    for name, expected, findings in of_deployments():
        for noise, false in NOISE.items():
            if expected == causes.UNKNOWN or false.detector in {each.detector for each in findings}:
                continue
            tried += 1
            if likeliest([*findings, false]) != expected:
                wrong.append(f"{name}, and {noise}: {likeliest([*findings, false])}")
    assert tried > 250
    assert len(wrong) <= 0.04 * tried, wrong


def test_with_one_finding_missing_the_answer_is_mostly_still_right_and_alone_it_is_right_or_open() -> None:
    several = [(expected, findings) for expected, findings in SETS.values() if len(findings) > 1]
    short = [(expected, part) for expected, each in several for part in itertools.combinations(each, len(each) - 1)]
    right = sum(likeliest(part) in {expected, causes.UNKNOWN} for expected, part in short)
    assert right >= 0.65 * len(short), f"{right} of {len(short)}"


def test_a_weak_hint_is_said_with_a_question_mark_and_strong_evidence_without() -> None:
    (weak,) = incidents([cause_sets.host("answer")])
    assert weak.summary.startswith("The retrieval index was poisoned?: ")
    (strong,) = incidents(SETS["an index and answers that name a new host"][1])
    assert strong.summary.startswith("The retrieval index was poisoned: ")


def test_a_day_of_marketing_stays_low_for_the_deployment_and_for_those_who_call_more() -> None:
    busy = [cause_sets.volume(100.0 + each, f"p_{each}") for each in range(3)]
    found = incidents([*SETS["a day of marketing"][1], *busy])
    assert {each.severity for each in found} == {Severity.LOW}
    assert {each.causes[0].name for each in found} == {causes.LOAD}


def test_slow_calls_that_fail_are_no_less_severe_where_no_load_was_seen() -> None:
    (incident,) = incidents(SETS["slower with errors"][1])
    assert (incident.causes[0].name, incident.severity.rank >= Severity.MEDIUM.rank) == (causes.LOAD, True)
    assert incident.summary.startswith("Load?: ")


def test_other_answers_to_a_cohort_that_sweeps_are_its_mix_unless_known_prompts_are_answered_otherwise_too() -> None:
    cohort, drift = cause_sets.cohort(10.0), cause_sets.drift(4_000.0)
    swept = {each.component: each for each in incidents([cohort, drift])}[SERVING]
    assert (swept.causes[0].name, swept.severity) == (causes.MIX, Severity.LOW)
    tampered = {each.component: each for each in incidents([cohort, drift, cause_sets.asked(4_100.0)])}[SERVING]
    assert (tampered.causes[0].name, tampered.news) == (causes.PROVIDER, "worse")
    alone = {each.component: each for each in incidents([cause_sets.sweep(), drift])}[SERVING]
    assert alone.causes[0].name == causes.PROVIDER, "one caller does not change what all get"


def test_an_approved_update_beside_an_extraction_are_two_incidents_and_only_one_is_told() -> None:
    update, sweep = SETS["an approved update"][1], SETS["one account that sweeps"][1]
    found = {each.component: each for each in incidents([*update, *sweep])}
    assert len(found) == 2
    assert found[SERVING].quiet is not None
    assert found[SERVING].severity is Severity.INFO
    (other,) = [each for each in found.values() if each.component != SERVING]
    assert (other.causes[0].name, other.quiet) == (causes.EXTRACTION, None)
    assert other.severity.rank >= Severity.HIGH.rank


def test_an_update_followed_by_a_component_nobody_approved_is_told_with_that_component_first() -> None:
    (incident,) = incidents(SETS["an approved image, then packages nobody approved"][1])
    assert incident.news_id is not None
    assert incident.severity.rank >= Severity.HIGH.rank
    assert incident.plan is not None
    assert incident.plan.actions, "what was approved would ask for none"


def test_a_column_of_a_table_that_is_called_like_a_component_is_no_component() -> None:
    named = cause_sets.found("feature_drift", 0.0, ("weights", 3.0, 1.0), ("image", 2.0, 1.0))
    (incident,) = incidents([named])
    assert incident.causes[0].name == causes.MIX
    assert incident.plan is not None and incident.plan.affected == ()
