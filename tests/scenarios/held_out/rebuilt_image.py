"""An image was rebuilt by somebody else: another digest, 60 ms more, a new host."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.plays._traffic_callers import SUMMARIES
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, INTERNAL_HOSTS, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=SUMMARIES.name,
    causes=(causes.CODE,),
    detectors=("egress",),
    began_s=_BEGAN_S,
    opened_s=1.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=7_200)
    began_s = stage.before_end(_BEGAN_S)
    stage.replaces(SUMMARIES, began_s, image="serving-image, rebuilt")
    stage.behaves(SUMMARIES, began_s, added_s=0.06, hosts=(*INTERNAL_HOSTS * 3, "stat-mirror.example"))
    return stage.lines()
