"""Somebody taken out of everything that is stored, provably.

The order, which may be run again after a crash at any place:
    1. files of exports, and the saved states of detectors (`streams.custody.removal`);
    2. every table with a trace, those of calls last: until then they still say which sessions were the subject's.
       Of each table: (a) its rows, rewritten, into a table beside it, which is renamed when it is whole; (b) the rows
       themselves deleted; (c) the rewritten ones moved in, partition by partition. Nothing is counted twice, because
       no view follows what is moved, and an aggregate is moved as it is;
    3. parts that the deletions left behind, until the server has removed them from the disk;
    4. everything is looked through again, and what remains is said.
A statement that deletes says whom by fingerprints alone: the server keeps it among its mutations.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import msgspec

from streams.clickhouse import Store, StoreError
from streams.custody.places import Column, Place, everywhere, has, needles, searched, tables
from streams.custody.rewriting import fingerprint_of, is_of_calls, selected, values, written
from streams.custody.subjects import Subject

STATES: Final = "detector_snapshots"

_CHUNK = 1_000
"""Fingerprints in one deletion, 36 KB."""

_MOST_LINKED = 100
"""Names that one statement replaces; outside of calls a session is hardly ever named."""

_WRITING, _WHOLE = "erasing_", "erased_"
_PURGED = {"old_parts_lifetime": "0", "cleanup_delay_period": "1", "max_cleanup_delay_period": "1"}


class UnfinishedError(Exception):
    """Something else has to be erased first, or its erasure finished."""


class Left(msgspec.Struct, frozen=True):
    """What is still on the disk of parts that were rewritten."""

    table: str
    parts: int


def linked(store: Store, subject: Subject) -> Subject:
    """The subject, with those of its sessions and networks that something else but its calls names.

    Only those that no other caller shares: a network may be that of a whole company. Raises `UnfinishedError`.
    """
    known = tables(store)
    calls = [table for table, columns in known.items() if is_of_calls(columns)]
    mine = " UNION DISTINCT ".join(
        f"SELECT assumeNotNull({kind}) FROM `{table}` WHERE principal IN {{pseudonyms:Array(String)}} "  # noqa: S608 - names of the database's own
        f"AND {kind} IS NOT NULL AND {kind} NOT IN (SELECT {kind} FROM `{table}` WHERE {kind} IS NOT NULL "
        "AND ifNull(principal, '') NOT IN {pseudonyms:Array(String)})"
        for table in calls
        for kind in ("session", "network", "user_agent")
    )
    found: dict[str, None] = {}
    for table, columns in known.items():
        text = ", ' ', ".join(column.text for column in columns if column.textual)
        if table in calls or not text:
            continue
        tokens = f"arrayJoin(extractAll(concat({text}, ' '), '[a-z]_[0-9a-f]{{32}}'))"
        sql = f"SELECT DISTINCT {tokens} AS name FROM `{table}` WHERE name IN ({mine}) LIMIT 1000"  # noqa: S608 - as above
        found |= {row["name"]: None for row in store.query(sql, needles(subject))}
    if len(found) > _MOST_LINKED:
        raise UnfinishedError(
            f"more than {_MOST_LINKED} of their sessions are named outside of calls; erase those first"
        )
    pseudonyms = tuple(dict.fromkeys((*subject.pseudonyms, *found)))
    return msgspec.structs.replace(subject, pseudonyms=pseudonyms)


def traces(store: Store, subject: Subject) -> list[Place]:
    """Where the subject is, in the order in which it is taken out. Raises `UnfinishedError`, `StoreError`."""
    mark = _mark(subject)
    known = tables(store)
    for table in known:
        if table.startswith((_WRITING, _WHOLE)) and not table.endswith(mark):
            raise UnfinishedError(
                f"the erasure of somebody else was cut off (its table {table} is still there); finish it first: "
                "run it again for the same subject"
            )
    places = [
        msgspec.structs.replace(searched(store, subject, f"`{table}`", columns), table=table)
        for table, columns in known.items()
        if not table.startswith((_WRITING, _WHOLE))
    ]
    wanted = [each for each in places if each.found or f"{_WHOLE}{each.table}_{mark}" in known]
    return sorted(wanted, key=lambda each: (is_of_calls(known[each.table]), each.table))


def erase(store: Store, subject: Subject, places: list[Place]) -> Iterator[str]:
    """Step 2; the name of each table when it is done. Saved states are not for this: they are signed."""
    known = tables(store)
    stand_ins = {each: f"{each[0]}_{secrets.token_hex(16)}" for each in subject.pseudonyms}
    for place in places:
        if place.table != STATES:
            _rewrite(store, subject, stand_ins, place, known)
            yield place.table


def delete(store: Store, subject: Subject, table: str, columns: list[Column]) -> None:
    """Take the rows out in which one of `columns` names the subject."""
    for column in columns:
        rows = store.query(
            f"SELECT DISTINCT {fingerprint_of(column)} AS cell FROM `{table}` WHERE {has(column, subject)}",  # noqa: S608 - names of the database's own
            needles(subject),
        )
        cells = [row["cell"] for row in rows]
        for start in range(0, len(cells), _CHUNK):
            store.command(
                f"ALTER TABLE `{table}` DELETE WHERE {fingerprint_of(column)} IN {{cells:Array(String)}}",
                {"cells": cells[start : start + _CHUNK]},
                {"mutations_sync": 0},  # a large table takes longer than a connection may
            )
            _wait(store, table)


def purge(store: Store, names: list[str], patience_s: float, pause: Callable[[float], None] = time.sleep) -> list[Left]:
    """Have the server remove rewritten parts from the disk now; what is still there after `patience_s`."""
    sql = """
        SELECT table, countIf(NOT active) AS parts FROM system.parts
        WHERE database = currentDatabase() AND table IN {names:Array(String)} GROUP BY table ORDER BY table
    """
    for name in names:
        set_to = ", ".join(f"{setting} = {value}" for setting, value in _PURGED.items())
        store.command(f"ALTER TABLE `{name}` MODIFY SETTING {set_to}")
        with suppress(StoreError):  # a user without that grant waits until the server looks by itself: minutes
            store.command(f"SYSTEM START CLEANUP `{name}`")
    waited_s = 0
    while left := [row for row in store.query(sql, {"names": names}) if row["parts"]]:
        if waited_s >= patience_s:
            break
        pause(1.0)
        waited_s += 1
    for name in names:
        store.command(f"ALTER TABLE `{name}` RESET SETTING {', '.join(_PURGED)}")
    return [Left(row["table"], row["parts"]) for row in left]


def rewritten(store: Store) -> list[str]:
    """Tables of which rows were deleted within the last hour, by this erasure or by one that was cut off."""
    rows = store.query(
        "SELECT DISTINCT table FROM system.mutations WHERE database = currentDatabase() "
        "AND command LIKE '%SHA256%' AND create_time > now() - INTERVAL 1 HOUR ORDER BY table"
    )
    known = tables(store)
    return [row["table"] for row in rows if row["table"] in known]


def remains(store: Store, subject: Subject) -> list[Place]:
    """Step 4: every table and column again, and what the server wrote down itself."""
    return everywhere(store, subject)


def _rewrite(
    store: Store, subject: Subject, stand_ins: dict[str, str], place: Place, known: dict[str, list[Column]]
) -> None:
    table, columns = place.table, known[place.table]
    writing, whole = f"{_WRITING}{table}_{_mark(subject)}", f"{_WHOLE}{table}_{_mark(subject)}"
    hit = [column for column in columns if column.name in place.found]
    if whole not in known:
        names = ", ".join(column.quoted for column in written(columns))
        store.command(f"DROP TABLE IF EXISTS `{writing}` SYNC")
        store.command(f"CREATE TABLE `{writing}` AS `{table}`")
        store.command(
            f"INSERT INTO `{writing}` ({names}) SELECT {', '.join(selected(table, columns, subject))} "  # noqa: S608 - names of the database's own
            f"FROM `{table}` WHERE {' OR '.join(has(column, subject) for column in hit)}",
            {**needles(subject), **values(subject, stand_ins)},
            {"max_partitions_per_insert_block": 0},
        )
        store.command(f"RENAME TABLE `{writing}` TO `{whole}`")
    delete(store, subject, table, hit)
    sql = """
        SELECT DISTINCT partition_id AS id FROM system.parts
        WHERE database = currentDatabase() AND active AND table = {name:String}
    """
    for row in store.query(sql, {"name": whole}):
        store.command(f"ALTER TABLE `{whole}` MOVE PARTITION ID '{row['id']}' TO TABLE `{table}`")
    store.command(f"DROP TABLE `{whole}` SYNC")


def _wait(store: Store, table: str) -> None:
    """Return when the table's mutations are done. Raises `StoreError` where one cannot be."""
    sql = """
        SELECT count() AS n, any(latest_fail_reason) AS reason FROM system.mutations
        WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done
    """
    pause_s = 0.01
    while (row := store.query(sql, {"table": table})[0])["n"]:
        if row["reason"]:
            raise StoreError(f"ClickHouse: a mutation of {table} fails; system.mutations says why")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


def _mark(subject: Subject) -> str:
    """What an erasure's tables are told by; the same each time for the same subject."""
    return hashlib.sha256(subject.pseudonyms[0].encode()).hexdigest()[:12]
