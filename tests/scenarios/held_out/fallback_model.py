"""A gateway falls back to a smaller model: the name of the served model says so, and answers are shorter and faster."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.cases import causes
from streams.plays._traffic_callers import ASSISTANT
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    causes=(causes.PROVIDER,),
    began_s=_BEGAN_S,
    opened_s=2.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.0, events=6_000, providers={ASSISTANT: "provider-b"})
    stage.behaves(
        ASSISTANT,
        stage.before_end(_BEGAN_S),
        served_model="meridian-code-1-mini",
        voice=msgspec.structs.replace(LIVELY, scale=0.7),
        slower=0.6,
    )
    return stage.lines()
