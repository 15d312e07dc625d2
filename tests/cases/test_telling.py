"""What of an incident is news, and what keeps it quiet: told once, told when worse, and nothing lost in between."""

from __future__ import annotations

import msgspec
import pytest

from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases import causes
from streams.cases.incidents import CLOSED, OPENED, REOPENED, WORSE, Incident, closed
from streams.cases.suppressions import Suppression
from streams.triage import COOL_DOWN_S, REOPENS, Cases
from tests.findings import QUIET_S, START_S, changed, found, new_host, slower

CATALOG = {name: kind.metadata for name, kind in discover().items()}
FOR_A_WEEK_S = START_S + 7 * 86_400.0
NOISY = Suppression(suppression_id="sup-1", reason="tuned next week", until_s=FOR_A_WEEK_S, detector="output_drift")


def cases(*suppressions: Suppression, quiet_s: float = QUIET_S) -> Cases:
    made = Cases(quiet_s, CATALOG, {})
    made.heed(suppressions)
    return made


def steps(findings: list[Finding], into: Cases | None = None) -> list[Incident]:
    """The revision that each finding gave first."""
    into = into or cases()
    return [each[0] for finding in findings if (each := into.take(finding))]


def news(findings: list[Finding], into: Cases | None = None) -> list[str | None]:
    """What people were told at each finding."""
    return [each.news if each.news_id else None for each in steps(findings, into)]


def approved(at_s: float = 0.0, component: str = "image", now: str = "v2") -> Finding:
    return found("approved_change", at_s, (component, now, "v1"), ("approved as", "CHG-7"), severity=Severity.INFO)


def test_people_are_told_once_and_again_when_it_gets_worse_but_not_when_it_only_grows() -> None:
    findings = [slower(), slower(5.0), new_host("connection", 60.0), new_host("connection", 70.0)]
    assert news(findings) == [OPENED, None, WORSE, None]
    told = [each.told.severity for each in steps(findings) if each.told]
    assert told == [Severity.MEDIUM, Severity.MEDIUM, Severity.HIGH, Severity.HIGH]


def test_the_same_news_has_the_same_identity_and_other_news_another() -> None:
    first, second, third = steps([slower(), slower(5.0), new_host("connection", 60.0)])
    assert first.news_id == f"{first.incident_id}:1"
    assert second.news_id is None
    assert third.news_id == f"{first.incident_id}:2"
    assert closed(third, QUIET_S).news_id == f"{first.incident_id}:2:closed"


def test_a_finding_that_comes_again_is_no_news() -> None:
    triage = cases()
    finding = slower()
    assert triage.take(finding)
    assert triage.take(finding) == []


def test_who_was_told_that_it_opened_is_told_that_it_closed() -> None:
    (incident,) = steps([slower()])
    shut = closed(incident, QUIET_S)
    assert (shut.news, shut.quiet) == (CLOSED, None)


def test_an_incident_that_comes_back_within_the_cool_down_is_told_only_when_it_is_worse() -> None:
    back = [slower(), slower(2 * QUIET_S), found("output_drift", 2 * QUIET_S + 60.0)]
    _, again, worse = steps(back)
    assert (again.reopened, again.news, again.news_id) == (1, REOPENED, None)
    assert again.quiet is not None and again.quiet.startswith("cool-down: the same was told at 2025-06-15 15:06:40Z")
    assert closed(again, QUIET_S).news is None, "nobody was told that it had opened again"
    assert worse.news_id is not None


def test_an_incident_that_comes_back_after_the_cool_down_is_news() -> None:
    each_s = 2.5 * QUIET_S
    back = steps([slower(each * each_s) for each in range(4)])
    assert [each.news_id is not None for each in back] == [True, False, True, False]
    assert back[2].news == REOPENED
    assert 2 * each_s > COOL_DOWN_S > each_s


def test_one_that_came_back_and_was_told_is_no_news_when_it_grows() -> None:
    after = 2 * 2.5 * QUIET_S
    made = steps([slower(), slower(after / 2), slower(after), slower(after + 60.0)])
    assert [each.news if each.news_id else None for each in made] == [OPENED, None, REOPENED, None]
    assert (made[-1].news, made[-1].quiet) == (None, None)
    assert closed(made[-1], QUIET_S).news == CLOSED


