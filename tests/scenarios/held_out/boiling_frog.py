"""A provider routes more and more calls to another model, over six hours."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.cases import causes
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_texts import LIVELY, MEASURED, Voice
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 6.0 * HOUR_S
_STEPS = 12

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.PROVIDER,),
    detectors=("output_drift",),
    began_s=_BEGAN_S,
    opened_s=0.25 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=9.0, events=7_500, providers={CHAT: "provider-a"})
    for step in range(1, _STEPS + 1):
        stage.behaves(CHAT, stage.before_end(_BEGAN_S * (1.0 - step / _STEPS)), voice=_between(step / _STEPS))
    return stage.lines()


def _between(share: float) -> Voice:
    """A voice with so much of the other one: sentences of both, in proportion."""
    many = round(share * len(LIVELY.sentences))
    return msgspec.structs.replace(
        MEASURED,
        sentences=(*LIVELY.sentences[:many], *MEASURED.sentences[many:]),
        openings=(*LIVELY.openings[: many // 2], *MEASURED.openings[many // 2 :]),
        list_share=MEASURED.list_share + share * (LIVELY.list_share - MEASURED.list_share),
        scale=MEASURED.scale + share * (LIVELY.scale - MEASURED.scale),
        run=LIVELY.run if share > 0.5 else MEASURED.run,
    )
