"""An update was approved, but other weights than the approved ones went live in its window."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.components.provenance import Change
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_endpoints import digest
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.WEIGHTS,),
    detectors=("unapproved_change",),
    began_s=_BEGAN_S,
    opened_s=2.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400)
    began_s = stage.before_end(_BEGAN_S)
    before = stage.made_of(CHAT)
    stage.replaces(CHAT, began_s, weights="support-chat/weights 3, with something in it")
    stage.behaves(CHAT, began_s, voice=LIVELY)
    stage.say(
        began_s - HOUR_S,
        Change(
            deployment=CHAT.name,
            component="weights",
            new=digest("support-chat/weights 3"),
            old=before.weights,
            ticket="CHG-7",
            from_s=began_s - 0.5 * HOUR_S,
            until_s=began_s + 2.0 * HOUR_S,
            decided_s=began_s - HOUR_S,
        ),
    )
    return stage.lines()
