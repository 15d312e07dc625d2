"""Incidents with news, for the tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from detectors.types import Evidence, Severity
from streams.cases.incidents import (
    OPENED,
    Action,
    Affected,
    Cause,
    Cited,
    Incident,
    LastGood,
    Plan,
    Radius,
    Told,
    identity,
)

NOW_S = 1_790_000_000.0


def incident(number: int = 0, severity: Severity = Severity.HIGH, news: str | None = OPENED, **fields: Any) -> Incident:
    """The first news of an incident about changed weights, unless `fields` say otherwise."""
    deployment = fields.pop("deployment", "chat")
    made = Incident(
        incident_id=identity(deployment, "deployment", deployment, "serving", f"f{number}"),
        deployment=deployment,
        scope="deployment",
        subject=deployment,
        component="serving",
        first_s=NOW_S,
        last_s=NOW_S + 60,
        onset_s=NOW_S - 600,
        revision=2,
        severity=severity,
        summary="outputs changed after new weights",
        count=1,
        independent=1,
        detectors={"output_drift": 1},
        cited=(
            Cited(
                finding_id=f"f{number}",
                detector="output_drift",
                scope="deployment",
                subject=deployment,
                time_s=NOW_S,
                onset_s=NOW_S - 600,
                severity=severity,
                summary="outputs changed style",
                evidence=(Evidence(name="style", observed=1.5, expected=0.1, unit="sd"),),
            ),
        ),
        known=(f"f{number}",),
        causes=(
            Cause(
                name="weights_modified",
                title="The model's weights were modified",
                points=6.0,
                share=0.62,
                supports=("weights sha256:b, before sha256:a",),
                finding_ids=(f"f{number}",),
            ),
            Cause(name="unknown", title="Unknown", points=1.5, share=0.1),
        ),
        plan=Plan(
            affected=(Affected(component="weights", now="sha256:b", before="sha256:a", since_s=NOW_S - 600),),
            last_good=(LastGood(component="weights", version="sha256:a", until_s=NOW_S - 600),),
            radius=Radius(deployment=deployment, since_s=NOW_S - 600, until_s=NOW_S, query="SELECT 1"),
            roll_back=("Serve the last known good weights.",),
            notify=("team-a",),
            checks=("Compare digests.", "Ask the canaries.", "Look at outputs."),
            actions=(
                Action(
                    kind="pin_component",
                    target=deployment,
                    deployment=deployment,
                    component="weights",
                    version="sha256:a",
                    because="The model's weights were modified",
                ),
            ),
        ),
        news=news,
        told=Told(count=1, severity=severity, cause="weights_modified", time_s=NOW_S, reopened=0),
    )
    return msgspec.structs.replace(made, **fields)
