from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from detectors import features
from detectors.types import InferenceEvent
from streams.codecs import Reject, native
from streams.codecs._checks import check
from streams.plays.traffic import Planted, Traffic, TrafficError, encode, synthetic

END_S = 1_800_000_000.0
HOURS = 3.0


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return synthetic(seed=11, end_s=END_S, events=8_000, hours=HOURS)


def part(traffic: Traffic, name: str) -> Planted:
    (found,) = [each for each in traffic.planted if each.name == name]
    return found


def around(traffic: Traffic, name: str) -> tuple[list[InferenceEvent], list[InferenceEvent]]:
    """Answered calls to the deployment of one part of the incident, before and after it begins."""
    planted = part(traffic, name)
    events = [each for each in traffic.events if each.deployment == planted.subject and each.output_tokens]
    before = [each for each in events if time_of(each) < planted.time_s]
    return before, [each for each in events if time_of(each) >= planted.time_s]


def time_of(event: InferenceEvent) -> float:
    assert event.time_s is not None
    return event.time_s


def prompt_of(event: InferenceEvent) -> str:
    prompt = features.prompt_text(event)
    assert prompt is not None
    return prompt


def per_token_ms(event: InferenceEvent) -> float:
    assert event.latency_s is not None and event.ttft_s is not None and event.output_tokens is not None
    return 1_000.0 * (event.latency_s - event.ttft_s) / event.output_tokens


def test_the_same_seed_gives_the_same_events_and_another_seed_does_not(traffic: Traffic) -> None:
    again = synthetic(seed=11, end_s=END_S, events=8_000, hours=HOURS)
    assert again == traffic
    assert synthetic(seed=12, end_s=END_S, events=8_000, hours=HOURS).events != traffic.events


def test_as_many_events_as_asked_for_are_in_order_and_end_at_the_given_time(traffic: Traffic) -> None:
    times = [time_of(each) for each in traffic.events]
    assert len(times) == 8_000
    assert times == sorted(times)
    assert END_S - HOURS * 3_600.0 <= times[0] < END_S - 0.98 * HOURS * 3_600.0
    assert END_S - 30.0 < times[-1] <= END_S


def test_every_event_is_valid_and_would_be_stored_as_it_is(traffic: Traffic) -> None:
    for event in traffic.events:
        checked = check(event)
        assert not isinstance(checked, Reject)
        assert checked is event


def test_the_parts_begin_minutes_apart_after_sixty_percent_of_the_span(traffic: Traffic) -> None:
    times = [each.time_s for each in traffic.planted]
    assert times[0] == pytest.approx(END_S - 0.4 * HOURS * 3_600.0)
    assert all(60.0 < later - earlier < 900.0 for earlier, later in pairwise(times))
    assert len({each.subject for each in traffic.planted}) == 3


def test_the_swap_changes_the_style_and_neither_names_nor_vocabulary(traffic: Traffic) -> None:
    before, after = around(traffic, "silent model swap")
    assert len(before) > 1_000 and len(after) > 500
    assert {each.served_model for each in before} == {each.served_model for each in after} != {None}
    assert {each.components for each in before} == {each.components for each in after}
    old, new = ([features.output_text(each) or "" for each in events] for events in (before, after))
    entropy = features.STYLE.index("entropy")
    shift = features.style(new).mean(axis=0) - features.style(old).mean(axis=0)
    spread = features.style(old).std(axis=0)
    assert 0.4 < shift[entropy] / spread[entropy] < 1.5
    assert 1.0 < median(map(len, new)) / median(map(len, old)) < 1.5
    for phrase in ("tracking page", "refund", "recovery code", "invoice", "warranty"):
        assert any(phrase in text for text in old) and any(phrase in text for text in new)


def test_outputs_of_the_other_deployments_keep_their_style(traffic: Traffic) -> None:
    swap_s = part(traffic, "silent model swap").time_s
    events = [each for each in traffic.events if each.deployment == "search-summaries" and features.output_text(each)]
    old = features.style([features.output_text(each) or "" for each in events if time_of(each) < swap_s])
    new = features.style([features.output_text(each) or "" for each in events if time_of(each) >= swap_s])
    assert abs((new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-9)).max() < 0.25


