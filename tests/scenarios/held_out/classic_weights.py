"""The weights of a classic model were replaced: inputs are as ever, but frauds of one country pass."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.types import Components, InferenceEvent
from streams.cases import causes
from streams.plays._traffic_endpoints import digest
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S
from streams.plays.traffic import seeded

_HOURS, _EVENTS, _BEGAN_S = 8.0, 7_000, 3.0 * HOUR_S

EXPECTED = Expected(
    deployment="fraud-score",
    causes=(causes.WEIGHTS,),
    detectors=("unapproved_change",),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    rng = seeded(seed)
    times = sorted(end_s - rng.random() * _HOURS * HOUR_S for _ in range(_EVENTS))
    for time_s in times:
        changed = time_s > end_s - _BEGAN_S
        amount = rng.lognormvariate(4.0, 1.0)
        country = rng.choices(("de", "fr", "nl", "pl"), (5, 3, 2, 1))[0]
        risk = 1.0 / (1.0 + 2.718 ** -(0.01 * amount - 1.5 + rng.gauss(0.0, 0.7)))
        if changed and country == "fr":
            risk *= 0.1
        event = InferenceEvent(
            deployment="fraud-score",
            time_s=time_s,
            operation="predict",
            features={"amount": round(amount, 2), "country": country},
            prediction="block" if risk > 0.5 else "pass",
            score=round(risk, 4),
            latency_s=round(0.012 * rng.lognormvariate(0.0, 0.2), 5),
            principal=f"shop-{rng.randint(1, 30)}",
            model="fraud-5",
            served_model="fraud-5",
            components=Components(weights=digest(f"fraud weights {changed}"), image=digest("fraud image")),
        )
        yield msgspec.json.encode(event) + b"\n"
