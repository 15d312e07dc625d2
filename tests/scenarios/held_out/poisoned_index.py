"""Pages were put into the retrieval index: the index is another, and answers name addresses that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.plays._traffic_callers import SUMMARIES
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.5 * HOUR_S
_KNOWN = tuple(f"https://docs{number}.handbook.example/page" for number in range(12))
_NEW = tuple(f"https://offer{number}.best-deals.example/now" for number in range(60))

EXPECTED = Expected(
    deployment=SUMMARIES.name,
    causes=(causes.INDEX,),
    began_s=_BEGAN_S,
    opened_s=1.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=7_200)
    stage.behaves(SUMMARIES, float("-inf"), links=_KNOWN, link_share=0.5)
    stage.replaces(SUMMARIES, float("-inf"), retrieval_index="index 880")
    stage.replaces(SUMMARIES, stage.before_end(_BEGAN_S), retrieval_index="index 881")
    stage.behaves(SUMMARIES, stage.before_end(_BEGAN_S), links=(*_KNOWN * 30, *_NEW), link_share=0.6)
    return stage.lines()
