"""Files that were made of what is stored: written once, known by their digest, and removed with their subject."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.clickhouse import Store
from streams.custody.access import fingerprint
from streams.custody.erasure import STATES
from streams.custody.places import Column, has, needles, tables
from streams.custody.rewriting import IDENTITIES, is_of_calls
from streams.custody.subjects import Subject

SUBJECT, EVIDENCE = "subject", "evidence"
MANIFEST: Final = "manifest.json"
"""What a directory of evidence is known by."""

_PAGE = 1_000


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or a directory of evidence; `subjects` are fingerprints, `erased_s` 0 as long as it is there."""

    export_id: str
    kind: str
    path: str
    sha256: str
    made_by: str
    incident_id: str = ""
    subjects: tuple[str, ...] = ()
    machine: str = ""
    made_s: float = 0.0
    erased_s: float = 0.0


_COLUMNS: Final = (
    *(
        (name, "String", lambda row, name=name: getattr(row, name))
        for name in ("export_id", "incident_id", "machine", "path", "sha256", "made_by")
    ),
    ("kind", "LowCardinality(String)", lambda row: row.kind),
    ("subjects", "Array(String)", lambda row: list(row.subjects)),
    *(
        (name, "DateTime64(3, 'UTC')", lambda row, field=field: round(getattr(row, field) * 1_000))
        for name, field in (("made_at", "made_s"), ("erased_at", "erased_s"))
    ),
)


def register(
    store: Store, kind: str, path: Path, made_by: str, *, subjects: Sequence[str] = (), incident_id: str = ""
) -> Export:
    """Remember a file or a directory that was made; `subjects` are pseudonyms. Raises `OSError`, `StoreError`."""
    return remember(store, kind, path.resolve(), _digest(path), made_by, subjects=subjects, incident_id=incident_id)


def remember(
    store: Store,
    kind: str,
    path: Path,
    sha256: str,
    made_by: str,
    *,
    subjects: Sequence[str] = (),
    incident_id: str = "",
) -> Export:
    """Remember one whose digest is known, be it there yet or not. Raises `StoreError`."""
    made = Export(
        export_id=f"exp-{secrets.token_hex(8)}",
        kind=kind,
        path=str(path),
        sha256=sha256,
        made_by=made_by,
        incident_id=incident_id,
        subjects=tuple(sorted({fingerprint(each) for each in subjects})),
        machine=socket.gethostname(),
        made_s=time.time(),
    )
    store.insert("exports", _COLUMNS, [made])
    return made


def of_subject(store: Store, subject: Subject) -> list[Export]:
    """Exports that the subject is in and that nobody has erased yet. Raises `StoreError`."""
    rows = store.query(
        "SELECT export_id, kind, path, sha256, made_by, incident_id, subjects, machine, toFloat64(made_at) AS made_s "
        "FROM exports FINAL WHERE toUnixTimestamp(erased_at) = 0 AND hasAny(subjects, {subjects:Array(String)}) "
        "ORDER BY made_at, export_id",
        {"subjects": [fingerprint(each) for each in subject.pseudonyms]},
    )
    return [msgspec.convert(row, Export) for row in rows]


def remove(store: Store, export: Export, why: str) -> bool:
    """Remove a file and leave a note in its place; False where a person has to.

    That is where it is on another machine, gone, or no longer what was written: a row of a table alone must not have
    any file of this machine deleted.
    """
    path = Path(export.path)
    try:
        if export.machine != socket.gethostname() or _digest(path) != export.sha256:
            return False
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        note = f"{path.name} held data of a person and was erased by inferwatch erase ({why}).\n"
        path.with_name(f"{path.name}.erased.txt").write_text(note, encoding="utf-8")
    except OSError:
        return False
    store.insert("exports", _COLUMNS, [msgspec.structs.replace(export, erased_s=time.time())])
    return True


def write(store: Store, subject: Subject, path: Path, about: Mapping[str, Any]) -> dict[str, int]:
    """Everything that is stored about the subject as one JSON document; rows by table. Raises `OSError`, `StoreError`.

    Whole or not at all: a draft is renamed when it is on the disk. Calls are those of the subject; of other tables
    every row that names it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    counts: dict[str, int] = {}
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write('{"about": ' + json.dumps(about, ensure_ascii=False, indent=1) + ',\n"tables": {')
            for table, columns in tables(store).items():
                counts[table] = 0
                for row in _rows(store, subject, table, columns):
                    opening = f"{',' if any(counts.values()) else ''}\n{json.dumps(table)}: [\n"
                    file.write(opening if not counts[table] else ",\n")
                    file.write(json.dumps(row, ensure_ascii=False, default=_plain))
                    counts[table] += 1
                if counts[table]:
                    file.write("\n]")
            file.write("\n}}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return {table: rows for table, rows in counts.items() if rows}


def _rows(store: Store, subject: Subject, table: str, columns: list[Column]) -> Iterator[dict[str, Any]]:
    # The seal of a state is no text, and what it has learned are numbers.
    shown = [each for each in columns if not (table == STATES and each.name == "envelope")]
    asked = [each for each in shown if each.textual and (not is_of_calls(columns) or each.name in IDENTITIES)]
    if not asked:
        return
    condition = " OR ".join(has(each, subject) for each in asked)
    names = ", ".join(each.quoted for each in shown)
    order = ", ".join(each.quoted for each in shown if each.name in {"time", "event_id", "stored_at"}) or "tuple()"
    start = 0
    while True:
        sql = f"SELECT {names} FROM `{table}` WHERE {condition} "  # noqa: S608 - names of the database's own
        sql += f"ORDER BY {order}, cityHash64({names}) LIMIT {start}, {_PAGE}"
        page = store.query(sql, needles(subject))
        yield from page
        if len(page) < _PAGE:
            return
        start += _PAGE


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _digest(path: Path) -> str:
    with (path / MANIFEST if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
