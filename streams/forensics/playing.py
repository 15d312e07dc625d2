"""The calls around an incident, played to every detector of the catalog: which would have seen it, and when.

The detectors begin cold, under the operator's budget, each in a bank of its own as in a backtest. Half of the calls are
those before the onset, for the warm-up; half are those since, until the incident's last finding.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from detectors.bank import discover
from detectors.base import PRINCIPAL
from detectors.types import Finding, Observation
from streams.backtesting.backtest import Trial, budget_of
from streams.backtesting.recollecting import observations
from streams.cases.case_files import Asked, kept
from streams.cases.incidents import Incident
from streams.clickhouse import Store
from streams.components.change_files import told
from streams.keys import present_keys
from streams.settings import Settings, SettingsError

PAGE = 2_000
"""Calls that are in memory at once, texts and all."""

_FAR_BACK_US = 90 * 86_400 * 1_000_000
_SEEN, _QUIET, _WARMING, _BLIND = "seen", "quiet", "warming", "blind"

_TIMES = """
SELECT toUnixTimestamp64Micro(time) AS time_us FROM
(
  SELECT event_id, any(calls_kept.time) AS time FROM calls_kept
  WHERE deployment = {deployment:String}
    AND toStartOfHour(calls_kept.time) >= toStartOfHour(fromUnixTimestamp64Micro({since_us:Int64}, 'UTC'))
    AND toStartOfHour(calls_kept.time) <= toStartOfHour(fromUnixTimestamp64Micro({until_us:Int64}, 'UTC'))
    AND calls_kept.time >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
    AND calls_kept.time < fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
  GROUP BY event_id
)
"""
_BEFORE = f"{_TIMES} ORDER BY time DESC LIMIT {{limit:UInt32}}"
_SINCE = f"{_TIMES} ORDER BY time LIMIT {{limit:UInt32}}"
_EVENTS = """
SELECT *, toFloat64(time) AS time_s, toUnixTimestamp64Milli(record_time) AS record_ms FROM calls_kept
WHERE deployment = {deployment:String}
  AND toStartOfHour(time) >= toStartOfHour(fromUnixTimestamp64Micro({since_us:Int64}, 'UTC'))
  AND toStartOfHour(time) <= toStartOfHour(fromUnixTimestamp64Micro({until_us:Int64}, 'UTC'))
  AND time >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
  AND time < fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
ORDER BY time, record_time, topic, partition, offset, event_index, prompt IS NULL, output IS NULL, empty(conversation)
LIMIT 1 BY event_id
"""


def played(store: Store, settings: Settings, incident_id: str, most: int) -> tuple[str, str]:
    """The incident's whole id, and what each detector would have said, as JSON that `would_have_seen.sql` unpacks.

    Raises `SettingsError`, `StoreError`.
    """
    incident = _incident(store, incident_id)
    keys = present_keys(settings)
    if keys is None:
        raise SettingsError("events are hashed with the installation's key; set INFERWATCH_KEY as the workers have it")
    budget = budget_of(settings, {})[0]
    trials = [Trial(name, kind, budget) for name, kind in discover().items()]
    heard = 0
    for page in _pages(store, incident, most, keys.hashes):
        heard += len(page)
        for trial in trials:
            trial.feed(page)
    if not heard:
        raise SettingsError(f"no call of {incident_id} is stored any more: there is nothing to play")
    return incident.incident_id, msgspec.json.encode([_row(trial, incident) for trial in trials]).decode()


def _incident(store: Store, incident_id: str) -> Incident:
    cases = kept(store, Asked(incident_id=incident_id, merged=True, limit=2)) if incident_id else []
    if len(cases) != 1:
        raise SettingsError(
            f"--param incident: {incident_id[:80]!r} is no incident; `inferwatch incidents list` has them"
        )
    return cases[0].incident


def _pages(store: Store, incident: Incident, most: int, key: bytes) -> Iterator[list[Observation]]:
    """The calls, with what was said of the deployment meanwhile, in order of time, a page at a time."""
    onset_us, until_us = round(incident.onset_s * 1e6), round(incident.last_s * 1e6) + 1
    span = {"deployment": incident.deployment, "limit": max(most // 2, 1)}
    before = {**span, "since_us": max(onset_us - _FAR_BACK_US, 0), "until_us": onset_us}
    since = {**span, "since_us": onset_us, "until_us": until_us}
    rows = [*store.query(_BEFORE, before), *store.query(_SINCE, since)]
    times = sorted(int(row["time_us"]) for row in rows)
    starts = list(dict.fromkeys(times[::PAGE]))
    notices = deque(told(store, incident.deployment, until_us // 1_000))
    for start_us, next_us in itertools.pairwise([*starts, times[-1] + 1] if times else []):
        asked = {"deployment": incident.deployment, "since_us": start_us, "until_us": next_us}
        page: list[Observation] = []
        for call in observations(store.query(_EVENTS, asked), key):
            while notices and notices[0].time_s <= call.time_s:
                page.append(notices.popleft())
            page.append(call)
        yield page


def _row(trial: Trial, incident: Incident) -> Sequence[str | int]:
    """Detector, scope, answer, about whom, when first (us), severity, findings, those before, usable calls."""
    outcome = trial.outcome
    about = [each for each in outcome.findings if _concerns(each, incident)]
    found = [each for each in about if each.time_s >= incident.onset_s]
    first = min(found, key=lambda each: each.time_s, default=None)
    return (
        outcome.detector,
        outcome.scope,
        _SEEN if found else _silence(trial, incident),
        "" if first is None else first.subject,
        0 if first is None else round(first.time_s * 1e6),
        max(found, key=lambda each: each.severity.rank).severity.value if found else "",
        len(found),
        len(about) - len(found),
        outcome.usable,
    )


def _concerns(finding: Finding, incident: Incident) -> bool:
    """An incident of one caller is not seen in what others did."""
    return incident.scope != PRINCIPAL or incident.subject in {finding.subject, finding.principal}


def _silence(trial: Trial, incident: Incident) -> str:
    """Why a detector says nothing: it had nothing to go by, not enough of it, or nothing to say."""
    if not trial.outcome.usable:
        return _BLIND
    outcome = trial.finish()
    if outcome.scope == PRINCIPAL and incident.scope != PRINCIPAL:
        return _WARMING if len(outcome.warming) == outcome.subjects else _QUIET
    subject = incident.subject if outcome.scope == PRINCIPAL else incident.deployment
    return _WARMING if subject in outcome.warming else _QUIET
