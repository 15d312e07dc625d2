"""Questions that verbs ask of the store."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import msgspec

from detectors.types import Evidence, Finding, Severity
from streams.settings import SettingsError

if TYPE_CHECKING:
    from streams.clickhouse import Store

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_POLL_S = 1.0

_FINDINGS = """
SELECT finding_id, detector, version, scope, subject, deployment, principal, toFloat64(time) AS time_s,
       toFloat64(onset) AS onset_s, toString(severity) AS severity, summary, score, threshold, budget_share, event_id,
       evidence, atlas, owasp
FROM findings_latest
WHERE findings_latest.severity >= {severity:String} AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND (detector = {detector:String} OR {detector:String} = '')
  AND (deployment = {deployment:String} OR {deployment:String} = '')
ORDER BY time DESC, finding_id
LIMIT {limit:UInt32}
"""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which findings are asked for; `since_s` is how far to look back, in seconds of event time."""

    severity: Severity
    detector: str
    deployment: str
    since_s: float
    limit: int

    @classmethod
    def parse(cls, *, severity: str, detector: str, deployment: str, since: str, limit: int) -> Self:
        """A filter from what a person typed. Raises `SettingsError`."""
        levels = [level.value for level in Severity]
        if severity not in levels:
            raise SettingsError(f"--severity: {severity!r} is not accepted; one of {', '.join(levels)}")
        return cls(
            severity=Severity(severity),
            detector=detector,
            deployment=deployment,
            since_s=span_s("--since", since),
            limit=limit,
        )


def span_s(option: str, text: str) -> float:
    """The seconds of a span as a person types it, such as 24h. Raises `SettingsError`, which names `option`."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise SettingsError(f"{option}: {text!r} is not accepted; a number and s, m, h or d, such as 24h")
    return float(match[1]) * _UNITS_S[match[2]]


def list_findings(store: Store, chosen: Filter, now_s: float) -> list[Finding]:
    """The newest findings that match, in order of event time. Raises `StoreError`."""
    rows = store.query(
        _FINDINGS,
        {
            "severity": chosen.severity.value,
            "detector": chosen.detector,
            "deployment": chosen.deployment,
            "since_ms": max(int((now_s - chosen.since_s) * 1_000), 0),
            "limit": chosen.limit,
        },
    )
    return [_finding(row) for row in reversed(rows)]


def follow_findings(store: Store, chosen: Filter, shown: Iterable[Finding]) -> Iterator[Finding]:
    """New findings that match, for ever, each once. Raises `StoreError`."""
    seen = {finding.finding_id for finding in shown}
    while True:
        time.sleep(_POLL_S)
        for finding in list_findings(store, chosen, time.time()):
            if finding.finding_id not in seen:
                seen.add(finding.finding_id)
                yield finding


def _finding(row: dict[str, Any]) -> Finding:
    evidence = msgspec.json.decode(row.pop("evidence"), type=tuple[Evidence, ...])
    typed = {"severity": Severity(row["severity"]), "atlas": tuple(row["atlas"]), "owasp": tuple(row["owasp"])}
    return Finding(**{**row, **typed, "evidence": evidence})
