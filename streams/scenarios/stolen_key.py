"""The key of an application is used from another continent while the application still runs.

An application calls the code assistant from one network around the clock, every day. One night its key comes from
another network, region and client library as well, as often as the limit allows and asking for the longest answers.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.base import PRINCIPAL
from streams.cases import causes
from streams.cases.incidents import CALLERS
from streams.plays._traffic_callers import ASSISTANT, DEPLOYMENTS, Call
from streams.plays._traffic_texts import question
from streams.plays.scenario import Expected
from streams.plays.stage import DAY_S, HOUR_S, Stage

_BEGAN_S = 6.0 * HOUR_S
_CALLS = 700

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    scope=PRINCIPAL,
    component=CALLERS,
    causes=(causes.STOLEN,),
    detectors=("new_context",),
    began_s=_BEGAN_S,
    opened_s=4.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Eight days, 9,000 ordinary events and 700 of the thief."""
    stage = Stage(seed, end_s, hours=8 * DAY_S / HOUR_S, events=9_000)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    victim = stage.busiest(ASSISTANT, "applications")
    regions = {each.principal: "eu-central" for each in {call.caller for call in stage.calls}}
    stage.calls = [
        msgspec.structs.replace(
            call, caller=msgspec.structs.replace(call.caller, region=regions[call.caller.principal])
        )
        for call in stage.calls
    ]
    thief = msgspec.structs.replace(
        victim,
        network="198.51.100.77",
        user_agent="node-fetch/3.3",
        region="ap-southeast",
        temperature=1.0,
        max_tokens=4_096,
    )
    long_topics = [topic for each in DEPLOYMENTS for topic in each.topics]
    stage.calls += [
        Call(
            time_s=began_s + (place + rng.random()) * _BEGAN_S / _CALLS,
            caller=thief,
            topic=(topic := rng.choice(long_topics)),
            prompt=question(rng, topic),
        )
        for place in range(_CALLS)
    ]
    return stage.lines()
