"""A provider swaps its model; hourly runs of known prompts at temperature 0 get other answers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.types import InferenceEvent
from streams.cases import causes
from streams.plays._traffic_callers import SUMMARIES, Call
from streams.plays._traffic_texts import LIVELY, MEASURED, answer
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage, newcomer
from streams.plays.traffic import seeded

_HOURS, _BEGAN_S, _PROMPTS = 10, 3.0 * HOUR_S, 50

EXPECTED = Expected(
    deployment=SUMMARIES.name,
    causes=(causes.PROVIDER,),
    detectors=("canary",),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=_HOURS, events=6_000, providers={SUMMARIES: "provider-c"})
    stage.behaves(SUMMARIES, stage.before_end(_BEGAN_S), voice=LIVELY)
    asker = newcomer(stage.rng, SUMMARIES, network="192.0.2.9", agent="inferwatch", temperature=0.0)
    for hour in range(_HOURS):
        began_s = stage.before_end((_HOURS - hour - 0.5) * HOUR_S)
        for number in range(_PROMPTS):
            topic = SUMMARIES.topics[number % len(SUMMARIES.topics)]
            prompt = f"Canary {number}: tell me about {topic.title} and case {number}."
            stage.calls.append(Call(time_s=began_s + 3.0 * number, caller=asker, topic=topic, prompt=prompt))

    def fixed(call: Call, event: InferenceEvent) -> InferenceEvent:
        if not call.prompt.startswith("Canary") or not event.output_messages:
            return event
        voice = MEASURED if call.time_s < stage.before_end(_BEGAN_S) else LIVELY
        said = answer(seeded(sum(call.prompt.encode())), voice, call.topic, SUMMARIES.chars, 0.0)
        (message,) = event.output_messages
        told = (msgspec.structs.replace(message, content=said),)
        return msgspec.structs.replace(event, output_messages=told, operation="canary")

    stage.edits.append(fixed)
    return stage.lines()
