"""A package of the serving side was replaced: another package set, and now and then a connection to a new host."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.plays._traffic_callers import ASSISTANT
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, INTERNAL_HOSTS, Stage

_BEGAN_S = 3.5 * HOUR_S

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    causes=(causes.CODE,),
    detectors=("egress",),
    began_s=_BEGAN_S,
    opened_s=2.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400)
    stage.replaces(ASSISTANT, float("-inf"), package_set="lock 31")
    stage.replaces(ASSISTANT, stage.before_end(_BEGAN_S), package_set="lock 31, one wheel is another")
    stage.behaves(ASSISTANT, stage.before_end(_BEGAN_S), hosts=(*INTERNAL_HOSTS * 6, "pkg-telemetry.example"))
    return stage.lines()
