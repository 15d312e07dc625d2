"""Findings on their way to people: pure. Once each, those the pipeline makes about itself, and incidents of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from detectors.base import COHORT, DEPLOYMENT, PRINCIPAL, Metadata
from detectors.types import Evidence, Finding, Observation, Severity
from streams.cases import causes, plans, telling
from streams.cases.incidents import (
    CALLERS,
    MERGED,
    MONITORING,
    MOST_CITED,
    MOST_KNOWN,
    OPEN,
    SERVING,
    Cause,
    Cited,
    Incident,
    cite,
    identity,
)
from streams.cases.signs import CONNECTION, LOAD_OF_ALL, ONE_KIND, approved_of, signs
from streams.cases.suppressions import Suppression

COLD_START = "pipeline.cold_start"
CROWD = "many callers"
"""The subject of the incident that callers fall into while `MOST_ALONE` others have one of their own."""

REOPENS = 4.0
"""Quiet periods after the last finding within which the next one re-opens an incident."""

COOL_DOWN_S = 86_400.0
"""Seconds of event time in which what was told is not told again unless it is worse; the default of its setting."""

MOST_LIVE, MOST_DEPLOYMENTS = 64, 1_000
MOST_ALONE, MOST_MEMBERS = 8, 64

_LONGEST_ONSET_S = 7 * 86_400.0
"""How far back an onset may reach to join a finding to an incident: an estimate must not join what is months apart."""

_MAX_NAME_CHARS = 64


def deduplicated(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in order, the first of each identity."""
    return list({finding.finding_id: finding for finding in findings}.values())


def cold_start(scope: str, subject: str, observation: Observation, reason: str, alike: int = 1) -> Finding:
    """The finding that a subject's saved state was refused and its detectors warm up again.

    `alike` is how many of its partition were refused for this reason by now.
    """
    identity = f"{COLD_START}\0{scope}\0{subject}\0{observation.event_id}"
    others = f" (number {alike} refused for this reason in its partition)" if alike > 1 else ""
    return Finding(
        finding_id=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        detector=COLD_START,
        version=1,
        scope=scope,
        subject=subject,
        deployment=observation.deployment,
        principal=observation.principal if scope == "principal" else None,
        time_s=observation.time_s,
        onset_s=observation.time_s,
        severity=Severity.MEDIUM,
        summary=f"the saved detector state of {scope} {subject[:_MAX_NAME_CHARS]!r} was refused{others}: {reason}; "
        f"its detectors warm up again",
        score=1.0,
        threshold=1.0,
        budget_share=0.0,
        event_id=observation.event_id,
        evidence=(
            Evidence(name="reason", observed=reason),
            Evidence(name="refused for this reason", observed=float(alike), unit="subjects of its partition"),
        ),
    )