def test_a_new_incident_of_a_fingerprint_that_was_just_told_stays_quiet_and_another_cause_does_not() -> None:
    short = 60.0
    into = cases(quiet_s=short)
    assert news([found("output_drift")], into) == [OPENED]
    later = 2 * REOPENS * short
    (again,) = steps([found("output_drift", later)], into)
    assert (again.count, again.news, again.news_id) == (1, OPENED, None)
    assert news([found("backdoor_trigger", 2 * later)], into) == [OPENED], "the likeliest cause is another"


def test_what_is_dated_in_the_far_future_does_not_keep_the_present_quiet() -> None:
    into = cases()
    assert news([slower(40 * 365 * 86_400.0), slower()], into) == [OPENED, OPENED]


def test_a_suppressed_incident_is_stored_with_why_and_told_when_the_suppression_has_run_out() -> None:
    into = cases(NOISY)
    (quiet,) = steps([found("output_drift")], into)
    assert (quiet.news, quiet.quiet) == (OPENED, "suppressed by sup-1: tuned next week")
    assert quiet.news_id is None and quiet.told is None
    assert closed(quiet, QUIET_S).news is None
    assert closed(quiet, QUIET_S).quiet == quiet.quiet
    into.heed([])
    (told,) = steps([found("output_drift", 60.0)], into)
    assert told.news_id == f"{quiet.incident_id}:1"
    assert told.kept_quiet == (quiet.quiet,), "the record stays"


def test_a_finding_dated_past_the_end_of_a_suppression_is_told_even_while_it_is_active() -> None:
    assert news([found("output_drift", 8 * 86_400.0)], cases(NOISY)) == [OPENED]
    assert news([found("output_drift", 6 * 86_400.0)], cases(NOISY)) == [None]


def test_evidence_that_no_suppression_covers_is_told_with_all_that_was_kept_quiet() -> None:
    assert news([found("output_drift"), slower(60.0)], cases(NOISY)) == [None, OPENED]


@pytest.mark.parametrize(
    ("fields", "quiet"),
    [
        ({"detector": "output_drift"}, True),
        ({"deployment": "chat"}, True),
        ({"subject": "chat"}, True),
        ({"cause": causes.PROVIDER}, True),
        ({"deployment": "chat", "detector": "output_drift"}, True),
        ({"deployment": "search", "detector": "output_drift"}, False),
        ({"detector": "canary"}, False),
        ({"cause": causes.LOAD}, False),
        ({"deployment": "chat", "severity": Severity.LOW}, False),
    ],
    ids=str,
)
def test_a_suppression_covers_what_it_names_and_nothing_else(fields: dict[str, str], *, quiet: bool) -> None:
    each = msgspec.convert(
        {"suppression_id": "sup-1", "reason": "r", "until_s": FOR_A_WEEK_S, **fields}, type=Suppression
    )
    assert (news([found("output_drift")], cases(each)) == [None]) is quiet


def test_critical_incidents_are_told_unless_a_suppression_says_critical() -> None:
    everything = Suppression(suppression_id="sup-1", reason="r", until_s=FOR_A_WEEK_S, deployment="chat")
    three = [slower(), new_host("connection", 60.0), found("refusal_shift", 90.0)]
    assert news(three, cases(everything)) == [None, None, OPENED]
    also = msgspec.structs.replace(everything, severity=Severity.CRITICAL)
    assert news(three, cases(also)) == [None, None, None]


def test_an_approved_update_wakes_nobody_whichever_finding_comes_first() -> None:
    parts = [approved(), found("output_drift", 60.0), slower(120.0), found("canary", 300.0)]
    *_, last = steps(parts)
    assert last.severity is Severity.INFO
    assert news(parts) == [None] * 4
    assert last.quiet == "maintenance: approved change of image (CHG-7)"
    early = [slower(), approved(30.0)]
    first, explained = steps(early)
    assert (first.news, explained.news_id) == (OPENED, None)
    assert (explained.severity, explained.quiet) == (Severity.INFO, last.quiet)
    assert closed(explained, QUIET_S).news == CLOSED, "who was woken before the approval was seen hears that it is over"


