"""What a person or a machine is told: an alert, made of a finding. Pure.

Names and texts come from outside. In an alert they are inert: no control characters, no mentions, no markup and no
address that a chat would turn into a link. Links are ours alone.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from detectors.types import Finding, Severity
from streams.dlq import printable

_LONGEST_CHARS = 500
_MOST_EVIDENCE = 8
_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "@\u200b", "[": "(", "]": ")", "`": "'", "*": "\u2217"})


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message: `title` is one line, `lines` its text and `links` addresses of more.

    `id` stays the same when it is sent again; a receiver that knows it has it already.
    """

    id: str
    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Everything but the title, as plain text."""
        return "\n".join([*self.lines, *self.links])


def of_finding(finding: Finding, dashboard_url: str | None) -> Alert:
    """The alert about a finding; `dashboard_url` is Grafana's address, without it there are no links."""
    more = len(finding.evidence) - _MOST_EVIDENCE
    detector = _argument(finding.detector)
    lines = [
        inert(finding.summary),
        f"Since {_clock(finding.onset_s)}, seen {_clock(finding.time_s)}",
        f"Deployment {inert(finding.deployment)}, {finding.scope} {inert(finding.subject)}",
        f"Score {finding.score:.4g}, threshold {finding.threshold:.4g}",
        *(
            f"{inert(each.name)}: {_value(each.observed)}"
            f"{'' if each.expected is None else f', expected {_value(each.expected)}'} {inert(each.unit)}".rstrip()
            for each in finding.evidence[:_MOST_EVIDENCE]
        ),
        *([f"and {more} more"] if more > 0 else []),
        f"Evidence: inferwatch findings --detector {detector} --deployment {_argument(finding.deployment)}",
        f"What to do: inferwatch detectors show {detector}",
        f"Id {finding.finding_id}",
    ]
    return Alert(
        id=finding.finding_id,
        severity=finding.severity,
        title=f"{finding.severity.value}: {inert(finding.detector)} on {inert(finding.subject)}",
        lines=tuple(lines),
        links=() if dashboard_url is None else (_link(dashboard_url, finding),),
    )


def a_test(now_s: float) -> Alert:
    """The alert that `inferwatch alerts test` sends."""
    return Alert(
        id=f"test-{now_s:.3f}",
        severity=Severity.INFO,
        title="inferwatch test alert",
        lines=("Sent by `inferwatch alerts test`. Nothing was found; nothing is to be done.", _clock(now_s)),
    )


def inert(text: str) -> str:
    """A text from outside on one line, without anything that a receiver would act on."""
    return printable(text)[:_LONGEST_CHARS].translate(_HARMLESS).replace("://", "[:]//")


def _value(value: float | str) -> str:
    return inert(value) if isinstance(value, str) else f"{value:.4g}"


def _argument(text: str) -> str:
    """A name as an argument that a person may paste into a shell; inert, so a strange name must be typed by hand."""
    return shlex.quote(inert(text))


def _clock(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _link(dashboard_url: str, finding: Finding) -> str:
    name = quote(finding.deployment[:_LONGEST_CHARS], safe="", errors="replace")
    around = f"from={round(finding.onset_s * 1_000) - 3_600_000}&to={round(finding.time_s * 1_000) + 3_600_000}"
    return f"{dashboard_url.rstrip('/')}/d/inferwatch-deployment?var-deployment={name}&{around}"
