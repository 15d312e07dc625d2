"""Somebody patches the inference server: 80 ms more a call, and connections to one new host.

The search summaries answer as ever and all digests stay, since the file was changed in the running container. What a
copy of every call costs is 80 ms to the first token; one call in eight is seen to connect to a host nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.plays._traffic_callers import SUMMARIES
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, INTERNAL_HOSTS, Stage

_BEGAN_S = 3.0 * HOUR_S
_ADDED_S = 0.080

EXPECTED = Expected(
    deployment=SUMMARIES.name,
    causes=(causes.CODE,),
    detectors=("egress", "latency_shift"),
    began_s=_BEGAN_S,
    opened_s=2.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Ten hours, 10,000 events."""
    stage = Stage(seed, end_s, hours=10.0, events=10_000)
    hosts = (*INTERNAL_HOSTS * 2, "cdn-stat.example")
    stage.behaves(SUMMARIES, stage.before_end(_BEGAN_S), added_s=_ADDED_S, hosts=hosts)
    return stage.lines()
