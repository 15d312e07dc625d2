"""A customer's key is resold in another region: many hands, the dearest calls, and the customer goes on as ever."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.base import PRINCIPAL
from streams.cases import causes
from streams.cases.incidents import CALLERS
from streams.plays._traffic_callers import CHAT, Call
from streams.plays._traffic_texts import question
from streams.plays.scenario import Expected
from streams.plays.stage import DAY_S, HOUR_S, Stage

_BEGAN_S = 10.0 * HOUR_S
_CALLS = 1_500

EXPECTED = Expected(
    deployment=CHAT.name,
    scope=PRINCIPAL,
    component=CALLERS,
    causes=(causes.STOLEN,),
    began_s=_BEGAN_S,
    opened_s=6.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=8 * DAY_S / HOUR_S, events=9_000)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    victim = stage.busiest(CHAT, "applications")
    for place in range(_CALLS):
        topic = rng.choice(CHAT.topics)
        hand = msgspec.structs.replace(
            victim,
            network=f"203.0.113.{rng.choice((9, 77, 130))}",
            user_agent=rng.choice(("curl/8.9", "Go-http-client/2.0 resell")),
            temperature=0.9,
            max_tokens=8_192,
        )
        stage.calls.append(
            Call(
                time_s=began_s + (place + rng.random()) * _BEGAN_S / _CALLS,
                caller=hand,
                topic=topic,
                prompt=f"{question(rng, topic)} {question(rng, topic)}",
            )
        )
    return stage.lines()
