"""Evidence of one incident, written to a directory.

The order that makes it safe:
    1. what is exported is settled: the incident's latest revision, whose calls, between which moments;
    2. tables are streamed to files, small ones twice (Parquet and JSON), calls in slices of whole minutes; a count that
       does not fit, or another revision at the end, means that somebody wrote meanwhile: nothing appears;
    3. the manifest is made of what was written, and signed;
    4. `kept` records the export where erasure finds it, and only then the directory appears.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from detectors.bank import discover
from streams.cases.case_files import Case as StoredCase
from streams.clickhouse import Store
from streams.composing import make_budget
from streams.evidence import signing, tables
from streams.evidence.draft import Draft, drafted
from streams.evidence.manifest import MANIFEST, PUBLIC_KEY, SIGNATURE, Case, Listed, Manifest, Texts, canonical
from streams.evidence.parquet import rows_in
from streams.evidence.reader import readme
from streams.evidence.tables import Query
from streams.settings import Settings

_SETTINGS = (
    "alarm_budget",
    "expected_deployments",
    "expected_principals",
    "silence_minimum_s",
    "incident_quiet_s",
    "incident_cool_down_s",
    "content_mode",
    "redact_ips",
    "retention_days",
    "text_retention_days",
    "case_retention_days",
)
"""What findings and incidents depend on; addresses and secrets of the installation are nobody's business."""


class EvidenceError(Exception):
    """Nothing was exported; the message is one line that says why and what to do."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to export, and for which version of this program."""

    case: StoredCase
    with_texts: bool
    product: str


def export(
    store: Store,
    settings: Settings,
    asked: Asked,
    place: Path,
    key: Ed25519PrivateKey,
    *,
    kept: Callable[[Manifest, list[str]], None],
    told: Callable[[int, int], None] = lambda *_: None,
) -> Manifest:
    """Write the evidence to `place`, which must not exist; `told` hears how many of all calls are written.

    Raises `StoreError`, `EvidenceError`, `OSError`, and `SettingsError` where `place` is no place for it.
    """
    with drafted(place) as draft:
        work = _Export(store, settings, asked, draft, told)
        manifest = work.run(key)
        kept(manifest, work.principals())
    return manifest


