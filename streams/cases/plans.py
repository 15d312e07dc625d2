"""What to do about an incident: what was served before, how to go back, whom to tell, what to look at next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from detectors.base import COHORT, PRINCIPAL, Metadata
from detectors.types import Severity
from streams.alerting.owners import EVERYBODY
from streams.cases import causes, signs
from streams.cases.incidents import Action, Affected, Cause, Cited, Incident, LastGood, Plan, Radius

_MOST_CHECKS = 3
_MOST_ROWS = 16
_MOST_THROTTLED = 20
_LIKELY = 0.25
"""The least share of all points with which a cause moves an action."""

_ROLL_BACK: Mapping[str, str] = {
    causes.WEIGHTS: "Serve the last known good weights from a store whose digests you verify, and keep the new file "
    "for analysis without loading it.",
    causes.ADAPTER: "Unload the adapter, or put the last known good template and tokenizer back by digest.",
    causes.PLUGIN: "Take the tool server out of the deployment's list, revoke the credentials that it held, and pin "
    "the last known good tool list.",
    causes.INDEX: "Serve from the last index snapshot before the onset; rebuild it from sources that were reviewed.",
    causes.CODE: "Redeploy the last known good image by digest on fresh machines, and cut outbound traffic but for "
    "an allow list.",
    causes.PROVIDER: "Ask for a dated model version in place of the alias, or route to the model that was used before; "
    "where you serve it yourself, compare what is loaded with its digests (`inferwatch attest`).",
    causes.UPDATE: "Nothing to roll back if it was planned: approve it (`inferwatch changes approve`). Else redeploy "
    "the version before.",
    causes.LOAD: "Nothing to roll back: add capacity or shed load.",
    causes.MIX: "Nothing to roll back in the model: put a schema or feature pipeline that changed back upstream, and "
    "say `inferwatch baseline approve` if the traffic stays as it is.",
    causes.EXTRACTION: "Lower the limits of the callers, then suspend their keys; watermark or perturb what they get.",
    causes.STOLEN: "Revoke the key and issue another to its owner; review what was called with it since the onset.",
    causes.PROMPTS: "Suspend the caller, and test what got through against the guardrails.",
    causes.BLIND: "Put the exporter's or the gateway's last configuration back, until all fields arrive again.",
}
_APPROVED = "Nothing to roll back: it was approved."
_GUARDRAIL = "Put the last known good guardrail back before the calls, and review what was answered without it."
_NOT_ROLLED_BACK = frozenset({causes.UPDATE, causes.LOAD, causes.MIX})
_ALIKE_WORDS = 6
"""Checks that begin with so many words alike are one check: detectors say it in their own words."""
_PINNED = frozenset({causes.WEIGHTS, causes.ADAPTER, causes.PLUGIN, causes.INDEX, causes.CODE, causes.PROVIDER})
_ISOLATED = frozenset({causes.WEIGHTS, causes.PLUGIN, causes.INDEX, causes.CODE})
_THROTTLED = frozenset({causes.EXTRACTION, causes.STOLEN, causes.PROMPTS})


def plan(incident: Incident, catalog: Mapping[str, Metadata], owners: Mapping[str, str], quiet_s: float) -> Plan:
    """The plan for an incident whose causes are ranked."""
    affected = _affected(incident.cited)
    likely = [each for each in incident.causes if each.name != causes.UNKNOWN and each.share >= _LIKELY]
    approved = causes.maintenance(incident.cited, incident.causes) is not None
    owner = owners.get(incident.deployment) or owners.get(EVERYBODY)
    return Plan(
        affected=affected,
        last_good=_last_good(incident, affected),
        radius=_radius(incident, quiet_s),
        roll_back=(_APPROVED,) if approved else _ways_back(likely, affected),
        notify=() if owner is None else (owner,),
        checks=_checks(incident, catalog, approved=approved),
        actions=_actions(incident, likely, affected),
    )


def literal(text: str) -> str:
    r"""`text` as a literal of ClickHouse's SQL, in printable ASCII: ``'caf\xc3\xa9'``."""
    inner = "".join(
        chr(each) if 0x20 <= each < 0x7F and chr(each) not in "'\\" else f"\\x{each:02x}"  # noqa: PLR2004 - ASCII
        for each in text.encode("utf-8", "replace")
    )
    return f"'{inner}'"


def _affected(cited: Sequence[Cited]) -> tuple[Affected, ...]:
    """The latest version of each component that changed, and what it was before the first change."""
    found: dict[str, Affected] = {}
    for finding in cited:
        for row in signs.components(finding):
            first = found.get(row.name)
            before = None if row.expected is None else str(row.expected)
            if first is not None and not _is_like(first.now, str(row.observed)):
                continue  # a report may write versions otherwise than calls do
            found[row.name] = Affected(
                component=row.name,
                now=str(row.observed),
                before=before if first is None else first.before or before,
                since_s=finding.onset_s if first is None else min(first.since_s, finding.onset_s),
            )
    return tuple(found.values())[:_MOST_ROWS]


