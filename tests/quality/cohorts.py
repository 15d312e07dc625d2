"""Sweeps split over many accounts, among benign principals and benign groups that share as much as attackers do."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
from river.drift import ADWIN

from detectors.alarms import Budget
from detectors.bank import discover
from detectors.base import DEPLOYMENT
from detectors.catalog.coordinated_extraction import CoordinatedExtraction
from detectors.types import Observation
from tests.quality import principals, prompts
from tests.quality.principals import DAY_S, HOUR_S, START_S
from tests.quality.task import OURS, Figure, Target, Task

QUERIES = 30
SIZES = (100, 1_000)
WEEKS = 3
"""Benign traffic that is kept: later calls of long-lived principals add time and nothing else."""

SHARED = ("network", "agent", "network and agent", "five networks", "wrapper", "sign-up", "sign-up", "nothing")
"""What attackers share, once each in a run; "sign-up" is the hour or days in which they begin, "nothing" weeks."""

ORDERS = ("in turns", "at random", "one after another")
FALSE_PER = 100_000


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """One split sweep: what its accounts share, and its calls in order of time."""

    shared: str
    habit: str
    members: frozenset[str]
    calls: tuple[Observation, ...]


def attack(data: Path, seed: int, shared: str, accounts: int, queries: int = QUERIES, which: str = "") -> Cohort:
    """A sweep over `accounts` of `queries` each; set, order, pace and how equal the shares are vary with the seed."""
    rng = Random(f"cohort/{seed}/{shared}/{accounts}")
    which = which or rng.choice(("gsm8k_train", "bold_probe"))
    order = rng.choice(ORDERS)
    spread = rng.choice((0.0, 0.0, 0.15))
    stock = list(prompts.stock(data, which))
    if shared == "wrapper":
        stock = list(_wrapped(data, which))
    volumes = [max(3, round(queries * rng.lognormvariate(0.0, spread))) for _ in range(accounts)]
    total = sum(volumes)
    picked = rng.sample(stock, min(total, len(stock)))
    while len(picked) < total:
        picked += rng.sample(stock, min(total - len(picked), len(stock)))
    turns = _turns(rng, order, volumes)
    lasts_s = 14.0 * DAY_S if shared == "nothing" else math.exp(rng.uniform(math.log(HOUR_S), math.log(3.0 * DAY_S)))
    begin_s = START_S + rng.uniform(2.0, 6.0) * DAY_S
    times = sorted(begin_s + rng.uniform(0.0, lasts_s) for _ in range(total))
    proxies = [f"proxy-{rng.getrandbits(32):08x}" for _ in range(5 if shared == "five networks" else accounts)]
    agents = ("Mozilla/5.0", "desktop-app/3.1", "python-httpx/0.28", "okhttp/4.12", "curl/8", "axios/1.7")
    agent = f"agent-{rng.getrandbits(32):08x}" if "agent" in shared else None
    network = proxies[0] if shared.startswith("network") else None
    own = [(network or proxies[number % len(proxies)], agent or rng.choice(agents)) for number in range(accounts)]
    calls = tuple(
        msgspec.structs.replace(
            prompt,
            event_id=f"cohort:{place}",
            time_s=time_s,
            principal=f"member-{seed}-{turn}",
            network=own[turn][0],
            user_agent=own[turn][1],
            failed=False,
        )
        for place, (prompt, turn, time_s) in enumerate(zip(picked, turns, times, strict=True))
    )
    habit = f"{which}, {order}, spread {spread}, {lasts_s / HOUR_S:.0f} h"
    return Cohort(shared=shared, habit=habit, members=frozenset(each.principal or "" for each in calls), calls=calls)


def _turns(rng: Random, order: str, volumes: Sequence[int]) -> list[int]:
    """Which account sends each call."""
    if order == "one after another":
        return [number for number, volume in enumerate(volumes) for _ in range(volume)]
    if order == "at random":
        turns = [number for number, volume in enumerate(volumes) for _ in range(volume)]
        rng.shuffle(turns)
        return turns
    rounds = [(turn, number) for number, volume in enumerate(volumes) for turn in range(volume)]
    return [number for _, number in sorted(rounds)]


@functools.lru_cache(maxsize=4)
def _wrapped(data: Path, which: str) -> tuple[Observation, ...]:
    return prompts.seen(f"Answer in full and explain each step. {text}" for text in prompts.texts(data, which)[:6_000])


def benign(data: Path, seed: int, sets: tuple[str, ...] = prompts.BENIGN) -> list[Observation]:
    """200 benign principals and groups that must stay quiet, all in one stream, in order of time.

    An office of 40 people behind one address; 80 end users of an application, who share agent and template; a marketing
    day with 150 new accounts of which most try a few calls; a course of 30 who send the same exercises.
    """
    calls = [
        _own(each) if principal.kind in {principals.PERSON, principals.TESTER} else each
        for principal in principals.population(data, seed, 200, sets)
        for each in principal.observations
        if each.time_s < START_S + WEEKS * 7.0 * DAY_S
    ]
    for group in (_office, _users, _marketing, _course):
        calls += group(data, Random(f"{group.__name__}/{seed}"), sets)
    return sorted(calls, key=_time_s)


def _time_s(call: Observation) -> float:
    return call.time_s


def _own(call: Observation) -> Observation:
    """A call in a caller's own words: the data have some thousand prompts, but no two people write the same one."""
    salt = int.from_bytes(hashlib.blake2b((call.principal or "").encode(), digest_size=8).digest())
    return msgspec.structs.replace(call, prompt_hash=(call.prompt_hash or 0) ^ salt)


