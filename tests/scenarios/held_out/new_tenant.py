"""A large customer moves in with another kind of task: a third of the traffic is theirs, and the model is the same."""

from __future__ import annotations

from collections.abc import Iterator

from streams.plays._traffic_callers import CHAT, Call
from streams.plays._traffic_texts import question
from streams.plays._traffic_words import CODE
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage, newcomer

_BEGAN_S, _CALLS, _STAFF = 4.0 * HOUR_S, 1_200, 60

EXPECTED = Expected(began_s=_BEGAN_S)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    staff = [
        newcomer(rng, CHAT, network=f"198.51.100.{number}", agent="tenant-portal/2.1", temperature=0.2)
        for number in range(_STAFF)
    ]
    busy = [rng.lognormvariate(0.0, 0.9) for _ in staff]
    for place in range(_CALLS):
        topic = rng.choice(CODE)
        time_s = began_s + (place + rng.random()) * _BEGAN_S / _CALLS
        prompt = f"For the manual: {question(rng, topic)} {question(rng, topic)}"
        stage.calls.append(Call(time_s=time_s, caller=rng.choices(staff, busy)[0], topic=topic, prompt=prompt))
    return stage.lines()
