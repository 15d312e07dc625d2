"""Which user of docker/clickhouse/users.xml may do what ClickHouse refused: the one to come back as.

Of what the server says only the kind of grant and the name of the table are taken; both are its own words, not a
sender's.
"""

from __future__ import annotations

import re

_NEEDED = re.compile(r"the grant ([A-Z][A-Z ]*?[A-Z])\b.*? (?:ON|on) (?:\w+\.)?([A-Za-z_*]+)", re.DOTALL)
_CALLS = frozenset({"inference_events", "events_latest", "events_kept", "calls_kept", "held_inference_events"})
_SAID = frozenset({"incident_verdicts", "suppressions"})
_OF_TEXTS = frozenset({"access_log", "exports"})


def who_may(refusal: str) -> str:
    """The users who may, as a phrase."""
    found = _NEEDED.search(refusal)
    if found is None:
        return "responder, investigator or custodian" if "READONLY" in refusal else "another one"
    kind, table = found.groups()
    if kind.startswith(("ALTER", "DELETE")) or table == "holds" or (table.startswith("held_") and kind == "INSERT"):
        return "custodian"
    if kind == "SELECT":
        return _who_reads(table)
    if kind == "INSERT":
        return "responder" if table in _SAID else "investigator or custodian" if table in _OF_TEXTS else "inferwatch"
    return "migrator"


def _who_reads(table: str) -> str:
    if table in _CALLS:
        return "investigator (texts of calls)"
    return {"detector_snapshots": "inferwatch"}.get(table, "custodian" if table in _OF_TEXTS else "analyst")
