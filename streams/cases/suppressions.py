"""What people do not want to be told of for a while, and why: pure. Nothing is dropped for it, only kept quiet.

A suppression holds while two clocks say so. The worker's own: one that has run out, or was ended, is not read any
more, so that events with an old date cannot slip into it. And the events': a finding that is dated past its end is
told. Where they disagree, people are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from detectors.types import Severity
from streams.cases.incidents import Cited, Incident

MOST_ACTIVE = 1_000
"""Suppressions that are heeded at once, the latest: a table of millions must not slow down triage."""

UNLESS_ASKED = Severity.HIGH
"""The highest severity that a suppression covers unless its maker says more."""

_LONGEST_REASON_CHARS = 200


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept quiet until when, and who said so.

    `deployment`, `detector`, `subject` and `cause` all have to fit where they are given; `severity` is the highest
    that is covered. `until_s`, `made_s` and `ended_s` (0: not ended by hand) are unix seconds.
    """

    suppression_id: str
    reason: str
    until_s: float
    deployment: str = ""
    detector: str = ""
    subject: str = ""
    cause: str = ""
    severity: Severity = UNLESS_ASKED
    by: str = ""
    made_s: float = 0.0
    ended_s: float = 0.0
    ended_by: str = ""

    def covers(self, incident: Incident, cited: Cited) -> bool:
        """Whether it keeps a finding of an incident quiet."""
        return (
            incident.severity.rank <= self.severity.rank
            and self.deployment in {"", incident.deployment}
            and self.detector in {"", cited.detector}
            and self.subject in {"", cited.subject, incident.subject}
            and self.cause in {"", incident.causes[0].name if incident.causes else ""}
        )


def suppressed(incident: Incident, time_s: float, active: Iterable[Suppression]) -> str | None:
    """Why an incident is kept quiet at event time `time_s`: each finding that it quotes must be covered by some."""
    holding = [each for each in active if time_s < each.until_s]
    used: dict[str, Suppression] = {}
    for cited in incident.cited:
        covering = next((each for each in holding if each.covers(incident, cited)), None)
        if covering is None:
            return None
        used.setdefault(covering.suppression_id, covering)
    return _said(list(used.values())) if used else None


def _said(used: Sequence[Suppression]) -> str:
    ids = ", ".join(each.suppression_id for each in used)
    return f"suppressed by {ids}: {used[0].reason[:_LONGEST_REASON_CHARS]}"
