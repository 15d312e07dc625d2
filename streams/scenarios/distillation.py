"""Three hundred accounts collect the answers of a model to copy it.

Each account stays below any limit of its own: some twenty exercises to the code assistant, none of them twice, spread
over hours. They come from two hosting networks with three client libraries, and begin within one evening.
"""

from __future__ import annotations

from collections.abc import Iterator

from detectors.base import COHORT
from detectors.types import Severity
from streams.cases import causes
from streams.cases.incidents import CALLERS
from streams.plays._traffic_callers import ASSISTANT, Call
from streams.plays._traffic_texts import exercise
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage, newcomer

_BEGAN_S = 7.0 * HOUR_S
_ACCOUNTS, _LEAST_CALLS, _MOST_CALLS = 300, 18, 24
_AGENTS = ("python-httpx/0.28", "openai-python/1.61", "aiohttp/3.11")

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    scope=COHORT,
    component=CALLERS,
    causes=(causes.EXTRACTION,),
    detectors=("coordinated_extraction",),
    began_s=_BEGAN_S,
    opened_s=1.5 * HOUR_S,
    others=Severity.LOW,  # half of the calls are theirs, which shows in the deployment's own figures
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Sixteen hours, 6,000 ordinary events and 6,300 of the accounts."""
    stage = Stage(seed, end_s, hours=16.0, events=6_000)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    for _ in range(_ACCOUNTS):
        caller = newcomer(
            rng,
            ASSISTANT,
            network=f"{rng.choice(('203.0.113', '198.51.100'))}.{rng.randint(1, 254)}",
            agent=rng.choice(_AGENTS),
            temperature=0.0,
            max_tokens=1_024,
        )
        first_s = began_s + rng.random() * 1.5 * HOUR_S
        count = rng.randint(_LEAST_CALLS, _MOST_CALLS)
        gap_s = (end_s - first_s) / count
        stage.calls += [
            Call(
                time_s=first_s + (place + rng.random()) * gap_s,
                caller=caller,
                topic=rng.choice(ASSISTANT.topics),
                prompt=exercise(rng),
            )
            for place in range(count)
        ]
    return stage.lines()
