from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from detectors.alarms import Budget
from detectors.base import DEPLOYMENT, dump, load
from detectors.catalog.canary import OWNED, PLACES, POOL, ROUND, UNASKED, Canary
from detectors.features import style
from detectors.sketches import sketches
from detectors.types import Detection, Observation, Severity

SHARE = Budget().share(DEPLOYMENT, 30)
START_S = 1_790_000_000.0
DAY_S = 86_400.0
KEY = b"a key of 16 byte"


class Model:
    """Answers prompts in words of its own, of which `fresh` (0..1) are drawn anew for each answer."""

    def __init__(self, seed: int, fresh: float = 0.5, longer: float = 1.0) -> None:
        self._seed, self._fresh, self._longer = seed, fresh, longer

    def answers(self, prompts: Iterable[int], run: int) -> list[str]:
        said = []
        for prompt in prompts:
            own = np.random.default_rng((self._seed, prompt)).integers(0, 5_000, 100)
            draw = np.random.default_rng((self._seed, prompt, run + 1))
            other = draw.integers(0, 5_000, 100)
            words = np.where(draw.random(100) < self._fresh, other, own)[: int(draw.integers(60, 80) * self._longer)]
            said.append(" ".join(f"word{word:04d}" for word in words))
        return said


def asked(
    answers: Sequence[str],
    prompts: Sequence[int],
    run: int,
    *,
    canary: bool | None = True,
    principals: Sequence[str | None] = (None,),
    every_s: float = DAY_S,
) -> list[Observation]:
    """A run of canaries: one a day, ten seconds between two."""
    styles = style(answers).tolist()
    return [
        Observation(
            event_id=f"{run}:{index}",
            time_s=START_S + run * every_s + 10.0 * index,
            deployment="chat",
            model="m",
            temperature=0.0,
            prompt_hash=prompt * 0x9E3779B97F4A7C15 % 2**64,
            principal=principals[index % len(principals)],
            output_sketch=sketch,
            style=tuple(styles[index]),
            canary=canary,
        )
        for index, (prompt, sketch) in enumerate(zip(prompts, sketches(answers, KEY), strict=True))
    ]


def runs(model: Model, numbers: Iterable[int], prompts: Sequence[int] = range(50)) -> list[Observation]:
    return [each for run in numbers for each in asked(model.answers(prompts, run), prompts, run)]


def feed(detector: Canary, stream: Iterable[Observation]) -> list[tuple[int, Detection]]:
    said = ((index, detector.update(observation)) for index, observation in enumerate(stream, 1))
    return [(index, detection) for index, detection in said if detection is not None]


def learned(model: Model) -> Canary:
    detector = Canary(share=SHARE)
    assert feed(detector, runs(model, range(3))) == []
    assert detector.variation is not None
    return detector


def test_another_model_is_told_from_the_same_one_answering_anew_within_one_round() -> None:
    same, other = Model(1, fresh=0.5), Model(1, fresh=0.7)
    quiet, swapped = learned(same), learned(same)
    assert feed(quiet, runs(same, range(3, 30))) == []
    ((count, detection),) = feed(swapped, runs(other, [3]))
    assert count == ROUND
    assert detection.score >= detection.threshold
    assert detection.severity == Severity.HIGH
    assert detection.onset_s == START_S + 3 * DAY_S
    assert "less like the stored ones" in detection.summary
    facts = {row.name: row for row in detection.evidence}
    similar, different = facts["similarity to stored answers"], facts["answered differently"]
    assert float(similar.observed) < 0.8 * float(similar.expected or 0.0)
    assert float(different.observed) > 3.0 * float(different.expected or 0.0)


def test_each_prompt_counts_once_a_round_and_rounds_are_not_added_up() -> None:
    stuck = learned(Model(1, fresh=0.5))
    again = Model(1, fresh=0.5).answers(range(50), 99)
    stream = [each for run in range(3, 60) for each in asked(again, range(50), run)]
    assert feed(stuck, stream) == [], "one chance answer that is repeated for ever is no growing evidence"


def test_one_prompt_that_is_asked_again_and_again_is_one_prompt() -> None:
    detector = learned(Model(1))
    answers = [Model(2).answers([0], run)[0] for run in range(120)]
    assert feed(detector, asked(answers, [0] * 120, 3)) == []


def test_quiet_deployments_of_all_kinds_keep_to_the_budget() -> None:
    found = 0
    for seed in range(40):
        model = Model(seed, fresh=(0.05, 0.3, 0.6, 0.9)[seed % 4])
        detector = Canary(share=SHARE)
        found += len(feed(detector, runs(model, range(13))))
    assert found <= 7, "ten rounds of 40 deployments at a share of one in 150 each"


def test_a_deployment_that_always_said_the_same_may_say_one_thing_in_another_way() -> None:
    model = Model(3, fresh=0.0)
    answers = [f"{text} end" for text in ("steady " + " ".join(model.answers([prompt], 0)) for prompt in range(50))]
    detector = Canary(share=SHARE)
    for run in range(6):
        assert feed(detector, asked(answers, range(50), run)) == []
    answers[7] = "something else altogether"
    assert feed(detector, asked(answers, range(50), 6)) == []
    assert feed(detector, runs(Model(4, fresh=0.0), [7])) != []


def test_answers_as_alike_as_ever_but_longer_one_and_all_are_found_by_their_style() -> None:
    detector = learned(Model(1))
    longer = [f"{text}{' and so on' * 60}" for text in Model(1).answers(range(50), 3)]
    ((_, detection),) = feed(detector, asked(longer, range(50), 3))
    assert "as alike as ever, but of another style" in detection.summary
    assert detection.evidence[-1].name.startswith("largest move of style")


