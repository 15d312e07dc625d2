"""A small installation with an incident in it, for the tests of what questions answer."""

from __future__ import annotations

import time
from typing import Any

from detectors.types import Components, InferenceEvent, Message, Observation, ToolCall
from streams.cases.incidents import Incident, Verdict
from streams.clickhouse import Store
from streams.pipeline import Stored
from tests.findings import found
from tests.incidents import incident

NOW_S = float(int(time.time()) // 3_600 * 3_600)
ONSET_S = NOW_S - 2 * 86_400
CONTAINED_S = ONSET_S + 7_200
THIEF, GUEST, EARLY, LATE = ("p_" + letter * 32 for letter in "abcd")
CASE = incident(
    deployment="chat",
    scope="principal",
    subject=THIEF,
    onset_s=ONSET_S,
    first_s=ONSET_S + 60,
    last_s=ONSET_S + 600,
    members=(THIEF,),
    summary='=HYPERLINK("http://evil") \x1b[31m\'; DROP TABLE x',
)


def call(  # noqa: PLR0913 - each is a fact of a call that some test is about
    number: int,
    at_s: float,
    principal: str | None,
    *,
    deployment: str = "chat",
    session: str | None = None,
    tools: tuple[str, ...] = (),
    latency_s: float = 1.0,
    refused: bool = False,
    failed: bool = False,
    weights: str = "sha256:old",
    style: float = 1.0,
) -> Stored:
    """A call `at_s` seconds after the onset, unix seconds."""
    event_id = f"t:0:{number}:0"
    when_s = ONSET_S + at_s
    answer = Message(
        role="assistant",
        content="ok",
        tool_calls=tuple(ToolCall(name=name, arguments="{}", call_id="c") for name in tools) or None,
    )
    event = InferenceEvent(
        deployment=deployment,
        time_s=when_s,
        event_id=event_id,
        source="native",
        operation="chat",
        served_model="m-1",
        components=Components(weights=weights),
        principal=principal,
        session=session,
        network="203.0.113.0/24",
        user_agent="=curl",
        input_messages=(Message(role="user", content="secret prompt words"),),
        output_messages=(answer,),
        latency_s=latency_s,
        input_tokens=10,
        output_tokens=20,
        egress_hosts=("evil.example",) if tools else (),
    )
    seen: dict[str, Any] = {"principal": principal, "refused": refused, "failed": failed, "style": (style,) * 16}
    observation = Observation(
        event_id=event_id, time_s=when_s, deployment=deployment, prompt_template=7, prompt_simhash=9, **seen
    )
    return Stored(
        event=event,
        observation=observation,
        topic="inference-logs",
        partition=0,
        offset=number,
        index=0,
        record_time_s=when_s,
    )


CALLS = (
    *(call(each, -7_200 + 60 * each, EARLY, session="s_early", style=1.0 + each % 2) for each in range(20)),
    *(call(100 + each, 60 * each, THIEF, session=f"s_thief{each % 2}", latency_s=3.0, style=5.0) for each in range(10)),
    call(200, 600, GUEST, session="s_guest", tools=("mail", "delete_all"), weights="sha256:new"),
    call(201, 660, GUEST, session="s_guest", refused=True, weights="sha256:new"),
    call(202, 720, GUEST, session="s_guest", failed=True, weights="sha256:new"),
    call(203, 780, None),
    call(300, 7_200, LATE, session="s_late"),
    call(301, 900, LATE, deployment="search", session="s_other"),
)
"""Before the onset, since the onset, and at or after containment (`LATE`)."""


def plant(store: Store) -> Incident:
    """Store all of it, the calls twice as a replay would, in parts that nobody has merged yet."""
    store.insert_events(CALLS)
    store.insert_events(CALLS)
    store.insert_incidents([CASE])
    store.insert_verdict(Verdict(incident_id=CASE.incident_id, verdict="true", note="it is", said_by="ann"))
    finding = found("extraction", scope="principal", subject=THIEF, finding_id="f0")
    store.insert_findings(
        [
            type(finding)(
                **{
                    **{f: getattr(finding, f) for f in finding.__struct_fields__},
                    "time_s": ONSET_S + 60,
                    "onset_s": ONSET_S,
                }
            )
        ]
    )
    return CASE
