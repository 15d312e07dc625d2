"""A client in a retry loop: many times its calls for two hours, some turned away, and all callers wait longer."""

from __future__ import annotations

from collections.abc import Iterator

from detectors.types import Severity
from streams.cases import causes
from streams.plays._traffic_callers import ASSISTANT, Call
from streams.plays._traffic_texts import question
from streams.plays.scenario import Expected
from streams.plays.stage import DAY_S, HOUR_S, Stage

_BEGAN_S, _CALLS = 3.0 * HOUR_S, 1_800

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    causes=(causes.LOAD,),
    least=Severity.LOW,
    began_s=_BEGAN_S,
    opened_s=0.5 * HOUR_S,
    others=Severity.CRITICAL,  # whoever calls so much is a case of its own
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    stage = Stage(seed, end_s, hours=4 * DAY_S / HOUR_S, events=9_000)
    rng, began_s = stage.rng, stage.before_end(_BEGAN_S)
    caller = stage.busiest(ASSISTANT, "applications")
    prompts = [(topic, question(rng, topic)) for topic in ASSISTANT.topics for _ in range(4)]
    for _ in range(_CALLS):
        topic, prompt = rng.choice(prompts)
        stage.calls.append(
            Call(time_s=began_s + rng.random() * 2.0 * HOUR_S, caller=caller, topic=topic, prompt=prompt)
        )
    stage.behaves(ASSISTANT, began_s, error_share=0.2, slower=1.3)
    stage.behaves(ASSISTANT, began_s + 2.0 * HOUR_S, error_share=0.01, slower=1.0)
    return stage.lines()
