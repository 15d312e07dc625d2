from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from detectors import frameworks
from detectors.base import dump, load
from detectors.catalog.output_drift import BASELINE, MAX_MODELS, OutputDrift
from detectors.features import STYLE, style
from detectors.layouts import LAYOUT, layouts
from detectors.types import Detection, Observation, Severity

SHARE = 2.0 / 60.0
START_S = 1_790_000_000.0
GAP_S = 10.0

CENTER = np.array([6.8, 5.1, 5.0, 0.03, 0.01, 0.04, 0.01, 0.001, 0.01, 0.01, 0.01, 4.4, 0.4, 0.1, 0.05, 0.5])
SPREAD = np.array([0.6, 0.6, 0.4, 0.01, 0.01, 0.01, 0.01, 0.002, 0.006, 0.004, 0.003, 0.2, 0.1, 0.1, 0.2, 0.25])


def outputs(
    rng: np.random.Generator,
    count: int,
    *,
    shift: dict[str, float] | None = None,
    prompts: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Styles of `count` answers; `shift` in standard deviations, `prompts` ln characters that lengthen them."""
    noise = rng.standard_normal((count, len(STYLE)))
    noise[:, 1] = 0.95 * noise[:, 0] + 0.3 * noise[:, 1]
    noise[:, 12] = 0.6 * noise[:, 0] + 0.8 * noise[:, 12]
    for name, size in (shift or {}).items():
        noise[:, STYLE.index(name)] += size
    if prompts is not None:
        noise[:, 0] += 0.8 * (prompts - 4.0)
        noise[:, 1] += 0.8 * (prompts - 4.0)
    return np.maximum(CENTER + SPREAD * noise, 0.0)


def observations(
    styles: Iterable[Sequence[float]],
    *,
    first: int = 0,
    model: str = "m",
    principals: Sequence[str | None] = (None,),
    prompt_chars: Sequence[int | None] = (None,),
) -> list[Observation]:
    return [
        Observation(
            event_id=str(first + index),
            time_s=START_S + (first + index) * GAP_S,
            deployment="chat",
            model=model,
            principal=principals[index % len(principals)],
            prompt_chars=prompt_chars[index % len(prompt_chars)],
            style=tuple(float(value) for value in row),
        )
        for index, row in enumerate(styles)
    ]


def feed(detector: OutputDrift, stream: Iterable[Observation]) -> list[tuple[int, Detection]]:
    """The detections, each with how many observations of `stream` it took."""
    found = []
    for index, observation in enumerate(stream, 1):
        detection = detector.update(observation)
        if detection is not None:
            found.append((index, detection))
    return found


def warmed(rng: np.random.Generator) -> OutputDrift:
    detector = OutputDrift(share=SHARE)
    assert feed(detector, observations(outputs(rng, BASELINE))) == []
    return detector


def test_a_shift_of_half_a_deviation_in_four_features_is_found_within_100_outputs() -> None:
    rng = np.random.default_rng(1)
    detector = warmed(rng)
    assert feed(detector, observations(outputs(rng, 200), first=300)) == []
    shift = {"punctuation": 0.5, "commas": 0.8, "word_length": -0.5, "uppercase": 0.5}
    found = feed(detector, observations(outputs(rng, 100, shift=shift), first=500))
    count, detection = found[0]
    assert count <= 100
    assert detection.score >= detection.threshold
    assert detection.severity == Severity.HIGH
    assert abs(detection.onset_s - (START_S + 500 * GAP_S)) <= 32 * GAP_S
    assert detection.evidence[0].name == "commas"
    shown = {evidence.name for evidence in detection.evidence}
    assert "size of the shift" in shown
    assert len(shown & {"commas", "punctuation", "word length", "uppercase"}) >= 3
    assert float(detection.evidence[0].observed) > float(detection.evidence[0].expected or 0.0)
    assert "Outputs of m changed style since 20" in detection.summary


def test_twenty_quiet_streams_of_2000_outputs_stay_quiet() -> None:
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        alarms += len(feed(warmed(rng), observations(outputs(rng, 2_000), first=300)))
    assert alarms <= 1


def test_people_who_differ_may_come_and_go() -> None:
    """Each of them writes in one way; the baseline knows 30 of 90. Without owners the same outputs are drifts."""

    def said(*, told: bool) -> int:
        found = 0
        for seed in range(6):
            rng = np.random.default_rng(seed)
            people = 0.6 * rng.standard_normal((90, len(STYLE)))
            who = np.concatenate([rng.integers(first, first + 30, 1_000) for first in (0, 30, 60)])
            values = np.maximum(CENTER + SPREAD * (people[who] + rng.standard_normal((len(who), len(STYLE)))), 0.0)
            principals = [f"person-{each}" if told else None for each in who]
            found += len(feed(OutputDrift(share=SHARE), observations(values, principals=principals)))
        return found

    quiet, naive = said(told=True), said(told=False)
    assert quiet <= 1
    assert naive >= 10, "the people are too alike to prove anything"


def test_nothing_is_said_before_the_baseline_is_whole() -> None:
    rng = np.random.default_rng(2)
    detector = OutputDrift(share=SHARE)
    half = BASELINE // 2
    assert feed(detector, observations(outputs(rng, half))) == []
    assert feed(detector, observations(outputs(rng, half, shift={"commas": 9.0}), first=half)) == []


def test_longer_answers_to_longer_prompts_are_no_drift_but_longer_answers_to_equal_prompts_are() -> None:
    rng = np.random.default_rng(3)
    usual = rng.normal(4.0, 0.7, BASELINE)
    longer = rng.normal(4.7, 0.7, 300)

    def played(lengths: npt.NDArray[np.float64], first: int, answered: npt.NDArray[np.float64]) -> list[Observation]:
        chars = [int(np.expm1(length)) for length in lengths]
        return observations(outputs(rng, len(lengths), prompts=answered), first=first, prompt_chars=chars)

    baseline = played(usual, 0, usual)
    conditioned, alarmed = OutputDrift(share=SHARE), OutputDrift(share=SHARE)
    feed(conditioned, baseline)
    feed(alarmed, baseline)
    assert feed(conditioned, played(longer, 300, longer)) == []
    assert feed(alarmed, played(rng.normal(4.0, 0.7, 300), 300, longer)) != []


def test_one_principals_batch_of_another_task_is_not_a_drift_of_the_model() -> None:
    rng = np.random.default_rng(4)
    people = [f"p{number}" for number in range(50)]
    detector = OutputDrift(share=SHARE)
    feed(detector, observations(outputs(rng, BASELINE), principals=people))
    usual = observations(outputs(rng, 150), first=300, principals=people)
    shift = {"digits": 1.0, "word_length": -1.0}
    batch = observations(outputs(rng, 150, shift=shift), first=300, principals=["batch"])
    mixed = [observation for pair in zip(usual, batch, strict=True) for observation in pair]
    assert feed(detector, mixed) == []
    everyone = observations(outputs(rng, 150, shift=shift), first=600, principals=people)
    assert feed(detector, everyone) != []


def test_a_deployment_with_one_principal_is_watched_in_full() -> None:
    rng = np.random.default_rng(5)
    detector = OutputDrift(share=SHARE)
    feed(detector, observations(outputs(rng, BASELINE), principals=["app"]))
    assert feed(detector, observations(outputs(rng, 100), first=300, principals=["app"])) == []
    found = feed(detector, observations(outputs(rng, 60, shift={"commas": 1.5}), first=400, principals=["app"]))
    assert found[0][0] <= 50


def test_a_swap_is_found_late_but_found_when_only_one_of_many_principals_is_left() -> None:
    rng = np.random.default_rng(12)
    detector = OutputDrift(share=SHARE)
    feed(detector, observations(outputs(rng, BASELINE), principals=[f"p{number}" for number in range(50)]))
    found = feed(detector, observations(outputs(rng, 900, shift={"commas": 2.0}), first=300, principals=["left"]))
    assert found != []


def test_each_requested_model_has_its_own_baseline_so_a_change_of_mix_is_quiet() -> None:
    rng = np.random.default_rng(6)
    detector = OutputDrift(share=SHARE)
    feed(detector, observations(outputs(rng, BASELINE), model="small"))
    feed(detector, observations(outputs(rng, BASELINE, shift={"log_chars": 2.0}), first=300, model="large"))
    assert feed(detector, observations(outputs(rng, 400), first=600, model="small")) == []
    large = outputs(rng, 400, shift={"log_chars": 2.0})
    assert feed(detector, observations(large, first=1_000, model="large")) == []
    assert feed(detector, observations(outputs(rng, 60), first=1_400, model="large")) != []


def test_invented_model_names_neither_fill_the_memory_nor_push_out_a_baseline_in_use() -> None:
    rng = np.random.default_rng(7)
    detector = warmed(rng)
    for number in range(100):
        feed(detector, observations(outputs(rng, 2), first=300 + 2 * number, model=f"junk-{number}" * 100))
    assert len(detector.watches) == MAX_MODELS
    assert feed(detector, observations(outputs(rng, 60, shift={"commas": 1.5}), first=500)) != []


def test_more_new_models_than_places_still_finish_the_first_baselines() -> None:
    rng = np.random.default_rng(14)
    detector = OutputDrift(share=SHARE)
    for index, observation in enumerate(observations(outputs(rng, BASELINE * (MAX_MODELS + 2)))):
        detector.update(msgspec.structs.replace(observation, model=f"m{index % (MAX_MODELS + 2)}"))
    assert [name for name, watch in detector.watches.items() if watch.test] == [f"m{n}" for n in range(MAX_MODELS)]


def test_a_finished_baseline_gives_way_to_a_new_model_only_after_a_week_without_use() -> None:
    rng = np.random.default_rng(13)
    detector = OutputDrift(share=SHARE)
    for number in range(MAX_MODELS):
        feed(detector, observations(outputs(rng, BASELINE), first=BASELINE * number, model=f"m{number}"))
    latest = BASELINE * MAX_MODELS
    feed(detector, observations(outputs(rng, 1), first=latest, model="new"))
    assert "new" not in detector.watches
    week = int(8 * 86_400 / GAP_S)
    for day in range(8):
        feed(detector, observations(outputs(rng, 1), first=latest + week * (day + 1) // 8, model="m1"))
    feed(detector, observations(outputs(rng, 1), first=latest + week, model="new"))
    assert {"new", "m1"} <= set(detector.watches)
    assert "m0" not in detector.watches


def test_after_an_alarm_the_evidence_starts_anew_against_the_same_baseline() -> None:
    rng = np.random.default_rng(8)
    detector = warmed(rng)
    found = feed(detector, observations(outputs(rng, 200, shift={"commas": 1.5}), first=300))
    gaps = np.diff([0, *(count for count, _ in found)])
    assert len(found) >= 3
    assert gaps.min() >= 8


def test_hostile_numbers_leave_the_state_finite_and_the_watch_awake() -> None:
    rng = np.random.default_rng(9)
    detector = warmed(rng)
    good = observations(outputs(rng, 1), first=300)[0]
    hostile = [msgspec.structs.replace(good, style=None), msgspec.structs.replace(good, style=(1.0, 2.0))]
    for bad in (float("nan"), float("inf"), -float("inf")):
        hostile.append(msgspec.structs.replace(good, style=(bad,) * len(STYLE)))
        hostile.append(msgspec.structs.replace(good, time_s=bad))
    for huge in (1e300, -1e300, 1e9):
        hostile.append(msgspec.structs.replace(good, style=(huge, *outputs(rng, 1)[0, 1:].tolist()), prompt_chars=-5))
        hostile.append(msgspec.structs.replace(good, time_s=huge, prompt_chars=10**400, principal="\ud800"))
    assert feed(detector, hostile) == []
    state = detector.watches["m"].test
    assert state is not None
    assert np.isfinite(state.sums).all()
    assert np.isfinite(state.starts_s).all()
    assert feed(detector, observations(outputs(rng, 100, shift={"commas": 1.5}), first=310)) != []


def test_a_constant_baseline_of_extreme_values_is_survived() -> None:
    detector = OutputDrift(share=SHARE)
    rows = [[1e200] * len(STYLE)] * (BASELINE + 100)
    assert feed(detector, observations(rows)) == []
    assert feed(detector, observations([[0.0] * len(STYLE)] * 40, first=400)) != []


def test_a_model_that_starts_to_print_in_bold_is_found_although_all_else_stays() -> None:
    rng = np.random.default_rng(15)
    detector = OutputDrift(share=SHARE)

    def laid_out(count: int, first: int, bold: float) -> list[Observation]:
        layouts = np.abs(rng.normal((1.5, bold, 0.002, 4.5), (0.5, 0.001, 0.001, 0.5), (count, len(LAYOUT)))).tolist()
        plain = observations(outputs(rng, count), first=first)
        return [msgspec.structs.replace(each, layout=tuple(row)) for each, row in zip(plain, layouts, strict=True)]

    assert feed(detector, laid_out(BASELINE + 300, 0, 0.002)) == []
    count, detection = feed(detector, laid_out(80, 600, 0.004))[0]
    assert count <= 60
    assert detection.evidence[0].name == "bold"


def test_canaries_are_no_traffic() -> None:
    detector = OutputDrift(share=SHARE)
    for observation in observations(outputs(np.random.default_rng(10), 50)):
        detector.update(msgspec.structs.replace(observation, canary=True))
    assert detector.watches == {}


def test_failed_calls_are_not_learned_from() -> None:
    detector = OutputDrift(share=SHARE)
    for observation in observations(outputs(np.random.default_rng(10), 50)):
        detector.update(msgspec.structs.replace(observation, failed=True))
    assert detector.watches == {}


def test_a_restored_detector_goes_on_as_if_nothing_had_happened() -> None:
    rng = np.random.default_rng(11)
    stream = observations(outputs(rng, BASELINE + 22), principals=["a", "b", "c"], prompt_chars=[20, None, 90])
    stream += observations(outputs(rng, 80, shift={"commas": 1.0}), first=322, principals=["a", "b", "c"])
    whole = OutputDrift(share=SHARE)
    expected = feed(whole, stream)
    for cut in (150, BASELINE + 22):
        first = OutputDrift(share=SHARE)
        feed(first, stream[:cut])
        second = load(OutputDrift, dump(first))
        assert isinstance(second, OutputDrift)
        assert [found for _, found in feed(second, stream[cut:])] == [found for _, found in expected]
        assert dump(second) == dump(whole)
    assert expected
    assert len(dump(whole)) < 16_384


def test_the_cited_techniques_and_risks_exist() -> None:
    assert all(frameworks.atlas_name(identifier) for identifier in OutputDrift.metadata.atlas)
    assert all(frameworks.owasp_name(identifier) for identifier in OutputDrift.metadata.owasp)


def answers(directory: Path, model: str) -> npt.NDArray[np.float64]:
    with gzip.open(directory / f"{model}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    styles = np.column_stack((style([row["output"] for row in rows]), layouts([row["output"] for row in rows])))
    prompts = np.array([float(len(row["instruction"])) for row in rows])
    return np.column_stack((styles, prompts))[[bool(row["output"]) for row in rows]]


def played_rows(rows: npt.NDArray[np.float64], first: int = 0) -> list[Observation]:
    width = len(STYLE)
    plain = observations(rows[:, :width], first=first, prompt_chars=[int(chars) for chars in rows[:, -1]])
    laid_out = rows[:, width:-1].tolist()
    return [msgspec.structs.replace(each, layout=tuple(row)) for each, row in zip(plain, laid_out, strict=True)]


def test_real_silent_swaps_are_found_and_real_unswapped_streams_are_quiet(shared_data: Path) -> None:
    directory = shared_data / "swap"
    with (directory / "PAIRS.csv").open(encoding="utf-8") as lines:
        pairs = [row for row in csv.DictReader(lines) if float(row["linear_auc"]) >= 0.7][::2]
    assert len(pairs) == 4
    delays, alarms = [], 0
    for pair in pairs:
        base, swapped = answers(directory, pair["base"]), answers(directory, pair["swapped"])
        for seed in range(5):
            rng = np.random.default_rng(seed)
            base = base[rng.permutation(len(base))]
            detector, quiet = OutputDrift(share=SHARE), OutputDrift(share=SHARE)
            feed(detector, played_rows(base[:BASELINE]))
            found = feed(detector, played_rows(rng.permutation(swapped)[:300], first=BASELINE))
            delays.append(found[0][0] if found else 10**6)
            alarms += len(feed(quiet, played_rows(base)))
    assert np.mean(np.array(delays) <= 300) >= 0.95
    assert np.median(delays) <= 60
    assert alarms <= 1


@pytest.mark.parametrize("count", [1, 3, 4, 301])
def test_streams_of_any_length_end_in_a_state_that_can_be_stored(count: int) -> None:
    detector = OutputDrift(share=SHARE)
    feed(detector, observations(outputs(np.random.default_rng(count), count)))
    assert dump(load(OutputDrift, dump(detector))) == dump(detector)
