"""An installation with three deployments, of which one is slower and writes otherwise since an onset, in a store."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator

import msgspec

from detectors.bank import discover
from detectors.features import STYLE
from detectors.types import Components, Finding, InferenceEvent, Message, Observation, Severity
from streams.cases.incidents import Incident, Verdict
from streams.clickhouse import Store
from streams.dlq import DeadLetter
from streams.pipeline import Stored
from streams.triage import Cases
from tests.findings import QUIET_S, changed, found, slower
from tests.report.attacks import ATTACKS
from tests.store_values import LETTER, stored

START_S = 1_750_000_000.0
ONSET_S = START_S
LEAD_S = 4 * 3_600.0
NOW_S = START_S + 2 * 3_600.0
"""Calls go from `LEAD_S` before the onset until now; findings come within the hour after it."""

SECRET = "my key is sk-abcdefghijklmnopqrstuvwx0123, write to ann@example.com"
_EVERY_S = 20.0


def calls() -> Iterator[Stored]:
    """About 1,700 calls; after the onset slower, and written otherwise. A caller comes with it, and attacks do."""
    random_ = random.Random(7)
    count = int((NOW_S - START_S + LEAD_S) / _EVERY_S)
    for number in range(count):
        time_s = START_S - LEAD_S + number * _EVERY_S
        yield _call(random_, number, "chat", time_s)
        if number % 3 == 0:
            yield _call(random_, 100_000 + number, "search", time_s)
        if number % 9 == 0 and time_s < START_S - 7_200.0:
            yield _call(random_, 200_000 + number, "silent-one", time_s)
    for number, text in enumerate(ATTACKS.values()):
        sent = text.encode("utf-8", "replace").decode()
        yield _call(random_, 300_000 + number, "chat", ONSET_S + 1.0 + number, sent)


def _call(random_: random.Random, number: int, deployment: str, time_s: float, text: str = SECRET) -> Stored:
    after = deployment == "chat" and time_s >= ONSET_S
    event_id = f"t:0:{number}:0"
    style = [random_.gauss(0.5, 0.1) for _ in STYLE]
    style[STYLE.index("line_breaks")] += 0.4 * after
    event = InferenceEvent(
        deployment=deployment,
        time_s=time_s,
        event_id=event_id,
        source="native",
        model="m",
        served_model="m-2025" if after else "m-2024",
        principal="p_newcomer" if after and number % 2 else f"p_{number % 5}",
        network=f"n_{number % 3}",
        session=f"s_{number % 50}",
        input_tokens=100,
        output_tokens=50 + 30 * after,
        latency_s=random_.uniform(0.2, 0.4) + 0.3 * after,
        ttft_s=0.1,
        finish_reasons=("stop",),
        input_messages=(Message(role="user", content=text),),
        output_messages=(Message(role="assistant", content=f"echo: {text}"),),
        components=Components(weights="sha256:new" if after else "sha256:old"),
    )
    seen = Observation(
        event_id=event_id,
        time_s=time_s,
        deployment=deployment,
        failed=after and number % 4 == 0,
        refused=number % 50 == 0,
        finish_reason="stop",
        style=tuple(style),
    )
    return msgspec.structs.replace(stored(event, seen, (0, number, 0)), record_time_s=time_s)


@functools.cache
def findings() -> tuple[Finding, ...]:
    """What detectors said of it."""
    return (
        changed("weights", "sha256:new", "sha256:old", 60.0),
        slower(600.0),
        found("output_drift", 900.0, ("line_breaks", 0.9, 0.5), severity=Severity.HIGH, onset_s=0.0),
        found("error_shift", 1_200.0, ("error rate", 0.25, 0.0), severity=Severity.CRITICAL, onset_s=0.0),
        found("extraction", 1_800.0, ("new prompts", 400.0), scope="principal", subject="p_newcomer"),
    )


@functools.cache
def incidents() -> tuple[Incident, ...]:
    """What triage makes of them."""
    cases = Cases(QUIET_S, {name: kind.metadata for name, kind in discover().items()}, {"chat": "team-chat"})
    latest = {each.incident_id: each for finding in findings() for each in cases.take(finding)}
    return tuple(latest.values())


def letters() -> list[DeadLetter]:
    """A dead letter of now, with an attack in it."""
    return [
        DeadLetter(
            **{name: getattr(LETTER, name) for name in LETTER.__struct_fields__}
            | {"record_time_s": NOW_S - 60.0, "reason": ATTACKS["script"]}
        )
    ]


def fill(store: Store) -> None:
    """All of it into an empty database."""
    store.insert_events(list(calls()))
    store.insert_findings(findings())
    store.insert_incidents(incidents())
    store.insert_dead_letters(letters())
    serving = next(each for each in incidents() if each.component == "serving")
    store.insert_verdict(Verdict(incident_id=serving.incident_id, verdict="true", note=ATTACKS["markup"]))
