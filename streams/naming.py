"""The words behind the hashes of a finding, for who may read prompts and says why: a trigger named where it is stored.

Observations and findings hold no text. Where the texts of its examples are stored, and the key that hashed them
is at hand, the words are found again there; elsewhere the hash stays.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detectors import tokens
from detectors.catalog.backdoor_trigger import COMPANIONS, EXAMPLES, TRIGGER
from detectors.types import Evidence, Finding
from streams.clickhouse import Store, StoreError
from streams.dlq import printable

_PROMPTS = "SELECT prompt FROM events_latest WHERE event_id IN {event_ids:Array(String)}"


def with_words(findings: Iterable[Finding], store: Store, key: bytes | None) -> list[Finding]:
    """`findings`, with words in the place of hashes where the prompts of their examples can be read."""
    return [_with_words(finding, store, key) for finding in findings]


def _with_words(finding: Finding, store: Store, key: bytes | None) -> Finding:
    evidence = {row.name: str(row.observed) for row in finding.evidence}
    if key is None or not {TRIGGER, EXAMPLES} <= evidence.keys():
        return finding
    hashes = [
        int(each, 16) for name in (TRIGGER, COMPANIONS) for each in evidence.get(name, "").split() if _is_hash(each)
    ]
    try:
        rows = store.query(_PROMPTS, {"event_ids": evidence[EXAMPLES].split()})
    except StoreError:
        return finding  # this user may not read prompts
    words = {
        f"{value:08x}": word
        for value, word in tokens.named(hashes, [row["prompt"] for row in rows if row["prompt"]], key).items()
    }
    if evidence[TRIGGER] not in words:
        return finding
    return msgspec.structs.replace(
        finding,
        summary=finding.summary.replace(evidence[TRIGGER], f'"{printable(words[evidence[TRIGGER]])}"'),
        evidence=tuple(_named(row, words) for row in finding.evidence),
    )


def _is_hash(text: str) -> bool:
    return len(text) == 8 and set(text) <= set("0123456789abcdef")  # noqa: PLR2004 - 32 bits


def _named(row: Evidence, words: dict[str, str]) -> Evidence:
    if row.name not in {TRIGGER, COMPANIONS}:
        return row
    said = [f'"{printable(words[each])}"' if each in words else each for each in str(row.observed).split()]
    return msgspec.structs.replace(row, observed=" ".join(said), unit="")
