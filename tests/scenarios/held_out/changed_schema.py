"""A team upstream changes the unit of one field and adds callers: a classic model sees other inputs than it learned."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.types import Components, InferenceEvent
from streams.cases import causes
from streams.plays._traffic_endpoints import digest
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S
from streams.plays.traffic import seeded

_HOURS, _EVENTS, _BEGAN_S = 8.0, 6_000, 2.5 * HOUR_S

EXPECTED = Expected(
    deployment="fraud-score",
    causes=(causes.MIX,),
    detectors=("feature_drift",),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    rng = seeded(seed)
    times = sorted(end_s - rng.random() * _HOURS * HOUR_S for _ in range(_EVENTS))
    made_of = Components(weights=digest("fraud weights"), image=digest("fraud image"))
    for time_s in times:
        changed = time_s > end_s - _BEGAN_S
        amount = rng.lognormvariate(3.5, 1.0) * (100.0 if changed else 1.0)
        age_days = rng.expovariate(1.0 / 400.0)
        country = rng.choices(("de", "fr", "nl", "pl"), (5, 3, 2, 1))[0]
        risk = 1.0 / (1.0 + 2.718 ** -(0.0004 * amount - 0.004 * age_days - 1.0 + rng.gauss(0.0, 0.5)))
        event = InferenceEvent(
            deployment="fraud-score",
            time_s=time_s,
            operation="predict",
            features={"amount": round(amount, 2), "age_days": round(age_days, 1), "country": country},
            prediction="block" if risk > 0.6 else "pass",
            score=round(risk, 4),
            latency_s=round(0.012 * rng.lognormvariate(0.0, 0.2), 5),
            principal=f"shop-{rng.randint(1, 30)}",
            model="fraud-5",
            served_model="fraud-5",
            components=made_of,
        )
        yield msgspec.json.encode(event) + b"\n"