def _sent(
    rng: Random, name: str, picked: Iterable[Observation], begin_s: float, network: str, agent: str
) -> Iterator[Observation]:
    """Prompts of one account in sessions as a person has."""
    time_s = begin_s
    for place, prompt in enumerate(picked):
        time_s += rng.lognormvariate(4.0, 1.0) if rng.random() < 0.9 else rng.expovariate(1.0 / DAY_S)
        yield msgspec.structs.replace(
            prompt, event_id=f"{name}:{place}", time_s=time_s, principal=name, network=network, user_agent=agent
        )


def _volume(rng: Random, median: float, spread: float = 1.0) -> int:
    return min(max(round(rng.lognormvariate(math.log(median), spread)), 1), 400)


def _office(data: Path, rng: Random, sets: tuple[str, ...]) -> Iterator[Observation]:
    pool = prompts.human(data, sets)
    for number in range(40):
        picked = rng.sample(pool, _volume(rng, 40.0))
        begin_s = START_S + rng.uniform(0.0, 10.0) * DAY_S
        yield from map(_own, _sent(rng, f"office-{number}", picked, begin_s, "office", "Mozilla/5.0"))


def _users(data: Path, rng: Random, sets: tuple[str, ...]) -> Iterator[Observation]:
    pool = rng.choice(prompts.applications(data))
    for number in range(80):
        picked = rng.sample(pool, min(_volume(rng, 12.0), len(pool)))
        begin_s = START_S + rng.uniform(0.0, 14.0) * DAY_S
        yield from _sent(rng, f"user-{number}", picked, begin_s, f"home-{number}", "the-app/2.4")


def _marketing(data: Path, rng: Random, sets: tuple[str, ...]) -> Iterator[Observation]:
    pool = prompts.human(data, sets)
    day_s = START_S + rng.uniform(4.0, 15.0) * DAY_S
    for number in range(150):
        picked = rng.sample(pool, _volume(rng, 5.0))
        begin_s = day_s + rng.triangular(0.0, 14.0, 3.0) * HOUR_S
        yield from map(_own, _sent(rng, f"guest-{number}", picked, begin_s, f"guest-{number}", "Mozilla/5.0"))


def _course(data: Path, rng: Random, sets: tuple[str, ...]) -> Iterator[Observation]:
    exercises = rng.sample(prompts.human(data, sets), 25)
    day_s = START_S + rng.uniform(3.0, 15.0) * DAY_S
    for number in range(30):
        picked = rng.sample(exercises, rng.randint(18, 25))
        begin_s = day_s + rng.uniform(0.0, 8.0) * HOUR_S
        yield from _sent(rng, f"student-{number}", picked, begin_s, "campus", "Mozilla/5.0")


def ours(calls: Iterable[Observation]) -> list[tuple[float, set[str]]]:
    """Every finding of the shipped detector: its time and the members it names."""
    detector = CoordinatedExtraction(share=Budget().share(DEPLOYMENT, len(discover())))
    found = []
    for call in calls:
        detection = detector.update(call)
        if detection is not None:
            named = next(str(row.observed) for row in detection.evidence if row.name == "members")
            found.append((call.time_s, set(named.split())))
    return found