class Cases:
    """Findings to incidents, in one pass and bounded: at most `MOST_LIVE` incidents of a deployment are remembered.

    What a finding does depends on the findings of its deployment before it, never on a clock: a finding belongs to
    the latest incident of its kind that is not further than `REOPENS` quiet periods away, and whether that had
    closed in between follows from the times. So state that is recalled goes on as if nothing had happened, and a
    finding that comes again changes nothing.
    """

    def __init__(
        self,
        quiet_s: float,
        catalog: Mapping[str, Metadata],
        owners: Mapping[str, str],
        cool_down_s: float = COOL_DOWN_S,
    ) -> None:
        """An incident closes after `quiet_s` seconds; `catalog` is what detectors say of themselves."""
        self.quiet_s = quiet_s
        self._catalog = catalog
        self._owners = owners
        self._cool_down_s = cool_down_s
        self._suppressions: tuple[Suppression, ...] = ()
        self._live: dict[str, list[Incident]] = {}

    def heed(self, suppressions: Iterable[Suppression]) -> None:
        """From now on these are active, and no others; incidents as they are stored do not change by it."""
        self._suppressions = tuple(suppressions)

    def lacks(self, deployments: Iterable[str]) -> list[str]:
        """Those of `deployments` whose incidents have to be recalled before `take`."""
        return [each for each in dict.fromkeys(deployments) if each not in self._live]

    def recall(self, deployment: str, incidents: Sequence[Incident]) -> None:
        """Go on from stored incidents, in any order; the deployments not asked for longest are forgotten."""
        while len(self._live) >= MOST_DEPLOYMENTS:
            del self._live[next(iter(self._live))]
        self._live[deployment] = sorted(incidents, key=_latest)[-MOST_LIVE:]

    def forget(self) -> None:
        """Partitions have moved: what is remembered may be another's by now."""
        self._live.clear()

    def take(self, finding: Finding) -> list[Incident]:
        """The incidents that a finding opens, changes or merges, as they are now; none where it is known already."""
        live = self._live.pop(finding.deployment, [])
        self._live[finding.deployment] = live  # the last one asked for is forgotten last
        if any(finding.finding_id in incident.known for incident in live):
            return []
        scope, subject, component = _kind(finding)
        home = self._home(live, finding, (scope, subject, component))
        if home is None:
            home = self._opened(live, finding, scope, subject, component)
        changed = self._grown(home, finding)
        merged = [self._merged(other, changed) for other in live if _is_part(other, changed, self._reach_s)]
        for other in merged:
            changed = _joined(changed, other)
        changed = self._judged(changed, _amid(live, changed, self.quiet_s))
        changed = telling.announced(changed, (changed, *live), finding.time_s, self._cool_down_s, self._suppressions)
        for each in (changed, *merged):
            _put(live, each)
        del live[: max(len(live) - MOST_LIVE, 0)]
        return [changed, *merged]

    @property
    def _reach_s(self) -> float:
        return REOPENS * self.quiet_s

    def _home(self, live: Sequence[Incident], finding: Finding, kind: tuple[str, str, str]) -> Incident | None:
        """The incident that a finding belongs to: of its own kind, or of a cohort that its principal is a member of."""
        near = [each for each in live if each.state != MERGED and _distance_s(each, finding) <= self._reach_s]
        own = [each for each in near if (each.scope, each.subject, each.component) == kind]
        cohorts = [each for each in near if finding.scope == PRINCIPAL and finding.subject in each.members]
        return next(iter(sorted(cohorts, key=_latest)[-1:] or sorted(own, key=_latest)[-1:]), None)

    def _opened(self, live: Sequence[Incident], finding: Finding, scope: str, subject: str, component: str) -> Incident:
        alone = sum(
            each.scope == PRINCIPAL and each.state != MERGED and _distance_s(each, finding) <= self._reach_s
            for each in live
        )
        if scope == PRINCIPAL and alone >= MOST_ALONE:
            scope, subject = COHORT, CROWD
            crowd = self._home(live, finding, (scope, subject, component))
            if crowd is not None:
                return crowd
        return Incident(
            incident_id=identity(finding.deployment, scope, subject, component, finding.finding_id),
            deployment=finding.deployment,
            scope=scope,
            subject=subject,
            component=component,
            first_s=finding.time_s,
            last_s=finding.time_s,
            onset_s=finding.onset_s,
        )

    def _grown(self, incident: Incident, finding: Finding) -> Incident:
        named = [finding.subject] if finding.scope == PRINCIPAL and incident.scope == COHORT else []
        for row in finding.evidence:
            if finding.scope == COHORT and row.name == "members" and isinstance(row.observed, str):
                named += [each[:_MAX_NAME_CHARS] for each in row.observed.split()]
        returned = incident.count > 0 and finding.time_s > incident.last_s + self.quiet_s
        detectors = {**incident.detectors}
        if finding.detector in detectors or len(detectors) < MOST_CITED:
            detectors[finding.detector] = detectors.get(finding.detector, 0) + 1
        return msgspec.structs.replace(
            incident,
            first_s=min(incident.first_s, finding.time_s),
            last_s=max(incident.last_s, finding.time_s),
            onset_s=min(incident.onset_s, finding.onset_s),
            count=incident.count + 1,
            reopened=incident.reopened + returned,
            detectors=detectors,
            cited=_cited(incident.cited, [cite(finding)]),
            known=(*incident.known, finding.finding_id)[-MOST_KNOWN:],
            members=tuple(dict.fromkeys((*incident.members, *named)))[:MOST_MEMBERS],
        )

    def _merged(self, part: Incident, into: Incident) -> Incident:
        return msgspec.structs.replace(
            part,
            state=MERGED,
            merged_into=into.incident_id,
            revision=2 * part.count + 1,
            closed_s=part.last_s,
            news=None,  # what it went into is
            quiet=None,
        )

    def _judged(self, incident: Incident, amid: Collection[str]) -> Incident:
        """Causes, severity and plan, from the evidence as it is now."""
        ranked = causes.rank(incident.cited, amid)
        independent = max(independence(_alarming(incident.cited, ranked, amid), self._catalog), 1)
        judged = msgspec.structs.replace(
            incident,
            state=OPEN,
            closed_s=None,
            revision=2 * incident.count,
            independent=independent,
            severity=_severity(incident.cited, ranked, independent, amid),
            causes=ranked,
            summary=_summary(incident, ranked[0]),
        )
        return msgspec.structs.replace(judged, plan=plans.plan(judged, self._catalog, self._owners, self.quiet_s))


