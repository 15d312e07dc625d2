"""A database with one person in every place where somebody can be, among others who must not be touched."""

from __future__ import annotations

import hashlib
import unicodedata
import uuid
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from detectors.types import Finding
from streams.cases.incidents import Incident, Verdict
from streams.cases.suppressions import Suppression
from streams.clickhouse import Store, migrate
from streams.components.baselines import Baseline
from streams.components.provenance import Change, Noted
from streams.custody import access, exports
from streams.custody.access import Access
from streams.custody.places import tables
from streams.dlq import DeadLetter
from streams.migrations import Migration
from streams.rows import SavedState
from streams.settings import Settings
from streams.snapshots import Origin, seal
from tests.chdb_directory import chdb_url
from tests.findings import START_S, found
from tests.incidents import NOW_S, incident

KEY = "k" * 40
IDENTITY = "Zoë.Quirk@planted.example"
CALLS, OTHERS = 40, 160
SEALED_WITH = hashlib.sha256(b"test").digest()


QUICK = "cleanup_delay_period = 1, max_cleanup_delay_period = 1, cleanup_delay_period_random_add = 0"
"""Of a table, how often the server looks for old parts; changed later, it counts half a minute later."""


def settings(**fields: object) -> Settings:
    """A database of its own in this process."""
    return msgspec.structs.replace(
        Settings(clickhouse_url=chdb_url(), retention_days=3_650, key=KEY),
        **{"clickhouse_database": f"test_{uuid.uuid4().hex[:12]}", **fields},
    )


def migrated(where: Settings) -> Store:
    """An empty schema whose texts are not compressed, so that a search of the files can find them."""
    plain = Migration.statements

    def quick(self: Migration, retention_days: int) -> list[str]:
        return [
            f"{sql}{',' if 'SETTINGS' in sql else ' SETTINGS'} {QUICK}" if sql.startswith("CREATE TABLE") else sql
            for sql in plain(self, retention_days)
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Migration, "statements", quick)
        migrate(where)
    store = Store.connect(where)
    known = tables(store)
    for table in ("inference_events", "findings"):
        columns = known[table]
        changes = [f"MODIFY COLUMN {each.quoted} CODEC(NONE)" for each in columns if each.textual and not each.computed]
        if changes:
            store.command(f"ALTER TABLE `{table}` {', '.join(changes)}")
    return store


def plant(store: Store, who: str, other: str, identity: str = IDENTITY, word: str = "ownsecret") -> Incident:
    """`who` everywhere, with texts that begin with `word`; `other` and more besides. Gives a deployment's incident."""
    store.command(
        """
        INSERT INTO inference_events (event_id, topic, partition, offset, event_index, record_time, time, source,
            deployment, principal, session, network, prompt, output, system, conversation, features, prediction,
            input_tokens, response_id)
        SELECT 't:0:' || toString(number) || ':0', 't', 0, number, 0,
            fromUnixTimestamp(toUInt32({now:UInt32} + number)), fromUnixTimestamp(toUInt32({now:UInt32} + number)), 's',
            'chat', if(number < {calls:UInt32}, {who:String}, {other:String}),
            's_' || lower(hex(MD5(toString(intDiv(number, 20))))), 'n_' || lower(hex(MD5('one'))),
            if(number < {calls:UInt32}, {word:String} || 'prompt ', if(number = 100, {identity:String}, 'harmless '))
                || toString(number),
            if(number < {calls:UInt32}, {word:String} || 'output', 'fine'), 'asked', '[]', '{}', 'cat', 10,
            'r' || toString(number)
        FROM numbers({all:UInt32})
        """,
        {"now": int(NOW_S), "calls": CALLS, "all": CALLS + OTHERS, "who": who, "other": other, "identity": identity}
        | {"word": word},
    )
    session = store.query("SELECT any(session) AS s FROM inference_events WHERE principal = {who:String}", {"who": who})
    own = found("extraction", NOW_S - START_S + 1, ("quoted", f"{word}evidence {who}"), scope="principal", subject=who)
    cohort = found("coordinated_extraction", NOW_S - START_S + 2, ("members", f"{who} {other}"), finding_id="cohort")
    seen: list[Finding] = [own, cohort, found("probing", NOW_S - START_S + 3, scope="principal", subject=other)]
    store.insert_findings([msgspec.structs.replace(each, event_id=f"t:0:{at}:0") for at, each in enumerate(seen)])
    case = incident(0, members=(who, other), summary=f"{session[0]['s']} and {who} at work")
    store.insert_incidents([case])
    store.insert_verdict(
        Verdict(incident_id=case.incident_id, verdict="true", note=f"asked {identity.upper()}", said_by="k")
    )
    store.insert_suppression(
        Suppression(suppression_id="sup-00000001", reason="x", subject=who, made_s=NOW_S, until_s=NOW_S + 9e8, by="k")
    )
    letter = DeadLetter(
        topic="t", partition=0, offset=1, event_index=-1, record_time_s=NOW_S, topic_id="t", reason="no JSON",
        content_type="json", size_bytes=9, sha256="0", head='{"user": "' + identity.replace("ë", "\\\\u00eb") + '"',
    )  # fmt: skip
    store.insert_dead_letters([letter, msgspec.structs.replace(letter, offset=2, head=f'"user": "{identity}"')])
    store.insert_snapshots(
        [state("principal", who, b"own"), state("deployment", "chat", b"\x93\x00" + who.encode() + b"\xff")]
    )
    return case


def plant_beside(store: Store, who: str, identity: str, name: str) -> None:
    """What people wrote down of them, under their address and their name, in the spellings that programs use."""
    said = Change(deployment="chat", component="weights", new="w2", who=identity, reason=f"as {name.lower()} asked")
    store.insert_changes([Noted(said=said, event_id="t:0:9:0", time_s=NOW_S)])
    store.insert_baseline(
        Baseline(
            name=f"before {name}", deployment="chat", since_s=NOW_S - 9, until_s=NOW_S, events=9, principals=2,
            numbers={}, components={}, frozen_s=NOW_S, note=f"seen at https://wiki.example/?who={quote(name)}",
        )
    )  # fmt: skip
    exports.register(store, exports.SUBJECT, Path(__file__), f"for {unicodedata.normalize('NFD', name)}")
    access.record(store, Access(who="lee", verb="findings", why=f"{name} called", subjects=[who]))
    store.command(
        "INSERT INTO component_reports (report_id, deployment, source, stored_at) "
        "VALUES ('r', 'chat', {source:String}, now64(3))",
        {"source": f"/home/{name}/model"},
    )


def state(scope: str, subject: str, learned: bytes) -> SavedState:
    """A sealed state as a worker saves it."""
    origin = Origin(topic_id="t", topic="observations", partition=0, scope=scope, subject=subject, next_offset=5)
    envelope = seal(origin, learned, {}, SEALED_WITH)
    return SavedState(**msgspec.structs.asdict(origin), envelope=envelope)


def files_with(directory: str, texts: Sequence[str]) -> dict[str, list[Path]]:
    """Of each text every file under a server's data in whose bytes it is, whatever the server says it has."""
    found: dict[str, list[Path]] = {text: [] for text in texts}
    for each in Path(directory).rglob("*"):
        if each.is_file():
            data = each.read_bytes()
            for text in texts:
                if text.encode() in data:
                    found[text].append(each)
    return found