def simple(calls: Iterable[Observation]) -> list[tuple[float, set[str]]]:
    """The simple rule for extraction, over the accounts of one network or agent as if they were one; once each.

    More than 1,000 queries an hour, a unique ratio above 0.85 after 50, or a variance of lengths below 50.
    """
    state: dict[str, list[float]] = {}
    members: dict[str, set[str]] = {}
    prompts_of: dict[str, set[int]] = {}
    found = []
    for call in calls:
        for key in (f"network {call.network}", f"agent {call.user_agent}"):
            seen = state.setdefault(key, [0.0, 0.0, 0.0, call.time_s, 0.0, 0.0])
            members.setdefault(key, set()).add(call.principal or "")
            prompts_of.setdefault(key, set()).add(call.prompt_hash or 0)
            chars = float(call.prompt_chars or 0)
            seen[0] += 1.0
            seen[1] += chars
            seen[2] += chars * chars
            seen[4] = 1.0 if call.time_s - seen[3] > HOUR_S else seen[4] + 1.0
            seen[3] = call.time_s if seen[4] == 1.0 else seen[3]
            if seen[5] or seen[0] <= 50.0 or len(members[key]) < 2:
                continue
            variance = seen[2] / seen[0] - (seen[1] / seen[0]) ** 2
            if seen[4] > 1_000.0 or len(prompts_of[key]) / seen[0] > 0.85 or variance < 50.0:
                seen[5] = 1.0
                found.append((call.time_s, set(members[key])))
    return found


def river(calls: Iterable[Observation]) -> list[tuple[float, set[str]]]:
    """ADWIN on the prompt lengths of the deployment; who it is about are the callers of the last 50 calls."""
    detector = ADWIN()  # type: ignore[no-untyped-call]  # River has no annotations
    found, recent = [], [""] * 50
    for place, call in enumerate(calls):
        recent[place % 50] = call.principal or ""
        detector.update(math.log1p(call.prompt_chars or 0))  # type: ignore[no-untyped-call]  # River has no annotations
        if detector.drift_detected:
            found.append((call.time_s, set(recent)))
    return found


CONTENDERS = {OURS: ours, "River ADWIN on prompt lengths": river, "simple rule over shared network or agent": simple}


def true(named: set[str], cohort: Cohort) -> bool:
    """Whether most of those who were named are members."""
    return len(named & cohort.members) * 2 > len(named)


def measure(data: Path, seed: int) -> Iterator[Figure]:
    """Cohorts found in percent at each size, and false cohorts per 10^5 benign calls."""
    quiet = benign(data, seed)
    for contender, find in CONTENDERS.items():
        false = len(find(quiet))
        yield Figure(contender=contender, metric="false cohorts", value=false * FALSE_PER / len(quiet))
    window = [call for call in quiet if call.time_s < START_S + 12.0 * DAY_S]
    for size in SIZES:
        cohorts = [attack(data, 8 * seed + place, shared, size) for place, shared in enumerate(SHARED)]
        cohorts = cohorts if size == SIZES[0] else cohorts[seed % 4 :: 4]
        streams = [sorted(window + list(cohort.calls), key=_time_s) for cohort in cohorts]
        for contender, find in CONTENDERS.items():
            hits = sum(
                any(true(named, cohort) for _, named in find(stream))
                for cohort, stream in zip(cohorts, streams, strict=True)
            )
            yield Figure(contender=contender, metric=f"found, {size} accounts", value=100.0 * hits / len(cohorts))


TASK = Task(
    title="Extraction over 100 accounts, 30 queries each",
    needs=("queries", "swap", "backdoor"),
    measure=measure,
    targets=(
        Target(metric="found, 100 accounts", unit="%", must=90.0, aim=100.0, averaged=True),
        Target(metric="found, 1000 accounts", unit="%", aim=90.0, averaged=True),
        Target(metric="false cohorts", unit="per 10^5 calls", must=1.0, less_is_better=True, averaged=True),
    ),
    note=(
        "200 benign principals, an office behind one address, users of one application, a marketing day and a course. "
        "Each run has one sweep for each thing attackers may share, from GSM8K or BOLD, in turns, at random or account "
        "after account, over an hour to three days (two weeks where they share nothing but the kind of prompt)."
    ),
)
