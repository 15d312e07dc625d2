"""A provider answers with another model under the same name.

The support chat is hosted by a provider that says nothing of its components. In the afternoon it answers in another
voice and a little faster; the name of the served model stays. Traffic of the other deployments goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 2.5 * HOUR_S

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.PROVIDER,),
    detectors=("output_drift",),
    began_s=_BEGAN_S,
    opened_s=0.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Eight hours, 7,000 events."""
    stage = Stage(seed, end_s, hours=8.0, events=7_000, providers={CHAT: "provider-a"})
    stage.behaves(CHAT, stage.before_end(_BEGAN_S), voice=LIVELY, slower=0.9)
    return stage.lines()
