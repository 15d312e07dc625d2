"""The log of access: who read texts of calls, held, released, exported or erased what, when and why.

A verb records what it is about to do before it does it (`record`), and how it ended (`ended`). The log is only ever
added to, and outlives what it is about; so it holds neither a text nor a person. A pseudonym stands in it as its
fingerprint, which whoever has the identity and the key can compute and nobody can turn back; a value that may be a
text as its length.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from streams.dlq import printable
from streams.redaction import Redactor
from streams.settings import SettingsError

if TYPE_CHECKING:
    from streams.clickhouse import Store

Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="Why it is needed, such as a ticket; kept in the log of access.")
]
"""The option of every verb whose use is recorded; `because` refuses an empty one."""

BEGUN: Final = "begun"
DONE: Final = "done"
FAILED: Final = "failed"

_MOST_CHARS = 500
_PSEUDONYM = re.compile(r"\b[a-z]_[0-9a-f]{32}\b")
_PLAIN = re.compile(r"[0-9][0-9TZ:.+ -]{0,40}|[0-9]+[smhdwy]|now( - [0-9]+[smhdwy])?|[a-z]{2,4}[-_][0-9a-f]{8,64}|")
"""Times, numbers, spans and ids of ours: values that are no text of anybody."""

_NAMES = frozenset({"deployment", "detector", "model", "severity", "format", "incident", "output", "operation"})
"""Parameters whose values name things, not people; kept, redacted."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """One use. `subjects` are pseudonyms, `rows` how many rows it gave or changed, `None` as long as nobody knows."""

    who: str
    verb: str
    why: str
    what: str = ""
    parameters: Mapping[str, str] = {}
    subjects: Sequence[str] = ()
    rows: int | None = None
    outcome: str = DONE
    access_id: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One use as the log has it: when it began, and how it ended as far as that is known."""

    access_id: str
    time: str
    who: str
    verb: str
    why: str
    what: str
    parameters: dict[str, str]
    subjects: list[str]
    rows: int | None
    outcome: str


_COLUMNS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("access_id", "String", lambda row: row.access_id),
    ("who", "String", lambda row: _clean(row.who)),
    ("verb", "LowCardinality(String)", lambda row: row.verb),
    ("why", "String", lambda row: _clean(row.why)),
    ("what", "String", lambda row: _clean(row.what)),
    ("parameters", "Map(LowCardinality(String), String)", lambda row: _recorded(row.parameters)),
    ("subjects", "Array(String)", lambda row: sorted({fingerprint(each) for each in row.subjects})),
    ("rows", "Nullable(UInt64)", lambda row: row.rows),
    ("outcome", "LowCardinality(String)", lambda row: row.outcome),
)


def because(why: str) -> str:
    """The reason as it is kept. Raises `SettingsError` where there is none."""
    if not why.strip():
        raise SettingsError("--why: say why, such as a ticket; this is kept in the log of access")
    return why.strip()[:_MOST_CHARS]


def fingerprint(pseudonym: str) -> str:
    """What stands for a pseudonym in the log; the same each time, and no pseudonym itself."""
    return "s-" + hashlib.sha256(pseudonym.encode()).hexdigest()[:32]


def record(store: Store, access: Access) -> str:
    """Write `access` down and give its id; call it before anything is shown or changed. Raises `StoreError`."""
    access_id = access.access_id or f"acc-{secrets.token_hex(8)}"
    store.insert("access_log", _COLUMNS, [msgspec.structs.replace(access, access_id=access_id)])
    return access_id


def ended(store: Store, access_id: str, access: Access, rows: int, outcome: str = DONE) -> None:
    """Write down how `access`, recorded before as `access_id`, ended. Raises `StoreError`."""
    record(store, msgspec.structs.replace(access, access_id=access_id, rows=rows, outcome=outcome))


@contextmanager
def recorded(store: Store, access: Access) -> Iterator[Callable[[int | None], None]]:
    """Write `access` down before what is done inside, and how it ended after that: tell it how many rows it gave.

    Raises `StoreError`.
    """
    access_id = record(store, msgspec.structs.replace(access, outcome=BEGUN))
    rows: list[int | None] = [None]
    try:
        yield rows.append
    except BaseException:
        ended(store, access_id, access, 0, FAILED)
        raise
    ended(store, access_id, access, rows[-1] or 0)


def entries(store: Store, since_s: float, limit: int, pseudonym: str = "") -> list[Entry]:
    """What is in the log since `since_s`, the latest first; of one subject where a pseudonym is given."""
    sql = """
        SELECT access_id, formatDateTime(min(access_log.time), '%Y-%m-%d %H:%i:%SZ') AS time, any(who) AS who,
               any(verb) AS verb, any(why) AS why, argMax(what, access_log.time) AS what,
               any(parameters) AS parameters, groupUniqArrayArray(subjects) AS subjects,
               argMaxIf(rows, access_log.time, rows IS NOT NULL) AS rows, argMax(outcome, access_log.time) AS outcome
        FROM access_log
        WHERE access_log.time >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
        GROUP BY access_id
        HAVING {subject:String} = '' OR has(groupUniqArrayArray(access_log.subjects), {subject:String})
        ORDER BY min(access_log.time) DESC, access_id
        LIMIT {limit:UInt32}
    """
    subject = fingerprint(pseudonym) if pseudonym else ""
    found = store.query(sql, {"since": round(since_s * 1000), "limit": limit, "subject": subject})
    return [msgspec.convert(row, Entry) for row in found]


def _clean(text: str) -> str:
    """One line without what has the shape of a secret, a person's data or a pseudonym."""
    known = _PSEUDONYM.sub(lambda found: fingerprint(found.group()), text[: 4 * _MOST_CHARS])
    return printable(Redactor(ips=True).redact(known))[:_MOST_CHARS]


def _recorded(parameters: Mapping[str, str]) -> dict[str, str]:
    """Values that can be no text of anybody; of the others how long they are."""
    kept = {}
    for name, value in parameters.items():
        if _PSEUDONYM.fullmatch(value):
            kept[name] = fingerprint(value)
        elif name in _NAMES or _PLAIN.fullmatch(value):
            kept[name] = _clean(value)
        else:
            kept[name] = f"({len(value)} characters)"
    return kept
