"""What a responder reads at night: the cause that fits, steps that ask for something, and a page that fits a screen."""

from __future__ import annotations

import io

from rich.console import Console

from detectors.bank import discover
from detectors.types import Finding, Severity
from streams.cases import causes
from streams.cases.case_files import Case
from streams.cases.incident_page import page
from streams.cases.incidents import CALLERS, MONITORING, SERVING, Incident
from streams.triage import Cases
from tests.findings import QUIET_S, found, new_host, slower

CATALOG = {name: kind.metadata for name, kind in discover().items()}


def incidents(findings: list[Finding]) -> dict[str, Incident]:
    """The last revision of each incident by its component and subject."""
    cases = Cases(QUIET_S, CATALOG, {})
    cases.recall("chat", [])
    last: dict[str, Incident] = {}
    for finding in findings:
        last |= {each.incident_id: each for each in cases.take(finding)}
    return {each.component: each for each in last.values() if each.merged_into is None}


def serving(*findings: Finding) -> Incident:
    return incidents(list(findings))[SERVING]


def printed(incident: Incident) -> str:
    out = io.StringIO()
    page(Console(file=out, width=120), Case(incident=incident, state=incident.state), None)
    return out.getvalue()


def approved_image(at_s: float = 0.0) -> Finding:
    rows = (("image", "sha256:" + "b" * 64, "sha256:" + "a" * 64), ("approved as", "CHG-7"))
    return found("approved_change", at_s, *rows, severity=Severity.INFO)


def guardrail_off() -> Finding:
    rows = (("calls with a guardrail", 0.0, 100.0), ("guardrail", "not stated", "g-2"))
    return found("guardrail_off", 0.0, *rows, severity=Severity.HIGH)


def trigger(at_s: float) -> Finding:
    return found("backdoor_trigger", at_s, ("trigger", "9f31a2c0"), severity=Severity.HIGH)


def cohort(at_s: float) -> Finding:
    rows = (("accounts", 35.0), ("members", "p_1 p_2 p_3"))
    return found("coordinated_extraction", at_s, *rows, scope="cohort", subject="cohort:1")


def test_many_accounts_that_send_attacks_are_an_attack_and_not_an_extraction() -> None:
    attempts = [found("probing", each * 60.0, scope="principal", subject=f"p_{each}") for each in (1, 2, 3)]
    campaign = incidents([*attempts, cohort(600.0)])[CALLERS]
    assert campaign.causes[0].name == causes.PROMPTS
    assert causes.is_sure(campaign.causes[0])


def test_words_that_prompts_of_one_kind_have_in_common_are_no_trigger_in_the_weights() -> None:
    swept = incidents([cohort(0.0), found("output_drift", 60.0), trigger(120.0)])[SERVING]
    assert swept.causes[0].name == causes.MIX
    assert swept.severity is Severity.HIGH, "it may be one all the same"
    assert serving(found("output_drift", 60.0), trigger(120.0)).causes[0].name == causes.WEIGHTS


def test_a_key_that_is_used_elsewhere_is_not_explained_by_the_load_it_makes() -> None:
    stolen = [
        found("new_context", 0.0, ("new client", 5.0), scope="principal", subject="p_1"),
        found("load_anomaly", 60.0, ("factor", 40.0)),
        found("token_volume", 120.0, scope="principal", subject="p_1", severity=Severity.HIGH),
    ]
    caller = incidents(stolen)[CALLERS]
    assert caller.causes[0].name == causes.STOLEN
    assert causes.LOAD not in {each.name for each in caller.causes}
    assert caller.plan is not None and len(caller.plan.roll_back) == 1


def test_an_approved_image_that_connects_to_a_new_host_is_told_as_high_and_asks_for_something() -> None:
    incident = serving(approved_image(), new_host("connection", 3_600.0))
    assert (incident.causes[0].name, incident.severity) == (causes.CODE, Severity.HIGH)
    plan = incident.plan
    assert plan is not None
    assert plan.checks and not any("Nothing is to be done" in each for each in plan.checks)
    assert len(plan.roll_back) == 1 and "image" in plan.roll_back[0]
    assert "with approval" in printed(incident)


def test_an_approved_template_lends_no_weight_to_a_new_host() -> None:
    template = found("approved_change", 0.0, ("prompt_template", "t2", "t1"), severity=Severity.INFO)
    assert serving(template, new_host("connection", 3_600.0)).severity is Severity.MEDIUM


def test_a_guardrail_that_is_gone_is_called_so_and_put_back() -> None:
    incident = serving(guardrail_off())
    assert incident.summary.startswith("The guardrail was taken away or changed")
    assert incident.plan is not None
    assert incident.plan.roll_back[0].startswith("Put the last known good guardrail back")
    wider = serving(guardrail_off(), new_host("connection", 60.0))
    assert wider.summary.startswith("The inference code or its image was tampered with")


def test_columns_that_changed_are_called_inputs() -> None:
    assert serving(found("feature_drift"), found("confidence_shift", 60.0)).summary.startswith("The inputs changed")


def test_a_guess_isolates_nobody() -> None:
    incident = serving(found("output_drift"), trigger(60.0))
    assert incident.severity.rank >= Severity.HIGH.rank
    assert not causes.is_sure(incident.causes[0])
    assert incident.plan is not None
    assert not [each for each in incident.plan.actions if each.kind == "isolate_deployment"]


def test_load_and_what_load_does_to_calls_do_not_confirm_what_else_was_seen() -> None:
    drift = found("output_drift", 90.0, severity=Severity.HIGH)
    failing = found("error_shift", 70.0)
    busy = serving(found("load_anomaly", 0.0, ("factor", 8.0)), slower(60.0), failing, drift)
    assert (busy.causes[0].name, busy.independent, busy.severity) == (causes.LOAD, 1, Severity.HIGH)
    assert serving(slower(60.0), failing, drift).independent > 1, "without more calls they are no load"
    assert busy.plan is not None
    assert len(busy.plan.roll_back) == 1, "no other model is likely because calls are slow under load"


def test_checks_that_say_the_same_in_other_words_are_one() -> None:
    plan = serving(found("output_drift"), slower(60.0), found("canary", 90.0)).plan
    assert plan is not None
    assert len(plan.checks) == 3
    assert sum(each.startswith("Compare the onset with deployments") for each in plan.checks) == 1


def test_the_page_quotes_each_detector_once_with_its_own_estimate_and_short_digests() -> None:
    many = [found("output_drift", 600.0 + each, onset_s=500.0) for each in range(20)]
    incident = serving(approved_image(), *many, found("canary", 9_000.0, onset_s=-7_200.0))
    text = printed(incident)
    assert text.count("what output_drift saw (and 19 more)") == 1
    assert "by      canary 2025-06-15 13:06:40Z, approved_change 2025-06-15 15:06:40Z, output_drift" in text
    assert "image is now sha256:bbbbbbbbbbbb…, before sha256:aaaaaaaaaaaa…, since 2025-06-15 15:06:40Z" in text
    assert "b" * 64 not in text, "it is to be rolled back to the other one"
    assert "a" * 64 in text, "that one is to be copied"


def test_a_deployment_that_is_no_longer_seen_has_no_last_known_good() -> None:
    text = printed(incidents([found("source_thinned")])[MONITORING])
    assert "last seen in full: until" in text
    assert "last known good" not in text