@pytest.mark.parametrize(
    "against",
    [
        changed("image", "v3", "v2", 90.0, "unapproved_change"),
        changed("tool_list", "t2", "t1", 90.0),
        new_host("connection", 90.0),
        new_host("tool", 90.0),
        found("backdoor_trigger", 90.0),
        found("leakage", 90.0),
        found("guardrail_off", 90.0),
        found("served_model_mismatch", 90.0),
        found("output_drift", 12 * 3_600.0),
    ],
    ids=lambda each: f"{each.detector} {each.time_s - START_S:.0f}",
)
@pytest.mark.parametrize("told_before", [False, True], ids=["quiet so far", "told before the approval"])
def test_what_no_approved_change_explains_breaks_the_quiet_and_is_news(against: Finding, *, told_before: bool) -> None:
    first = [slower(), approved(30.0)] if told_before else [approved(), slower(30.0)]
    *_, last = steps([*first, against])
    assert last.quiet is None
    assert last.news == (WORSE if told_before else OPENED)
    assert last.severity.rank >= Severity.MEDIUM.rank


def test_what_breaks_an_approval_is_news_even_where_it_is_no_worse_than_what_was_told_before_it() -> None:
    told, _, last = steps([found("output_drift"), approved(60.0), found("output_drift", 12 * 3_600.0)])
    assert told.severity is last.severity is Severity.MEDIUM
    assert (last.news, last.quiet) == (WORSE, None)


def test_an_approval_is_no_evidence_that_makes_others_worse() -> None:
    *_, last = steps([approved(), found("leakage", 60.0)])
    assert (last.severity, last.independent) == (Severity.MEDIUM, 1)


def test_what_was_found_long_before_an_approved_change_is_not_explained_by_it() -> None:
    *_, last = steps([found("output_drift"), approved(4 * 3_600.0)])
    assert (last.quiet, last.causes[0].name != causes.UPDATE) == (None, True)


def test_what_is_approved_after_the_fact_explains_what_was_found_since_it_serves() -> None:
    serves = changed("image", "v2", "v1", 0.0, "unapproved_change")
    parts = [serves, slower(60.0), approved(5 * 3_600.0)]
    told, _, explained = steps(parts)
    assert told.news_id is not None
    assert (explained.severity, explained.news_id) == (Severity.INFO, None)
    rejected = msgspec.structs.replace(serves, severity=Severity.CRITICAL)
    *_, last = steps([rejected, slower(60.0), approved(5 * 3_600.0)])
    assert (last.severity, last.quiet) == (Severity.CRITICAL, None)


def test_an_approval_of_one_digest_does_not_cover_another() -> None:
    *_, last = steps([approved(now="v2"), changed("image", "v3", "v1", 30.0)])
    assert last.news_id is not None
    *_, covered = steps([approved(now="v2"), changed("image", "v2", "v1", 30.0)])
    assert covered.news_id is None


def test_callers_that_call_more_on_a_day_when_all_do_are_low_and_alone_they_are_not() -> None:
    volume = found("token_volume", 120.0, scope="principal", subject="p_1", severity=Severity.HIGH)
    load = found("load_anomaly", 0.0, ("factor", 4.0))
    (alone,) = steps([volume])
    *_, amid = steps([load, volume])
    assert (alone.severity, amid.severity) == (Severity.HIGH, Severity.LOW)
    assert amid.causes[0].name == causes.LOAD
    *_, beside = steps([found("output_drift"), volume])
    assert beside.severity is Severity.HIGH, "nothing says that the others call more"
    thief = found("new_context", 180.0, ("usual client in between", 3.0), scope="principal", subject="p_1")
    *_, stolen = steps([load, volume, thief])
    assert (stolen.causes[0].name, stolen.news_id is not None) == (causes.STOLEN, True)
