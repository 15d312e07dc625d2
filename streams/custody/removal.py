"""What an erasure takes out beside the rows of tables: saved states of detectors, which are signed.

The state of the subject itself goes; one of a deployment or cohort that remembers the subject among others gets another
name in its place, of the same length, and is signed again. A worker that runs would write what it remembers back, so an
erasure begins only when none has said anything of itself for `SILENT_S`.
"""

from __future__ import annotations

import re
import secrets

import msgspec

from streams.clickhouse import Store
from streams.custody.erasure import STATES, delete
from streams.custody.holds import Hold, holds
from streams.custody.places import Column, has, needles, tables
from streams.custody.subjects import Subject
from streams.rows import SavedState
from streams.snapshots import resealed
from streams.vitals import INTERVAL_S

SILENT_S = 3 * INTERVAL_S + 5.0

_SUBJECT = Column("subject", "String")
_ENVELOPE = Column("envelope", "String")


def running(store: Store) -> dict[str, float]:
    """Workers that may be running, and how many seconds ago each spoke last. Raises `StoreError`."""
    rows = store.query(
        "SELECT worker, toFloat64(now64(3, 'UTC')) - toFloat64(max(time)) AS ago_s FROM worker_metrics "
        "WHERE worker_metrics.time >= now() - INTERVAL 1 HOUR GROUP BY worker HAVING ago_s < {most:Float64} "
        "ORDER BY worker",
        {"most": SILENT_S},
    )
    return {row["worker"]: row["ago_s"] for row in rows}


def states(store: Store, subject: Subject, keys: tuple[bytes, ...]) -> tuple[int, int, int]:
    """Remove states of the subject, rename it in others: how many were removed, renamed, and dropped unsigned."""
    sql = f"SELECT count() AS n FROM {STATES} FINAL WHERE {has(_SUBJECT, subject)}"  # noqa: S608 - names of the schema
    own = int(store.query(sql, needles(subject))[0]["n"])
    delete(store, subject, STATES, [_SUBJECT])
    renamed = dropped = 0
    fresh = []
    for row in _naming(store, subject):
        envelope = resealed(row.envelope, lambda body: _renamed(body, subject), keys)
        if envelope is None:
            dropped += 1
        else:
            renamed += 1
            fresh.append(msgspec.structs.replace(row, envelope=envelope))
    # Inserted before the others go: cut off in between, the next run finds those and does it again.
    store.insert_snapshots(fresh)
    delete(store, subject, STATES, [_ENVELOPE])
    return own, renamed, dropped


def _naming(store: Store, subject: Subject) -> list[SavedState]:
    """The states of others that name the subject."""
    found: list[SavedState] = []
    sql = f"SELECT DISTINCT topic_id, scope, topic, subject FROM {STATES} WHERE {has(_ENVELOPE, subject)}"  # noqa: S608 - names of the schema
    for row in store.query(sql, needles(subject)):
        found += store.snapshots(row["topic_id"], row["scope"], row["topic"], [row["subject"]]).values()
    return found


def _renamed(body: bytes, subject: Subject) -> bytes:
    """Bytes of a state with other names of the same length in them, so that its layout stays."""
    for pseudonym in subject.pseudonyms:
        body = body.replace(pseudonym.encode(), f"{pseudonym[0]}_{secrets.token_hex(16)}".encode())
    for form in subject.forms:
        body = re.sub(re.escape(form.encode()), b"x" * len(form.encode()), body, flags=re.IGNORECASE)
    return body


def holding(store: Store, subject: Subject, names: list[str], incidents: set[str]) -> list[Hold]:
    """The holds that an erasure would break.

    Those that keep rows of the subject in the tables of `names`, and those of `incidents`, whose exports it is in.
    """
    found: set[str] = set()
    known = tables(store)
    for name in names:
        hit = " OR ".join(has(column, subject) for column in known[name] if column.textual)
        rows = store.query(f"SELECT DISTINCT hold_id FROM `{name}` WHERE {hit}", needles(subject))  # noqa: S608 - names of the schema
        found |= {row["hold_id"] for row in rows}
    return [
        each
        for each in holds(store)
        if each.hold_id in found or (each.incident_id in incidents and not each.released_s)
    ]
