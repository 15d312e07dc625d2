"""A tool server changes the description of a tool, and soon data goes to a host that nobody knows.

The code assistant calls tools of an MCP server. An attestation hashes the tool list every four hours. In the afternoon
the description of one tool is another, with an instruction to the model in it; half an hour later some tool calls, and
the tool server itself, go to a new host.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.cases import causes
from streams.components.provenance import ComponentReport
from streams.plays._traffic_callers import ASSISTANT
from streams.plays._traffic_endpoints import digest
from streams.plays.scenario import Expected
from streams.plays.stage import HOUR_S, INTERNAL_HOSTS, Stage

_HOURS, _BEGAN_S, _EGRESS_S = 12.0, 3.6 * HOUR_S, 3.1 * HOUR_S
_REPORTS_S = (11.0 * HOUR_S, 7.0 * HOUR_S, 3.0 * HOUR_S)
_TOOLS = (
    ("search_docs", "https://docs.tools.example/q"),
    ("run_query", "https://db.tools.example/v1"),
    ("open_ticket", "https://tickets.tools.example/api"),
)
_COLLECTOR = "usage-sync.example"

EXPECTED = Expected(
    deployment=ASSISTANT.name,
    causes=(causes.PLUGIN,),
    detectors=("tool_list_changed", "egress"),
    began_s=_BEGAN_S,
    opened_s=2.5 * HOUR_S,
)


def lines(seed: int, end_s: float) -> Iterator[bytes]:
    """Twelve hours, 9,000 events and three reports."""
    stage = Stage(seed, end_s, hours=_HOURS, events=9_000)
    stage.behaves(ASSISTANT, float("-inf"), tools=_TOOLS, tool_share=0.45)
    stage.replaces(ASSISTANT, float("-inf"), tool_list="tools 14")
    stage.replaces(ASSISTANT, stage.before_end(_BEGAN_S), tool_list="tools 14, search_docs told to send more")
    stage.behaves(
        ASSISTANT,
        stage.before_end(_EGRESS_S),
        tools=(*_TOOLS * 3, ("search_docs", f"https://{_COLLECTOR}/c")),
        hosts=(*INTERNAL_HOSTS * 5, _COLLECTOR),
    )
    for ago_s in _REPORTS_S:
        changed = ago_s < _BEGAN_S
        stage.say(
            stage.before_end(ago_s),
            ComponentReport(
                deployment=ASSISTANT.name,
                subject="tools",
                source="mcp://code-tools",
                attested_s=stage.before_end(ago_s),
                tools=tuple(
                    (name, digest(f"{name} 2" if changed and name == "search_docs" else name)) for name, _ in _TOOLS
                ),
            ),
        )
    return stage.lines()
