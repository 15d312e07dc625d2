"""A file through the same pure pipeline and banks as a worker runs, without Kafka."""

from __future__ import annotations

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.bank import Bank
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Finding
from streams.pipeline import Pipeline
from streams.privacy import ContentMode, Privacy
from streams.replay import TOPIC, Step, replay, summed

KEY = b"k" * 32
NOW_S = 1_750_000_000.0


def steps(values: list[bytes]) -> list[Step]:
    pipeline = Pipeline(
        topic_id=TOPIC, privacy=Privacy(KEY, ContentMode.REDACTED), mode=ContentMode.REDACTED, hash_key=KEY
    )
    budget = Budget(per_day=2.0, deployments=10, principals=1_000)
    return list(replay(values, NOW_S, pipeline, [Bank(DEPLOYMENT, budget), Bank(PRINCIPAL, budget)]))


def calls(first: int, count: int, served_model: str) -> bytes:
    return msgspec.json.encode(
        [
            {
                "deployment": "chat",
                "model": "m",
                "served_model": served_model,
                "principal": "acct",
                "time_s": NOW_S + number,
                "latency_s": 1.0,
            }
            for number in range(first, first + count)
        ]
    )


SWAP = [*(calls(50 * batch, 50, "m-2024") for batch in range(40)), calls(2_000, 50, "m-2025")]


def test_each_record_is_a_step_with_what_it_gave() -> None:
    good = b'[{"deployment":"d"},{"deployment":""}]'
    assert [(step.events, len(step.dead_letters)) for step in steps([good, b"]", good])] == [(1, 1), (0, 1), (1, 1)]


def test_dead_letters_point_to_the_record_by_its_number_in_the_file() -> None:
    letters = [letter for step in steps([b"]", b'{"deployment":"d"}', b"]"]) for letter in step.dead_letters]
    assert [(letter.topic, letter.offset) for letter in letters] == [(TOPIC, 0), (TOPIC, 2)]


def test_an_event_without_a_time_happened_when_the_replay_says() -> None:
    seen: list[float] = []

    class Watching(Bank):
        def apply(self, partition: int, offset: int, observations: object) -> list[Finding]:
            seen.extend(each.time_s for each in observations)  # type: ignore[attr-defined] # observations, as its base says
            return []

    pipeline = Pipeline(topic_id=TOPIC, privacy=Privacy(KEY), mode=ContentMode.REDACTED, hash_key=KEY)
    bank = Watching(DEPLOYMENT, Budget(per_day=2.0, deployments=1, principals=1), kinds={})
    assert sum(step.events for step in replay([b'{"deployment":"d"}'], NOW_S, pipeline, [bank])) == 1
    assert seen == [NOW_S]


def test_a_swapped_model_in_the_file_is_found_where_it_happens() -> None:
    found = [(number, finding) for number, step in enumerate(steps(SWAP)) for finding in step.findings]
    assert [(number, finding.detector) for number, finding in found] == [(40, "served_model_change")]
    assert found[0][1].event_id == f"{TOPIC}:0:40:0"


def test_the_same_file_gives_the_same_findings() -> None:
    one, other = (msgspec.json.encode([step.findings for step in steps(SWAP)]) for _ in range(2))
    assert one == other


def test_totals_are_the_sums_of_the_steps_and_each_finding_is_shown() -> None:
    shown: list[Finding] = []
    totals = summed(iter(steps([*SWAP, b"]", b"]", b'[{"deployment":""}]'])), shown.append)
    assert (totals.events, totals.findings, totals.dead_letters, totals.ignored) == (2_050, 1, 3, 0)
    assert [finding.detector for finding in shown] == ["served_model_change"]
    assert [count for _, count in totals.reasons.most_common()] == [2, 1]


def test_an_empty_file_gives_zeros() -> None:
    totals = summed(iter(steps([])), lambda finding: pytest.fail(f"a finding from nothing: {finding}"))
    assert (totals.events, totals.dead_letters) == (0, 0)
