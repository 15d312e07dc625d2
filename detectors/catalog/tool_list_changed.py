"""Tools that a model is offered and that are others, or described otherwise, than before: the rug pull.

A tool server passes review with one description and serves another later. The digest of a list covers names,
descriptions and schemas, so any change of what a model reads shows; where reports give a digest of each tool, the tools
are named.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.newcomers import digest
from detectors.provenance import DIGESTS, TOOL_LIST, Decisions, brief, clean, sane
from detectors.sightings import WARM_UP_QUIET, Sightings, sighted
from detectors.types import REPORT, Detection, Evidence, Notice, Observation, Severity

_NAME = DIGESTS[TOOL_LIST]
_MOST_SERVERS = 8
_MOST_TOOLS = 384
"""Tools of all servers together: 24 KiB. The server that reported first gives up its place."""

_TOOL_CHARS = 48
_MOST_NAMED = 4

Tools = dict[str, int]
"""The digest of each tool in 64 bits, by its name."""


class ToolListChanged(Detector):
    """Says a list of tools once, when it is new for the deployment and not approved, and which tools are others.

    `seen` are the lists on calls, `reported` those of each server, `tools` the last list of each server that reports.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Tool list changed",
        scope=DEPLOYMENT,
        severity=Severity.CRITICAL,
        sees="A tool added, removed, or described otherwise than before, on calls or in a report, and approved by "
        "nobody; a rejected list that is offered",
        requires=(),
        any_of=("components", "notice"),
        warm_up=WARM_UP_QUIET,
        score_unit="tools that differ; 1 where only the list's digest is known",
        atlas=("AML.T0109", "AML.T0110.000", "AML.T0010.005", "AML.T0099"),
        owasp=("LLM03:2025", "LLM06:2025", "LLM01:2025"),
        causes=(
            "A tool server changed a description after it was reviewed: instructions for the model in it (rug pull).",
            "A tool server was taken over, or another one answers under its name.",
            "The server was updated by its owner, and nobody approved that here.",
            "An application was released with other tools.",
        ),
        false_positives=(
            "An update of a server or application that was not announced with `inferwatch changes approve`.",
            "A server whose descriptions hold what changes (dates, counts, names of users).",
            "A list that depends on who asks, of which one was not seen during the warm-up.",
        ),
        known_gaps=(
            "What a tool does can change without its description; egress and leakage see what it sends.",
            "Calls say that the list differs; which tools do is known from reports, of 128 tools of each server.",
            "A return to a list seen earlier is not said; after six new lists further ones are said once a week.",
        ),
        runbook=(
            "Read the new descriptions of the tools named, as the model gets them, in a plain text viewer.",
            "Run `inferwatch attest --tools` with `--against` the last good report: it shows what differs.",
            "Ask the server's owner for the release that brought the change; if there is none, disconnect the server.",
            "List the tool calls since the onset, their arguments and the hosts they named (egress).",
            "Change the credentials that the tools were given; then approve or reject the new list.",
        ),
        references=(
            "Model Context Protocol specification, Tools (2025)",
            "Invariant Labs, MCP Security Notification: Tool Poisoning Attacks (2025)",
            "MITRE ATLAS AML.T0109, AI Supply Chain Rug Pull",
        ),
    )

    now_s: float = 0.0
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    seen: Sightings | None = None
    reported: dict[str, Sightings] = msgspec.field(default_factory=dict)
    tools: dict[str, Tools] = msgspec.field(default_factory=dict)

    def update(self, observation: Observation) -> Detection | None:
        """Compare the tools of one call, or of a report, with those before."""
        components = observation.components
        stated = None if components is None or len(components) <= TOOL_LIST else components[TOOL_LIST]
        notice, seen = observation.notice, self.seen
        if notice is not None:
            self.now_s = sane(observation.time_s, self.now_s)
            if self.decisions.learn(notice, self.now_s) is not None and seen is not None:
                # A list that serves may be one that is rejected now: the next call is looked at.
                seen.current = ""
            return self._report(notice, stated) if notice.kind == REPORT else None
        if stated is None:
            return None
        if seen is not None and seen.learned and seen.current == stated:
            seen.count += 1
            return None
        self.now_s = sane(observation.time_s, self.now_s)
        if seen is None:
            seen = self.seen = Sightings(since_s=self.now_s)
        value = clean(stated)
        pins = list(self.decisions.pins(_NAME, self.now_s))
        if pins:
            seen.pin()
        # What a report was said to have changed to is no further news on calls.
        said = any(each.said and value in each.values for each in self.reported.values())
        known = said or any(pin.before == value for pin in pins)
        before = seen.current
        severity = self._judge(seen, value, known=known)
        return None if severity is None else self._detection(severity, value, before, [], "on calls")

    def _judge(self, seen: Sightings, value: str, *, known: bool) -> Severity | None:
        """Learn a list; how grave it is that it serves, if it is."""
        decision = self.decisions.on(_NAME, value)
        if decision is not None and not decision.approved:
            seen.accept(value, self.now_s)
            told, decision.told = decision.told, True
            return None if told else Severity.CRITICAL
        if known or (decision is not None and decision.covers(self.now_s)):
            seen.accept(value, self.now_s)
            return None
        return None if seen.see(value, self.now_s) is None else Severity.HIGH

    def _report(self, notice: Notice, stated: str | None) -> Detection | None:
        """The tools of one server, held against its last report."""
        if stated is None and not notice.tools:
            return None
        server = clean(notice.reference)
        tools = {_name(name): digest(version) for name, version in notice.tools}
        before, known = self.tools.get(server), self.reported.get(server)
        value = clean(stated) if stated is not None else f"tools {digest(repr(sorted(tools.items()))):016x}"
        fresh = Sightings(since_s=self.now_s, needs=1)
        kept = sighted(self.reported, server, _MOST_SERVERS, fresh)
        last = "" if known is None else known.current
        severity = self._judge(kept, value, known=False)
        if tools:
            self._keep(server, tools)
        if severity is None:
            return None
        differing = _differences(before, tools) if before is not None and tools else []
        return self._detection(severity, value, last, differing, f"of {brief(server)}" if server else "of a report")

    def _keep(self, server: str, tools: Tools) -> None:
        self.tools.pop(server, None)
        self.tools[server] = tools
        while len(self.tools) > 1 and sum(map(len, self.tools.values())) > _MOST_TOOLS:
            del self.tools[next(iter(self.tools))]

    def _detection(
        self, severity: Severity, value: str, before: str, differing: list[tuple[str, list[str]]], where: str
    ) -> Detection:
        count = sum(len(names) for _, names in differing)
        what = "; ".join(f"{how} {_listed(names)}" for how, names in differing) or "which tools differ is not known"
        why = "was rejected and is offered" if severity is Severity.CRITICAL else "changed and nobody approved it"
        rows = [Evidence(name=f"tools {how}", observed=_listed(names)) for how, names in differing]
        return Detection(
            summary=f"The list of tools {where} {why}: {what}.",
            severity=severity,
            score=float(max(count, 1)),
            threshold=1.0,
            onset_s=self.now_s,
            evidence=(Evidence(name=_NAME, observed=value, expected=before or None), *rows),
            fact=f"{value} {bool(differing)}",
        )


def _differences(before: Tools, now: Tools) -> list[tuple[str, list[str]]]:
    """Names of tools by how they differ, those kinds of difference that there are."""
    found = (
        ("changed", [name for name in now if name in before and now[name] != before[name]]),
        ("added", [name for name in now if name not in before]),
        ("removed", [name for name in before if name not in now]),
    )
    return [(how, names) for how, names in found if names]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more


def _name(raw: str) -> str:
    """A tool's name fit to print; two long ones that begin alike stay two."""
    name = clean(raw)
    return name if len(name) <= _TOOL_CHARS else f"{name[: _TOOL_CHARS - 9]}~{digest(raw) & 0xFFFFFFFF:08x}"
