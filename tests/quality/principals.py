"""Who calls in the quality tasks: a benign population in the proportions of the bench, sweeps, and mixes of both.

`population` gives benign principals of four kinds with realistic pacing, `sweep` one that copies a model,
`mixed` one that hides a sweep in benign traffic of its own. All are functions of their arguments: the same seed gives
the same calls. Observations carry prompts, times, parameters and where a call came from; of answers only counts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from detectors.types import Observation
from tests.quality import prompts

START_S = 1_760_000_400.0
"""A Thursday, 09:00 UTC."""

DAY_S, HOUR_S = 86_400.0, 3_600.0

PERSON, APPLICATION, BATCH, TESTER = "person", "application", "batch", "tester"
SHARES = {PERSON: 0.60, APPLICATION: 0.25, BATCH: 0.10, TESTER: 0.05}
"""Kinds of benign principals, by share."""

PACES = ("steady", "jittered", "poisson", "office", "slow", "person")
"""How an attacker may time a sweep: a loop, a loop with jitter, at random, in bursts in working hours, 20 a day, and in
sessions as a person has."""


FOLLOW_UPS = (
    "make it shorter",
    "why?",
    "thanks",
    "and in Python?",
    "explain that again",
    "no, the other one",
    "more examples please",
    "can you format this as a table",
    "what do you mean by that",
    "continue",
    "ok but without the second part",
    "that is wrong, check it again",
    "translate it to Spanish",
    "hello",
    "test",
    "are you sure?",
    "give me the source",
    "a bit more formal",
    "shorten the last paragraph",
    "what about 2023?",
)
"""What people say when they go on."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """One principal and all its calls in order of time.

    `kind` is one of `SHARES`, ``sweep`` or ``mixed``; `habit` says more (how a person picks prompts, the pace of a
    sweep). `begins` is the place of the first call of a sweep.
    """

    name: str
    kind: str
    habit: str
    observations: tuple[Observation, ...]
    begins: int = 0


class _Client(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same from call to call of a principal."""

    name: str
    networks: tuple[str, ...]
    agent: str
    temperature: float | None
    n: int | None = None


def population(data: Path, seed: int, count: int = 200, sets: tuple[str, ...] = prompts.BENIGN) -> Iterator[Principal]:
    """`count` benign principals in the proportions of `SHARES`, one after the other.

    People draw from the benign `sets`. A person has 40-600 calls over weeks, an application 300-1,500 over months, a
    batch job 400-1,500, a tester 60-250. About 250 calls a principal on average; costs about 4 us a call.
    """
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(share * count))]
    for number, kind in enumerate(kinds[:count] + [PERSON] * (count - len(kinds))):
        rng = _rng("benign", seed, number)
        yield _KINDS[kind](data, rng, _client(rng, f"{kind}-{seed}-{number}", kind), sets)


def sweep(
    data: Path, seed: int, which: str | None = None, count: int = 300, pace: str | None = None, name: str | None = None
) -> Principal:
    """`count` distinct prompts of one systematic set (at most as many as it has), in file order or shuffled.

    `which` is a set of `prompts.SYSTEMATIC` or any other of `prompts`, `pace` one of `PACES`: by default chosen by
    `seed`.
    """
    rng = _rng("sweep", seed, 0)
    which = rng.choice(prompts.SYSTEMATIC) if which is None else which
    pace = rng.choice(PACES) if pace is None else pace
    client = _client(rng, name or f"sweep-{seed}", "sweep")
    picked = _queries(rng, prompts.stock(data, which), count)
    times = _paced(rng, pace, len(picked), START_S + rng.uniform(0.0, 7.0) * DAY_S)
    calls = _calls(rng, client, picked, times, session=False)
    return Principal(name=client.name, kind="sweep", habit=f"{which}, {pace}", observations=calls)


