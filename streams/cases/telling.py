"""What of an incident is news, and why people are not told of it all the same: pure, a part of the fold of `triage`.

    opened     nobody was told of it yet
    worse      its severity is higher than the one that was told
    reopened   it came back after it had closed
An incident that grows without getting worse is no news. News is kept quiet by an approved change that explains it
(maintenance), by suppressions, and by a cool-down: what was told within `cool_down_s` seconds of event time of the same
fingerprint (deployment, scope, subject, component and likeliest cause) at no lower severity is not told again. What was
kept quiet counts as not told, so that people hear of it with the first revision that nothing keeps quiet.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from detectors.types import MAX_TIME_S, Severity
from streams.cases import causes
from streams.cases.incidents import MERGED, OPENED, REOPENED, WORSE, Incident, Told
from streams.cases.suppressions import Suppression, suppressed

_MOST_KEPT = 8


def announced(
    incident: Incident, near: Iterable[Incident], time_s: float, cool_down_s: float, active: Iterable[Suppression]
) -> Incident:
    """A judged incident with its news; `near` are those of its deployment, `time_s` is the finding's."""
    news = _news(incident)
    maintenance = causes.maintenance(incident.cited, incident.causes)
    quiet = maintenance or suppressed(incident, time_s, active)
    if quiet is None and news in {OPENED, REOPENED}:
        quiet = _cooling(incident, near, time_s, cool_down_s)
    told = incident.told
    if maintenance is not None and told is not None:
        # It was explained. Whatever breaks the explanation is worse than that.
        told = msgspec.structs.replace(told, severity=Severity.INFO)
    if news is not None and quiet is None:
        told = Told(
            count=1 if told is None else told.count + 1,
            severity=incident.severity,
            cause=_likeliest(incident),
            time_s=time_s,
            reopened=incident.reopened,
        )
    kept = incident.kept_quiet if quiet is None else tuple(dict.fromkeys((*incident.kept_quiet, quiet)))[-_MOST_KEPT:]
    return msgspec.structs.replace(incident, news=news, quiet=quiet, told=told, kept_quiet=kept)


def _news(incident: Incident) -> str | None:
    told = incident.told
    if told is None:
        return OPENED
    if incident.severity.rank > told.severity.rank:
        return WORSE
    return REOPENED if incident.reopened > told.reopened else None


def _cooling(incident: Incident, near: Iterable[Incident], time_s: float, cool_down_s: float) -> str | None:
    for each in near:
        told = each.told
        if told is None or each.state == MERGED or _fingerprint(each) != _fingerprint(incident):
            continue
        same = told.cause == _likeliest(incident) and told.severity.rank >= incident.severity.rank
        if same and abs(time_s - told.time_s) <= cool_down_s:
            return f"cool-down: the same was told at {_clock(told.time_s)}"
    return None


def _fingerprint(incident: Incident) -> tuple[str, str, str]:
    return incident.scope, incident.subject, incident.component


def _likeliest(incident: Incident) -> str:
    return incident.causes[0].name if incident.causes else causes.UNKNOWN


def _clock(time_s: float) -> str:
    return f"{datetime.fromtimestamp(min(max(time_s, 0.0), MAX_TIME_S), UTC):%Y-%m-%d %H:%M:%SZ}"