def _alarming(cited: Sequence[Cited], ranked: Sequence[Cause], amid: Collection[str]) -> set[str]:
    """The detectors whose agreement counts.

    An approval is no alarm that others could agree with, unless what was approved can open connections and there is a
    host that it never had. What load does to calls agrees with load, and with nothing else.
    """
    seen = {sign.name for sign in signs(cited, amid)}
    doubted = CONNECTION in seen and bool(seen & {approved_of("image"), approved_of("package_set")})
    found = {each.detector for each in cited if doubted or each.severity is not Severity.INFO}
    return found - causes.of_load(cited, amid) if ranked[0].name == causes.LOAD else found


def _summary(incident: Incident, likeliest: Cause) -> str:
    sure = "" if causes.is_sure(likeliest) else "?"
    findings = f"{incident.count} {'finding' if incident.count == 1 else 'findings'}"
    return (
        f"{likeliest.title}{sure}: {findings} of {', '.join(list(incident.detectors)[:4])} "
        f"about {incident.scope} {incident.subject[:_MAX_NAME_CHARS]}"
    )


def independence(detectors: Iterable[str], catalog: Mapping[str, Metadata]) -> int:
    """How many detectors at least share no input field with each other: evidence that one fault cannot have made.

    Those of which no metadata is known speak together as one.
    """
    inputs = [{*catalog[each].requires, *catalog[each].any_of} if each in catalog else {""} for each in detectors]
    taken: set[str] = set()
    count = 0
    for fields in sorted(inputs, key=lambda each: (len(each), sorted(each))):
        if not fields & taken:
            taken |= fields
            count += 1
    return count


def _kind(finding: Finding) -> tuple[str, str, str]:
    """Scope, subject and component of the incidents that a finding may belong to."""
    if finding.scope in {PRINCIPAL, COHORT}:
        return finding.scope, finding.subject, CALLERS
    blind = finding.detector.startswith(("pipeline.", "source_")) or finding.detector == "logging_off"
    return DEPLOYMENT, finding.deployment, MONITORING if blind else SERVING