def mixed(
    data: Path,
    seed: int,
    which: str | None = None,
    count: int = 1_500,
    share: float = 0.25,
    history: int | None = None,
    sets: tuple[str, ...] = prompts.BENIGN,
) -> Principal:
    """A person whose account sends a sweep too: `history` benign calls, then `count` of which `share` are the sweep's.

    The sweep's calls lie at random among the person's own, at a person's times. `history` is 0-200 by default.
    """
    rng = _rng("mixed", seed, 0)
    which = rng.choice(prompts.SYSTEMATIC) if which is None else which
    history = rng.choice((0, 50, 200)) if history is None else history
    client = _client(rng, f"mixed-{seed}", PERSON)
    stock = prompts.stock(data, which)
    queries = _queries(rng, stock, round(share * count) + 1)
    own, _ = _own_prompts(data, rng, sets, history + count)
    marks = [False] * history + [rng.random() < share for _ in range(count)]
    asked, others = iter(queries), iter(own)
    picked = [(next(asked, None) if mark else None) or next(others) for mark in marks]
    begins = marks.index(True) if True in marks else history
    calls = _calls(rng, client, picked, _sessions(rng, len(picked), START_S, rng.uniform(6.0, 40.0)), session=True)
    return Principal(name=client.name, kind="mixed", habit=which, observations=calls, begins=min(begins, history))


def _queries(rng: Random, stock: Sequence[Observation], count: int) -> list[Observation]:
    count = min(count, len(stock))
    if rng.random() < 0.5:
        first = rng.randrange(len(stock) - count + 1)
        return list(stock[first : first + count])
    return rng.sample(list(stock), count)


def _person(data: Path, rng: Random, client: _Client, sets: tuple[str, ...]) -> Principal:
    count = min(max(round(rng.lognormvariate(math.log(200.0), 0.8)), 40), 600)
    picked, habit = _own_prompts(data, rng, sets, count)
    if rng.random() < 0.15:
        times, habit = _paced(rng, "poisson", count, START_S), f"{habit}, at random"
    else:
        times = _sessions(rng, count, START_S, rng.uniform(4.0, 25.0))
    return Principal(
        name=client.name,
        kind=PERSON,
        habit=habit,
        observations=_calls(rng, client, picked, times, session=True),
    )


def _own_prompts(data: Path, rng: Random, sets: tuple[str, ...], count: int) -> tuple[list[Observation], str]:
    """`count` prompts of one person and how they were picked: anything, a few own topics, or topics with follow-ups."""
    pool = prompts.human(data, sets)
    habit = rng.choice(("anything", "own topics", "own topics, follows up"))
    if habit == "anything":
        picked: list[Observation] = []
        while len(picked) < count:
            picked += rng.sample(pool, min(count - len(picked), len(pool)))
        return picked, habit
    near = prompts.neighbors(data, sets)
    topics = [near[rng.randrange(len(pool))] for _ in range(rng.randint(2, 8))]
    follow_ups = _follow_ups()
    picked = []
    topic = rng.choice(topics)
    while len(picked) < count:
        if rng.random() < 0.12:
            topic = rng.choice(topics)
        chance = rng.random()
        if picked and habit != "own topics" and chance < 0.3:
            picked.append(rng.choice(follow_ups) if chance < 0.22 else picked[-1])
        elif chance > 0.8:
            picked.append(rng.choice(pool))
        else:
            picked.append(pool[int(topic[min(int(rng.expovariate(1 / 20.0)), len(topic) - 1)])])
    return picked, habit


def _application(data: Path, rng: Random, client: _Client, sets: tuple[str, ...]) -> Principal:
    """One template, new fills: each fill comes once or, as names and articles do, again after a while.

    One in ten hands its users' prompts on as they are.
    """
    count = min(max(round(rng.lognormvariate(math.log(350.0), 0.5)), 200), 1_000)
    if rng.random() < 0.1:
        pool, habit = prompts.human(data, sets), "relay"
    else:
        pool, habit = rng.choice(prompts.applications(data)), "template"
    picked = _rounds(rng, pool, count)
    pace = rng.choice(("poisson", "steady", "office"))
    times = _paced(rng, pace, count, START_S, gap_s=rng.uniform(30.0, 90.0 * DAY_S / count))
    calls = _calls(rng, client, picked, times, session=False)
    return Principal(name=client.name, kind=APPLICATION, habit=f"{habit}, {pace}", observations=calls)


