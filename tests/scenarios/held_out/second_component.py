"""New weights go live as approved, and two hours later a prompt template that nobody approved."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.cases import causes
from streams.components.provenance import Change
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_APPROVED_S, _BEGAN_S = 5.0 * HOUR_S, 2.5 * HOUR_S
_TERSE = msgspec.structs.replace(LIVELY, scale=0.6, list_share=0.1, openings=("Well.", "So."), closings=("Bye now.",))

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.ADAPTER,),
    detectors=("unapproved_change",),
    began_s=_APPROVED_S,
    opened_s=1.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=9.0, events=7_500)
    approved_s = stage.before_end(_APPROVED_S)
    before = stage.made_of(CHAT)
    after = stage.replaces(CHAT, approved_s, weights="support-chat/weights 3")
    stage.behaves(CHAT, approved_s, voice=LIVELY)
    stage.replaces(CHAT, stage.before_end(_BEGAN_S), prompt_template="support-chat/template, by nobody")
    stage.behaves(CHAT, stage.before_end(_BEGAN_S), voice=_TERSE)
    stage.say(
        approved_s - HOUR_S,
        Change(
            deployment=CHAT.name,
            component="weights",
            new=after.weights or "",
            old=before.weights,
            ticket="CHG-2001",
            from_s=approved_s - 0.5 * HOUR_S,
            until_s=approved_s + HOUR_S,
            decided_s=approved_s - HOUR_S,
        ),
    )
    return stage.lines()
