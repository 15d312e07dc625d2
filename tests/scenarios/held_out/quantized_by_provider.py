"""A provider quantizes its model and says nothing: much faster, and a little terser."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.cases import causes
from streams.plays._traffic_callers import ASSISTANT
from streams.plays._traffic_texts import MEASURED
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S
_TERSER = msgspec.structs.replace(MEASURED, scale=0.8, list_share=0.12, opening_share=0.2, closing_share=0.1, run=4)

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    causes=(causes.PROVIDER,),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400, providers={ASSISTANT: "provider-b"})
    stage.behaves(ASSISTANT, stage.before_end(_BEGAN_S), voice=_TERSER, slower=0.7)
    return stage.lines()