def _batch(data: Path, rng: Random, client: _Client, sets: tuple[str, ...]) -> Principal:
    """An evaluation of 40-200 human prompts every night, or a backfill: one template in a steady loop."""
    gap_s = math.exp(rng.uniform(math.log(0.5), math.log(20.0)))
    if rng.random() < 0.5:
        pool = prompts.human(data, sets)
        chosen = rng.sample(pool, rng.randint(40, 200))
        nights = max(3, 400 // len(chosen))
        times: list[float] = []
        for night in range(nights):
            first_s = START_S + (night + 0.7) * DAY_S + rng.uniform(0.0, 120.0)
            times += [first_s + gap_s * place + rng.uniform(0.0, 0.3 * gap_s) for place in range(len(chosen))]
        picked = [each for _ in range(nights) for each in chosen]
        habit = "evaluation"
    else:
        count = rng.randint(400, 1_000)
        picked = _rounds(rng, rng.choice(prompts.applications(data)), count)
        times = _paced(rng, "jittered", count, START_S + rng.uniform(0.0, DAY_S), gap_s)
        habit = "backfill"
    calls = _calls(rng, client, picked, times, session=False)
    return Principal(name=client.name, kind=BATCH, habit=habit, observations=calls)


def _tester(data: Path, rng: Random, client: _Client, sets: tuple[str, ...]) -> Principal:
    """Tries things out: a few prompts many times with changed parameters, some odd ones, some short ones."""
    pool = prompts.human(data, sets)
    odd = prompts.stock(data, "tensortrust_extraction")
    short = _follow_ups()
    favorites = rng.sample(pool, rng.randint(3, 12))
    picked = []
    for _ in range(rng.randint(60, 250)):
        source = rng.choices((favorites, pool, odd, short), (0.45, 0.3, 0.1, 0.15))[0]
        chosen = rng.choice(source)
        asked = {"temperature": rng.choice((0.0, 0.2, 0.7, 1.0, 1.5)), "n": rng.choice((1, 1, 1, 2, 4))}
        if rng.random() < 0.1:
            asked |= {"logprobs": True, "top_logprobs": rng.choice((1, 5))}
        picked.append(msgspec.structs.replace(chosen, **asked))
    times = _sessions(rng, len(picked), START_S, rng.uniform(10.0, 40.0))
    calls = _calls(rng, client, picked, times, session=False)
    return Principal(name=client.name, kind=TESTER, habit="pokes around", observations=calls)


_KINDS: dict[str, Callable[[Path, Random, _Client, tuple[str, ...]], Principal]] = {
    PERSON: _person,
    APPLICATION: _application,
    BATCH: _batch,
    TESTER: _tester,
}


def _rounds(rng: Random, pool: Sequence[Observation], count: int) -> list[Observation]:
    """`count` of `pool`: all of it in some order, then some of it again."""
    picked: list[Observation] = []
    while len(picked) < count:
        picked += rng.sample(list(pool), min(count - len(picked), len(pool)))
    return picked


def _paced(rng: Random, pace: str, count: int, start_s: float, gap_s: float | None = None) -> list[float]:
    """`count` times in one of `PACES`; `gap_s` is the mean time between calls, 0.5-60 s by default."""
    gap_s = math.exp(rng.uniform(math.log(0.5), math.log(60.0))) if gap_s is None else gap_s
    if pace == "person":
        return _sessions(rng, count, start_s, rng.uniform(10.0, 40.0))
    if pace == "slow":
        per_day = rng.uniform(15.0, 25.0)
        return sorted(start_s + rng.uniform(0.0, count / per_day) * DAY_S for _ in range(count))
    if pace == "office":
        return _office(rng, count, start_s, gap_s)
    times = [start_s]
    for _ in range(count):
        times.append(times[-1] + _gap(rng, pace, gap_s))
    return times[1:]


def _gap(rng: Random, pace: str, mean_s: float) -> float:
    if pace == "poisson":
        return rng.expovariate(1.0 / mean_s)
    jitter = 0.02 if pace == "steady" else 0.5
    return mean_s * rng.uniform(1.0 - jitter, 1.0 + jitter)


def _office(rng: Random, count: int, start_s: float, gap_s: float) -> list[float]:
    """Bursts of some 20 calls within working hours, nothing at night."""
    times: list[float] = []
    time_s = start_s
    while len(times) < count:
        for _ in range(1 + int(rng.expovariate(1 / 20.0))):
            time_s += rng.expovariate(1.0 / min(gap_s, 5.0))
            times.append(time_s)
        time_s += rng.expovariate(1.0 / (20.0 * gap_s))
        if (time_s - START_S) % DAY_S > 9.0 * HOUR_S:
            time_s += DAY_S - (time_s - START_S) % DAY_S + rng.uniform(0.0, HOUR_S)
    return times[:count]


def _sessions(rng: Random, count: int, start_s: float, per_day: float) -> list[float]:
    """A person's times: sessions of some eight turns, typing in between, about `per_day` calls on weekdays."""
    times: list[float] = []
    day = start_s - (start_s - START_S) % DAY_S
    while len(times) < count:
        weekday = int((day - START_S) // DAY_S) % 7 not in {2, 3}
        for _ in range(_poisson(rng, per_day / 8.0 * (1.0 if weekday else 0.3))):
            time_s = day + rng.triangular(0.0, 13.0, 5.0) * HOUR_S
            typing_s = rng.lognormvariate(math.log(60.0), 0.4)
            for _ in range(1 + int(rng.expovariate(1 / 7.5))):
                times.append(time_s)
                time_s += rng.lognormvariate(math.log(typing_s), 1.0)
        day += DAY_S
    return sorted(times[:count])


def _poisson(rng: Random, mean: float) -> int:
    number, left = 0, rng.expovariate(1.0)
    while left < mean:
        number, left = number + 1, left + rng.expovariate(1.0)
    return number


def _calls(
    rng: Random, client: _Client, picked: Sequence[Observation], times: Sequence[float], *, session: bool
) -> tuple[Observation, ...]:
    """The picked prompts as calls of `client`; a person's session ends with half an hour of silence."""
    calls, before_s, number, network = [], -math.inf, 0, client.networks[0]
    for place, (chosen, time_s) in enumerate(zip(picked, times, strict=True)):
        if time_s - before_s > 1_800.0:
            number, network = number + 1, rng.choice(client.networks)
        before_s = time_s
        tokens = (chosen.prompt_chars or 0) // 4 + 1
        calls.append(
            msgspec.structs.replace(
                chosen,
                event_id=f"{client.name}:{place}",
                time_s=time_s,
                principal=client.name,
                network=network,
                user_agent=client.agent,
                session=f"{client.name}/{number}" if session else None,
                input_tokens=tokens,
                output_tokens=1 + int(rng.expovariate(1 / 180.0)),
                failed=False,
                refused=False,
                temperature=client.temperature if chosen.temperature is None else chosen.temperature,
                n=client.n if chosen.n is None else chosen.n,
            )
        )
    return tuple(calls)


def _client(rng: Random, name: str, kind: str) -> _Client:
    people = kind in {PERSON, TESTER}
    return _Client(
        name=name,
        networks=tuple(f"net-{rng.getrandbits(24):06x}" for _ in range(rng.randint(1, 3) if people else 1)),
        agent=rng.choice(("Mozilla/5.0", "desktop-app/3.1") if people else ("python-httpx/0.28", "okhttp/4.12")),
        temperature=rng.choice((None, 0.7, 1.0)) if people else rng.choice((0.0, 0.0, 0.2, 0.7, None)),
        n=rng.choice((None, None, None, 4)) if kind == "sweep" else None,
    )


@functools.lru_cache(maxsize=1)
def _follow_ups() -> tuple[Observation, ...]:
    return prompts.seen(FOLLOW_UPS)


def _rng(what: str, seed: int, number: int) -> Random:
    return Random(f"{what}/{seed}/{number}")
