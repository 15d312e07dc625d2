"""What a person or a machine is told: an alert, made of an incident or of what was held back. Pure.

Names and texts come from outside. In what people read they are inert: no control characters, no mentions, no markup
and no address that a chat would turn into a link. Links are ours alone. `Alert.about` is for machines, and has names
as they are in the stream.
"""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from detectors.types import Severity
from streams.alerting.templates import Template
from streams.cases.causes import UNKNOWN, is_sure
from streams.cases.incidents import CLOSED, OPENED, REOPENED, WORSE, Action, Affected, Incident, LastGood
from streams.cases.signs import fact
from streams.dlq import printable

_LONGEST_CHARS = 500
_LONGEST_TITLE_CHARS = 250
_LONGEST_TEXT_CHARS = 10_000
_MOST_SAID = 3
_MOST_ROWS = 5
_MOST_LISTED = 30
_MOST_MACHINE_ROWS = 64
_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "@\u200b", "[": "(", "]": ")", "`": "'", "*": "\u2217"})
_NEWS = {OPENED: "", WORSE: "worse, ", REOPENED: "again, ", CLOSED: "closed, was "}


class Likely(msgspec.Struct, frozen=True, kw_only=True):
    """A cause by name, and its share of the evidence."""

    name: str
    share: float


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The incident of an alert for machines: exact names, at most 64 of a kind; topic `incidents` has all of it."""

    incident_id: str
    revision: int
    news: str
    state: str
    deployment: str
    scope: str
    subject: str
    component: str
    onset_s: float
    last_s: float
    findings: int
    detectors: tuple[str, ...] = ()
    causes: tuple[Likely, ...] = ()
    affected: tuple[Affected, ...] = ()
    last_good: tuple[LastGood, ...] = ()
    actions: tuple[Action, ...] = ()


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message: `title` is one line, `lines` its text and `links` addresses of more.

    `id` stays the same when it is sent again; a receiver that knows it has it already. `resolved` says that an
    incident has closed. `about` is missing in a digest.
    """

    id: str
    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    resolved: bool = False
    about: About | None = None

    @property
    def text(self) -> str:
        """Everything but the title, as plain text."""
        return "\n".join([*self.lines, *self.links])


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """What a digest says of a piece of news; `news_id` is its alert's."""

    news_id: str
    incident_id: str
    deployment: str
    severity: Severity
    cause: str


def of_incident(
    incident: Incident,
    dashboard_url: str | None,
    templates: tuple[Template | None, Template | None] = (None, None),
) -> Alert:
    """The alert about an incident's news; `dashboard_url` is Grafana's address, without it there are no links."""
    closed = incident.news == CLOSED
    links = () if dashboard_url is None else _links(dashboard_url, incident)
    title = f"{_NEWS.get(incident.news or '', '')}{incident.severity.value}: {_cause(incident)}"
    doubt = "" if not incident.causes or is_sure(incident.causes[0]) or incident.causes[0].name == UNKNOWN else "?"
    title = f"{title}{doubt} on {inert(incident.deployment)}"
    lines = [*_what(incident), *([] if closed else _to_do(incident)), f"Page: {_command(incident)}"]
    if templates != (None, None):
        values = _values(incident, links)
        title = title if templates[0] is None else " ".join(templates[0].filled(values).split())
        lines = lines if templates[1] is None else templates[1].filled(values)[:_LONGEST_TEXT_CHARS].splitlines()
    return Alert(
        id=incident.news_id or f"{incident.incident_id}:{incident.revision}",
        severity=incident.severity,
        title=title[:_LONGEST_TITLE_CHARS],
        lines=tuple(lines),
        links=links,
        resolved=closed,
        about=_about(incident),
    )


def brief(incident: Incident) -> Brief:
    """What a digest will say of it."""
    return Brief(
        news_id=incident.news_id or f"{incident.incident_id}:{incident.revision}",
        incident_id=incident.incident_id,
        deployment=incident.deployment,
        severity=incident.severity,
        cause=_cause(incident),
    )


