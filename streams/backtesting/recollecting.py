"""Stored events as the observations a detector saw: what a backtest over history is fed with.

Numbers, names and hashes come back from the columns they were stored in. What an observation holds beyond them is
computed anew from the stored text: the same as then where texts are stored in full, of redacted text where they are
redacted, and nothing where they are not stored. Notices of changes and components stand among them by their time, those
from before the span at its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from detectors import features
from detectors.types import Components, Document, InferenceEvent, Message, Observation
from streams.clickhouse import Store
from streams.components.change_files import told

PAGE = 2_000

_ORDER = "record_time, topic, partition, offset, event_index"
_WANTED = """
record_time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
AND record_time < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
AND (deployment = {deployment:String} OR {deployment:String} = '')
AND (principal = {principal:String} OR {principal:String} = '')
"""
_COUNT = f"SELECT count() AS events FROM events_latest WHERE {_WANTED}"  # noqa: S608 - constants of this file
_EVENTS = f"""
SELECT *, toFloat64(time) AS time_s, toUnixTimestamp64Milli(record_time) AS record_ms FROM events_latest
WHERE {_WANTED} AND ({_ORDER}) > (fromUnixTimestamp64Milli({{at_ms:Int64}}, 'UTC'), {{topic:String}},
  {{partition:UInt32}}, {{offset:Int64}}, {{index:Int64}})
ORDER BY {_ORDER} LIMIT {{limit:UInt32}}
"""  # noqa: S608 - as above

_STORED = (
    "failed", "refused", "finish_reason", "prompt_hash", "prompt_template", "prompt_simhash",
)  # fmt: skip
"""Fields of an observation that have a column of their own."""

_BUILT = frozenset({"components", "features", "egress_hosts"})
"""Fields of an event whose column holds them in another form."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: those whose records came in a span of unix milliseconds, of one deployment or principal or all."""

    since_ms: int
    until_ms: int
    deployment: str = ""
    principal: str = ""


def count(store: Store, wanted: Wanted) -> int:
    """How many events there are. Raises `StoreError`."""
    return int(store.query(_COUNT, msgspec.to_builtins(wanted))[0]["events"])


def recollect(store: Store, wanted: Wanted, key: bytes) -> Iterator[list[Observation]]:
    """Observations in the order in which their records came, a page at a time. Raises `StoreError`.

    `key` is the one that hashes were made with then.
    """
    place: dict[str, Any] = {"at_ms": 0, "topic": "", "partition": 0, "offset": -1, "index": -1}
    asked = {**msgspec.to_builtins(wanted), "limit": PAGE}
    notices = deque([] if wanted.principal else told(store, wanted.deployment, wanted.until_ms))
    while rows := store.query(_EVENTS, {**asked, **place}):
        page: list[Observation] = []
        for row, observation in zip(rows, observations(rows, key), strict=True):
            while notices and notices[0].time_s * 1_000 <= row["record_ms"]:
                page.append(notices.popleft())
            page.append(observation)
        yield page
        last = rows[-1]
        place = {
            "at_ms": last["record_ms"],
            "index": last["event_index"],
            **{name: last[name] for name in ("topic", "partition", "offset")},
        }
    if notices:
        yield list(notices)


def observations(rows: Sequence[dict[str, Any]], key: bytes) -> list[Observation]:
    """Rows of events, with their time as `time_s`, as the observations they were."""
    observed = features.observe([_event(row) for row in rows], key)
    return [_restored(row, each) for row, each in zip(rows, observed, strict=True)]


def _restored(row: dict[str, Any], observed: Observation) -> Observation:
    """An observation with what was computed when the event came, where that is stored."""
    kept = {name: row[name] for name in _STORED}
    return msgspec.structs.replace(observed, style=tuple(row["style"]) or None, **kept)


def _event(row: dict[str, Any]) -> InferenceEvent:
    """The event of a row, as far as it is stored."""
    said = msgspec.json.decode(row["conversation"]) if row["conversation"] else {}
    prompt, output = row["prompt"], row["output"]
    asked = tuple(msgspec.convert(each, Message) for each in said.get("input_messages", ()))
    if not asked and prompt is not None:
        asked = (Message(role="user", content=prompt),)
    answered = [] if output is None else [Message(role="assistant", content=output)]
    answered += [
        msgspec.structs.replace(message, content=None)
        for message in (msgspec.convert(each, Message) for each in said.get("tool_calls", ()))
    ]
    plain = {name: row[name] for name in InferenceEvent.__struct_fields__ if name in row and name not in _BUILT}
    return InferenceEvent(
        **plain,
        input_messages=asked or None,
        output_messages=tuple(answered) or None,
        documents=tuple(msgspec.convert(each, Document) for each in said.get("documents", ())) or None,
        components=Components(**row["components"]) if row["components"] else None,
        features=msgspec.json.decode(row["features"]) if row["features"] else None,
        egress_hosts=tuple(row["egress_hosts"]) or None,
        finish_reasons=None if row["finish_reason"] is None else (row["finish_reason"],),
    )