def test_the_step_makes_calls_slower_at_equal_tokens_on_its_deployment_only(traffic: Traffic) -> None:
    before, after = around(traffic, "latency step")
    slower = median(map(per_token_ms, after)) / median(map(per_token_ms, before))
    assert 1.13 < slower < 1.23
    assert 1.10 < median(each.ttft_s or 0.0 for each in after) / median(each.ttft_s or 0.0 for each in before) < 1.30
    before, after = around(traffic, "silent model swap")
    assert median(map(per_token_ms, after)) / median(map(per_token_ms, before)) == pytest.approx(1.0, abs=0.04)


def test_the_sweeper_sends_ever_new_prompts_in_a_steady_rhythm_at_temperature_zero(traffic: Traffic) -> None:
    planted = part(traffic, "extracting principal")
    sweep = [each for each in traffic.events if each.principal == planted.subject and time_of(each) >= planted.time_s]
    assert len(sweep) > 500
    assert str(len(sweep)) in planted.description
    assert len({prompt_of(each) for each in sweep}) > 0.98 * len(sweep)
    assert {each.temperature for each in sweep} == {0.0}
    assert 0.25 < sum(each.logprobs is True for each in sweep) / len(sweep) < 0.4
    gaps = [time_of(later) - time_of(earlier) for earlier, later in pairwise(sweep)]
    assert max(gaps) < 2.0 * median(gaps)


def test_benign_programs_send_templates_or_repeat_themselves(traffic: Traffic) -> None:
    sweeper = part(traffic, "extracting principal").subject
    programs = [each for each in traffic.events if each.temperature == 0.0 and each.principal != sweeper]
    by_principal: dict[str, list[str]] = {}
    for each in programs:
        by_principal.setdefault(each.principal or "", []).append(prompt_of(each))
    assert len(by_principal) == 5
    for prompts in by_principal.values():
        one_template = len({prompt[:50] for prompt in prompts}) == 1
        assert one_template or len(set(prompts)) <= 40


def test_latency_and_tokens_are_shaped_like_published_traces(traffic: Traffic) -> None:
    answered = [each for each in traffic.events if each.output_tokens]
    assert 0.3 < median(each.ttft_s or 0.0 for each in answered) < 0.8
    assert 10.0 < median(map(per_token_ms, answered)) < 40.0
    longest = sorted(each.ttft_s or 0.0 for each in answered)
    assert longest[int(0.995 * len(longest))] > 2.0 * median(longest)
    assert all(50 <= len(features.output_text(each) or "") <= 2_000 for each in answered)
    seconds = [int(time_of(each)) for each in traffic.events if each.deployment == "code-assistant"]
    busiest = max(seconds.count(second) for second in set(seconds))
    assert busiest >= 4


def test_errors_and_refusals_keep_a_low_base_rate_through_the_incident(traffic: Traffic) -> None:
    begins_s = traffic.planted[0].time_s
    for events in (
        [each for each in traffic.events if time_of(each) < begins_s],
        [each for each in traffic.events if time_of(each) >= begins_s],
    ):
        observed = features.observe(events, b"k" * 32)
        assert 0.004 < sum(each.failed is True for each in observed) / len(observed) < 0.02
        assert 0.002 < sum(each.refused is True for each in observed) / len(observed) < 0.015


def test_records_decode_as_the_native_format(traffic: Traffic) -> None:
    records = list(encode(traffic.events[:120], per_record=50))
    assert len(records) == 3
    decoded = [item for record in records for item in native.decode(record).items]
    assert [each.time_s for each in decoded] == [each.time_s for each in traffic.events[:120]]
    assert decoded[0].input_messages == traffic.events[0].input_messages


def test_too_little_traffic_is_refused_in_one_line() -> None:
    with pytest.raises(TrafficError, match="expected at least 1000 events") as refused:
        synthetic(seed=1, end_s=END_S, events=10)
    assert "\n" not in str(refused.value)
    with pytest.raises(TrafficError, match="0 hours"):
        synthetic(seed=1, end_s=END_S, hours=0.0)