def digest(held: Sequence[Brief], left_out: int, since_s: float, dashboard_url: str | None) -> Alert:
    """One alert in place of `held`, in the order they came, and of `left_out` more that nobody could remember.

    Its id says what is in it: a digest that has grown since it was last tried is another one.
    """
    latest = list({each.incident_id: each for each in held}.values())
    worst = max((each.severity for each in latest), key=lambda severity: severity.rank, default=Severity.HIGH)
    known = "\n".join(each.news_id for each in held) + f"\n{left_out}"
    more = len(latest) - _MOST_LISTED
    counts = (
        ("severity", Counter(each.severity.value for each in latest)),
        ("deployment", Counter(inert(each.deployment) for each in latest)),
        ("cause", Counter(each.cause for each in latest)),
    )
    lines = [
        f"{len(held) + left_out} pieces of news were held back since {_clock(since_s)}",
        *(f"By {name}: {_counted(counter)}" for name, counter in counts),
        *(
            f"{each.incident_id} {each.severity.value}: {each.cause} on {inert(each.deployment)}"
            for each in sorted(latest, key=lambda each: -each.severity.rank)[:_MOST_LISTED]
        ),
        *([f"and {more} more incidents"] if more > 0 else []),
        "List: inferwatch incidents list --since 7d, a page of one: inferwatch incidents show ID",
    ]
    return Alert(
        id="digest-" + hashlib.blake2b(known.encode("utf-8", "replace"), digest_size=16).hexdigest(),
        severity=worst,
        title=f"{worst.value}: digest of {len(latest)} incident{'' if len(latest) == 1 else 's'}",
        lines=tuple(lines),
        links=() if dashboard_url is None else (f"{dashboard_url.rstrip('/')}/d/inferwatch-overview",),
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


def _cause(incident: Incident) -> str:
    likeliest = incident.causes[0] if incident.causes else None
    if likeliest is None or likeliest.name == UNKNOWN:
        return "cause not known yet"
    return inert(likeliest.title)


def _what(incident: Incident) -> list[str]:
    """What, since when, why and whom."""
    plan = incident.plan
    again = f", back {incident.reopened} times" if incident.reopened > 1 else ""
    whose = f"{inert(incident.component)}, {inert(incident.scope)} {inert(incident.subject)}"
    detectors = inert(", ".join(sorted(incident.detectors)))
    lines = [
        inert(incident.summary),
        f"Since {_clock(incident.onset_s)}, found {_clock(incident.first_s)}, latest {_clock(incident.last_s)}{again}",
        f"Deployment {inert(incident.deployment)}, {whose}",
        f"{incident.count} findings of {incident.independent} independent kinds: {detectors}",
    ]
    for number, cause in enumerate(incident.causes[:_MOST_SAID], 1):
        because = f": {inert(cause.supports[0])}" if cause.supports else ""
        lines.append(f"Cause {number}: {inert(cause.title)}, {cause.share:.0%} of the evidence{because}")
    first = next(iter(incident.cited), None)
    if first is not None and first.evidence:
        facts = "; ".join(inert(fact(row)) for row in first.evidence[:_MOST_SAID])
        lines.append(f"First evidence, {inert(first.detector)}: {facts}")
    if plan is not None:
        for each in plan.affected[:_MOST_ROWS]:
            before = "" if each.before is None else f", before {inert(each.before)}"
            lines.append(f"{inert(each.component)} is now {inert(each.now)}{before}")
        callers = plan.radius.principals
        whom = f"{len(callers)} callers known by name" if callers else "all callers of the deployment"
        lines.append(f"Blast radius: {whom}, since {_clock(plan.radius.since_s)}")
    return lines


def _to_do(incident: Incident) -> list[str]:
    plan = incident.plan
    if plan is None:
        return []
    lines = [f"Roll back: {inert(each)}" for each in plan.roll_back]
    lines += [
        f"Last known good: {inert(each.component)} {inert(each.version or '')} until {_clock(each.until_s)}"
        for each in plan.last_good[:_MOST_ROWS]
    ]
    lines += [f"Check {number}: {inert(each)}" for number, each in enumerate(plan.checks, 1)]
    lines += [f"Action proposed: {_action(each)}" for each in plan.actions[:_MOST_ROWS]]
    more = len(plan.actions) - _MOST_ROWS
    lines += [f"and {more} more actions"] if more > 0 else []
    lines += [f"Notify: {inert(each)}" for each in plan.notify]
    return lines


def _action(action: Action) -> str:
    what = f" {inert(action.component)} at {inert(action.version or '')}" if action.component else ""
    return f"{inert(action.kind)} {inert(action.target)}{what}"


def _values(incident: Incident, links: Sequence[str]) -> dict[str, str]:
    """What the names of a template stand for."""
    plan = incident.plan
    return {
        "severity": incident.severity.value,
        "news": incident.news or "",
        "cause": _cause(incident),
        "deployment": inert(incident.deployment),
        "component": inert(incident.component),
        "subject": inert(incident.subject),
        "summary": inert(incident.summary),
        "incident": incident.incident_id,
        "since": _clock(incident.onset_s),
        "latest": _clock(incident.last_s),
        "findings": str(incident.count),
        "owner": ", ".join(map(inert, plan.notify)) if plan else "",
        "roll_back": " ".join(map(inert, plan.roll_back)) if plan else "",
        "checks": " ".join(f"{number}. {inert(each)}" for number, each in enumerate(plan.checks, 1)) if plan else "",
        "actions": ", ".join(map(_action, plan.actions[:_MOST_ROWS])) if plan else "",
        "command": _command(incident),
        "link": links[0] if links else "",
    }


def _about(incident: Incident) -> About:
    plan, most = incident.plan, _MOST_MACHINE_ROWS
    return About(
        incident_id=incident.incident_id,
        revision=incident.revision,
        news=incident.news or "",
        state=incident.state,
        deployment=incident.deployment,
        scope=incident.scope,
        subject=incident.subject,
        component=incident.component,
        onset_s=incident.onset_s,
        last_s=incident.last_s,
        findings=incident.count,
        detectors=tuple(sorted(incident.detectors))[:most],
        causes=tuple(Likely(name=each.name, share=each.share) for each in incident.causes[:most]),
        affected=plan.affected[:most] if plan else (),
        last_good=plan.last_good[:most] if plan else (),
        actions=plan.actions[:most] if plan else (),
    )


def _counted(counter: Counter[str]) -> str:
    more = len(counter) - _MOST_ROWS
    said = ", ".join(f"{name} {count}" for name, count in counter.most_common(_MOST_ROWS))
    return f"{said} and {more} more" if more > 0 else said


def _command(incident: Incident) -> str:
    return f"inferwatch incidents show {shlex.quote(inert(incident.incident_id))}"


def _clock(time_s: float) -> str:
    """A time as people write it; an onset is an estimate, and one out of all bounds is said as the bound."""
    return datetime.fromtimestamp(min(max(time_s, 0.0), 4_102_444_800.0), UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _links(dashboard_url: str, incident: Incident) -> tuple[str, ...]:
    """The incident, its deployment around that time, and everything at that time."""
    name = quote(incident.deployment[:_LONGEST_CHARS], safe="", errors="replace")
    around = f"from={round(incident.onset_s * 1_000) - 3_600_000}&to={round(incident.last_s * 1_000) + 3_600_000}"
    base = f"{dashboard_url.rstrip('/')}/d"
    return (
        f"{base}/inferwatch-incident?var-incident={incident.incident_id}&{around}",
        f"{base}/inferwatch-deployment?var-deployment={name}&{around}",
        f"{base}/inferwatch-overview?{around}",
    )
