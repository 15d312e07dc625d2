from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import numpy as np
import pytest

from detectors.alarms import Budget
from detectors.base import dump
from detectors.catalog.coordinated_extraction import CoordinatedExtraction
from detectors.cohorts import surprise
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share("deployment", 30)
START_S = 1_760_000_000.0
DAY_S = 86_400.0


def kind(rng: Random, flips: float) -> tuple[int, float]:
    """What prompts of one kind have in common: bits that each prompt changes with some probability."""
    return rng.getrandbits(64), flips


def prompt(rng: Random, common: tuple[int, float]) -> int:
    base, flips = common
    return base ^ sum(1 << bit for bit in range(64) if rng.random() < flips)


HUMAN = kind(Random("human"), 0.42)


def calls(
    rng: Random, name: str, count: int, begin_s: float, lasts_s: float, common: tuple[int, float] = HUMAN, **of: str
) -> list[Observation]:
    return [
        Observation(
            event_id=f"{name}:{place}",
            time_s=begin_s + rng.uniform(0.0, lasts_s),
            deployment="chat",
            principal=name,
            network=of.get("network", f"net-{name}"),
            user_agent=of.get("agent", rng.choice(("browser", "library"))),
            prompt_chars=200,
            prompt_hash=rng.getrandbits(63),
            prompt_template=rng.getrandbits(63),
            prompt_simhash=prompt(rng, common),
        )
        for place in range(count)
    ]


def volume(rng: Random, median: float) -> int:
    return min(max(round(rng.lognormvariate(math.log(median), 1.0)), 1), 500)


def people(rng: Random, count: int = 150) -> list[Observation]:
    """Each has a leaning of its own, and its own volume."""
    found: list[Observation] = []
    for number in range(count):
        base = HUMAN[0] ^ sum(1 << rng.randrange(64) for _ in range(3))
        found += calls(rng, f"person-{number}", volume(rng, 40.0), START_S, 14 * DAY_S, (base, 0.42))
    return found


def sweep(
    rng: Random, accounts: int, each: int, flips: float = 0.42, lasts_s: float = DAY_S, **of: str
) -> list[Observation]:
    common = kind(rng, flips)
    begin_s = START_S + 6 * DAY_S
    found: list[Observation] = []
    for number in range(accounts):
        found += calls(rng, f"member-{number}", each, begin_s, lasts_s, common, **of)
    return found


def heard(observations: Iterable[Observation]) -> list[Detection]:
    detector = CoordinatedExtraction(share=SHARE)
    said = (detector.update(each) for each in sorted(observations, key=lambda each: each.time_s))
    return [each for each in said if each is not None]


def members(detection: Detection) -> set[str]:
    return set(next(str(row.observed) for row in detection.evidence if row.name == "members").split())


@pytest.mark.parametrize("accounts", [60, 100, 1_000])
@pytest.mark.parametrize(
    "shared", [{"network": "one"}, {"agent": "one"}, {}], ids=["network", "agent", "only its kind"]
)
def test_a_sweep_is_found_whatever_its_accounts_share(accounts: int, shared: dict[str, str]) -> None:
    rng = Random(1)
    found = heard(people(rng) + sweep(rng, accounts, 30, 0.42, DAY_S, **shared))
    assert found
    assert all(name.startswith("member-") for detection in found for name in members(detection))


def test_the_finding_is_about_the_cohort_and_names_members_up_to_a_bound() -> None:
    rng = Random(2)
    first, *later = heard(people(rng) + sweep(rng, 100, 30, network="one"))
    assert first.subject is not None
    assert first.subject.startswith("cohort:")
    assert len(first.subject) == len("cohort:") + 16
    assert {each.subject for each in later} <= {first.subject}
    assert 8 <= len(members(first)) <= 20
    counted = next(row.observed for row in first.evidence if row.name == "accounts")
    assert isinstance(counted, float)
    assert 30 <= counted <= 130
    assert first.onset_s >= START_S + 6 * DAY_S
    assert first.severity.rank >= Severity.MEDIUM.rank


def test_a_sweep_of_few_calls_each_from_one_network_is_found() -> None:
    rng = Random(3)
    assert heard(people(rng) + sweep(rng, 400, 8, network="one"))


