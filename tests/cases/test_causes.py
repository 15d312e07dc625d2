"""Why: the likeliest cause of each scenario, written down before, and what it cites."""

from __future__ import annotations

import pytest

from detectors.bank import discover
from detectors.types import Finding
from streams.cases import causes, signs
from streams.cases.causes import TITLES, rank
from streams.cases.incidents import cite
from tests.findings import changed, found, new_host, slower

SCENARIOS: dict[str, tuple[str, list[Finding]]] = {
    "a silent provider update": (causes.PROVIDER, [found("output_drift"), found("canary", 60.0)]),
    "an alias that a provider moved": (
        causes.PROVIDER,
        [changed("served_model", "m-2", "m-1"), found("output_drift", 60.0), slower(90.0)],
    ),
    "new weights that nobody approved": (
        causes.WEIGHTS,
        [changed("weights", "b", "a"), changed("weights", "b", "a", 1.0, "unapproved_change"), found("canary", 60.0)],
    ),
    "a poisoned adapter that answers differently on a trigger": (
        causes.ADAPTER,
        [changed("adapter", "b", "a"), found("backdoor_trigger", 60.0)],
    ),
    "a prompt template that was edited": (
        causes.ADAPTER,
        [changed("prompt_template", "b", "a"), found("refusal_shift", 60.0), found("output_drift", 70.0)],
    ),
    "a backdoor without a changed digest": (causes.WEIGHTS, [found("backdoor_trigger")]),
    "a tool description that changed, then a new host": (
        causes.PLUGIN,
        [changed("tool_list", "b", "a"), new_host("connection", 60.0)],
    ),
    "a rug pull as its own detector says it": (
        causes.PLUGIN,
        [changed("tool_list", "b", "a", 0.0, "tool_list_changed"), new_host("tool", 60.0)],
    ),
    "a poisoned index that makes answers link elsewhere": (
        causes.INDEX,
        [changed("retrieval_index", "b", "a"), new_host("answer", 60.0), found("output_drift", 70.0)],
    ),
    "a tampered image, seen only by 80 ms and a new host": (causes.CODE, [slower(), new_host("connection", 60.0)]),
    "a tampered image with its digest": (
        causes.CODE,
        [changed("image", "b", "a"), slower(30.0), new_host("connection", 60.0)],
    ),
    "an approved update": (
        causes.UPDATE,
        [
            changed("weights", "b", "a", 0.0, "approved_change"),
            changed("weights", "b", "a"),
            found("output_drift", 60.0),
        ],
    ),
    "load on a day of marketing": (causes.LOAD, [found("load_anomaly"), slower(60.0), found("error_shift", 70.0)]),
    "a traffic mix that changed": (causes.MIX, [found("feature_drift"), found("label_shift", 60.0)]),
    "distillation over many accounts": (
        causes.EXTRACTION,
        [found("coordinated_extraction", scope="cohort"), found("extraction", 60.0), found("token_volume", 70.0)],
    ),
    "a stolen key": (
        causes.STOLEN,
        [found("new_context"), found("cost_harvesting", 60.0), found("token_volume", 70.0)],
    ),
    "a caller that tries attacks until one gets through": (causes.PROMPTS, [found("probing"), found("leakage", 60.0)]),
    "a source that lost its fields": (causes.BLIND, [found("source_blind")]),
    "a slower answer and nothing else": (causes.UNKNOWN, [slower()]),
    "errors and nothing else": (causes.UNKNOWN, [found("error_shift")]),
    "a detector nobody has heard of": (causes.UNKNOWN, [found("from-the-future")]),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_likeliest_cause_is_the_one_of_the_scenario(name: str) -> None:
    expected, findings = SCENARIOS[name]
    ranked = rank([cite(finding) for finding in findings])
    assert ranked[0].name == expected, [(each.name, each.points) for each in ranked]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_order_does_not_depend_on_the_order_of_the_findings(name: str) -> None:
    cited = [cite(finding) for finding in SCENARIOS[name][1]]
    assert [each.name for each in rank(cited)] == [each.name for each in rank(cited[::-1])]


def test_every_cause_can_be_the_likeliest() -> None:
    assert {expected for expected, _ in SCENARIOS.values()} == set(TITLES)


def test_a_cause_cites_findings_and_numbers_for_and_against_it() -> None:
    finding, host = changed("image", "sha256:bb", "sha256:aa"), new_host("connection")
    ranked = {each.name: each for each in rank([cite(finding), cite(slower()), cite(host)])}
    tampered = ranked[causes.CODE]
    assert "served_model_change: image is sha256:bb, was sha256:aa" in tampered.supports
    assert "latency_shift: latency 0.28 (expected 0.2), step 40 (expected 0)" in tampered.supports
    assert {finding.finding_id, host.finding_id} <= set(tampered.finding_ids)
    assert causes.LOAD not in ranked, "what speaks against it outweighs a slower answer"


def test_shares_are_of_all_points_and_unknown_always_holds_some() -> None:
    for _, findings in SCENARIOS.values():
        ranked = rank([cite(finding) for finding in findings])
        assert sum(each.share for each in ranked) == pytest.approx(1.0, abs=0.01)
        assert causes.UNKNOWN in {each.name for each in ranked}


def test_the_same_sign_a_hundred_times_weighs_as_much_as_once() -> None:
    once = rank([cite(found("output_drift"))])
    often = rank([cite(found("output_drift")) for _ in range(100)])
    assert [(each.name, each.points) for each in once] == [(each.name, each.points) for each in often]


def test_every_detector_of_the_catalog_gives_a_sign() -> None:
    silent = []
    for name in discover():
        rows = (("image", "b", "a"), ("where", "tool"), ("step", 1.0))
        if not list(signs.signs([cite(found(name, 0.0, *rows))])):
            silent.append(name)
    assert silent == []


def test_causes_are_points_for_signs_that_exist() -> None:
    known = {*signs._SIGN_OF.values(), *signs.HOSTS.values(), *signs.COMPONENTS, *signs.CONTRADICTING}
    known |= {"faster", "slower", "load", "busier", "fewer calls"}
    known |= {"new place", "journey", "two at once", "leak by link"}
    known |= {signs.APPROVED, signs.ANY_COMPONENT, signs.OWN_COMPONENT}
    known |= {signs.MANY, signs.SILENT_SHIFT, signs.LOAD_OF_ALL, signs.ONE_KIND}
    known |= {make(each) for each in signs.COMPONENTS for make in (signs.approved_of, signs.unapproved_of)}
    assert {sign for table in causes._TABLES.values() for sign in table} <= known
    assert {sign for _, together, _ in causes._TOGETHER for sign in together} <= known
