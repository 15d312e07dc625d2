from __future__ import annotations

from collections.abc import Iterable

from detectors.base import dump
from detectors.catalog.egress import Egress
from detectors.types import Detection, Observation, Severity


def call(index: int, *hosts: str, principal: str | None = None, gap_s: float = 20.0) -> Observation:
    return Observation(
        event_id=str(index),
        time_s=1.7e9 + gap_s * index,
        deployment="d",
        principal=principal or f"caller-{index % 9}",
        hosts=hosts,
    )


def said(detector: Egress, observations: Iterable[Observation]) -> list[Detection]:
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


STABLE = ("connection:db.internal", "connection:api.vendor.com", "tool:crm.internal")


def stable(count: int = 400) -> Egress:
    detector = Egress(share=0.0067)
    assert not said(detector, (call(index, STABLE[index % 2], STABLE[2]) for index in range(count)))
    return detector


def test_a_new_connection_of_a_stable_deployment_is_said_once_with_an_inert_name() -> None:
    (found,) = said(stable(), [call(400 + index, "connection:evil.example") for index in range(50)])
    assert found.severity is Severity.MEDIUM
    assert found.evidence[0].observed == "evil[.]example"
    assert "evil" not in found.summary


def test_a_new_connection_together_with_a_tool_call_is_of_high_severity() -> None:
    (found,) = said(stable(), [call(400, "connection:evil.example", "tool:crm.internal")])
    assert found.severity is Severity.HIGH


def test_a_new_host_in_a_tool_call_is_said() -> None:
    assert len(said(stable(), [call(400, "tool:evil.example")])) == 1


def test_a_host_known_from_answers_is_new_as_a_connection() -> None:
    detector = stable()
    assert not said(detector, [call(400, "answer:evil.example")])
    assert said(detector, [call(401, "connection:evil.example")])


def test_new_hosts_in_answers_as_ever_are_nothing() -> None:
    detector = Egress(share=0.0067)
    assert not said(
        detector, (call(index, f"answer:site-{index if index % 3 == 0 else 7}.com") for index in range(20_000))
    )


def test_answers_of_which_suddenly_all_name_new_hosts_are_said() -> None:
    detector = Egress(share=0.0067)
    said(detector, (call(index, f"answer:site-{index if index % 10 == 0 else 7}.com") for index in range(2_000)))
    found = said(detector, (call(index, f"answer:site-{index}.com") for index in range(2_000, 2_060)))
    assert found
    assert found[0].severity is Severity.LOW


def test_one_caller_who_asks_for_links_is_not_the_deployments_trouble() -> None:
    detector = Egress(share=0.0067)
    said(detector, (call(index, f"answer:site-{index if index % 10 == 0 else 7}.com") for index in range(2_000)))
    greedy = (
        call(
            index, f"answer:site-{index if index % 2 else 7}.com", principal="greedy" if index % 2 else f"c{index % 9}"
        )
        for index in range(2_000, 3_000)
    )
    assert not said(detector, greedy)


def test_a_provider_of_ever_new_names_is_judged_by_its_rate() -> None:
    detector = Egress(share=0.0067)
    churn = [call(index, f"connection:cdn-{index // 4}.example") for index in range(6_000)]
    assert not said(detector, churn)


def test_a_place_that_is_named_rarely_is_learned_in_days() -> None:
    detector = Egress(share=0.0067)
    slow = [call(index, "connection:update.vendor.com", gap_s=7_200.0) for index in range(60)]
    assert not said(detector, slow)
    assert said(detector, [call(61, "connection:evil.example", gap_s=7_200.0)])


def test_hosts_that_are_all_new_are_neither_kept_for_ever_nor_said_for_ever() -> None:
    detector = stable()
    flood = [
        call(400 + index, f"connection:{index}.evil.example", f"answer:{index}.evil.example") for index in range(6_000)
    ]
    found = said(detector, flood)
    assert 1 <= len(found) <= 6_000 / 6
    assert len(dump(detector)) < 64 * 1024


def test_entries_of_no_known_place_and_calls_without_hosts_are_not_learned() -> None:
    detector = stable()
    before = dump(detector)
    assert not said(detector, [call(400), Observation(event_id="x", time_s=1.7e9, deployment="d")])
    assert dump(detector) == before
    assert not said(detector, [call(401, "nonsense", "elsewhere:x.y", "connection:")])
