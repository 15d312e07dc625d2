"""The attack that recovers an output layer through logit bias, beside benign users of the same parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
from river.drift import ADWIN

from detectors.alarms import Budget
from detectors.bank import discover
from detectors.base import PRINCIPAL
from detectors.catalog.parameter_probing import ParameterProbing
from detectors.types import Observation
from tests.quality import principals, prompts
from tests.quality.principals import START_S
from tests.quality.task import OURS, Figure, Target, Task

CALLS = 300
USERS = 12
"""Benign users of each habit in a run."""

ATTACKS = ("top five", "one token", "binary search", "wide", "many prompts", "tokens unknown")
"""Carlini et al. (2024), section 4: four tokens and a reference biased at a time, with top 5 log-probabilities; one
biased token a call; without log-probabilities by halving the bias; 300 tokens a call; several prompts, each in turn."""

HABITS = ("classifier", "evaluation", "choices", "developer", "bans words", "confidence")


def attack(data: Path, seed: int, variant: str, history: int = 0) -> tuple[Observation, ...]:
    """`history` ordinary calls and then `CALLS` of the attack, at 1-20 a second."""
    rng = Random(f"bias/{seed}/{variant}")
    pool = prompts.human(data, prompts.BENIGN)
    step_s = math.exp(rng.uniform(math.log(0.05), math.log(1.0)))
    targets = rng.sample(pool, 8 if variant == "many prompts" else 1)
    past = [
        msgspec.structs.replace(rng.choice(pool), time_s=START_S + 600.0 * place, output_tokens=rng.randint(5, 400))
        for place in range(history)
    ]
    calls = []
    for place in range(CALLS):
        asked: dict[str, object] = {"logit_bias": 5, "logprobs": True, "top_logprobs": 5, "output_tokens": 1}
        if variant == "one token":
            asked |= {"logit_bias": 1}
        elif variant == "binary search":
            asked |= {"logit_bias": 1, "logprobs": None, "top_logprobs": None}
        elif variant == "wide":
            asked |= {"logit_bias": 300}
        elif variant == "tokens unknown":
            asked |= {"output_tokens": None}
        time_s = START_S + 600.0 * history + step_s * place
        calls.append(
            msgspec.structs.replace(
                targets[place // 5 % len(targets)], time_s=time_s, temperature=0.0, failed=False, **asked
            )
        )
    return tuple(past + calls)


def user(data: Path, seed: int, habit: str) -> tuple[Observation, ...]:
    """1,000 calls of one who uses the parameters for what they are made for."""
    rng = Random(f"bias user/{seed}/{habit}")
    pool = rng.choice(prompts.applications(data)) if habit == "classifier" else prompts.human(data, prompts.BENIGN)
    labels, top = rng.randint(2, 10), rng.randint(1, 5)
    calls: list[Observation] = []
    time_s = START_S
    while len(calls) < 1_000:
        chosen = rng.choice(pool)
        asked: dict[str, object] = {"output_tokens": 1 + int(rng.expovariate(1 / 150.0))}
        times = 1
        if habit == "classifier":
            asked = {"logit_bias": labels, "output_tokens": 1, "top_logprobs": top if seed % 2 else None}
            times = 2 if rng.random() < 0.05 else 1
        elif habit == "evaluation":
            asked = {"logprobs": True, "top_logprobs": top, "output_tokens": 1}
        elif habit == "choices":
            asked, times = {"logprobs": True, "top_logprobs": 1, "output_tokens": 1}, 4
        elif habit == "developer" and rng.random() < 0.1:
            asked |= (
                {"logit_bias": rng.randint(1, 5)} if rng.random() < 0.5 else {"logprobs": True, "top_logprobs": top}
            )
            times = rng.randint(1, 8)
        elif habit == "bans words":
            asked |= {"logit_bias": 40}
            times = 3 if rng.random() < 0.1 else 1
        elif habit == "confidence":
            asked |= {"logprobs": True}
            times = rng.choice((1, 5))
        for _ in range(times):
            time_s += rng.expovariate(1.0 / 20.0)
            calls.append(msgspec.structs.replace(chosen, time_s=time_s, failed=False, **asked))
    return tuple(calls)


def _ours() -> Callable[[Observation], bool]:
    detector = ParameterProbing(share=Budget().share(PRINCIPAL, len(discover())))
    return lambda call: detector.update(call) is not None


def _river() -> Callable[[Observation], bool]:
    detector = ADWIN()  # type: ignore[no-untyped-call]  # River has no annotations

    def update(call: Observation) -> bool:
        detector.update(float(bool(call.logit_bias or call.top_logprobs)))  # type: ignore[no-untyped-call]  # River has no annotations
        return bool(detector.drift_detected)

    return update


def _simple() -> Callable[[Observation], bool]:
    seen = {"calls": 0, "bias": 0}

    def update(call: Observation) -> bool:
        seen["calls"] += 1
        seen["bias"] += bool(call.logit_bias)
        return seen["calls"] > 10 and seen["bias"] > 0.5 * seen["calls"]

    return update


CONTENDERS = {
    OURS: _ours,
    "River ADWIN on use of the parameters": _river,
    "simple: most of more than 10 calls are biased": _simple,
}


def _first(update: Callable[[Observation], bool], calls: tuple[Observation, ...], after: int = 0) -> float:
    found = (place - after for place, call in enumerate(calls, 1) if update(call) and place > after)
    return float(next(found, math.inf))


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """Calls to the first finding, the worst variant's too, and benign principals that were flagged."""
    attacks = [(attack(data, seed, variant, history), history) for variant in ATTACKS for history in (0, 100)]
    users = [user(data, USERS * seed + number, habit) for habit in HABITS for number in range(USERS)]
    users += [each.observations for each in principals.population(data, seed, 40)]
    for contender, make in CONTENDERS.items():
        delays = sorted(_first(make(), calls, history) for calls, history in attacks)
        yield Figure(contender=contender, metric="calls to find, median", value=delays[len(delays) // 2])
        yield Figure(contender=contender, metric="calls to find, worst variant", value=delays[-1])
        false = sum(_first(make(), calls) < math.inf for calls in users)
        yield Figure(contender=contender, metric="false alarms", value=float(false))


TASK = Task(
    title="Logit-bias probing",
    needs=("queries", "swap", "backdoor"),
    measure=measure,
    targets=(
        Target(metric="calls to find, median", unit="calls", must=50.0, aim=10.0, less_is_better=True),
        Target(metric="calls to find, worst variant", unit="calls", must=50.0, aim=10.0, less_is_better=True),
        Target(metric="false alarms", unit="principals", must=0.0, less_is_better=True, averaged=True),
    ),
    note=(
        "Generated from the parameters published in Carlini et al. (2024), six variants, from a new key and after 100 "
        "ordinary calls. Benign: classifiers, evaluations, choices scored one by one, developers, word bans and "
        "self-consistency with log-probabilities (12 each, 1,000 calls), and 40 ordinary principals."
    ),
)
