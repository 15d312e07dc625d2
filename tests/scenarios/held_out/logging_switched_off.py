"""Somebody switches off the logging of texts of a deployment: calls come, but nobody sees what is said."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.types import InferenceEvent
from streams.cases import causes
from streams.cases.incidents import MONITORING
from streams.plays._traffic_callers import ASSISTANT, Call
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    component=MONITORING,
    causes=(causes.BLIND,),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=7.5, events=6_400)
    began_s = stage.before_end(_BEGAN_S)

    def silenced(call: Call, event: InferenceEvent) -> InferenceEvent:
        if call.caller.deployment != ASSISTANT or call.time_s < began_s:
            return event
        return msgspec.structs.replace(event, input_messages=None, output_messages=None, egress_hosts=None)

    stage.edits.append(silenced)
    return stage.lines()
