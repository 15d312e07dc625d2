"""Is anything watched, and if not, why: each check says what it saw and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from detectors.bank import discover
from detectors.base import PRINCIPAL, Metadata
from streams import topics
from streams.clickhouse import Store, StoreError
from streams.settings import Settings
from streams.topics import BrokerError

OK, WARN, FAIL = "ok", "warn", "fail"

_CLOCK_S = 2.0
_QUIET_S = 900.0

_FIELDS = """
SELECT deployment, count() AS events, count() AS time_s,
       countIf(latency_s IS NOT NULL) AS latency_s, countIf(ttft_s IS NOT NULL) AS ttft_s,
       countIf(principal IS NOT NULL) AS principal, countIf(notEmpty(style)) AS style,
       countIf(input_tokens IS NOT NULL) AS input_tokens, countIf(output_tokens IS NOT NULL) AS output_tokens,
       countIf(failed IS NOT NULL) AS failed, countIf(refused IS NOT NULL) AS refused,
       countIf(finish_reason IS NOT NULL) AS finish_reason, countIf(prompt_hash IS NOT NULL) AS prompt_hash,
       countIf(prompt_simhash IS NOT NULL) AS prompt_simhash, countIf(prompt_template IS NOT NULL) AS prompt_chars,
       countIf(served_model IS NOT NULL) AS served_model, countIf(notEmpty(components)) AS components,
       countIf(model IS NOT NULL) AS model
FROM events_latest
WHERE time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
GROUP BY deployment ORDER BY events DESC LIMIT 50
"""
_LOOK_BACK_S = 86_400.0
_BLIND_SHARE = 0.5


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: what was seen, and what to do if it is not well.

    `status` is ``ok``, ``warn`` (it works, but sees less than it could) or ``fail``.
    """

    name: str
    status: str
    saw: str
    advice: str = ""


def examine(settings: Settings, clock: Callable[[], float]) -> Iterator[Check]:
    """All checks, in the order in which to mend them; never raises for a server that is down."""
    yield _broker(settings)
    try:
        store = Store.connect(settings)
    except StoreError as error:
        yield Check(name="ClickHouse", status=FAIL, saw=str(error), advice="start it, then run `inferwatch migrate`")
        return
    looks: tuple[Callable[[Store, float], Iterator[Check]], ...] = (_server, _schema, _traffic, _blindness)
    try:
        for look in looks:
            yield from look(store, clock())
    except StoreError as error:
        yield Check(name="ClickHouse", status=FAIL, saw=str(error), advice="run `inferwatch migrate`")
    finally:
        store.close()


def _broker(settings: Settings) -> Check:
    try:
        found = topics.describe(settings)
    except BrokerError as error:
        return Check(name="Kafka", status=FAIL, saw=str(error), advice="start it or set INFERWATCH_KAFKA_BROKERS")
    missing = [topics.full_name(settings, topic) for topic in topics.ALL if topic not in found]
    if missing:
        saw = f"topics are missing: {', '.join(missing)}"
        return Check(name="Kafka", status=FAIL, saw=saw, advice="run `inferwatch topics create`")
    sizes = ", ".join(f"{topic.name} {topic.partitions}" for topic in found.values())
    return Check(name="Kafka", status=OK, saw=f"{settings.kafka_brokers} answers; partitions: {sizes}")


def _server(store: Store, now_s: float) -> Iterator[Check]:
    row = store.query("SELECT version() AS version, toFloat64(now64(3)) AS now_s")[0]
    yield Check(name="ClickHouse", status=OK, saw=f"version {row['version']} answers")
    skew_s = row["now_s"] - now_s
    yield Check(
        name="clocks",
        status=OK if abs(skew_s) < _CLOCK_S else WARN,
        saw=f"ClickHouse is {skew_s:+.1f} s from this machine",
        advice="synchronize the clocks (NTP): event times and retention depend on them",
    )


def _schema(store: Store, _now_s: float) -> Iterator[Check]:
    pending = store.pending()
    saw = f"{len(pending)} migrations are not applied" if pending else "up to date"
    yield Check(name="schema", status=FAIL if pending else OK, saw=saw, advice="run `inferwatch migrate`")


def _traffic(store: Store, now_s: float) -> Iterator[Check]:
    row = store.query("SELECT count() AS events, toFloat64(max(record_time)) AS last_s FROM inference_events")[0]
    if not row["events"]:
        advice = "send some (`inferwatch send FILE`) and see that a worker runs (`inferwatch worker`)"
        yield Check(name="traffic", status=WARN, saw="no event was ever stored", advice=advice)
        return
    age_s = max(now_s - row["last_s"], 0.0)
    saw = f"{row['events']} events stored, the last one arrived {age_s:.0f} s ago"
    advice = "nothing arrives: check the source, the worker and the dead letters"
    yield Check(name="traffic", status=OK if age_s < _QUIET_S else WARN, saw=saw, advice=advice)
    dead = store.query("SELECT count() AS found FROM dead_letters_latest WHERE record_time > now() - INTERVAL 1 DAY")
    count = dead[0]["found"]
    yield Check(
        name="dead letters",
        status=WARN if count else OK,
        saw=f"{count} in the last day",
        advice="read `SELECT reason, count() FROM dead_letters_latest GROUP BY reason`",
    )


def _blindness(store: Store, now_s: float) -> Iterator[Check]:
    """Per deployment, the detectors that lack a field in most of the last day's events."""
    catalog = discover()
    for row in store.query(_FIELDS, {"since_ms": int((now_s - _LOOK_BACK_S) * 1_000)}):
        blind = [
            f"{name} (no {', '.join(lacking)})"
            for name, kind in catalog.items()
            if (lacking := _lacking(kind.metadata, row))
        ]
        yield Check(
            name=f"sight of {row['deployment']}",
            status=WARN if blind else OK,
            saw=f"blind: {'; '.join(blind)}" if blind else f"all {len(catalog)} detectors see {row['events']} events",
            advice="have the source deliver these fields; README says where each format carries them",
        )


def _lacking(metadata: Metadata, row: dict[str, Any]) -> list[str]:
    """The fields a detector misses in a deployment's events; none when it can see."""
    needed = (PRINCIPAL, *metadata.requires) if metadata.scope == PRINCIPAL else metadata.requires
    lacking = [field for field in needed if _is_rare(row, field)]
    if metadata.any_of and all(_is_rare(row, field) for field in metadata.any_of):
        lacking.append(" or ".join(metadata.any_of))
    return lacking


def _is_rare(row: dict[str, Any], field: str) -> bool:
    return field in row and row[field] < _BLIND_SHARE * row["events"]
