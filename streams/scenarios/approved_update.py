"""A new version of the model goes live as it was approved: another voice, faster, and nobody is to be woken.

The owner approved new weights and a new image for the support chat, with a ticket and a window of four hours. They go
live within it. Answers differ from before in style and speed, as was meant.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.components.provenance import Change
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 4.0 * HOUR_S

EXPECTED = Expected(began_s=_BEGAN_S)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Ten hours, 9,000 events and two approvals."""
    stage = Stage(seed, end_s, hours=10.0, events=9_000)
    began_s = stage.before_end(_BEGAN_S)
    before = stage.made_of(CHAT)
    after = stage.replaces(CHAT, began_s, weights="support-chat/weights 3", image="serving-image 3")
    stage.behaves(CHAT, began_s, voice=LIVELY, slower=0.88)
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    for component in ("weights", "image"):
        stage.say(
            began_s - 1.5 * HOUR_S,
            Change(
                deployment=CHAT.name,
                component=component,
                new=new[component],
                old=old[component],
                who="release@chat.example",
                ticket="CHG-1042",
                from_s=began_s - 0.5 * HOUR_S,
                until_s=began_s + 3.5 * HOUR_S,
                decided_s=began_s - 1.5 * HOUR_S,
            ),
        )
    return stage.lines()
