"""A tokenizer of another model was put in place: answers are longer in tokens, and a little broken."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.types import InferenceEvent, Message
from streams.cases import causes
from streams.plays._traffic_callers import CHAT, Call
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.ADAPTER,),
    detectors=("output_drift",),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400)
    began_s, rng = stage.before_end(_BEGAN_S), stage.rng
    stage.replaces(CHAT, began_s, tokenizer="meridian-chat-1/tokenizer")

    def broken(call: Call, event: InferenceEvent) -> InferenceEvent:
        if call.caller.deployment != CHAT or call.time_s < began_s or not event.output_messages:
            return event
        words = (event.output_messages[0].content or "").split(" ")
        text = " ".join(word[:-1] if len(word) > 4 and rng.random() < 0.2 else word for word in words)
        return msgspec.structs.replace(
            event,
            output_messages=(Message(role="assistant", content=text),),
            output_tokens=int(1.2 * (event.output_tokens or 0)),
        )

    stage.edits.append(broken)
    return stage.lines()