def test_prompts_that_repeat_in_traffic_are_canaries_without_being_asked() -> None:
    people = [f"p{number}" for number in range(40)]
    detector = Canary(share=SHARE)
    for run in range(5):
        answers = Model(1, fresh=0.2).answers(range(60), run)
        assert feed(detector, asked(answers, range(60), run, canary=None, principals=people)) == []
    assert len(detector.known) == 60
    swapped = asked(Model(2).answers(range(60), 5), range(60), 5, canary=None, principals=people)
    assert feed(detector, swapped) != []


def test_prompts_whose_answers_never_resemble_each_other_are_left_out() -> None:
    people = [f"p{number}" for number in range(40)]
    detector = Canary(share=SHARE)
    for run in range(6):
        answers = [*Model(1, fresh=0.2).answers(range(50), run), *Model(1, fresh=1.0).answers(range(50, 70), run)]
        feed(detector, asked(answers, range(70), run, canary=None, principals=people))
    assert len(detector.known) == 50


def test_one_principal_that_repeats_itself_is_neither_the_baseline_nor_the_evidence() -> None:
    detector = Canary(share=SHARE)
    for run in range(3):
        feed(detector, asked(Model(1).answers(range(90), run), range(90), run, canary=None, principals=["loud"]))
    assert len(detector.known) == OWNED
    detector = Canary(share=SHARE)
    people = [f"p{number}" for number in range(30)]
    for run in range(5):
        stream = asked(Model(1, fresh=0.2).answers(range(60), run), range(60), run, canary=None, principals=people)
        feed(detector, stream)
    loud = asked(Model(2).answers(range(60), 5), range(60), 5, canary=None, principals=["loud"])
    assert feed(detector, loud) == []
    assert feed(detector, asked(Model(2).answers(range(60), 6), range(60), 6, canary=None, principals=people)) != []


def test_a_flood_of_repeated_prompts_neither_fills_the_places_nor_pushes_out_canaries() -> None:
    flood = [
        each
        for run in range(2)
        for each in asked(
            ["noise"] * 500, range(1_000, 1_500), run, canary=None, principals=[f"p{n}" for n in range(500)]
        )
    ]
    detector = Canary(share=SHARE)
    feed(detector, flood)
    assert len(detector.known) == UNASKED
    feed(detector, runs(Model(1), range(2, 6)))
    feed(detector, flood)
    assert len(detector.known) <= PLACES
    assert sum(known.asked for known in detector.known.values()) == 50
    assert feed(detector, runs(Model(2), [6, 7])) != []


def test_the_same_prompt_of_another_model_or_at_another_temperature_is_another_prompt() -> None:
    detector = learned(Model(1))
    for changed in ({"model": "n"}, {"temperature": 1.0}):
        other = [msgspec.structs.replace(each, **changed) for each in runs(Model(2), [3])]
        assert feed(detector, other) == []


def test_failed_calls_and_answers_without_a_sketch_are_neither_learned_nor_judged() -> None:
    detector = learned(Model(1))
    failed = [msgspec.structs.replace(each, failed=True) for each in runs(Model(2), [3])]
    blind = [msgspec.structs.replace(each, output_sketch=None) for each in runs(Model(2), [4])]
    strange = [msgspec.structs.replace(each, output_sketch=b"x") for each in runs(Model(2), [5])]
    before = dump(detector)
    assert feed(detector, [*failed, *blind, *strange]) == []
    assert dump(detector) == before


def test_the_natural_variation_is_frozen_so_that_a_slow_change_is_found_all_the_same() -> None:
    detector = learned(Model(1, fresh=0.4))
    frozen = detector.variation
    found = []
    for run in range(3, 43):
        found += feed(detector, runs(Model(1, fresh=0.4 + 0.01 * run), [run]))
    assert detector.variation == frozen
    assert found != []


def test_a_restored_detector_goes_on_as_if_nothing_had_happened() -> None:
    stream = [*runs(Model(1), range(4)), *runs(Model(2), range(4, 6))]
    whole = Canary(share=SHARE)
    expected = feed(whole, stream)
    assert len(expected) == 2
    for cut in (30, 2 * POOL - 40, 170, 225):
        first = Canary(share=SHARE)
        said = feed(first, stream[:cut])
        second = load(Canary, dump(first))
        assert isinstance(second, Canary)
        assert [each for _, each in (*said, *feed(second, stream[cut:]))] == [each for _, each in expected]
        assert dump(second) == dump(whole)


def answers_of(directory: Path, model: str) -> dict[str, str]:
    with gzip.open(directory / f"{model}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return {row["prompt_id"]: row["output"] for row in map(json.loads, lines) if row["output"]}


def test_real_swaps_are_found_and_the_same_weights_on_another_host_are_not(shared_data: Path) -> None:
    directory = shared_data / "swap"
    with (directory / "PAIRS.csv").open(encoding="utf-8") as lines:
        pairs = list(csv.DictReader(lines))
    null, guanaco = pairs[0], next(pair for pair in pairs if pair["base"] == "guanaco-7b")
    texts = {name: answers_of(directory, name) for pair in (null, guanaco) for name in (pair["base"], pair["swapped"])}
    prompts = sorted(set.intersection(*map(set, texts.values())))[:300]
    for pair, flagged in ((null, False), (guanaco, True)):
        detector, run, found = Canary(share=SHARE), 0, []
        for block in (prompts[:50], prompts[50:100]):
            for host in (null["base"], null["swapped"]):
                feed(detector, asked([texts[host][each] for each in block], [int(each) for each in block], run))
                run += 1
        for name in (pair["base"], pair["swapped"]):
            block = prompts[100:150]
            found = feed(detector, asked([texts[name][each] for each in block], [int(each) for each in block], run))
            run += 1
        assert bool(found) == flagged, pair