def _is_like(version: str, other: str) -> bool:
    """Whether two versions are written in one way: both with the same algorithm, or both without one."""
    return version.rpartition(":")[0] == other.rpartition(":")[0]


def _ways_back(likely: Sequence[Cause], affected: Sequence[Affected]) -> tuple[str, ...]:
    """How to go back if it is the likeliest cause, and the next one: that it may be nothing is no second step."""
    said = []
    for place, cause in enumerate(likely[:2]):
        if cause.name == causes.CODE and {each.component for each in affected} == {"guardrail"}:
            said.append(_GUARDRAIL)
        elif place == 0 or cause.name not in _NOT_ROLLED_BACK:
            said.append(_ROLL_BACK[cause.name])
    return tuple(said)


def _last_good(incident: Incident, affected: Sequence[Affected]) -> tuple[LastGood, ...]:
    if not affected:
        return (LastGood(component="deployment", until_s=incident.onset_s),)
    return tuple(LastGood(component=each.component, version=each.before, until_s=each.since_s) for each in affected)


def _radius(incident: Incident, quiet_s: float) -> Radius:
    principals: tuple[str, ...] = ()
    if incident.scope == PRINCIPAL:
        principals = (incident.subject,)
    elif incident.scope == COHORT:
        principals = incident.members
    until_s = incident.last_s + quiet_s
    among = f"\n  AND principal IN ({', '.join(map(literal, principals))})" if principals else ""
    query = (
        "SELECT event_id, time, principal, session, model, served_model FROM events_latest\n"  # noqa: S608 - see `literal`
        f"WHERE deployment = {literal(incident.deployment)}\n"
        f"  AND time BETWEEN {_moment(incident.onset_s)} AND {_moment(until_s)}{among}\nORDER BY time"
    )
    return Radius(
        deployment=incident.deployment,
        principals=principals,
        since_s=incident.onset_s,
        until_s=until_s,
        query=query,
    )


def _moment(time_s: float) -> str:
    """A time as SQL; onsets are estimates, and one before 1970 is the beginning of all."""
    at = datetime.fromtimestamp(min(max(time_s, 0.0), 4_102_444_800.0), UTC)
    return f"toDateTime64('{at:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"


def _checks(incident: Incident, catalog: Mapping[str, Metadata], *, approved: bool) -> tuple[str, ...]:
    """The next three: the first steps of the detectors behind the likeliest causes, in turn.

    What an approval asks for ("nothing") is no step where it does not explain all.
    """
    by_id = {finding.finding_id: finding for finding in incident.cited}
    of_causes = [by_id[each] for cause in incident.causes for each in cause.finding_ids if each in by_id]
    worst = sorted(incident.cited, key=lambda finding: -finding.severity.rank)
    alarming = [finding for finding in [*of_causes, *worst] if approved or finding.severity is not Severity.INFO]
    detectors = dict.fromkeys(finding.detector for finding in alarming or worst)
    runbooks = [catalog[name].runbook for name in detectors if name in catalog]
    steps = [
        runbook[number]
        for number in range(_MOST_CHECKS)
        for runbook in runbooks[:_MOST_CHECKS]
        if number < len(runbook)
    ]
    alike = {tuple(step.split()[:_ALIKE_WORDS]): step for step in reversed(steps)}
    return tuple(step for step in dict.fromkeys(steps) if step in alike.values())[:_MOST_CHECKS]


def _actions(incident: Incident, likely: Sequence[Cause], affected: Sequence[Affected]) -> tuple[Action, ...]:
    """What a machine may be told, likeliest cause first; nothing where a legitimate update is the likeliest."""
    deployment = incident.deployment
    found: dict[tuple[str, str, str | None], Action] = {}
    if not likely or likely[0].name in {causes.UPDATE, causes.LOAD, causes.MIX}:
        return ()
    for cause in likely:
        actions: list[Action] = []
        if cause.name in _PINNED:
            actions += (
                Action(
                    kind="pin_component",
                    target=deployment,
                    deployment=deployment,
                    component=each.component,
                    version=each.before,
                    because=cause.title,
                )
                for each in affected
                if each.before is not None
            )
        # A guess cuts nobody off.
        if cause.name in _ISOLATED and incident.severity.rank >= Severity.HIGH.rank and causes.is_sure(cause):
            actions.append(
                Action(kind="isolate_deployment", target=deployment, deployment=deployment, because=cause.title)
            )
        if cause.name in _THROTTLED and incident.scope in {PRINCIPAL, COHORT}:
            callers = (incident.subject,) if incident.scope == PRINCIPAL else incident.members
            actions += (
                Action(kind="throttle_principal", target=caller, deployment=deployment, because=cause.title)
                for caller in callers[:_MOST_THROTTLED]
            )
        for action in actions:
            found.setdefault((action.kind, action.target, action.component), action)
    return tuple(found.values())
