"""What an incident is: one case that says what changed, since when, who is affected and what to do. Pure values."""

from __future__ import annotations

import hashlib

import msgspec

from detectors.types import Evidence, Finding, Severity

SERVING, MONITORING, CALLERS = "serving", "monitoring", "callers"
"""What an incident is about: how a deployment answers, whether it is still seen, or who calls it."""

OPEN, CLOSED, MERGED = "open", "closed", "merged"

OPENED, WORSE, REOPENED = "opened", "worse", "reopened"
"""What can be news of an incident, besides `CLOSED`."""

MOST_CITED = 32
"""Findings an incident quotes; of later ones only the number and the identities of the last are kept."""

MOST_KNOWN = 512
"""Identities of findings an incident remembers, so that one that comes again changes nothing."""

_MOST_EVIDENCE = 8
_MOST_CHARS = 400
_MOST_FACT_CHARS = 200


class Cited(msgspec.Struct, frozen=True, kw_only=True):
    """A finding as an incident quotes it; texts are cut, since a body of an incident is read whole."""

    finding_id: str
    detector: str
    scope: str
    subject: str
    time_s: float
    onset_s: float
    severity: Severity
    summary: str
    evidence: tuple[Evidence, ...] = ()


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One explanation: its `share` of all points, and what speaks for and against it, each with its finding.

    `finding_ids` are the findings that speak for it. A share is no probability; it orders explanations.
    """

    name: str
    title: str
    points: float
    share: float
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()
    finding_ids: tuple[str, ...] = ()


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """A component and its versions: what it is now and, where that is known, what it was."""

    component: str
    now: str
    before: str | None = None
    since_s: float


class LastGood(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a component that was served before the incident, and the last time it is known to be good."""

    component: str
    version: str | None = None
    until_s: float


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway or a SOAR could carry out; proposed, never carried out here.

    `kind` is ``throttle_principal``, ``pin_component`` or ``isolate_deployment``, `target` the principal, cohort or
    deployment, `component` and `version` what to pin.
    """

    kind: str
    target: str
    deployment: str
    component: str | None = None
    version: str | None = None
    because: str = ""


class Radius(msgspec.Struct, frozen=True, kw_only=True):
    """Whom it touched: the calls since the onset. `query` lists them, with its values written in as literals."""

    deployment: str
    principals: tuple[str, ...] = ()
    since_s: float
    until_s: float
    query: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a response needs."""

    affected: tuple[Affected, ...] = ()
    last_good: tuple[LastGood, ...] = ()
    radius: Radius
    roll_back: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What people were last told of an incident, so that they are told again only of what they do not know.

    `count` is how often they were told so far, `severity` and `cause` what was said, `time_s` the event time of the
    finding that made it news, `reopened` how often the incident had come back by then.
    """

    count: int
    severity: Severity
    cause: str
    time_s: float
    reopened: int


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One case.

    `revision` is twice the number of its findings, and one more when it is closed or merged: it depends on the
    findings alone, so whoever writes it again writes the same. `count` are all its findings, `cited` those that are
    quoted, `known` the identities of the last. Times are event times: `onset_s` the earliest onset, `first_s` and
    `last_s` the first and the last finding's. `independent` counts detectors that share no input with each other.
    `members` are principals that a cohort's findings name. `reopened` counts returns after it was closed.

    `news` is what is new to people in this revision: `OPENED`, `WORSE`, `REOPENED`, `CLOSED`, or nothing. `quiet` is
    why nobody is told of it all the same; `kept_quiet` are all such reasons so far. `told` is what they know.
    """

    incident_id: str
    deployment: str
    scope: str
    subject: str
    component: str
    first_s: float
    last_s: float
    onset_s: float
    revision: int = 0
    state: str = OPEN
    severity: Severity = Severity.INFO
    summary: str = ""
    count: int = 0
    reopened: int = 0
    independent: int = 0
    detectors: dict[str, int] = msgspec.field(default_factory=dict)
    cited: tuple[Cited, ...] = ()
    known: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    plan: Plan | None = None
    closed_s: float | None = None
    merged_into: str | None = None
    news: str | None = None
    quiet: str | None = None
    kept_quiet: tuple[str, ...] = ()
    told: Told | None = None

    @property
    def news_id(self) -> str | None:
        """What is the same for every revision that tells the same news; `None` where nobody is to be told."""
        if self.news is None or self.quiet is not None or self.told is None:
            return None
        return f"{self.incident_id}:{self.told.count}{':closed' if self.news == CLOSED else ''}"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of an incident: `verdict` is ``true``, ``false``, ``benign``, ``closed`` or ``assigned``.

    `said_by` is who, `assignee` whom it was given to, `said_s` when: unix seconds, set by the store.
    """

    incident_id: str
    verdict: str
    note: str = ""
    said_by: str = ""
    assignee: str = ""
    said_s: float = 0.0


def identity(deployment: str, scope: str, subject: str, component: str, finding_id: str) -> str:
    """The id of the incident that a finding opens; a replay opens the same."""
    text = f"{deployment}\x00{scope}\x00{subject}\x00{component}\x00{finding_id}"
    return "inc-" + hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def cite(finding: Finding) -> Cited:
    """The finding as it is quoted."""
    return Cited(
        finding_id=finding.finding_id,
        detector=finding.detector,
        scope=finding.scope,
        subject=finding.subject,
        time_s=finding.time_s,
        onset_s=finding.onset_s,
        severity=finding.severity,
        summary=finding.summary[:_MOST_CHARS],
        evidence=tuple(map(_cut, finding.evidence[:_MOST_EVIDENCE])),
    )


def closed(incident: Incident, quiet_s: float) -> Incident:
    """The incident as it is after `quiet_s` seconds without a finding: whoever notices, it closed at that time.

    That is news to who was told that it is open, whatever has kept it quiet since: a pager waits for it.
    """
    known = incident.told is not None and incident.told.reopened == incident.reopened
    return msgspec.structs.replace(
        incident,
        state=CLOSED,
        revision=2 * incident.count + 1,
        closed_s=incident.last_s + quiet_s,
        news=CLOSED if known else None,
        quiet=None if known else incident.quiet,
    )


def _cut(evidence: Evidence) -> Evidence:
    observed, expected = evidence.observed, evidence.expected
    return msgspec.structs.replace(
        evidence,
        name=evidence.name[:_MOST_FACT_CHARS],
        observed=observed[:_MOST_FACT_CHARS] if isinstance(observed, str) else observed,
        expected=expected[:_MOST_FACT_CHARS] if isinstance(expected, str) else expected,
        unit=evidence.unit[:_MOST_FACT_CHARS],
    )