class _Export:
    def __init__(
        self, store: Store, settings: Settings, asked: Asked, draft: Draft, told: Callable[[int, int], None]
    ) -> None:
        self._store, self._settings, self._asked, self._draft, self._told = store, settings, asked, draft, told
        self._incident = asked.case.incident
        self._values = tables.values_of(self._incident)
        self._queries: list[Query] = []

    def run(self, key: Ed25519PrivateKey) -> Manifest:
        texts = self._calls()
        versions: dict[str, set[int]] = {}
        for name, sql in tables.SMALL.items():
            for row in self._small(name, sql):
                if name == "findings":
                    versions.setdefault(row["detector"], set()).add(row["version"])
        self._document("incident.json", msgspec.to_builtins(self._incident))
        self._document("detectors.json", _detectors(self._settings, versions))
        masked = msgspec.to_builtins({name: getattr(self._settings, name) for name in _SETTINGS})
        self._document("settings.json", masked)
        self._document("queries.json", msgspec.to_builtins(self._queries))
        (still,) = self._store.query(
            "SELECT max(revision) AS revision FROM incident_revisions WHERE incident_id = {incident_id:String}",
            {"incident_id": self._incident.incident_id},
        )
        if still["revision"] > self._incident.revision:
            raise _meanwhile()
        return self._seal(texts, key)

    def principals(self) -> list[str]:
        """Whose calls are in it."""
        rows = self._store.query(tables.PRINCIPALS, self._values)
        return sorted({*(row["who"] for row in rows), *self._values["principals"]})

    def _calls(self) -> Texts:
        with_texts = self._asked.with_texts
        sql = tables.MINUTES if with_texts else tables.MINUTES_WITHOUT_TEXT
        minutes = self._store.query(sql, self._values)
        calls = sum(row["calls"] for row in minutes)
        edges = self._values["from_us"], self._values["to_us"]
        done = 0
        self._told(done, calls)
        cut = tables.slices([(row["minute"], row["calls"]) for row in minutes], *edges)
        sql = tables.EVENTS if with_texts else tables.EVENTS_WITHOUT_TEXT
        for number, each in enumerate(cut, 1):
            values = {**self._values, "from_us": each.from_us, "to_us": each.to_us}
            listed = self._parquet(f"events-{number:06}", sql, values)
            if listed.rows != each.calls:
                raise _meanwhile()
            done += each.calls
            self._told(done, calls)
        gone, bare = (sum(row[name] for row in minutes) for name in ("gone", "bare"))
        return Texts(
            exported=with_texts,
            content_mode=self._settings.content_mode,
            calls=calls,
            with_text=sum(row["with_text"] for row in minutes),
            gone=gone,
            bare=bare,
            said=_said(gone, bare) if with_texts else "texts were left out of this export (--without-text)",
        )

    def _small(self, name: str, sql: str) -> list[dict[str, Any]]:
        """A table as Parquet and as JSON; gives its rows."""
        listed = self._parquet(name, sql, self._values)
        query = tables.json_lines(f"{name}.json", sql, self._values)
        rows = list(_rows(self._store.read(query.sql, query.parameters, whole=True)))
        self._queries.append(query)
        self._draft.write(query.file, _array(rows), lambda _: len(rows))
        if len(rows) != listed.rows:
            raise _meanwhile()
        return rows

    def _parquet(self, name: str, sql: str, values: dict[str, Any]) -> Listed:
        query = tables.parquet(f"{name}.parquet", sql, values)
        self._queries.append(query)
        return self._draft.write(query.file, self._store.read(query.sql, query.parameters, whole=True), rows_in)

    def _document(self, name: str, value: object) -> None:
        """A document for people and programs: one form, indented."""
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, default=str)
        self._draft.write(name, [text.encode(), b"\n"])

    def _seal(self, texts: Texts, key: Ed25519PrivateKey) -> Manifest:
        """Step 3."""
        case = Case(
            incident_id=self._incident.incident_id,
            revision=self._incident.revision,
            state=self._asked.case.state,
            deployment=self._incident.deployment,
            from_us=self._values["from_us"],
            to_us=self._values["to_us"],
        )
        (about,) = self._store.query("SELECT version() AS engine, max(version) AS schema FROM schema_migrations")
        manifest = Manifest(
            case=case,
            texts=texts,
            files=(),
            signed_by=signing.fingerprint(key.public_key()),
            product=f"inferwatch {self._asked.product}",
            engine=f"ClickHouse {about['engine']}",
            schema=about["schema"],
        )
        self._draft.write("README.md", [readme(manifest, self._draft.files).encode("ascii", "backslashreplace")])
        self._draft.write("SHA256SUMS", [f"{each.sha256}  {each.path}\n".encode() for each in self._draft.files])
        listed = tuple(sorted(self._draft.files, key=lambda each: each.path))
        manifest = msgspec.structs.replace(manifest, files=listed)
        data = manifest.encoded()
        self._draft.write(MANIFEST, [data])
        self._draft.write(SIGNATURE, [key.sign(data)])
        self._draft.write(PUBLIC_KEY, [signing.pem(key.public_key())])
        return manifest


def _detectors(settings: Settings, versions: dict[str, set[int]]) -> list[dict[str, Any]]:
    """The whole catalog: which detectors watched is evidence too, and so is the share of false alarms each may cost."""
    catalog, budget = discover(), make_budget(settings)
    return [
        {
            "detector": name,
            "versions_that_found": sorted(versions.get(name, ())),
            "false_alarms_a_day_and_subject": budget.share(kind.metadata.scope, len(catalog)),
            "metadata": msgspec.to_builtins(kind.metadata),
        }
        for name, kind in sorted(catalog.items())
    ]


def _rows(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    left: list[bytes] = []
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield json.loads(b"".join([*left, line]))
            left = []
        left.append(rest)
    if any(left):
        raise EvidenceError("the store broke off in the middle of a table; run it again")


def _array(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """A JSON array with a row on each line, in one form whatever server wrote the rows."""
    before = b"[\n"
    for row in rows:
        yield before + canonical(row)
        before = b",\n"
    yield b"\n]\n" if before == b",\n" else b"[\n]\n"


def _said(gone: int, bare: int) -> str:
    said = []
    if gone:
        said.append(
            f"of {gone} calls the prompt is not here, only its hash: its time to be kept was over, or the installation "
            "stored no texts when it came"
        )
    if bare:
        said.append(
            f"of {bare} calls neither a text nor a hash of one is here: they were erased for a data subject, or came "
            "without any"
        )
    return "; ".join(said) or "every call is here with its text"


def _meanwhile() -> EvidenceError:
    return EvidenceError(
        "the incident or its calls changed while they were exported; nothing was written, run it again"
    )
