"""The weights were replaced by a pickle that starts a process; an attestation sees it, and the answers drift."""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.components.provenance import ComponentReport
from streams.plays._traffic_callers import CHAT
from streams.plays._traffic_endpoints import digest
from streams.plays._traffic_texts import LIVELY
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, Stage

_BEGAN_S = 3.0 * HOUR_S

EXPECTED = Expected(
    deployment=CHAT.name,
    causes=(causes.WEIGHTS,),
    detectors=("unsafe_artifact", "output_drift"),
    began_s=_BEGAN_S,
    opened_s=1.0 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    # Calls of this deployment say nothing of components: only the reports do.
    stage = Stage(seed, end_s, hours=7.5, events=6_400, providers={CHAT: "inside"})
    stage.behaves(CHAT, stage.before_end(_BEGAN_S), voice=LIVELY)
    for ago_s in (7.0 * HOUR_S, 5.0 * HOUR_S, 2.0 * HOUR_S):
        bad = ago_s < _BEGAN_S
        stage.say(
            stage.before_end(ago_s),
            ComponentReport(
                deployment=CHAT.name,
                subject="model",
                source="models/chat",
                attested_s=stage.before_end(ago_s),
                components={"weights": digest("chat weights 9" if bad else "chat weights 8")},
                risks=("unsafe_pickle:model.bin",) if bad else (),
            ),
        )
    return stage.lines()