def test_people_alone_are_quiet() -> None:
    assert heard(people(Random(4), 400)) == []


def test_an_office_behind_one_address_is_quiet() -> None:
    rng = Random(5)
    office = [
        call
        for number in range(60)
        for call in calls(rng, f"office-{number}", volume(rng, 30.0), START_S + 2 * DAY_S, 9 * DAY_S, network="office")
    ]
    assert heard(people(rng) + office) == []


def test_the_users_of_an_application_that_share_agent_and_template_are_quiet() -> None:
    rng = Random(6)
    template = kind(rng, 0.2)
    users = [
        call
        for number in range(100)
        for call in calls(rng, f"user-{number}", volume(rng, 15.0), START_S, 14 * DAY_S, template, agent="app/2")
    ]
    assert heard(people(rng) + users) == []


def test_a_marketing_day_is_quiet() -> None:
    rng = Random(7)
    guests = [
        call
        for number in range(300)
        for call in calls(
            rng, f"guest-{number}", volume(rng, 5.0), START_S + 5 * DAY_S, DAY_S / 2, kind(Random(8), 0.4)
        )
    ]
    assert heard(people(rng) + guests) == []


def test_a_class_that_sends_the_same_exercises_is_quiet_and_different_ones_would_not_be() -> None:
    rng = Random(9)
    common = kind(rng, 0.42)
    exercises = [prompt(rng, common) for _ in range(25)]
    texts = [rng.getrandbits(63) for _ in exercises]

    def school(*, same: bool) -> list[Observation]:
        drawn = Random(10)
        return [
            Observation(
                event_id="",
                time_s=START_S + 5 * DAY_S + drawn.uniform(0.0, DAY_S / 4),
                deployment="chat",
                principal=f"student-{number}",
                network="campus",
                user_agent="browser",
                prompt_hash=texts[place] if same else drawn.getrandbits(63),
                prompt_simhash=exercise if same else prompt(drawn, common),
            )
            for number in range(40)
            for place, exercise in enumerate(exercises)
        ]

    others = people(rng)
    assert heard(others + school(same=True)) == []
    assert heard(others + school(same=False))


def test_equal_volumes_alone_are_quiet() -> None:
    rng = Random(11)
    capped = [
        call
        for number in range(100)
        for call in calls(rng, f"free-{number}", 30, START_S + 5 * DAY_S, DAY_S, network="one")
    ]
    assert heard(people(rng, 300) + capped) == []


def test_one_loud_account_does_not_make_its_neighbors_a_cohort_nor_hide_one() -> None:
    rng = Random(12)
    loud = calls(rng, "loud", 5_000, START_S, 14 * DAY_S, kind(rng, 0.3), network="one")
    assert heard(people(rng) + loud) == []
    assert heard(people(rng) + loud + sweep(rng, 60, 30, network="one"))


def test_a_flood_of_accounts_that_call_once_neither_fills_the_state_nor_blinds_for_good() -> None:
    rng = Random(13)
    detector = CoordinatedExtraction(share=SHARE)
    for number in range(20_000):
        (call,) = calls(rng, f"once-{number}", 1, START_S + 8.0 * number, 0.0)
        detector.update(call)
    assert len(dump(detector)) <= 64 * 1024
    assert detector.level > 0
    flooded = detector.level
    quiet_s = START_S + 4 * DAY_S
    for number in range(70_000):
        (call,) = calls(rng, f"regular-{number % 40}", 1, quiet_s + 20.0 * number, 0.0)
        detector.update(call)
    assert detector.level < flooded


def test_a_bound_on_chance_is_never_below_it() -> None:
    draw = np.random.default_rng(1)
    for of, share in ((20, 0.3), (50, 0.5), (100, 0.1)):
        hits = draw.binomial(of, share, 200_000)
        for least in (int(of * share) + 2, int(of * share) + 8):
            assert np.mean(hits >= least) <= math.exp(-surprise(least, of, share)) + 1e-3
    assert surprise(3.0, 10.0, 0.5) == 0.0
    assert surprise(10.0, 10.0, 0.5) == pytest.approx(10.0 * math.log(2.0))
