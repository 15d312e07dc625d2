"""Incidents, approved changes and baselines as Grafana annotations, for every dashboard of an organization.

Our own screens ask ClickHouse themselves. These marks are for the graphs of other people: whoever adds an annotation
query by the tag ``inferwatch`` sees them. A mark is found again by a tag made of its identity, so to say the same again
changes nothing, whoever says it and however often.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dashboards.grafana import Grafana
from dashboards.sql.marks import OF_VIEWS, TABLES

Ask = Callable[[str], list[dict[str, Any]]]
"""Gives the rows of a query."""

TAG = "inferwatch"

_MOST_TEXT = 600
_MOST_TAG = 50


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation: from and until in unix milliseconds, `until_ms` 0 for one that is to go."""

    tag: str
    from_ms: int
    until_ms: int
    tags: tuple[str, ...]
    text: str


def marks(ask: Ask, since_s: float) -> Iterator[Mark]:
    """What was stored since `since_s`, unix seconds, the oldest first of each kind."""
    there = {row["name"] for row in ask(TABLES)}
    for view, sql in OF_VIEWS.items():
        if view in there:
            yield from map(_mark, ask(sql.format(since_s=f"{since_s:.3f}")))


def put(grafana: Grafana, mark: Mark) -> str:
    """Make Grafana have `mark` once and as it is: ``added``, ``changed``, ``removed`` or ``kept``."""
    found = sorted(
        grafana.get("/annotations", tags=mark.tag, type="annotation", limit=100) or [], key=lambda a: a["id"]
    )
    gone = found if not mark.until_ms else found[1:]
    for each in gone:
        grafana.call(grafana.api.annotations.delete_annotations_by_id, each["id"])
    if not mark.until_ms:
        return "removed" if gone else "kept"
    body = {"time_from": mark.from_ms, "time_to": mark.until_ms, "tags": list(mark.tags), "text": mark.text}
    if not found:
        grafana.once(grafana.api.annotations.add_annotation, **body)
        return "added"
    if _as_mark(found[0]) == (mark.from_ms, mark.until_ms, set(mark.tags), mark.text):
        return "removed" if gone else "kept"
    grafana.call(grafana.api.annotations.update_annotation, found[0]["id"], **body)
    return "changed"


def put_all(grafana: Grafana, given: Iterable[Mark]) -> dict[str, int]:
    """How many were added, changed, removed and kept."""
    counted = {"added": 0, "changed": 0, "removed": 0, "kept": 0}
    for mark in given:
        counted[put(grafana, mark)] += 1
    return counted


def inert(text: str, most: int = _MOST_TEXT) -> str:
    """`text` as Grafana shows it as text: no markup, and a dot for what hides or turns the letters beside it."""
    seen = "".join(letter if letter.isprintable() else "\u00b7" for letter in text)
    cut = seen if len(seen) <= most else f"{seen[: most - 1]}\u2026"
    return html.escape(cut)


def _mark(row: dict[str, Any]) -> Mark:
    digest = hashlib.blake2b(f"{row['kind']}\x00{row['id']}".encode(), digest_size=8).hexdigest()
    tag = f"{TAG}:{digest}"
    head = f"{row['severity']} {row['kind']}".strip()
    show = f"<br>inferwatch incidents show {inert(row['id'], 40)}" if row["kind"] == "incident" else ""
    return Mark(
        tag=tag,
        from_ms=int(row["from_ms"]),
        until_ms=int(row["until_ms"]),
        tags=(TAG, row["kind"], tag, inert(row["deployment"], _MOST_TAG)),
        text=f"{inert(head)}: {inert(row['deployment'], 80)}<br>{inert(row['what'])}{show}",
    )


def _as_mark(found: dict[str, Any]) -> tuple[int, int, set[str], str]:
    """What Grafana has, in the terms of a mark: it leaves out an end that is the beginning."""
    begins = int(found["time"])
    return begins, int(found.get("timeEnd") or begins), set(found.get("tags") or ()), found.get("text", "")
