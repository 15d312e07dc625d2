"""A campaign brings five times the callers for an afternoon.

Nothing is wrong: hundreds of new customers ask the support chat what customers always ask. It is busier, a little
slower, and some calls are turned away. Nobody is to be woken.
"""

from __future__ import annotations

from collections.abc import Iterator

from detectors.types import Severity
from streams.plays._traffic_callers import CHAT, Call
from streams.plays._traffic_texts import question
from streams.plays.scenario import Expected
from streams.plays.stage import DAY_S, HOUR_S, Stage, newcomer

_BEGAN_S = 5.0 * HOUR_S
_VISITORS, _TURNS = 330, 3.0
_BROWSERS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone)", "shop-app/5.12 (Android 14)")

EXPECTED = Expected(began_s=_BEGAN_S, others=Severity.LOW)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Four days, 10,000 ordinary events and some 1,200 of the campaign."""
    stage = Stage(seed, end_s, hours=4 * DAY_S / HOUR_S, events=10_000)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    for _ in range(_VISITORS):
        network = f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randint(1, 254)}"
        caller = newcomer(rng, CHAT, network=network, agent=rng.choice(_BROWSERS), stream=True)
        topic, session = rng.choice(CHAT.topics), f"s-{rng.getrandbits(40):010x}"
        time_s = began_s + rng.betavariate(1.5, 2.0) * 0.95 * _BEGAN_S
        for turn in range(1 + int(rng.expovariate(1.0 / _TURNS))):
            stage.calls.append(
                Call(time_s=time_s, caller=caller, topic=topic, prompt=question(rng, topic), session=session, turn=turn)
            )
            time_s = min(time_s + rng.lognormvariate(3.7, 0.8), end_s)
    stage.behaves(CHAT, began_s, error_share=0.02)
    return stage.lines()
