"""What every detector must keep, as checks that take a detector class and fail with the reason.

A new detector passes them unwritten: `test_conformance.py` runs each over everything `discover` finds.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detectors import frameworks
from detectors.alarms import Budget
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector, dump, load
from detectors.features import STYLE
from detectors.types import Components, Detection, Observation

SHARE = {DEPLOYMENT: Budget().share(DEPLOYMENT, 6), PRINCIPAL: Budget().share(PRINCIPAL, 6)}
STATE_LIMIT_BYTES = {DEPLOYMENT: 64 * 1024, PRINCIPAL: 4 * 1024}
START_S = 1_763_000_000.0

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
    times = START_S + np.cumsum(draw.exponential(20.0, count))
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
        )


_TIMES = (0.0, -1.0, 4e9, START_S, START_S - 1e6, math.nan, math.inf, -math.inf, 1e308, START_S + 1.0)
_FLOATS = (math.nan, math.inf, -math.inf, 1e308, -1.0, 5e-324, 0.0, 1.0)
_COUNTS = (2**63 - 1, -1, 0, 1, -(2**63), 7)
_TEXTS = (
    "",
    "a",
    "\x00\n\u202e" * 40,
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "x" * 100_000,
)


@functools.lru_cache(maxsize=8)
def hostile(count: int, seed: int) -> tuple[Observation, ...]:
    """`count` calls whose every field is an extreme of its type, or unknown; times are absurd and run backwards."""
    draw = random.Random(seed)
    kinds = {field.name: str(field.type) for field in msgspec.structs.fields(Observation)[3:]}
    return tuple(
        Observation(
            event_id=str(index),
            time_s=draw.choice(_TIMES),
            deployment="chat",
            **{name: _extreme(name, kind, index, draw) for name, kind in kinds.items()},
        )
        for index in range(count)
    )


def _extreme(name: str, kind: str, index: int, draw: random.Random) -> Any:
    pick = draw.randrange(1_000)
    if pick < 200:
        return None
    if name == "style":
        return tuple(draw.choices((0.0, 40.0, 17.0, 1.0), k=len(STYLE)))
    if name == "components":
        return tuple(f"{index}-{pick}" if pick % 2 else None for _ in Components.__struct_fields__)
    for part, values in (("bool", (True, False)), ("int", _COUNTS), ("float", _FLOATS)):
        if part in kind:
            return draw.choice(values)
    return draw.choice(_TEXTS) if pick % 2 else f"{name}-{index}"


def crowd(count: int, seed: int) -> Iterator[Observation]:
    """Ordinary calls in which everything that has a name has a new one each time."""
    for index, observation in zip(range(count), itertools.cycle(quiet(5_000, seed)), strict=False):
        fresh = f"{index}-{'name' * 10}"
        yield msgspec.structs.replace(
            observation,
            time_s=START_S + 20.0 * index,
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
        )


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
    assert_finite(msgspec.to_builtins(detector, enc_hook=_visible), kind.__name__)


def stays_bounded_over_100_000_observations(kind: type[Detector]) -> None:
    detector = new(kind)
    limit = STATE_LIMIT_BYTES[kind.metadata.scope]
    streams = (crowd(75_000, 4), hostile(5_000, 5), quiet(20_000, 15))
    for index, observation in enumerate(observation for stream in streams for observation in stream):
        detector.update(observation)
        if index % 2_500 == 0:
            size = len(dump(detector))
            assert size <= limit, f"{size} bytes of state after {index + 1} observations, limit {limit}"
    assert len(dump(detector)) <= limit


def does_not_flood_when_every_name_is_new(kind: type[Detector]) -> None:
    detector = new(kind)
    feed(detector, quiet(1_000, 7))
    found = len(feed(detector, crowd(20_000, 8)))
    assert found <= 4_000, f"{found} detections in 20,000 observations"


def continues_identically_after_dump_and_load(kind: type[Detector]) -> None:
    original = new(kind)
    for stretch in (quiet(137, 9), quiet(1_500, 10), hostile(300, 11)):
        feed(original, stretch)
        restored = load(kind, dump(original))
        assert type(restored) is kind
        for observation in [*quiet(600, 12), *hostile(200, 13), *changed(400)]:
            assert restored.update(observation) == original.update(observation)
        assert _state(restored) == _state(original), "states differ after the same observations"


def is_deterministic(kind: type[Detector]) -> None:
    first, second = new(kind), new(kind)
    observations = [*quiet(1_200, 14), *changed(400)]
    assert feed(first, observations) == feed(second, observations)
    assert _state(first) == _state(second)


def is_silent_on_20_000_quiet_observations(kind: type[Detector]) -> None:
    found = feed(new(kind), quiet(20_000, 15))
    assert not found, f"{len(found)} detections, first: {found[0].summary}"


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
            temperature=0.0,
            logprobs=True,
            top_logprobs=20,
            logit_bias=300,
        )


def assert_well_formed(detection: Detection) -> None:
    """A detection that a responder can use and a store can keep."""
    assert detection.summary.strip() and detection.summary.isprintable(), "summary is empty or not one printable line"
    assert len(detection.summary) <= 500, "summary is longer than a responder reads"
    for name in ("score", "threshold", "onset_s"):
        assert math.isfinite(getattr(detection, name)), f"{name} is not finite"
    assert detection.score >= detection.threshold, f"score {detection.score} is below {detection.threshold}"
    assert 1 <= len(detection.evidence) <= 8, "evidence must have 1 to 8 rows"
    for row in detection.evidence:
        for value in (row.observed, row.expected):
            assert not isinstance(value, float) or math.isfinite(value), f"evidence {row.name!r} is not finite"


def assert_finite(value: Any, path: str) -> None:
    """No NaN and no infinity anywhere in a state; large integers are fine."""
    if isinstance(value, float):
        assert math.isfinite(value), f"{path} is {value}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            assert_finite(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            assert_finite(inner, f"{path}[{index}]")


def _visible(value: Any) -> Any:
    """Arrays as lists, River objects as their attributes."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    public = (getattr(value, name) for name in dir(value) if not name.startswith("_"))
    return [inner for inner in public if isinstance(inner, float)]


def _state(detector: Detector) -> Any:
    """A state to compare: River objects by their attributes, since their pickles may differ in memo order."""
    return repr(msgspec.to_builtins(detector, enc_hook=_visible))


CHECKS: tuple[Check, ...] = (
    survives_events_of_which_nothing_is_known,
    keeps_a_finite_state_on_hostile_numbers,
    stays_bounded_over_100_000_observations,
    does_not_flood_when_every_name_is_new,
    continues_identically_after_dump_and_load,
    is_deterministic,
    is_silent_on_20_000_quiet_observations,
    says_only_well_formed_things,
    has_complete_metadata,
    cites_only_ids_of_the_pinned_frameworks,
    has_a_test_file_of_its_own,
)
"""In the order a newcomer would want to see them fail."""
