from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from detectors.alarms import Budget
from detectors.catalog.new_context import NewContext
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share("principal", 30)
START_S = 1_760_054_400.0
"""Midnight UTC."""

DAY_S, HOUR_S = 86_400.0, 3_600.0


def call(time_s: float, network: str = "home", agent: str = "browser", region: str | None = "eu") -> Observation:
    return Observation(
        event_id="e", time_s=START_S + time_s, deployment="d", network=network, user_agent=agent, region=region
    )


def heard(calls: Iterable[Observation]) -> list[Detection]:
    detector = NewContext(share=SHARE)
    said = (detector.update(each) for each in sorted(calls, key=lambda each: each.time_s))
    return [detection for detection in said if detection is not None]


def person(days: int = 60, seed: int = 1, networks: tuple[str, ...] = ("home", "office")) -> list[Observation]:
    """Some visits each day between 8 and 18 o'clock, from a few networks."""
    rng = Random(seed)
    found = []
    for day in range(days):
        for _ in range(4):
            begin_s = day * DAY_S + rng.uniform(8.0, 18.0) * HOUR_S
            network = rng.choice(networks)
            found += [call(begin_s + 40.0 * place, network) for place in range(8)]
    return found


def thief(begin_s: float, count: int = 100, gap_s: float = 20.0, agent: str = "script/1") -> list[Observation]:
    return [call(begin_s + gap_s * place, "far", agent, "ap") for place in range(count)]


def test_a_key_used_at_night_from_an_unknown_network_and_client_is_found_at_once() -> None:
    found = heard(person() + thief(59 * DAY_S + 26.0 * HOUR_S))
    assert len(found) == 1
    assert found[0].onset_s == START_S + 59 * DAY_S + 26.0 * HOUR_S


def test_a_key_used_while_its_owner_works_is_found_and_severe() -> None:
    owner = person()
    last_s = owner[-1].time_s - START_S
    busy = [call(last_s + 60.0 * place) for place in range(100)]
    (detection,) = heard(owner + busy + thief(last_s + 600.0))
    assert detection.severity is Severity.HIGH
    assert "while its usual client was at work" in detection.summary


def test_a_service_whose_key_is_used_elsewhere_too_is_found() -> None:
    service = [call(300.0 * place, "rack", "sdk/1") for place in range(20_000)]
    assert heard(service + thief(60 * DAY_S))


def test_a_new_network_alone_is_quiet_even_at_night() -> None:
    roaming = [call(61 * DAY_S + 2 * HOUR_S + 30.0 * place, "cafe") for place in range(50)]
    assert heard(person() + roaming) == []


def test_a_person_who_travels_once_is_quiet() -> None:
    journey = [
        call(day * DAY_S + hour * HOUR_S + 30.0 * place, "hotel", "browser", "us")
        for day in range(61, 68)
        for hour in (1.0, 3.0, 22.0)
        for place in range(10)
    ]
    assert heard(person(60) + journey + [call(70 * DAY_S + 10 * HOUR_S)]) == []


def test_a_new_computer_at_a_new_place_in_usual_hours_is_quiet_and_is_learned() -> None:
    moved = [
        call(day * DAY_S + 10 * HOUR_S + 60.0 * place, "new home", "new browser")
        for day in range(61, 80)
        for place in range(20)
    ]
    at_night = [call(80 * DAY_S + 2 * HOUR_S + 60.0 * place, "new home", "new browser") for place in range(20)]
    assert heard(person() + moved + at_night) == []


def test_a_principal_that_roams_and_changes_clients_each_day_is_quiet() -> None:
    rng = Random(2)
    calls = [
        call(day * DAY_S + rng.uniform(0.0, DAY_S), f"net-{rng.getrandbits(30)}", f"agent-{rng.getrandbits(30)}")
        for day in range(200)
        for _ in range(5)
    ]
    assert heard(calls) == []


def test_a_principal_without_history_is_quiet() -> None:
    assert heard(person(4) + thief(4 * DAY_S + 2 * HOUR_S)) == []


def test_what_was_said_is_not_said_again_within_a_week_and_not_learned_either() -> None:
    nights = [each for day in range(6) for each in thief((60 + day) * DAY_S + 2.0 * HOUR_S)]
    assert len(heard(person() + nights)) == 1
    other_client = thief(67 * DAY_S + 2.0 * HOUR_S, agent="script/2")
    assert len(heard(person(66) + thief(60 * DAY_S + 2.0 * HOUR_S) + other_client)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_people_with_several_networks_are_quiet(seed: int) -> None:
    assert heard(person(300, seed, ("home", "office", "phone", "train"))) == []