def _severity(cited: Sequence[Cited], ranked: Sequence[Cause], independent: int, amid: Collection[str]) -> Severity:
    """The worst of the findings, a step up for each further independent kind of evidence, two at most.

    What was approved is told and wakes nobody; so is load where nothing but load was seen, and what answers are like
    while many accounts ask for one kind of thing.
    """
    if causes.maintenance(cited, ranked) is not None:
        return Severity.INFO
    seen = {sign.name for sign in signs(cited, amid)}
    harmless = {causes.LOAD: (causes.LOAD_SIGNS, causes.VOLUME_SIGNS), causes.MIX: (causes.MIX_SIGNS,)}
    if seen & causes.MORE_CALLS and any(seen <= known for known in harmless.get(ranked[0].name, ())):
        return Severity.LOW
    worst = max(each.severity.rank for each in cited)
    levels = list(Severity)
    return levels[min(worst + min(independent - 1, 2), len(levels) - 1)]


def _distance_s(incident: Incident, finding: Finding) -> float:
    """How far apart incident and finding are, in seconds of event time; 0 where the finding's onset reaches back."""
    began_s = max(min(finding.onset_s, finding.time_s), finding.time_s - _LONGEST_ONSET_S)
    return max(began_s - incident.last_s, incident.first_s - finding.time_s, 0.0)


def _amid(live: Sequence[Incident], incident: Incident, quiet_s: float) -> frozenset[str]:
    """What goes on in the deployment at the time: load for a caller's incident, a cohort that sweeps for its own."""
    wanted = {
        CALLERS: (SERVING, DEPLOYMENT, causes.LOAD, LOAD_OF_ALL),
        SERVING: (CALLERS, COHORT, causes.EXTRACTION, ONE_KIND),
    }.get(incident.component)
    if wanted is None:
        return frozenset()
    component, scope, cause, sign = wanted
    return frozenset(
        sign
        for each in live
        if (each.component, each.scope) == (component, scope)
        and each.state != MERGED
        and each.causes
        and each.causes[0].name == cause
        and max(each.first_s - incident.last_s, incident.first_s - each.last_s) <= quiet_s
    )


def _cited(before: Sequence[Cited], more: Sequence[Cited]) -> tuple[Cited, ...]:
    """Quotes up to `MOST_CITED`: many of one detector never push out those of another."""
    quoted = list(before)
    for each in more:
        quoted.append(each)
        if len(quoted) > MOST_CITED:
            counts = Counter(quote.detector for quote in quoted)
            most = max(counts.values())
            loud = next(quote.detector for quote in reversed(quoted) if counts[quote.detector] == most)
            places = [place for place, quote in enumerate(quoted) if quote.detector == loud]
            del quoted[places[-2] if len(places) > 1 else places[-1]]
    return tuple(quoted)


def _is_part(other: Incident, cohort: Incident, reach_s: float) -> bool:
    """Whether an incident is about members of a cohort whose incident is near."""
    if cohort.scope != COHORT or other.state == MERGED or other.incident_id == cohort.incident_id:
        return False
    if max(other.first_s - cohort.last_s, cohort.first_s - other.last_s) > reach_s:
        return False
    if other.scope == PRINCIPAL:
        return other.subject in cohort.members
    return other.subject == CROWD and cohort.subject != CROWD and not {*other.members}.isdisjoint(cohort.members)


def _joined(incident: Incident, part: Incident) -> Incident:
    return msgspec.structs.replace(
        incident,
        first_s=min(incident.first_s, part.first_s),
        last_s=max(incident.last_s, part.last_s),
        onset_s=min(incident.onset_s, part.onset_s),
        count=incident.count + part.count,
        detectors=dict(Counter(incident.detectors) + Counter(part.detectors)),
        cited=_cited(incident.cited, part.cited),
        known=(*part.known, *incident.known)[-MOST_KNOWN:],
    )


def _put(live: list[Incident], incident: Incident) -> None:
    live[:] = [each for each in live if each.incident_id != incident.incident_id]
    live.append(incident)
    live.sort(key=_latest)


def _latest(incident: Incident) -> tuple[float, str]:
    return incident.last_s, incident.incident_id
