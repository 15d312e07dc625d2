"""What every detector must keep, as checks that take a detector class and fail with the reason.

A new detector passes them unwritten: `test_conformance.py` runs each over everything `discover` finds.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from detectors import frameworks
from detectors.alarms import DAY_S, Budget
from detectors.bank import discover
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector, dump, load
from detectors.features import STYLE
from detectors.types import Components, Detection, Observation
from tests.detectors.extremes import START_S, hostile
from tests.detectors.soundness import assert_finite, assert_well_formed, state_of, visible

SHARE = {scope: Budget().share(scope, len(discover())) for scope in (DEPLOYMENT, PRINCIPAL)}
STATE_LIMIT_BYTES = {DEPLOYMENT: 64 * 1024, PRINCIPAL: 4 * 1024}
LARGER_STATE_BYTES = {"backdoor_trigger": 256 * 1024}
"""By detector id, with the reason: `backdoor_trigger` meets a word of every two-hundredth call among all the words and
prompts of some thousand calls."""

QUIET_GAP_S = 20.0
GENEROUS_ARL = 2_000.0
"""Observations per false alarm where it is counted whether a detector keeps its budget: with the shipped one, none
would be expected in all the traffic a test can afford."""

Check = Callable[[type[Detector]], None]


@functools.lru_cache(maxsize=32)
def quiet(count: int, seed: int) -> tuple[Observation, ...]:
    """`count` independent, identically distributed calls of one ordinary chat deployment by one principal.

    A call every 20 s on average; each field is drawn from one distribution, prompts from a stock of 3,000
    in 60 templates, of which few are frequent: an application that does its work.
    """
    return tuple(_quiet(count, seed))


def _quiet(count: int, seed: int) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    times = START_S + np.cumsum(draw.exponential(QUIET_GAP_S, count))
    inputs = np.clip(draw.lognormal(6.0, 0.7, count), 1, 8_000).astype(int)
    outputs = np.clip(draw.lognormal(4.8, 0.8, count), 1, 4_000).astype(int)
    ttft = (0.15 + 0.0002 * inputs) * draw.lognormal(0.0, 0.2, count)
    latency = ttft + outputs * 0.02 * draw.lognormal(0.0, 0.1, count)
    means = np.array([6.0, 4.5, 5.0, 0.03, 0.01, 0.03, 0.01, 0.0, 0.01, 0.01, 0.012, 4.2, 0.3, 0.1, 0.2, 0.7])
    styles = np.abs(means * (1.0 + 0.1 * draw.standard_normal((count, len(STYLE)))))
    failed, refused, cut = draw.random((3, count)) < np.array([[0.01], [0.03], [0.05]])
    stock = draw.integers(0, 2**63, (2, 3_000))
    templates = draw.integers(0, 2**63, 60)
    prompts = np.minimum(3_000 * draw.random(count) ** 3, 2_999).astype(int)
    layouts = np.abs(
        np.random.default_rng(seed + 2_000).normal((1.5, 0.002, 0.002, 4.5), (0.5, 0.001, 0.001, 0.5), (count, 4))
    )
    sketched = np.random.default_rng(seed + 1_000).bytes(64 * count)
    spots = np.clip(np.random.default_rng(seed + 2_000).normal(0.0, 30.0, (3_000, 13)), -124, 124).astype(np.int8)
    places = [spot.tobytes() for spot in spots]
    vocabulary = _vocabulary(seed)
    inputs_of_model = np.random.default_rng(seed + 3_000).standard_normal((count, 6))
    labels = np.random.default_rng(seed + 4_000).choice(["cat", "dog", "cow"], count, p=[0.6, 0.3, 0.1]).tolist()
    scores = np.random.default_rng(seed + 5_000).beta(8.0, 2.0, count).tolist()
    openings = np.minimum(400 * draw.random(count) ** 4, 399).astype(int).tolist()
    for index in range(count):
        wrong = bool(failed[index])
        yield Observation(
            event_id=f"quiet:{index}",
            time_s=float(times[index]),
            deployment="chat",
            principal="person",
            model="model-a",
            served_model="model-a-1",
            components=("sha256:1",) + (None,) * (len(Components.__struct_fields__) - 1),
            network="network",
            user_agent="agent",
            session=f"session-{index // 8}",
            input_tokens=int(inputs[index]),
            output_tokens=None if wrong else int(outputs[index]),
            latency_s=float(latency[index]),
            ttft_s=None if wrong else float(ttft[index]),
            failed=wrong,
            error_type="timeout" if wrong else None,
            refused=None if wrong else bool(refused[index]),
            finish_reason=None if wrong else "length" if cut[index] else "stop",
            style=None if wrong else tuple(styles[index].tolist()),
            prompt_chars=int(inputs[index]) * 4,
            prompt_hash=int(stock[0, prompts[index]]),
            prompt_template=int(templates[prompts[index] % 60]),
            prompt_simhash=int(stock[1, prompts[index]]),
            temperature=0.7,
            n=1,
            cost_usd=float(inputs[index] + 3 * outputs[index]) * 1e-6,
            prediction=labels[index],
            score=scores[index],
            features=(*inputs_of_model[index].tolist(), 2**60 + index % 3, None if index % 40 == 0 else 1.0),
            features_schema=1,
            layout=None if wrong else tuple(layouts[index].tolist()),
            output_sketch=None if wrong else sketched[64 * index : 64 * (index + 1)],
            region="region",
            prompt_attack=False,
            prompt_tokens=vocabulary[prompts[index]],
            output_opening=None if wrong else openings[index],
            hosts=None if wrong else _HOSTS[index % 2],
            leaks=None if wrong else ("email",) if refused[index] else (),
            prompt_head=int(stock[0, prompts[index]]) % 1_009,
            prompt_tail=int(stock[1, prompts[index]]) % 1_013,
            prompt_place=places[prompts[index]],
        )


_HOSTS = ((), ("connection:db.example.com", "tool:api.example.com", "answer:docs.example.com"))


def _vocabulary(seed: int) -> list[bytes]:
    """The tokens of each of the 3,000 prompts: 24 of 20,000 words, of which few are frequent."""
    draw = np.random.default_rng(seed + 2_000)
    words = draw.integers(0, 2**32, 20_000, dtype=np.uint32)
    return [words[(20_000 * draw.random(24) ** 4).astype(int)].tobytes() for _ in range(3_000)]


def crowd(count: int, seed: int) -> Iterator[Observation]:
    """Ordinary calls in which everything that has a name has a new one each time."""
    for index, observation in zip(range(count), itertools.cycle(quiet(5_000, seed)), strict=False):
        fresh = f"{index}-{'name' * 10}"
        yield msgspec.structs.replace(
            observation,
            time_s=START_S + QUIET_GAP_S * index,
            principal=fresh,
            model=fresh if index % 3 else "model-a",
            served_model=fresh,
            components=(fresh,) * len(Components.__struct_fields__),
            network=fresh,
            user_agent=fresh,
            session=fresh,
            finish_reason=fresh,
            error_type=fresh,
            prediction=fresh,
            region=fresh,
            prompt_tokens=index.to_bytes(4, "little") * 2 + observation.prompt_tokens,
            output_opening=index,
            hosts=(f"connection:{fresh}", f"tool:{fresh}", f"answer:{fresh}"),
            leaks=(fresh,),
        )


@functools.lru_cache(maxsize=1)
def siege() -> tuple[Observation, ...]:
    """100,000 observations: names that are all new, then extremes, then quiet; made once for all detectors."""
    return (*crowd(75_000, 4), *hostile(5_000, 5), *quiet(20_000, 15))


def feed(detector: Detector, observations: Iterable[Observation]) -> list[Detection]:
    """Everything `detector` says about `observations`."""
    found = (detector.update(observation) for observation in observations)
    return [detection for detection in found if detection is not None]


def new(kind: type[Detector]) -> Detector:
    """An instance as a bank makes it, with the shipped alarm budget."""
    return kind(share=SHARE[kind.metadata.scope])


def survives_events_of_which_nothing_is_known(kind: type[Detector]) -> None:
    detector = new(kind)
    unknown = [Observation(event_id=str(i), time_s=START_S + i, deployment="chat") for i in range(2_000)]
    assert not feed(detector, unknown), "something was detected in events of which nothing is known"
    load(kind, dump(detector))


def keeps_a_finite_state_on_hostile_numbers(kind: type[Detector]) -> None:
    detector = new(kind)
    feed(detector, quiet(700, 1))
    for detection in feed(detector, hostile(3_000, 2)):
        assert_well_formed(detection)
    feed(detector, quiet(700, 3))
    assert_finite(msgspec.to_builtins(detector, enc_hook=visible), kind.__name__)


def stays_bounded_over_100_000_observations(kind: type[Detector]) -> None:
    detector = new(kind)
    limit = LARGER_STATE_BYTES.get(kind.__module__.rpartition(".")[2], STATE_LIMIT_BYTES[kind.metadata.scope])
    for index, observation in enumerate(siege()):
        detector.update(observation)
        if index % 5_000 == 0:
            size = len(dump(detector))
            assert size <= limit, f"{size} bytes of state after {index + 1} observations, limit {limit}"
    assert len(dump(detector)) <= limit


def does_not_flood_when_every_name_is_new(kind: type[Detector]) -> None:
    detector = new(kind)
    feed(detector, quiet(1_000, 7))
    found = len(feed(detector, siege()[:10_000]))
    assert found <= 2_000, f"{found} detections in 10,000 observations"


def continues_identically_after_dump_and_load(kind: type[Detector]) -> None:
    original = new(kind)
    for stretch in (quiet(137, 9), quiet(1_500, 10), hostile(300, 11)):
        feed(original, stretch)
        restored = load(kind, dump(original))
        assert type(restored) is kind
        for observation in [*quiet(600, 12), *hostile(200, 13), *changed(400)]:
            assert restored.update(observation) == original.update(observation)
        assert state_of(restored) == state_of(original), "states differ after the same observations"


def is_deterministic(kind: type[Detector]) -> None:
    first, second = new(kind), new(kind)
    observations = [*quiet(1_200, 14), *changed(400)]
    assert feed(first, observations) == feed(second, observations)
    assert state_of(first) == state_of(second)


def learns_alike_however_a_stream_is_cut_into_messages(kind: type[Detector]) -> None:
    observations = [*quiet(1_100, 14), *changed(500), *hostile(300, 20), *quiet(300, 21)]
    alone = new(kind)
    expected = [(place, said) for place, each in enumerate(observations) if (said := alone.update(each)) is not None]
    for most in (3, 40, len(observations)):
        draw, detector, begun = np.random.default_rng(most), new(kind), 0
        found: list[tuple[int, Detection]] = []
        while begun < len(observations):
            message = observations[begun : begun + int(draw.integers(1, most, endpoint=True))]
            waiting = iter(message)
            end = begun + len(message)
            found.extend((end - operator.length_hint(waiting) - 1, said) for said in detector.learn(waiting))
            begun += len(message)
        assert found == expected, f"messages of up to {most} observations give other detections"
        assert state_of(detector) == state_of(alone), f"messages of up to {most} observations give another state"


def is_silent_on_20_000_quiet_observations(kind: type[Detector]) -> None:
    found = feed(new(kind), quiet(20_000, 15))
    assert not found, f"{len(found)} detections, first: {found[0].summary}"


def keeps_a_generous_budget_on_20_000_quiet_observations(kind: type[Detector]) -> None:
    quiet_calls = quiet(20_000, 15)
    expected = len(quiet_calls) / GENEROUS_ARL
    found = feed(kind(share=DAY_S / QUIET_GAP_S / GENEROUS_ARL), quiet_calls)
    most = expected + 4.0 * math.sqrt(expected)
    assert len(found) <= most, f"{len(found)} detections, {expected:.0f} were allowed, first: {found[0].summary}"


def says_nothing_while_it_warms_up_and_is_ready_at_last(kind: type[Detector]) -> None:
    detector = new(kind)
    assert detector.lacks == kind.metadata.warm_up, "a new one lacks its whole warm-up"
    # It changes early, so that one that is ready before it says so has something to say.
    for observation in [*quiet(kind.metadata.warm_up // 2, 18), *changed(1_500), *quiet(5_000, 19)]:
        detector.hear(int(detector.metadata.can_use(observation)))
        lacking = detector.lacks
        detection = detector.update(observation)
        assert detection is None or not lacking, f"it lacks {lacking} observations and says: {detection}"
    assert detector.lacks == 0, f"it still lacks {detector.lacks} after {detector.heard} usable observations"


def says_only_well_formed_things(kind: type[Detector]) -> None:
    detector = new(kind)
    for observation in [*quiet(1_500, 16), *changed(1_500)]:
        detection = detector.update(observation)
        if detection is not None:
            assert_well_formed(detection)
            assert detection.severity.rank <= kind.metadata.severity.rank, "more severe than its metadata says"


def has_complete_metadata(kind: type[Detector]) -> None:
    metadata = kind.metadata
    assert metadata.version >= 1
    assert metadata.scope in {DEPLOYMENT, PRINCIPAL}
    assert metadata.warm_up >= 0
    for name in ("title", "sees", "score_unit"):
        assert getattr(metadata, name).strip(), f"{name} is empty"
    for name in ("causes", "false_positives", "known_gaps", "runbook", "references"):
        entries = getattr(metadata, name)
        assert isinstance(entries, tuple) and entries, f"{name} is empty"
        assert all(isinstance(entry, str) and entry.strip() for entry in entries), f"{name} has an empty entry"
    needed = {*metadata.requires, *metadata.any_of}
    assert needed, "says of no field that it needs it"
    unknown = needed - set(Observation.__struct_fields__)
    assert not unknown, f"requires fields that no observation has: {sorted(unknown)}"
    assert kind.__doc__, "has no docstring"


def cites_only_ids_of_the_pinned_frameworks(kind: type[Detector]) -> None:
    assert kind.metadata.atlas or kind.metadata.owasp, "cites nothing"
    for identifier in kind.metadata.atlas:
        frameworks.atlas_name(identifier)
    for identifier in kind.metadata.owasp:
        frameworks.owasp_name(identifier)


def has_a_test_file_of_its_own(kind: type[Detector]) -> None:
    path = Path(__file__).with_name(f"test_{kind.__module__.rpartition('.')[2]}.py")
    assert path.is_file(), f"{path.name} is missing"


def changed(count: int) -> Iterator[Observation]:
    """Calls as in `quiet`, from the day on which everything about the deployment and its caller changed."""
    for index, observation in enumerate(quiet(count, 17)):
        yield msgspec.structs.replace(
            observation,
            time_s=START_S + 1e6 + 0.2 * index,
            served_model="model-b",
            components=("sha256:2",) * len(Components.__struct_fields__),
            output_tokens=observation.output_tokens and observation.output_tokens * 3,
            latency_s=(observation.latency_s or 1.0) * 6.0,
            ttft_s=(observation.ttft_s or 0.3) * 2.0,
            failed=index % 3 == 0,
            refused=index % 4 == 0,
            finish_reason="content_filter" if index % 5 == 0 else "length",
            style=observation.style and tuple(value * 0.5 for value in observation.style),
            prompt_template=7,
            prediction="yak",
            score=0.1,
            features=observation.features and tuple(each and each * 3 for each in observation.features),
            temperature=0.0,
            logprobs=True,
            top_logprobs=20,
            logit_bias=300,
        )


CHECKS: tuple[Check, ...] = (
    survives_events_of_which_nothing_is_known,
    keeps_a_finite_state_on_hostile_numbers,
    stays_bounded_over_100_000_observations,
    does_not_flood_when_every_name_is_new,
    continues_identically_after_dump_and_load,
    is_deterministic,
    learns_alike_however_a_stream_is_cut_into_messages,
    is_silent_on_20_000_quiet_observations,
    keeps_a_generous_budget_on_20_000_quiet_observations,
    says_nothing_while_it_warms_up_and_is_ready_at_last,
    says_only_well_formed_things,
    has_complete_metadata,
    cites_only_ids_of_the_pinned_frameworks,
    has_a_test_file_of_its_own,
)
"""In the order a newcomer would want to see them fail."""
